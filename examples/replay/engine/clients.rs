//! What clients do: ask for a slot, wait, renew, give up, try again.

use std::time::Instant;

use rand::RngExt;
use slotyard::{CreateJobError, Job, JobError, JobId, JobRequest, NoNode, RetryError};

use crate::ledger::{Broken, Hold};
use crate::requests::{Conduct, REACTION, Request, TRANSFER, backoff};

use super::queue::Event;
use super::tally::Outcome;
use super::{Engine, LEASE};

/// Of this many refusals one is checked against all nodes; of the first ones each is.
const CHECKED_REFUSALS: u64 = 64;

/// One client, from its request's arrival to its end.
pub(super) struct Client {
    pub(super) request: Request,
    pub(super) asks: JobRequest,
    /// Changes with every phase of the request.
    pub(super) stamp: u64,
    gives_up: u64,
    /// Refusals since it last held a slot.
    refusals: u32,
    pub(super) job: Option<(JobId, u32)>,
    pub(super) hold: Option<Hold>,
    pub(super) task: Option<usize>,
}

impl Client {
    /// Whether it goes away while this attempt runs, without a word.
    pub(super) fn vanishes(&self) -> bool {
        self.request.conduct == Conduct::Vanishes && self.first_attempt()
    }

    pub(super) fn first_attempt(&self) -> bool {
        self.job.is_some_and(|(_, attempt)| attempt == 1)
    }
}

/// Why there is no slot.
enum Unserved {
    NoNode(NoNode),
    /// No further attempt is allowed.
    Spent,
    /// Nothing that a client should ever see here.
    Unexpected(String),
}

impl From<CreateJobError> for Unserved {
    fn from(error: CreateJobError) -> Self {
        match error {
            CreateJobError::NoNode(reason) => Self::NoNode(reason),
            other => Self::Unexpected(other.to_string()),
        }
    }
}

impl From<RetryError> for Unserved {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::NoNode(reason) => Self::NoNode(reason),
            RetryError::TooManyAttempts { .. } => Self::Spent,
            other => Self::Unexpected(other.to_string()),
        }
    }
}

impl Engine<'_> {
    pub(super) fn is_current(&self, client: usize, stamp: u64) -> bool {
        self.clients.get(client).is_some_and(|client| client.stamp == stamp)
    }

    /// A new phase of a client: what was queued before is stale.
    fn stamp(&mut self, client: usize) -> u64 {
        self.stamps += 1;
        self.clients[client].stamp = self.stamps;
        self.stamps
    }

    pub(super) fn arrives(&mut self, request: Request) {
        self.tally.offered += 1;
        let asks = request.asks(&self.workload.demands);
        let gives_up = self.now + request.patience;
        let client = self.clients.insert(Client {
            request,
            asks,
            stamp: 0,
            gives_up,
            refusals: 0,
            job: None,
            hold: None,
            task: None,
        });
        self.stamp(client);
        self.offer(client);
    }

    /// Asks for a slot: the first, or one for a further attempt.
    pub(super) fn offer(&mut self, client: usize) {
        let Client { asks, job, .. } = &self.clients[client];
        let started = Instant::now();
        let answer = match *job {
            None => self.scheduler.create_job(asks).map_err(Unserved::from),
            Some((job, attempt)) => self.scheduler.retry(job, attempt).map_err(Unserved::from),
        };
        self.tally.decided(started.elapsed());
        match answer {
            Ok(job) => self.granted(client, &job),
            Err(Unserved::NoNode(reason)) => self.refused(client, &reason),
            Err(Unserved::Spent) => self.settle(client, Outcome::Failed),
            Err(Unserved::Unexpected(error)) => {
                self.unexpected("asking for a slot", &error);
                self.settle(client, Outcome::Failed);
            }
        }
    }

    fn granted(&mut self, key: usize, job: &Job) {
        let stamp = self.stamp(key);
        let client = &mut self.clients[key];
        let (first, again) = (client.job.is_none(), client.request.doubled && client.job.is_none());
        client.job = Some((job.id(), job.attempt()));
        client.refusals = 0;
        if first {
            self.tally.waited(self.now - client.request.at);
        } else {
            self.tally.retried += 1;
        }
        self.by_job.insert(job.id(), key);
        self.place(key, job);
        if again {
            self.resend(key, job);
        }
        let answer = self.scheduler.dispatched(job.id(), job.attempt());
        self.expect("dispatched", answer);
        let transfer = self.client_random.random_range(TRANSFER);
        self.queue.push(self.now + transfer, Event::Start { client: key, stamp });
        if !self.clients[key].vanishes() {
            self.queue.push(self.now + LEASE / 3, Event::Renew { client: key, stamp });
        }
    }

    /// Enters the slot into the ledger, and checks that the node is one that can do the job.
    fn place(&mut self, key: usize, job: &Job) {
        let Some(worker) = self.by_name.get(job.node_id().as_str()).copied() else {
            let example = || format!("a job on {}, which there is not", job.node_id());
            return self.ledger.violations.note(Broken::Misplaced, self.now, example);
        };
        let hold = Hold { worker, incarnation: job.incarnation() };
        self.ledger.acquire(hold, self.now);
        let client = &mut self.clients[key];
        client.hold = Some(hold);
        if !self.workers[worker].can_serve(self.workload, client.request.demand, self.now) {
            let demand = self.workload.demands.demand(client.request.demand);
            let example = || format!("{} in pool {} got {demand:?}", job.node_id(), job.pool());
            self.ledger.violations.note(Broken::Misplaced, self.now, example);
        }
    }

    /// Sends a request again, which must give the same job and no other slot.
    fn resend(&mut self, client: usize, job: &Job) {
        self.tally.resent += 1;
        match self.scheduler.create_job(&self.clients[client].asks) {
            Ok(again) if (again.id(), again.attempt()) == (job.id(), job.attempt()) => {}
            Ok(again) => {
                let example = || format!("job {}, attempt {}, then {}", job.id(), job.attempt(), again.id());
                self.ledger.violations.note(Broken::DuplicateJobs, self.now, example);
            }
            Err(error) => self.unexpected("sending a request again", &error),
        }
    }

    fn refused(&mut self, key: usize, reason: &NoNode) {
        self.tally.refusals += 1;
        let client = &mut self.clients[key];
        client.refusals += 1;
        let (refusals, gives_up) = (client.refusals, client.gives_up);
        if self.tally.refusals <= CHECKED_REFUSALS || self.tally.refusals.is_multiple_of(CHECKED_REFUSALS) {
            self.check_refusal(key, reason);
        }
        if self.now >= gives_up {
            return self.settle(key, Outcome::Refused(reason.kind()));
        }
        let hint = reason.refusal().and_then(|refusal| refusal.retry_after()).unwrap_or_default();
        let jittered = backoff(refusals, hint.as_micros() as u64, &mut self.client_random);
        let stamp = self.stamp(key);
        self.queue.push((self.now + jittered).min(gives_up), Event::Offer { client: key, stamp });
    }

    /// No node that can serve the request may have had a slot left.
    fn check_refusal(&mut self, client: usize, reason: &NoNode) {
        let demand = self.clients[client].request.demand;
        let free = self.workers.iter().zip(&self.ledger.accounts).position(|(worker, account)| {
            account.open() && account.held < account.capacity && worker.surely_free(self.workload, demand, self.now)
        });
        if let Some(free) = free {
            let (name, account) = (&self.workers[free].name, &self.ledger.accounts[free]);
            let example = format!("{name} could have, {account:?}; the scheduler said: {reason}");
            self.ledger.violations.note(Broken::RefusedWhileFree, self.now, || example);
        }
    }

    /// An attempt has come to nothing: another one, after a moment.
    pub(super) fn lose(&mut self, key: usize) {
        self.release(key);
        let stamp = self.stamp(key);
        let client = &mut self.clients[key];
        let at = self.now + self.client_random.random_range(REACTION);
        client.gives_up = at + client.request.patience;
        self.queue.push(at, Event::Offer { client: key, stamp });
    }

    pub(super) fn renew(&mut self, key: usize) {
        let client = &self.clients[key];
        let (Some((job, attempt)), stamp) = (client.job, client.stamp) else { return };
        self.tally.renewals += 1;
        let answer = self.scheduler.renew(job, attempt);
        self.expect("renew", answer);
        self.queue.push(self.now + LEASE / 3, Event::Renew { client: key, stamp });
    }

    pub(super) fn cancel(&mut self, client: usize) {
        let Some((job, attempt)) = self.clients[client].job else { return };
        let answer = self.scheduler.cancel(job, attempt);
        self.expect("cancel", answer);
        self.stop(client);
        self.release(client);
        self.settle(client, Outcome::Cancelled);
    }

    /// Takes another node while one still works: that one's result will be late.
    pub(super) fn switch(&mut self, client: usize) {
        let Some((job, attempt)) = self.clients[client].job else { return };
        let started = Instant::now();
        let answer = self.scheduler.retry(job, attempt);
        self.tally.decided(started.elapsed());
        match answer {
            Ok(job) => {
                self.release(client);
                self.granted(client, &job);
            }
            // Then it stays with the node that it has.
            Err(RetryError::NoNode(_) | RetryError::TooManyAttempts { .. }) => {}
            Err(error) => self.unexpected("retry", &error),
        }
    }

    /// The scheduler says that a job's lease ran out.
    pub(super) fn expired(&mut self, job: JobId, attempt: u32) {
        self.tally.expired += 1;
        let Some(client) = self.loses_slot(job, attempt, "expired") else { return };
        if self.clients[client].vanishes() {
            self.release(client);
            // What its node may still have to say comes too late.
            let answer = self.scheduler.complete(job, attempt);
            self.late(job, answer);
            self.settle(client, Outcome::Abandoned);
        } else {
            self.unexpected("renewing a lease in time", &format!("job {job}, attempt {attempt} expired"));
            self.lose(client);
        }
    }

    /// The scheduler says that a job's node is gone.
    pub(super) fn orphaned(&mut self, job: JobId, attempt: u32) {
        self.tally.orphaned += 1;
        let Some(client) = self.loses_slot(job, attempt, "orphaned") else { return };
        if self.clients[client].vanishes() {
            self.release(client);
            self.settle(client, Outcome::Abandoned);
        } else {
            self.lose(client);
        }
    }

    /// Who holds the slot that the scheduler says it took back.
    fn loses_slot(&mut self, job: JobId, attempt: u32, how: &str) -> Option<usize> {
        let client = self.by_job.get(&job).copied();
        let held = client.filter(|client| {
            let client = &self.clients[*client];
            client.job == Some((job, attempt)) && client.hold.is_some()
        });
        if held.is_none() {
            let example = || format!("job {job}, attempt {attempt} {how}, but had no slot");
            self.ledger.violations.note(Broken::DoubleRelease, self.now, example);
        }
        held
    }

    pub(super) fn release(&mut self, client: usize) {
        let client = &mut self.clients[client];
        client.task = None;
        if let Some(hold) = client.hold.take() {
            self.ledger.release(hold, self.now);
        }
    }

    pub(super) fn settle(&mut self, key: usize, outcome: Outcome) {
        let client = self.clients.remove(key);
        match client.job {
            Some((job, _)) => drop(self.by_job.remove(&job)),
            None => self.tally.waited(self.now - client.request.at),
        }
        self.tally.ended(outcome);
    }

    pub(super) fn expect(&mut self, step: &str, answer: Result<(), JobError>) {
        if let Err(error) = answer {
            self.unexpected(step, &error);
        }
    }
}
