//! **Each that has ended is forgotten once**: see `loom-tests/finished.rs`. Jobs end on desks of their own and on one that is
//! shared; whoever ends one forgets others for it, of any desk; maintenance forgets at the same time; a place is listed once,
//! and used again.
//!
//! | scenario | threads |
//! |---|---|
//! | jobs end, at the bound of those that are remembered | 6 (3 with a desk of their own), and maintenance |
//! | jobs are created at the bound of all jobs: the oldest is forgotten for them, of whatever desk | 6 |
//! | jobs are retried and end again, while they are forgotten | 5 |
//!
//! Seen to fail with, in the iteration said:
//! - `Queue::take_if` without becoming the one consumer: second scenario, 1;
//! - `Jobs::forget_again` forgetting the job of a place that is listed: last scenario, 3.

use std::time::Duration;

use super::*;
use crate::CreateJobError;
use crate::job::{End, Job};
use fleet::Fleet;

const ITERATIONS: usize = 2500;

fn create(core: &Core, id: &str) -> Result<Job, CreateJobError> {
    core.create_job(&request(id), &pin())
}

fn end(core: &Core, job: &Job, end: End) {
    core.end(job.id(), job.attempt(), end, &pin()).expect("nobody else ends it");
}

/// Nothing is left in the queues: each place is vacant and unlisted when all is forgotten.
fn assert_forgotten(core: &Core, places: &BTreeSet<u32>) {
    assert_settled(core);
    for place in places {
        assert!(core.jobs.places().at(*place).is_unlisted(), "it is forgotten and still listed");
    }
}

#[test]
fn jobs_end_at_the_bound() {
    explore(ITERATIONS, &["a place was used again"], |seen| {
        let world = Fleet::of(scheduler(|builder| builder.max_jobs(16).max_finished_jobs(2)), [3, 3]);
        let places = together(&world, 7, |world, number| {
            if number == 6 {
                (0..3).for_each(|turn| world.core.tick(Duration::from_millis(turn)));
                return BTreeSet::new();
            }
            let job = |turn: usize| {
                let job = create(&world.core, &format!("{number}-{turn}")).expect("there is a slot, and room");
                end(&world.core, &job, End::Completed);
                job.place()
            };
            (0..3).map(job).collect()
        });
        let mut all: BTreeSet<_> = places.iter().flatten().copied().collect();
        if all.len() < 18 {
            seen.note("a place was used again");
        }
        // Threads may have been in one another's way. The next one that ends forgets what is too much.
        let last = create(&world.core, "last").expect("there is a slot, and room");
        end(&world.core, &last, End::Completed);
        assert!(world.core.stats().now.finished_jobs <= 2);
        assert_eq!(world.core.stats().counters.completed, 19);
        all.insert(last.place());
        assert_forgotten(&world.core, &all);
    });
}

#[test]
fn jobs_are_created_at_the_bound() {
    explore(ITERATIONS, &["one was created", "one was refused"], |seen| {
        let world = Fleet::of(scheduler(|builder| builder.max_jobs(4).max_finished_jobs(4)), [3, 3]);
        let noted = seen.clone();
        let places = together(&world, 6, move |world, number| {
            let job = |turn: usize| match create(&world.core, &format!("{number}-{turn}")) {
                Ok(job) => {
                    end(&world.core, &job, End::Failed);
                    noted.note("one was created");
                    Some(job.place())
                }
                // Six at once, of four that there may be.
                Err(CreateJobError::TooManyJobs { .. } | CreateJobError::PlacesPinned) => {
                    noted.note("one was refused");
                    None
                }
                Err(error) => panic!("{error}"),
            };
            (0..3).filter_map(job).collect::<BTreeSet<_>>()
        });
        // With nobody in the way one that has ended is forgotten for one that comes.
        let last = [0, 1, 2, 3].map(|turn| {
            // Places that are vacant wait for pins to end, of which there are none but this one.
            let create = || create(&world.core, &format!("last-{turn}"));
            let job = (0..20).find_map(|_| create().ok()).expect("the others have ended");
            end(&world.core, &job, End::Completed);
            job.place()
        });
        let places = places.into_iter().flatten().chain(last).collect();
        assert_forgotten(&world.core, &places);
    });
}

#[test]
fn jobs_end_again_while_they_are_forgotten() {
    explore(ITERATIONS, &["it ended again", "it was forgotten before"], |seen| {
        let world = Fleet::of(scheduler(|builder| builder.max_jobs(16).max_finished_jobs(1)), [3, 3]);
        let noted = seen.clone();
        let places = together(&world, 5, move |world, number| {
            if number == 4 {
                let forget = || world.core.jobs.forget_until(Some(u64::MAX), world.core.threads.ordinal(), &pin());
                (0..3).for_each(|_| forget());
                return None;
            }
            let job = create(&world.core, &number.to_string()).expect("there is a slot, and room");
            end(&world.core, &job, End::Failed);
            for attempt in 1..3 {
                match world.core.retry(job.id(), attempt) {
                    Ok(next) => {
                        end(&world.core, &next, End::Failed);
                        noted.note("it ended again");
                    }
                    Err(_) => noted.note("it was forgotten before"),
                }
            }
            Some(job.place())
        });
        assert_forgotten(&world.core, &places.into_iter().flatten().collect());
    });
}
