//! Calls that take many at once, and pay once for all what a call costs beside what it is about: the pin, above all.

use crossbeam_epoch::Guard;

use crate::error::{CreateJobError, HeartbeatError, JobError};
use crate::id::JobId;
use crate::job::{End, Job, JobRequest};
use crate::node::{Heartbeat, NodeHandle};
use crate::scheduler::Scheduler;

/// What others retire is freed only when every pin has ended, so none is kept for longer than this many.
const ONE_PIN: usize = 1024;

/// Heartbeats of a batch that are taken in together: about as many as a processor has reads of memory under way.
const TOGETHER: usize = 16;

fn let_others_free(pin: &mut Guard, place: usize) {
    if place % ONE_PIN == ONE_PIN - 1 {
        pin.repin();
    }
}

impl Scheduler {
    /// Takes many heartbeats in. Returns those that were not taken, by their place, with the reason; the others were.
    pub fn heartbeat_batch<'a>(
        &self,
        beats: impl IntoIterator<Item = (&'a NodeHandle, &'a Heartbeat)>,
    ) -> Vec<(usize, HeartbeatError)> {
        let mut pin = crossbeam_epoch::pin();
        let (mut refused, mut beats, mut place) = (Vec::new(), beats.into_iter(), 0);
        loop {
            // What some of them need of memory is asked for before the first is taken in, and comes together.
            let mut together = [None; TOGETHER];
            for (beat, next) in together.iter_mut().zip(beats.by_ref()) {
                self.core().fetch(next.0);
                *beat = Some(next);
            }
            for (node, beat) in together.into_iter().flatten() {
                let_others_free(&mut pin, place);
                refused.extend(self.core().heartbeat_under(node, beat, &pin).err().map(|error| (place, error)));
                place += 1;
            }
            if together[TOGETHER - 1].is_none() {
                return refused;
            }
        }
    }

    /// Creates many jobs, one after the other, each as [`create_job`](Self::create_job) does; what a call costs beside its
    /// job is paid once for all. What became of each is at the place of its request.
    ///
    /// ```
    /// use slotyard::{Demand, JobRequest, NodeSpec, Scheduler};
    ///
    /// let scheduler = Scheduler::builder().build()?;
    /// scheduler.register(NodeSpec::new("w-1").service("embed").capacity(2).ready())?;
    ///
    /// let demand = Demand::new().service("embed");
    /// let requests = ["req-1", "req-2", "req-3"].map(|id| JobRequest::new(id, demand.clone()));
    /// let created = scheduler.create_jobs(&requests);
    /// assert!(created[0].is_ok() && created[1].is_ok());
    /// assert!(created[2].is_err(), "both slots are taken");
    ///
    /// let done = created.iter().flatten().map(|job| (job.id(), job.attempt()));
    /// assert_eq!(scheduler.complete_jobs(done), []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_jobs(&self, requests: &[JobRequest]) -> Vec<Result<Job, CreateJobError>> {
        let mut pin = crossbeam_epoch::pin();
        let create = |(place, request)| {
            let_others_free(&mut pin, place);
            self.core().create_job(request, &pin)
        };
        requests.iter().enumerate().map(create).collect()
    }

    /// Completes many attempts, each as [`complete`](Self::complete) does; what a call costs beside its job is paid once for
    /// all. Returns those that were not completed, by their place, with the reason; the others were. There is an example
    /// at [`create_jobs`](Self::create_jobs).
    pub fn complete_jobs(&self, attempts: impl IntoIterator<Item = (JobId, u32)>) -> Vec<(usize, JobError)> {
        let mut pin = crossbeam_epoch::pin();
        let mut refused = Vec::new();
        for (place, (job, attempt)) in attempts.into_iter().enumerate() {
            let_others_free(&mut pin, place);
            let ended = self.core().end(job, attempt, End::Completed, &pin);
            refused.extend(ended.err().map(|error| (place, error)));
        }
        refused
    }
}
