//! Calls that take many at once, and pay once for all what a call costs beside what it is about: the pin, above all.

use crossbeam_epoch::Guard;

use crate::error::{CreateJobError, HeartbeatError, JobError};
use crate::id::JobId;
use crate::job::{End, Job, JobRequest};
use crate::node::{Heartbeat, NodeHandle};
use crate::scheduler::Scheduler;

/// What others retire is freed only when every pin has ended, so none is kept for longer than this many.
const ONE_PIN: usize = 1024;

/// Taken from the caller's iterator together, before there is a pin: who knows what that does, and how long it takes. Of
/// heartbeats, about as many as a processor has reads of memory under way.
const TOGETHER: usize = 16;

/// How often a create waits for others to end their pins: enough for threads that are in the middle of a call, of which
/// there may be more than cores, and no more than a refusal may take where a pin is kept.
const WAITS: u32 = 256;

impl Scheduler {
    /// Takes many heartbeats in. Returns those that were not taken, by their place, with the reason; the others were.
    ///
    /// They are taken from the iterator sixteen at a time, and then in: one that waits keeps up to fifteen waiting, and one
    /// that panics takes up to fifteen with it, which are not taken in.
    pub fn heartbeat_batch<'a>(
        &self,
        beats: impl IntoIterator<Item = (&'a NodeHandle, &'a Heartbeat)>,
    ) -> Vec<(usize, HeartbeatError)> {
        let (mut refused, mut beats, mut place) = (Vec::new(), beats.into_iter(), 0);
        loop {
            // What some of them need of memory is asked for before the first is taken in, and comes together.
            let mut together = [None; TOGETHER];
            for (beat, next) in together.iter_mut().zip(beats.by_ref()) {
                self.core().fetch(next.0);
                *beat = Some(next);
            }
            let pin = crate::sync::pin();
            for (node, beat) in together.into_iter().flatten() {
                refused.extend(self.core().heartbeat_under(node, beat, &pin).err().map(|error| (place, error)));
                place += 1;
            }
            if together[TOGETHER - 1].is_none() {
                return refused;
            }
        }
    }

    /// Creates many jobs, one after the other, each as [`create_job`](Self::create_job) does; what a call costs beside its
    /// job is paid once for all. What became of each is at the place of its request. Should a policy panic, the jobs before
    /// are made, and are found when their requests are made again.
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
        let mut pin = crate::sync::pin();
        let create = |(place, request)| {
            if place % ONE_PIN == ONE_PIN - 1 {
                pin.repin();
            }
            patiently(&mut pin, |pin| self.core().create_job(request, pin))
        };
        requests.iter().enumerate().map(create).collect()
    }

    /// A create that found no place because of pins, its own among them, is to try again without that one.
    #[cold]
    #[inline(never)]
    pub(crate) fn not_created(
        &self,
        error: CreateJobError,
        request: &JobRequest,
        pin: Guard,
    ) -> Result<Job, CreateJobError> {
        drop(pin);
        if !matches!(error, CreateJobError::PlacesPinned) {
            return Err(error);
        }
        self.create_jobs(std::slice::from_ref(request)).pop().expect("there is an outcome for each request")
    }

    /// Completes many attempts, each as [`complete`](Self::complete) does; what a call costs beside its job is paid once for
    /// all. Returns those that were not completed, by their place, with the reason; the others were. There is an example
    /// at [`create_jobs`](Self::create_jobs).
    ///
    /// They are taken from the iterator sixteen at a time, and then completed: one that waits, as that of a channel, keeps up
    /// to fifteen waiting, and their slots held. Let it end when there are no more at hand. One that panics leaves up to
    /// fifteen as they were that it has given: they can be completed again.
    pub fn complete_jobs(&self, attempts: impl IntoIterator<Item = (JobId, u32)>) -> Vec<(usize, JobError)> {
        let (mut refused, mut attempts, mut place) = (Vec::new(), attempts.into_iter().fuse(), 0);
        loop {
            let together: [_; TOGETHER] = std::array::from_fn(|_| attempts.next());
            let pin = crate::sync::pin();
            for (job, attempt) in together.into_iter().flatten() {
                let ended = self.core().end(job, attempt, End::Completed, &pin);
                refused.extend(ended.err().map(|error| (place, error)));
                place += 1;
            }
            if together[TOGETHER - 1].is_none() {
                return refused;
            }
        }
    }
}

/// Creates a job, and tries again for a while if there is no place for it but those that wait for pins to end.
fn patiently<T>(pin: &mut Guard, create: impl Fn(&Guard) -> Result<T, CreateJobError>) -> Result<T, CreateJobError> {
    for _ in 0..WAITS {
        match create(pin) {
            // Lets others go on who are in the middle of something, and does not pin meanwhile.
            Err(CreateJobError::PlacesPinned) => pin.repin_after(std::thread::yield_now),
            outcome => return outcome,
        }
    }
    create(pin)
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_create_tries_again_while_places_are_pinned_and_only_then() {
        let create = |pinned: u32, then: &dyn Fn() -> Result<(), CreateJobError>| {
            let tried = Cell::new(0);
            let outcome = patiently(&mut crate::sync::pin(), |_| {
                tried.set(tried.get() + 1);
                if tried.get() <= pinned { Err(CreateJobError::PlacesPinned) } else { then() }
            });
            (outcome.map_err(|error| error.to_string()), tried.get())
        };
        let other = || CreateJobError::TooManyJobs { limit: 1 };
        for pinned in [0, 1, WAITS] {
            assert_eq!(create(pinned, &|| Ok(())), (Ok(()), pinned + 1));
            assert_eq!(create(pinned, &|| Err(other())), (Err(other().to_string()), pinned + 1));
        }
        let refused = create(u32::MAX, &|| Ok(()));
        assert_eq!(refused, (Err(CreateJobError::PlacesPinned.to_string()), WAITS + 1));
    }
}
