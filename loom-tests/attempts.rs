//! **Whose attempt**: a create or a retry that has bound an attempt returns that one, and no later one that somebody else
//! made meanwhile, who has that one; and what comes late of an attempt's binding does not orphan a later attempt.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a create, and a retry of its job | 2 | 2 |
//! | a retry, and a retry of the attempt that it made | 2 | 1 |
//! | a create on a node that goes offline and comes back, and a retry of its job | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom attempts`.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::job::End;
use crate::node::word::Flags;
use crate::{Demand, Heartbeat, JobRequest, JobState};

fn request() -> JobRequest {
    JobRequest::new("request", Demand::new().service(Service::ASR))
}

/// Fails this attempt of the job, if there is one and it is active, and tries it again: the number of the next one.
fn fail_and_retry(core: &Core, attempt: u32) -> Option<u32> {
    let view = core.job_by_request("request")?;
    core.end(view.id, attempt, End::Failed, &crossbeam_epoch::pin()).ok()?;
    core.retry(view.id, attempt).ok().map(|job| job.attempt())
}

#[test]
fn a_create_returns_the_attempt_that_it_made() {
    explore(2, &["it was retried"], |seen| {
        let fleet = Fleet::new([2]);
        let other = thread::spawn({
            let core = fleet.core.clone();
            move || fail_and_retry(&core, 1)
        });
        let created = fleet.core.create_job(&request(), &crossbeam_epoch::pin()).unwrap();
        if let Some(next) = other.join().unwrap() {
            assert_eq!(next, 2);
            seen.note("it was retried");
        }
        assert_eq!(created.attempt(), 1);
    });
}

#[test]
fn a_retry_returns_the_attempt_that_it_made() {
    explore(1, &["it was retried"], |seen| {
        let fleet = Fleet::new([2]);
        let job = fleet.core.create_job(&request(), &crossbeam_epoch::pin()).unwrap();
        let other = thread::spawn({
            let core = fleet.core.clone();
            move || fail_and_retry(&core, 2)
        });
        let next = fleet.core.retry(job.id(), 1).unwrap();
        if let Some(after_next) = other.join().unwrap() {
            assert_eq!(after_next, 3);
            seen.note("it was retried");
        }
        assert_eq!((job.attempt(), next.attempt()), (1, 2));
    });
}

#[test]
fn an_attempt_is_not_orphaned_in_place_of_the_one_before() {
    explore(2, &["it was retried"], |seen| {
        let fleet = Fleet::new([2]);
        let creator = thread::spawn({
            let core = fleet.core.clone();
            move || core.create_job(&request(), &crossbeam_epoch::pin()).is_ok()
        });
        fleet.core.tick(Duration::from_secs(16));
        fleet.core.heartbeat(&fleet.nodes[0], &Heartbeat::ready()).unwrap();
        let next = fleet.core.job_by_request("request").and_then(|view| fleet.core.retry(view.id, 1).ok());
        creator.join().unwrap();
        assert!(!fleet.word(0).flags().has(Flags::OFFLINE));
        if let Some(next) = next {
            assert_eq!((next.attempt(), next.state()), (2, JobState::Reserved), "it began when the node was up again");
            seen.note("it was retried");
        }
        assert_told(&fleet.core);
    });
}
