//! **One end**: of all that would end one attempt of a job (its caller, its lease, its node that goes) just one does,
//! that one gives the slot back, and the others are told so. A retry that comes in between moves the job on, and what
//! then comes late for the old attempt does not touch the new one.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | completed and expired | 2 | 3 |
//! | completed and orphaned by `deregister` | 2 | 2 |
//! | completed, expired and orphaned by going offline | 3 | 1 |
//! | retried while it is expired | 2 | 3 |
//! | dispatched while it is cancelled | 2 | 3 |
//! | failed, retried and failed again, while the first end is entered among the finished | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom one_end`.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::job::{End, Job};
use crate::{Counters, Demand, JobError, JobRequest, JobState, RetryError};

const LEASE: u64 = 10;

fn job(fleet: &Fleet) -> Job {
    let request = JobRequest::new("request", Demand::new().service(Service::ASR));
    let request = request.lease(Duration::from_millis(LEASE));
    fleet.core.create_job(&request, &crossbeam_epoch::pin()).expect("there is a slot")
}

/// What a tick does with a lease that may have run out.
fn expire(core: &Core, job: &Job) {
    core.look_at_lease(job.place(), LEASE, &crossbeam_epoch::pin());
}

fn complete(core: &Core, job: &Job) -> bool {
    match core.end(job.id(), 1, End::Completed, &crossbeam_epoch::pin()) {
        Ok(()) => true,
        Err(JobError::AlreadyEnded { attempt: 1, .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

fn ends(counters: &Counters) -> u64 {
    counters.completed + counters.failed + counters.cancelled + counters.expired + counters.orphaned
}

/// The job has ended like this, once, and holds nothing.
fn assert_ended(fleet: &Fleet, job: &Job, state: JobState) {
    let counters = fleet.core.stats().counters;
    assert_eq!(job.state(), state);
    assert_eq!((ends(&counters), counters.released), (1, 1));
    assert_eq!(fleet.core.stats().now.finished_jobs, 1);
    fleet.core.rows.numbers(&fleet.nodes[0].node, |_| panic!("the node still knows of the job"));
    assert_told(&fleet.core);
}

#[test]
fn completed_or_expired() {
    explore(3, &["it was completed", "it expired"], |seen| {
        let fleet = Fleet::new([1]);
        let job = job(&fleet);
        let upkeep = thread::spawn({
            let (fleet, job) = (fleet.clone(), job.clone());
            move || expire(&fleet.core, &job)
        });
        let completed = complete(&fleet.core, &job);
        seen.note(if completed { "it was completed" } else { "it expired" });
        // The slot is free for whoever comes after.
        if completed {
            fleet.find().expect("the slot is free");
        }
        upkeep.join().unwrap();
        assert_ended(&fleet, &job, if completed { JobState::Completed } else { JobState::Expired });
        assert_eq!(fleet.word(0).in_flight(), 0);
    });
}

#[test]
fn completed_or_orphaned() {
    explore(2, &["it was completed", "it was orphaned"], |seen| {
        let fleet = Fleet::new([1]);
        let job = job(&fleet);
        let remover = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.core.deregister(&fleet.nodes[0]).unwrap();
                crossbeam_epoch::pin().flush();
            }
        });
        let completed = complete(&fleet.core, &job);
        seen.note(if completed { "it was completed" } else { "it was orphaned" });
        remover.join().unwrap();
        assert_ended(&fleet, &job, if completed { JobState::Completed } else { JobState::Orphaned });
        let old = fleet.nodes[0].node.generation;
        assert_vacated_once(&fleet.core, 0, old);
    });
}

#[test]
fn completed_or_expired_or_orphaned() {
    explore(1, &["it was completed", "it expired", "it was orphaned"], |seen| {
        let fleet = Fleet::new([1]);
        let job = job(&fleet);
        let upkeep = thread::spawn({
            let (fleet, job) = (fleet.clone(), job.clone());
            move || expire(&fleet.core, &job)
        });
        let other = thread::spawn({
            let fleet = fleet.clone();
            // What a sweep does with a node that it has taken offline.
            move || fleet.core.orphan_jobs(&fleet.nodes[0].node, &crossbeam_epoch::pin())
        });
        let completed = complete(&fleet.core, &job);
        upkeep.join().unwrap();
        other.join().unwrap();
        let state = job.state();
        seen.note(match state {
            JobState::Completed => "it was completed",
            JobState::Expired => "it expired",
            _ => "it was orphaned",
        });
        assert_eq!(completed, state == JobState::Completed);
        assert_ended(&fleet, &job, state);
        assert_eq!(fleet.word(0).in_flight(), 0);
    });
}

#[test]
fn retried_while_it_expires() {
    explore(3, &["it was retried before it expired", "it was retried after it expired"], |seen| {
        let fleet = Fleet::new([2]);
        let job = job(&fleet);
        // It is just so late that the lease runs out, and that of the next attempt does not.
        fleet.core.clock.advance(LEASE);
        let upkeep = thread::spawn({
            let (fleet, job) = (fleet.clone(), job.clone());
            move || expire(&fleet.core, &job)
        });
        let next = fleet.core.retry(job.id(), 1).expect("there is a slot for it");
        upkeep.join().unwrap();
        assert_eq!((next.id(), next.attempt(), next.state()), (job.id(), 2, JobState::Reserved));
        let stale = fleet.core.retry(job.id(), 1).unwrap_err();
        assert!(matches!(stale, RetryError::Job(JobError::StaleAttempt { current: 2, .. })), "{stale:?}");
        let counters = fleet.core.stats().counters;
        assert_eq!((counters.retried, counters.reserved - counters.released), (1, 1));
        let expired = counters.expired == 1;
        seen.note(if expired { "it was retried after it expired" } else { "it was retried before it expired" });
        assert_eq!(fleet.word(0).in_flight(), 1);
        assert_told(&fleet.core);
    });
}

#[test]
fn dispatched_while_it_is_cancelled() {
    explore(3, &["it was dispatched first", "it was cancelled first"], |seen| {
        let fleet = Fleet::new([1]);
        let job = job(&fleet);
        let other = thread::spawn({
            let (fleet, job) = (fleet.clone(), job.clone());
            move || fleet.core.dispatched(job.id(), 1).is_ok()
        });
        fleet
            .core
            .end(job.id(), 1, End::Cancelled, &crossbeam_epoch::pin())
            .expect("being dispatched is not in the way");
        let dispatched = other.join().unwrap();
        seen.note(if dispatched { "it was dispatched first" } else { "it was cancelled first" });
        assert_ended(&fleet, &job, JobState::Cancelled);
        assert_eq!(fleet.word(0).in_flight(), 0);
    });
}

#[test]
fn ended_again_while_its_first_end_is_entered() {
    // The node stays, and the place is not used again: so nothing waits for the pins of these.
    let fail = |core: &Core, job: &Job, attempt| core.end(job.id(), attempt, End::Failed, unpinned());
    explore(2, &["it ended once", "it ended twice", "it was forgotten in between"], move |seen| {
        // No job that has ended is remembered, so each end looks at those that were entered.
        let fleet = Fleet::of(scheduler(|builder| builder.max_finished_jobs(0)), [2]);
        let job = job(&fleet);
        let first = thread::spawn({
            let (fleet, job) = (fleet.clone(), job.clone());
            move || fail(&fleet.core, &job, 1).is_ok()
        });
        let next = fleet.core.retry(job.id(), 1).ok();
        if let Some(next) = &next {
            fail(&fleet.core, next, 2).expect("nobody else ends it");
        }
        let twice = first.join().unwrap();
        // Whoever was not done yet has left it to the next one.
        fleet.core.jobs.forget_until(Some(u64::MAX), 0, &crossbeam_epoch::pin());
        let now = fleet.core.stats().now;
        assert_eq!((now.jobs, now.finished_jobs), (0, 0));
        assert!(fleet.core.job(job.id()).is_none());
        assert!(fleet.core.jobs.places().at(job.place()).is_unlisted(), "it is forgotten and still listed");
        assert_eq!(fleet.word(0).in_flight(), 0);
        seen.note(match (next, twice) {
            (None, _) => "it was forgotten in between",
            (Some(_), true) => "it ended twice",
            (Some(_), false) => "it ended once",
        });
        assert_told(&fleet.core);
    });
}
