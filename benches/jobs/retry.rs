//! A job's next attempt.

use slotyard::{Job, Scheduler};

use crate::fleet;
use crate::harness::{About, Operation, Suite, repeat};
use crate::life::{Yard, plain, request_id};

/// Retries active jobs, each once: the slot on another node is taken, that of the first attempt given back.
struct Retries<'y> {
    yard: &'y Yard,
    next: u64,
    /// First attempts to be retried.
    jobs: Vec<Job>,
    /// Second attempts.
    retried: Vec<Job>,
}

/// Retries jobs beside taking a slot and giving it back.
pub(crate) fn measure(suite: &mut Suite, case: &str, nodes: u32) {
    let case = format!("{case}, second attempts");
    if !suite.wants(&case) {
        return;
    }
    let yard = Yard::new(nodes, 1 << 10);
    let scheduler: &Scheduler = &yard.scheduler;
    let prepared = scheduler.prepare(&fleet::demand());
    let floor = || assert!(scheduler.reserve_prepared(&prepared).is_ok(), "refused with a slot free");
    let mut ours = Retries { yard: &yard, next: 0, jobs: Vec::new(), retried: Vec::new() };
    let about = About { case: &case, subject: "retry", floor: "reserve + release", budget: None };
    suite.compare(about, &mut ours, &mut repeat(floor));
}

impl Operation for Retries<'_> {
    fn prepare(&mut self, times: u32) {
        let scheduler = &self.yard.scheduler;
        for job in self.retried.drain(..).chain(self.jobs.drain(..)) {
            scheduler.complete(job.id(), job.attempt()).expect("it is active");
        }
        // Only now: no lease has run out before, as no time has passed.
        self.yard.step();
        let ids = (self.next..).take(times as usize).map(request_id);
        let create = |request| scheduler.create_job(&request).expect("a slot is free");
        self.jobs.extend(ids.map(plain(&fleet::demand())).map(create));
        self.retried.reserve(times as usize);
        self.next += u64::from(times);
    }

    fn run(&mut self, times: u32) {
        let first = self.jobs.len() - times as usize;
        for job in self.jobs.drain(first..) {
            self.retried.push(self.yard.scheduler.retry(job.id(), job.attempt()).expect("there is another node"));
        }
    }
}
