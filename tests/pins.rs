//! What is pinned keeps memory, and with that places for jobs, from being used again. In a program of its own: a thread that
//! the machine takes the processor from in the middle of any call, of any scheduler, is pinned for that long.

mod common;

use std::sync::{Mutex, PoisonError};

use common::*;
use slotyard::{CreateJobError, Heartbeat, Scheduler};

/// It matters what else is pinned in this process.
static ALONE: Mutex<()> = Mutex::new(());

/// Far more jobs, one after the other, than there is memory for at once beside `max_jobs`.
fn run_many_jobs(scheduler: &Scheduler) -> Result<(), CreateJobError> {
    (0..20_000).try_for_each(|number| {
        let job = try_create(scheduler, &format!("r{number}"), work())?;
        complete(scheduler, &job);
        Ok(())
    })
}

#[test]
fn a_selection_that_is_kept_keeps_the_memory_of_forgotten_jobs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scheduler = build(builder().max_jobs(8).max_finished_jobs(4));
    add(&scheduler, worker("n", 1));
    let kept = scheduler.select(&work()).unwrap();
    let error = run_many_jobs(&scheduler).unwrap_err();
    assert!(matches!(error, CreateJobError::PlacesPinned), "{error}");
    assert!(scheduler.stats().now.jobs < 8);
    drop(kept);
    run_many_jobs(&scheduler).unwrap();
}

#[test]
fn a_batch_pins_nothing_while_its_iterator_is_at_work() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scheduler = build(builder().max_jobs(8).max_finished_jobs(4));
    let handle = add(&scheduler, worker("n", 1));
    let last = || {
        run_many_jobs(&scheduler).expect("nobody keeps anything");
        create(&scheduler, "last", work())
    };
    assert_eq!(scheduler.complete_jobs(std::iter::once_with(|| (last().id(), 1))), []);
    let beat = Heartbeat::alive();
    let beats = std::iter::once_with(|| {
        run_many_jobs(&scheduler).expect("nobody keeps anything");
        (&handle, &beat)
    });
    assert_eq!(scheduler.heartbeat_batch(beats), []);
}
