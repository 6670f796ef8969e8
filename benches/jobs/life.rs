//! Jobs that are created and completed, one after another, in a steady state.
//!
//! What a scheduler keeps of a job outlives it: a finished job is remembered for a while, and a note of its lease until
//! that would have run out. Measured is the state in which as much goes as comes: enough jobs have finished for the
//! oldest to be forgotten with every further one, and between two turns the clock is moved on, so that leases run out.

#![allow(dead_code, reason = "each suite is a program of its own and uses what it needs of this")]

use std::cell::Cell;
use std::time::Duration;

use slotyard::{Demand, JobRequest, Scheduler};

use crate::fleet;
use crate::harness::Operation;

/// How far the clock moves at a time. A turn is shorter, so time goes faster than it does; what that makes more, ticks,
/// is outside of what is timed.
const STEP: Duration = Duration::from_millis(1);
/// So the notes of leases of some hundred turns are there.
const LEASE: Duration = Duration::from_millis(100);
/// As short, and for the same reason.
const SESSION: Duration = Duration::from_millis(100);
/// Nothing but leases and sessions is to change by time.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A fleet for jobs, and its clock.
pub(crate) struct Yard {
    pub(crate) scheduler: Scheduler,
    now: Cell<Duration>,
}

impl Yard {
    /// Nodes of 16 slots; so many finished jobs are remembered.
    pub(crate) fn new(nodes: u32, remembered: usize) -> Self {
        let builder = Scheduler::builder().seed(1).manual_maintenance();
        let builder = builder.heartbeat_timeout(NEVER).external_load_decay(NEVER).finished_retention(NEVER);
        let builder = builder.default_lease(LEASE).session_ttl(SESSION).max_finished_jobs(remembered);
        let scheduler = builder.build().expect("the configuration is valid");
        fleet::register(&scheduler, 0..nodes, 16);
        Self { scheduler, now: Cell::new(Duration::ZERO) }
    }

    /// Moves the clock on; leases that have run out and sessions without jobs go.
    pub(crate) fn step(&self) {
        self.now.set(self.now.get() + STEP);
        self.scheduler.tick(self.now.get());
    }
}

/// As long as the request ids that gateways make.
pub(crate) fn request_id(number: u64) -> String {
    format!("request-{number:016x}")
}

/// Creates and completes jobs under new request ids.
pub(crate) struct Lives<'y, R> {
    yard: &'y Yard,
    /// The request of a new id.
    request: R,
    next: &'y Cell<u64>,
    requests: std::vec::IntoIter<JobRequest>,
    /// Those made for an earlier turn, so that they are freed outside of one.
    spent: Vec<JobRequest>,
    timed_steps: bool,
}

impl<'y, R: FnMut(String) -> JobRequest> Lives<'y, R> {
    /// `next` is the number of the next id, for all who share a yard.
    pub(crate) fn new(yard: &'y Yard, next: &'y Cell<u64>, request: R) -> Self {
        Self { yard, request, next, requests: Vec::new().into_iter(), spent: Vec::new(), timed_steps: false }
    }

    /// Moving the clock on is timed, too, once a turn.
    pub(crate) fn with_timed_steps(mut self) -> Self {
        self.timed_steps = true;
        self
    }

    /// Lets so many jobs live, in portions after which the clock moves.
    pub(crate) fn live(&mut self, jobs: usize) {
        for _ in 0..jobs.div_ceil(100) {
            self.prepare(100);
            self.run(100);
        }
    }
}

impl<R: FnMut(String) -> JobRequest> Operation for Lives<'_, R> {
    fn prepare(&mut self, times: u32) {
        self.spent.clear();
        if !self.timed_steps {
            self.yard.step();
        }
        let first = self.next.replace(self.next.get() + u64::from(times));
        let ids = (first..first + u64::from(times)).map(request_id);
        self.requests = ids.map(&mut self.request).collect::<Vec<_>>().into_iter();
        self.spent.reserve(times as usize);
    }

    fn run(&mut self, times: u32) {
        let scheduler = &self.yard.scheduler;
        for request in self.requests.by_ref().take(times as usize) {
            let job = scheduler.create_job(&request).expect("a slot is free");
            scheduler.complete(job.id(), job.attempt()).expect("it has just been created");
            self.spent.push(request);
        }
        if self.timed_steps {
            self.yard.step();
        }
    }
}

/// A request without more to it than a demand.
pub(crate) fn plain(demand: &Demand) -> impl FnMut(String) -> JobRequest {
    let demand = demand.clone();
    move |id| JobRequest::new(id, demand.clone())
}
