//! Work of one attempt on one node, from its start to its result.

use rand::RngExt;
use slotyard::{JobError, JobId};

use crate::ledger::Broken;
use crate::requests::{Conduct, FAILING, part};

use super::Engine;
use super::clients::Client;
use super::queue::Event;
use super::tally::Outcome;

/// The work, which knows nothing of what the client does meanwhile.
pub(super) struct Task {
    worker: usize,
    /// Which life of the worker; with it the work ends.
    life: u32,
    client: usize,
    stamp: u64,
    job: JobId,
    attempt: u32,
    fails: bool,
    /// The client has gone away, so that nobody takes the result.
    unheard: bool,
    stopped: bool,
}

impl Engine<'_> {
    /// The job has reached its node, if that is still there.
    pub(super) fn start(&mut self, key: usize) {
        let client = &self.clients[key];
        let (Some((job, attempt)), Some(hold)) = (client.job, client.hold) else { return };
        let worker = &mut self.workers[hold.worker];
        if !worker.is_running(hold) {
            return;
        }
        worker.running += 1;
        let whole = self.workload.service_time(worker.class, client.request.work);
        self.longest_service = self.longest_service.max(whole);
        let fails = self.client_random.random_bool(FAILING);
        let takes = if fails { part(whole, self.client_random.random()) } else { whole };
        let (stamp, life) = (client.stamp, worker.life);
        let unheard = client.vanishes();
        if client.first_attempt() {
            match client.request.conduct {
                Conduct::Waits | Conduct::Vanishes => {}
                Conduct::Cancels(share) => {
                    self.queue.push(self.now + part(whole, share), Event::Cancel { client: key, stamp });
                }
                Conduct::Switches(share) => {
                    self.queue.push(self.now + part(whole, share), Event::Switch { client: key, stamp });
                }
            }
        }
        let worker = hold.worker;
        let task = Task { worker, life, client: key, stamp, job, attempt, fails, unheard, stopped: false };
        let task = self.tasks.insert(task);
        self.clients[key].task = Some(task);
        self.queue.push(self.now + takes, Event::Done { task });
        let answer = self.scheduler.running(job, attempt);
        self.expect("running", answer);
    }

    /// A node has done its work, and the client gets the result if it is there.
    pub(super) fn done(&mut self, task: usize) {
        let task = self.tasks.remove(task);
        let worker = &mut self.workers[task.worker];
        if task.stopped || worker.life != task.life {
            return;
        }
        worker.running -= 1;
        if task.unheard {
            return;
        }
        let Task { client, stamp, job, attempt, fails, .. } = task;
        let current = self.is_current(client, stamp);
        let answer = match fails {
            true => self.scheduler.fail(job, attempt),
            false => self.scheduler.complete(job, attempt),
        };
        match (current, fails) {
            (true, true) => {
                self.expect("fail", answer);
                self.lose(client);
            }
            (true, false) => {
                self.expect("complete", answer);
                self.completed(client, job, attempt);
            }
            (false, _) => self.late(job, answer),
        }
    }

    /// Its client has called it off: the node stops.
    pub(super) fn stop(&mut self, client: usize) {
        let Client { task, stamp, .. } = &self.clients[client];
        // The work may have ended with its node, and its place be another's by now.
        let task = task.and_then(|task| self.tasks.get_mut(task)).filter(|task| task.stamp == *stamp);
        if let Some(task) = task {
            task.stopped = true;
            let worker = &mut self.workers[task.worker];
            if worker.life == task.life {
                worker.running -= 1;
            }
        }
    }

    fn completed(&mut self, client: usize, job: JobId, attempt: u32) {
        self.release(client);
        if self.clients[client].request.repeated {
            let again = self.scheduler.complete(job, attempt);
            self.late(job, again);
            self.tally.resent += 1;
            match self.scheduler.create_job(&self.clients[client].asks) {
                Ok(again) if again.id() == job => {}
                Ok(again) => {
                    let example = || format!("job {job} was done, then the request became job {}", again.id());
                    self.ledger.violations.note(Broken::DuplicateJobs, self.now, example);
                }
                Err(error) => self.unexpected("sending a finished request again", &error),
            }
        }
        self.settle(client, Outcome::Completed);
    }

    /// A result of an attempt that has ended must be turned down.
    pub(super) fn late(&mut self, job: JobId, answer: Result<(), JobError>) {
        self.tally.late_results += 1;
        if answer.is_ok() {
            let example = || format!("job {job}: the result of an attempt that had ended was taken");
            self.ledger.violations.note(Broken::DoubleRelease, self.now, example);
        }
    }
}
