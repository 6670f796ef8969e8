//! A thread that does things at random and notes when, and what it was given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use slotyard::{
    CreateJobError, Demand, Event, EventReceiver, Job, JobId, JobRequest, JobState, NodeError, NodeHandle, NodeSpec,
    RegisterError, Reservation, RetryError, Scheduler,
};

use crate::history::{Call, Did};
use crate::specification::Life;

/// What all threads of a history share.
pub(crate) struct Shared<'s> {
    pub(crate) scheduler: &'s Scheduler,
    /// Ticks before and after every call.
    pub(crate) clock: &'s AtomicU64,
    /// Names of reservations.
    pub(crate) names: &'s AtomicU64,
    pub(crate) nodes: u8,
    pub(crate) requests: u8,
    /// How many calls all threads together have begun; they begin them together, as long as this is less than `abreast`.
    pub(crate) begun: &'s AtomicU64,
    pub(crate) abreast: u64,
    /// How many of 100 calls change nodes.
    pub(crate) changes: u8,
}

pub(crate) struct Worker<'s, 'a> {
    shared: &'a Shared<'s>,
    random: Rng,
    pub(crate) calls: Vec<Call>,
    held: Vec<(u64, Reservation<'s>)>,
    seen: Vec<(JobId, u32)>,
    handles: Vec<NodeHandle>,
    /// Only one of the threads moves the time.
    ticks: Option<&'a EventReceiver>,
    pub(crate) orphans: Vec<Event>,
    now: u64,
}

fn life(handle: &NodeHandle) -> Life {
    (number(handle.id()), handle.incarnation())
}

fn number(id: &str) -> u8 {
    id.parse().expect("ids are numbers")
}

fn given(job: &Job) -> (JobId, u32, Life) {
    (job.id(), job.attempt(), (number(job.node_id()), job.incarnation()))
}

fn managed(handle: &NodeHandle, result: Result<(), NodeError>, did: Did) -> Did {
    match result {
        Ok(()) => did,
        Err(NodeError::StaleHandle { .. }) => Did::Stale(life(handle)),
        Err(error) => panic!("{error}"),
    }
}

impl<'s, 'a> Worker<'s, 'a> {
    pub(crate) fn new(shared: &'a Shared<'s>, random: Rng, ticks: Option<&'a EventReceiver>) -> Self {
        Self {
            shared,
            random,
            calls: Vec::new(),
            held: Vec::new(),
            seen: Vec::new(),
            handles: Vec::new(),
            ticks,
            orphans: Vec::new(),
            now: 0,
        }
    }

    /// Waits until as many threads are at their call of this number, so that they come together.
    pub(crate) fn wait_for(&self, threads: u64, number: u64) {
        if number >= self.shared.abreast {
            return;
        }
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        let mut spins = 0;
        // Not for ever, should one of them have failed.
        while self.shared.begun.load(Ordering::SeqCst) < threads * (number + 1) && spins < 1 << 20 {
            spins += 1;
            if spins % 64 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }

    fn timed(&mut self, call: impl FnOnce(&mut Self) -> Did) {
        let from = self.shared.clock.fetch_add(1, Ordering::SeqCst);
        let did = call(self);
        let to = self.shared.clock.fetch_add(1, Ordering::SeqCst);
        self.calls.push(Call { from, to, did });
    }

    pub(crate) fn register(&mut self, node: u8, replace: bool) {
        let capacity = self.random.u32(1..3);
        let spec = NodeSpec::new(node.to_string()).capacity(capacity).ready();
        let spec = if replace { spec.replace_existing() } else { spec };
        self.timed(|worker| match worker.shared.scheduler.register(spec) {
            Ok(handle) => {
                let incarnation = handle.incarnation();
                worker.handles.push(handle);
                Did::Register { node, capacity, incarnation }
            }
            Err(RegisterError::AlreadyRegistered { incarnation, .. }) => Did::AlreadyThere((node, incarnation)),
            Err(error) => panic!("{error}"),
        });
    }

    pub(crate) fn act(&mut self) {
        if self.random.u8(..100) < self.shared.changes { self.change_a_node() } else { self.change_a_job() }
    }

    fn change_a_node(&mut self) {
        let (scheduler, node) = (self.shared.scheduler, self.random.u8(..self.shared.nodes));
        // Now and then one that may have gone since.
        let known = self.handles.iter().find(|handle| number(handle.id()) == node).cloned();
        let found = scheduler.handle(&node.to_string());
        let handle = if self.random.bool() { found.or(known) } else { known.or(found) };
        let Some(handle) = handle else {
            return self.register(node, false);
        };
        let capacity = self.random.u32(1..3);
        match self.random.u8(..10) {
            0 => self.register(node, false),
            1 => self.register(node, true),
            2 => self.timed(|_| managed(&handle, scheduler.deregister(&handle), Did::Deregister(life(&handle)))),
            3 | 4 => self.timed(|_| managed(&handle, scheduler.drain(&handle), Did::Drain(life(&handle), true))),
            5..8 => self.timed(|_| managed(&handle, scheduler.undrain(&handle), Did::Drain(life(&handle), false))),
            _ => self.timed(|_| {
                let result = scheduler.set_capacity(&handle, capacity);
                managed(&handle, result, Did::Capacity(life(&handle), capacity))
            }),
        }
    }

    fn change_a_job(&mut self) {
        let scheduler = self.shared.scheduler;
        match self.random.u8(..24) {
            0..8 => self.create(),
            8..13 if !self.seen.is_empty() => {
                let (job, attempt) = self.seen[self.random.usize(..self.seen.len())];
                let (end, state): (fn(&Scheduler, JobId, u32) -> _, _) = match self.random.u8(..3) {
                    0 => (Scheduler::complete, JobState::Completed),
                    1 => (Scheduler::fail, JobState::Failed),
                    _ => (Scheduler::cancel, JobState::Cancelled),
                };
                self.timed(|_| match end(scheduler, job, attempt) {
                    Ok(()) => Did::End(job, attempt, state),
                    Err(error) => Did::Denied(error),
                });
            }
            13 | 14 if !self.seen.is_empty() => self.retry(),
            15 if self.ticks.is_some() => self.tick(),
            16 | 17 if !self.held.is_empty() => self.give_back(),
            18 => self.timed(|_| match scheduler.select(&Demand::new()) {
                Ok(chosen) => Did::Select((number(chosen.node_id()), chosen.incarnation())),
                Err(_) => Did::Refused,
            }),
            20 | 21 if !self.seen.is_empty() => self.keep_alive(),
            22 | 23 if !self.seen.is_empty() => self.look_up(),
            _ => {
                let name = self.shared.names.fetch_add(1, Ordering::Relaxed);
                self.timed(|worker| match scheduler.reserve(&Demand::new()) {
                    Ok(reservation) => {
                        let life = life(&reservation.node());
                        worker.held.push((name, reservation));
                        Did::Reserve(name, life)
                    }
                    Err(_) => Did::Refused,
                });
            }
        }
    }

    fn create(&mut self) {
        let number = self.random.u8(..self.shared.requests);
        // Some run out at the next tick or the one after.
        let lease = Duration::from_millis(if self.random.bool() { self.random.u64(1..3) } else { 1_000_000 });
        let request = JobRequest::new(number.to_string(), Demand::new()).lease(lease);
        self.timed(|worker| match worker.shared.scheduler.create_job(&request) {
            Ok(created) => {
                let (job, attempt, life) = given(&created);
                worker.seen.push((job, attempt));
                Did::Create { request: number, job, attempt, life }
            }
            Err(CreateJobError::NoNode(_)) => Did::CreateRefused(number),
            Err(error) => panic!("{error}"),
        });
    }

    fn keep_alive(&mut self) {
        let (job, attempt) = self.seen[self.random.usize(..self.seen.len())];
        let (call, did): (fn(&Scheduler, JobId, u32) -> _, _) = match self.random.u8(..3) {
            0 => (Scheduler::renew, Did::Renew(job, attempt)),
            1 => (Scheduler::dispatched, Did::Move(job, attempt, JobState::Dispatched)),
            _ => (Scheduler::running, Did::Move(job, attempt, JobState::Running)),
        };
        self.timed(|worker| call(worker.shared.scheduler, job, attempt).map_or_else(Did::Denied, |()| did));
    }

    fn look_up(&mut self) {
        if self.random.bool() {
            let request = self.random.u8(..self.shared.requests);
            return self.timed(|worker| {
                let found = worker.shared.scheduler.job_by_request(&request.to_string());
                Did::Named(request, found.map(|view| view.id))
            });
        }
        let (job, _) = self.seen[self.random.usize(..self.seen.len())];
        self.timed(|worker| {
            let view = worker.shared.scheduler.job(job).expect("none of so few is forgotten");
            Did::Shown(job, view.attempt, (number(&view.node_id), view.incarnation), view.state)
        });
    }

    fn retry(&mut self) {
        let at = self.random.usize(..self.seen.len());
        let (job, attempt) = self.seen[at];
        self.timed(|worker| match worker.shared.scheduler.retry(job, attempt) {
            Ok(next) => {
                let (job, attempt, life) = given(&next);
                worker.seen[at] = (job, attempt);
                Did::Retry(job, attempt, life)
            }
            Err(RetryError::Job(error)) => Did::RetryDenied(error),
            Err(RetryError::NoNode(_)) => Did::RetryRefused,
            Err(error) => panic!("{error}"),
        });
    }

    fn give_back(&mut self) {
        let at = self.random.usize(..self.held.len());
        let (name, reservation) = self.held.swap_remove(at);
        self.timed(|_| {
            drop(reservation);
            Did::GiveBack(name)
        });
    }

    fn tick(&mut self) {
        self.now += 1;
        self.timed(|worker| {
            worker.shared.scheduler.tick(Duration::from_millis(worker.now));
            Did::Tick(worker.told())
        });
    }

    /// The events so far. Only ticks expire jobs, so those are this one's.
    fn told(&mut self) -> Vec<(JobId, u32)> {
        let mut expired = Vec::new();
        for event in self.ticks.into_iter().flatten() {
            match event {
                Event::JobExpired { job, attempt, .. } => expired.push((job, attempt)),
                Event::JobOrphaned { .. } => self.orphans.push(event),
                _ => {}
            }
        }
        expired
    }

    /// Gives back what is held.
    pub(crate) fn finish(&mut self) {
        while !self.held.is_empty() {
            self.give_back();
        }
    }
}
