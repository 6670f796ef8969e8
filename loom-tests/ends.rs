//! **One end, of four that come at once**: a job is completed, cancelled, its lease runs out, and its node goes, all at once:
//! one of them ends it and gives the slot back, and the callers who come too late are told how it has ended. And what comes
//! late of an attempt, when the job was tried again, is refused as stale and changes nothing of the next one.
//!
//! As `one_end`, which has them by two and three.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | completed, cancelled, expired and orphaned | 4 | 1 |
//! | retried while it is completed | 2 | 3 |
//! | failed, and retried, while it is completed late | 3 | 1 |
//! | retried while it is forgotten that it has failed | 2 | 3 |
//!
//! Seen to fail by `cargo xtask mutants-loom ends`.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::job::{End, Job};
use crate::{Demand, JobError, JobRequest, JobState, RetryError};

const LEASE: u64 = 10;

fn job(fleet: &Fleet) -> Job {
    let request = JobRequest::new("request", Demand::new().service(Service::ASR));
    let request = request.lease(Duration::from_millis(LEASE));
    fleet.core.create_job(&request, &crossbeam_epoch::pin()).expect("there is a slot")
}

/// Without a pin: the job is remembered, and nothing is freed.
fn end(core: &Core, job: &Job, end: End) -> Result<(), JobError> {
    core.end(job.id(), 1, end, unpinned())
}

#[test]
fn completed_cancelled_expired_and_orphaned() {
    let outcomes = ["it was completed", "it was cancelled", "it expired", "it was orphaned"];
    explore(1, &outcomes, move |seen| {
        let fleet = Fleet::new([1]);
        let job = job(&fleet);
        let beside = |act: fn(&Fleet, &Job)| {
            let (fleet, job) = (fleet.clone(), job.clone());
            thread::spawn(move || act(&fleet, &job))
        };
        let upkeep = beside(|fleet, job| fleet.core.look_at_lease(job.place(), LEASE, unpinned()));
        let leaver = beside(|fleet, _| fleet.core.orphan_jobs(&fleet.nodes[0].node, unpinned()));
        let canceller = {
            let (fleet, job) = (fleet.clone(), job.clone());
            thread::spawn(move || end(&fleet.core, &job, End::Cancelled))
        };
        let completed = end(&fleet.core, &job, End::Completed);
        let cancelled = canceller.join().unwrap();
        upkeep.join().unwrap();
        leaver.join().unwrap();
        let state = job.state();
        for (outcome, its) in [(completed, JobState::Completed), (cancelled, JobState::Cancelled)] {
            match outcome {
                Ok(()) => assert_eq!(state, its, "it was told that it has ended the job"),
                Err(JobError::AlreadyEnded { attempt: 1, state: told, .. }) => {
                    assert!(told == state && state != its, "it was told {told}, and the job is {state}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        seen.note(match state {
            JobState::Completed => outcomes[0],
            JobState::Cancelled => outcomes[1],
            JobState::Expired => outcomes[2],
            JobState::Orphaned => outcomes[3],
            other => panic!("it is {other}"),
        });
        let counters = fleet.core.stats().counters;
        let ends = [counters.completed, counters.cancelled, counters.expired, counters.orphaned];
        assert_eq!((ends.iter().sum::<u64>(), counters.released, fleet.word(0).in_flight()), (1, 1, 0));
        fleet.core.rows.numbers(&fleet.nodes[0].node, |_| panic!("the node still knows of the job"));
        assert_told(&fleet.core);
    });
}

#[test]
fn retried_while_it_is_completed() {
    explore(3, &["it was completed", "it was retried"], |seen| {
        let fleet = Fleet::new([2]);
        let job = job(&fleet);
        let late = thread::spawn({
            let (fleet, job) = (fleet.clone(), job.clone());
            move || end(&fleet.core, &job, End::Completed)
        });
        let retried = fleet.core.retry(job.id(), 1);
        let completed = late.join().unwrap();
        match retried {
            Ok(next) => {
                assert!(
                    matches!(completed, Err(JobError::StaleAttempt { attempt: 1, current: 2, .. })),
                    "{completed:?}"
                );
                assert_eq!((next.attempt(), next.state(), fleet.word(0).in_flight()), (2, JobState::Reserved, 1));
                seen.note("it was retried");
            }
            Err(RetryError::Job(JobError::AlreadyEnded { attempt: 1, state: JobState::Completed, .. })) => {
                assert!(completed.is_ok() && job.state() == JobState::Completed);
                assert_eq!(fleet.word(0).in_flight(), 0);
                seen.note("it was completed");
            }
            Err(error) => panic!("{error}"),
        }
        let counters = fleet.core.stats().counters;
        assert_eq!(counters.reserved - counters.released, u64::from(fleet.word(0).in_flight()));
        assert_told(&fleet.core);
    });
}

#[test]
fn failed_and_retried_while_it_is_completed() {
    explore(1, &["it was completed", "it failed and was retried", "it was retried before it failed"], |seen| {
        let fleet = Fleet::new([2]);
        let job = job(&fleet);
        let ender = |by: End| {
            let (fleet, job) = (fleet.clone(), job.clone());
            thread::spawn(move || end(&fleet.core, &job, by).is_ok())
        };
        let (failing, late) = (ender(End::Failed), ender(End::Completed));
        let next = fleet.core.retry(job.id(), 1).ok();
        let (failed, completed) = (failing.join().unwrap(), late.join().unwrap());
        let held = fleet.word(0).in_flight();
        seen.note(match (next, failed, completed) {
            (None, false, true) => {
                assert_eq!((job.state(), held), (JobState::Completed, 0));
                "it was completed"
            }
            (Some(next), failed, false) => {
                assert_eq!((next.attempt(), job.state(), held), (2, JobState::Reserved, 1));
                if failed { "it failed and was retried" } else { "it was retried before it failed" }
            }
            outcome => panic!("{outcome:?}"),
        });
        let counters = fleet.core.stats().counters;
        assert_eq!(counters.reserved - counters.released, u64::from(held));
        assert_told(&fleet.core);
    });
}

#[test]
fn retried_while_it_is_forgotten() {
    explore(3, &["it was retried", "it was forgotten"], |seen| {
        let fleet = Fleet::new([1]);
        let job = job(&fleet);
        end(&fleet.core, &job, End::Failed).expect("nobody else ends it");
        let upkeep = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                fleet.core.jobs.forget_until(Some(u64::MAX), 0, unpinned());
                fleet.stir();
            }
        });
        fleet.stir();
        let next = fleet.core.retry(job.id(), 1);
        fleet.stir();
        upkeep.join().unwrap();
        let known = fleet.core.job(job.id()).map(|view| (view.state, view.attempt));
        match next {
            Ok(next) => {
                assert_eq!((next.state(), known), (JobState::Reserved, Some((JobState::Reserved, 2))));
                seen.note("it was retried");
            }
            Err(RetryError::Job(JobError::UnknownJob { .. })) => {
                assert_eq!(known, None);
                seen.note("it was forgotten");
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(fleet.word(0).in_flight(), u32::from(known.is_some()));
        assert_told(&fleet.core);
    });
}
