//! **One request, one job, one slot**, with several creators of several ids: see `loom-tests/one_job.rs`. All creates of an id
//! that succeed between two ends of its jobs have the same job; of each job one slot is held; none is lost to a node that
//! goes away meanwhile.
//!
//! Two request ids and two nodes.
//!
//! | scenario | threads |
//! |---|---|
//! | creates alone, one slot an id and a spare one | 5 |
//! | creates against ends, of which none is remembered: forgotten at once | 5 |
//! | creates against expiry and a tick that forgets | 5 |
//! | creates against deregistration and replacement of both nodes | 5 |

use std::time::Duration;

use super::*;
use crate::CreateJobError;
use crate::job::{End, Job};
use fleet::Fleet;

const ITERATIONS: usize = 3000;
const IDS: [&str; 2] = ["first", "second"];

fn create(core: &Core, id: &str) -> Result<Job, CreateJobError> {
    core.create_job(&request(id).lease(Duration::from_millis(10)), &pin())
}

#[test]
fn creates_of_one_id_have_one_job() {
    explore(ITERATIONS, &["several reserved a slot"], |seen| {
        let world = Fleet::new([1, 2]);
        let jobs = together(&world, 5, |world, number| {
            let id = number % IDS.len();
            let first = create(&world.core, IDS[id]);
            let second = create(&world.core, IDS[id]);
            // With a slot for each job and fewer creates at once than slots beyond that, one may be told busy.
            (id, [first, second].map(|job| job.ok().map(|job| job.id())))
        });
        for id in 0..IDS.len() {
            let got: BTreeSet<_> = jobs.iter().filter(|job| job.0 == id).flat_map(|job| job.1).flatten().collect();
            assert_eq!(got.len(), 1, "of {} creates", IDS[id]);
        }
        let counters = world.core.stats().counters;
        assert_eq!((counters.created, counters.reserved - counters.released), (2, 2));
        if counters.reserved > 2 {
            seen.note("several reserved a slot");
        }
        end_all(&world.core, IDS);
        assert_settled(&world.core);
    });
}

#[test]
fn creates_against_ends_that_are_forgotten() {
    explore(ITERATIONS, &["it was made again"], |seen| {
        let world = Fleet::of(scheduler(|builder| builder.max_jobs(8).max_finished_jobs(0)), [2, 3]);
        together(&world, 5, |world, number| {
            for turn in 0..2 {
                let id = IDS[(number + turn) % IDS.len()];
                match create(&world.core, id) {
                    Ok(job) => {
                        assert_eq!(job.request_id(), id);
                        let end = if turn == 0 { End::Completed } else { End::Failed };
                        // Another may have ended it.
                        let _ = world.core.end(job.id(), job.attempt(), end, &pin());
                        assert!(job.state().has_ended());
                    }
                    // As many slots as threads, so nobody is refused for want of one.
                    Err(CreateJobError::PlacesPinned) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        if world.core.stats().counters.created > IDS.len() as u64 {
            seen.note("it was made again");
        }
        assert_settled(&world.core);
    });
}

#[test]
fn creates_against_expiry() {
    explore(ITERATIONS, &["it expired", "it was completed"], |seen| {
        let builder =
            |builder: crate::SchedulerBuilder| builder.finished_retention(Duration::from_millis(15)).max_jobs(8);
        let world = Fleet::of(scheduler(builder), [2, 3]);
        together(&world, 5, |world, number| {
            if number == 0 {
                return (1..5).for_each(|turn| world.core.tick(Duration::from_millis(10 * turn)));
            }
            for turn in 0..2 {
                let Ok(job) = create(&world.core, IDS[(number + turn) % IDS.len()]) else { continue };
                if draw(0..2) == 0 {
                    let _ = world.core.end(job.id(), 1, End::Completed, &pin());
                }
            }
        });
        world.core.tick(Duration::from_millis(100));
        let counters = world.core.stats().counters;
        seen.note(if counters.expired > 0 { "it expired" } else { "it was completed" });
        assert_eq!(counters.created, counters.expired + counters.completed, "a lease was lost, or a job ended twice");
        world.core.tick(Duration::from_millis(200));
        assert_eq!(world.core.stats().now.jobs, 0, "a job was not forgotten in its time");
        assert_settled(&world.core);
    });
}

#[test]
fn creates_against_nodes_that_go() {
    explore(ITERATIONS, &["it was orphaned", "it was refused"], |seen| {
        let (world, seen) = (Fleet::new([2, 2]), seen.clone());
        together(&world, 5, move |world, number| match number {
            0 => world.core.deregister(&world.nodes[0]).unwrap(),
            1 => drop(world.core.register(spec("node-1", 2).replace_existing()).unwrap()),
            _ => {
                for turn in 0..2 {
                    match create(&world.core, IDS[(number + turn) % IDS.len()]) {
                        Ok(job) if job.state() == crate::JobState::Orphaned => seen.note("it was orphaned"),
                        Ok(_) => {}
                        Err(_) => seen.note("it was refused"),
                    }
                }
            }
        });
        // Those that were not orphaned are on the node that is there.
        let new = handle(&world.core, "node-1").expect("it was replaced");
        for id in IDS {
            let Some(view) = world.core.job_by_request(id) else { continue };
            let active = !view.state.has_ended();
            assert!(!active || view.incarnation == new.incarnation(), "a job of a node that is gone: {view:?}");
        }
        end_all(&world.core, IDS);
        assert_settled(&world.core);
    });
}
