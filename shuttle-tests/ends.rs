//! **One end**: see `loom-tests/one_end.rs`, `lease.rs` and `attempts.rs`. Of all that would end an attempt (callers who
//! complete, fail or cancel it, its lease, its node that goes) just one does, that one gives the slot back, and the others
//! are told; a retry moves the job on, and what comes late for an attempt does not touch the next; a lease that was renewed
//! in time does not run out.
//!
//! Two jobs, on two nodes.
//!
//! | scenario | threads |
//! |---|---|
//! | all ends, retries, renewals and progress at once, of attempts that may be stale | 5 |
//! | the same, and no ended job is remembered | 5 |
//! | the node goes offline and comes back, again and again | 4 |

use std::time::Duration;

use super::*;
use crate::job::{End, Job};
use crate::{Heartbeat, JobError, JobState, RetryError};
use fleet::Fleet;

const ITERATIONS: usize = 3000;
const IDS: [&str; 2] = ["first", "second"];

fn jobs(fleet: &Fleet) -> Vec<Job> {
    let create = |id| fleet.core.create_job(&request(id).lease(Duration::from_millis(10)), &pin()).unwrap();
    IDS.into_iter().map(create).collect()
}

/// One call that may move a job on; 1, if that has ended an attempt.
fn act(core: &Core, job: &Job, seen: &Seen) -> u64 {
    let attempt = draw(1..4) as u32;
    let end = |end| match core.end(job.id(), attempt, end, &pin()) {
        Ok(()) => 1,
        Err(JobError::AlreadyEnded { state, .. }) => {
            assert!(state.has_ended());
            0
        }
        Err(JobError::StaleAttempt { current, .. }) => {
            assert_ne!(current, attempt);
            0
        }
        Err(JobError::UnknownJob { .. }) => 0,
        Err(error) => panic!("{error}"),
    };
    match draw(0..8) {
        0 => end(End::Completed),
        1 => end(End::Failed),
        2 => end(End::Cancelled),
        3 => u64::from(core.dispatched(job.id(), attempt).is_ok()) * 0,
        4 => u64::from(core.renew(job.id(), attempt).is_ok()) * 0,
        _ => {
            match core.retry(job.id(), attempt) {
                Ok(next) => {
                    assert_eq!((next.id(), next.attempt()), (job.id(), attempt + 1));
                    seen.note("it was retried");
                }
                Err(RetryError::Job(JobError::StaleAttempt { current, .. })) => assert_ne!(current, attempt),
                Err(_) => {}
            }
            0
        }
    }
}

fn all_at_once(fleet: Arc<Fleet>, seen: &Seen) {
    let (world, seen) = (Arc::new((jobs(&fleet), fleet)), seen.clone());
    let noted = seen.clone();
    let ends = together(&world, 5, move |world, number| {
        let (jobs, fleet) = &**world;
        if number == 0 {
            return (1..4).map(|turn| fleet.core.tick(Duration::from_millis(10 * turn))).fold(0, |ends, ()| ends);
        }
        (0..4).map(|_| act(&fleet.core, &jobs[draw(0..jobs.len())], &noted)).sum()
    });
    let (jobs, fleet) = &*world;
    let counters = fleet.core.stats().counters;
    let by_callers = counters.completed + counters.failed + counters.cancelled;
    assert_eq!(by_callers, ends.iter().sum::<u64>(), "an end was told to two, or to nobody");
    if counters.expired > 0 {
        seen.note("it expired");
    }
    if by_callers > 0 {
        seen.note("it was ended");
    }
    end_all(&fleet.core, IDS);
    for job in jobs {
        assert!(job.state().has_ended());
    }
    for node in &fleet.nodes {
        fleet.core.rows.numbers(&node.node, |_| panic!("a node still knows of a job"));
    }
    assert_settled(&fleet.core);
}

#[test]
fn all_ends_at_once() {
    explore(ITERATIONS, &["it was retried", "it expired", "it was ended"], |seen| {
        all_at_once(Fleet::new([2, 2]), seen);
    });
}

#[test]
fn all_ends_at_once_and_none_is_remembered() {
    explore(ITERATIONS, &["it was retried", "it expired", "it was ended"], |seen| {
        all_at_once(Fleet::of(scheduler(|builder| builder.max_finished_jobs(0)), [2, 2]), seen);
    });
}

#[test]
fn jobs_of_a_node_that_goes_offline_and_comes_back() {
    explore(ITERATIONS, &["it was orphaned", "it was created"], |seen| {
        let world = Fleet::of(scheduler(|builder| builder.max_jobs(8)), [2, 2]);
        let noted = seen.clone();
        together(&world, 4, move |world, number| match number {
            0 => (1..4).for_each(|turn| world.core.tick(Duration::from_secs(16 * turn))),
            1 => (0..4).for_each(|_| world.core.heartbeat(&world.nodes[draw(0..2)], &Heartbeat::ready()).unwrap()),
            _ => {
                for id in IDS {
                    let Ok(job) = world.core.create_job(&request(id), &pin()) else { continue };
                    noted.note("it was created");
                    if job.state() == JobState::Orphaned {
                        let _ = world.core.retry(job.id(), 1);
                    }
                }
            }
        });
        // Whoever is active is on a node that is not offline.
        for id in IDS {
            let Some(view) = world.core.job_by_request(id).filter(|view| !view.state.has_ended()) else { continue };
            let node = world.core.node(&view.node_id).unwrap();
            assert_ne!(node.state, crate::NodeState::Offline, "a job that nobody orphans: {view:?}");
        }
        if world.core.stats().counters.orphaned > 0 {
            seen.note("it was orphaned");
        }
        end_all(&world.core, IDS);
        assert_settled(&world.core);
    });
}
