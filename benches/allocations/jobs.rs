//! Jobs, from their creation to their end.

use std::cell::Cell;
use std::time::Duration;

use slotyard::{Job, JobRequest, Scheduler};

use crate::{Counts, NONE, fleet};

/// Finished jobs remembered: few, so that as many are forgotten as end.
const FINISHED: usize = 64;
const LEASE: Duration = Duration::from_millis(100);

/// Makes jobs, and lets time pass.
struct Maker {
    scheduler: Scheduler,
    made: Cell<u64>,
}

pub(crate) fn count(counts: &mut Counts) {
    let maker = Maker::new();
    let scheduler = &maker.scheduler;
    let create = |request: &JobRequest| scheduler.create_job(request).expect("a slot is free");
    let job = || create(&maker.request());
    let end = |job: &Job| scheduler.complete(job.id(), job.attempt()).expect("it is active");
    let known = "it has just been created";

    counts.take("create_job", None, || maker.request(), create, |_, job| end(&job));
    let in_session = || maker.request().session("one that goes on");
    counts.take("create_job, in a session", None, in_session, create, |_, job| end(&job));
    let same = maker.request().lease(Duration::from_secs(3600));
    let first = create(&same);
    counts.take("create_job, known request", None, || (), |()| create(&same), |(), _| ());
    end(&first);
    let step = |job: &Job| scheduler.dispatched(job.id(), job.attempt()).expect(known);
    counts.take("dispatched", None, job, step, |job, ()| end(&job));
    let step = |job: &Job| scheduler.running(job.id(), job.attempt()).expect(known);
    counts.take("running", None, job, step, |job, ()| end(&job));
    let step = |job: &Job| scheduler.renew(job.id(), job.attempt()).expect(known);
    counts.take("renew", None, job, step, |job, ()| end(&job));
    let step = |job: &Job| scheduler.retry(job.id(), job.attempt()).expect("there is another node");
    counts.take("retry", None, job, step, |_, job| end(&job));
    counts.take("complete", NONE, job, end, |_, ()| ());
    let step = |job: &Job| scheduler.fail(job.id(), job.attempt()).expect(known);
    counts.take("fail", None, job, step, |_, ()| ());
}

impl Maker {
    fn new() -> Self {
        let builder =
            Scheduler::builder().seed(1).manual_maintenance().heartbeat_timeout(Duration::from_secs(24 * 3600));
        let builder = builder.max_finished_jobs(FINISHED).default_lease(LEASE);
        let scheduler = builder.build().expect("the configuration is valid");
        fleet::register(&scheduler, 0..100, 8);
        Self { scheduler, made: Cell::new(0) }
    }

    fn request(&self) -> JobRequest {
        let number = self.made.replace(self.made.get() + 1);
        self.scheduler.tick(Duration::from_millis(number));
        JobRequest::new(format!("request-{number:016x}"), fleet::demand())
    }
}
