//! What jobs and nodes have taken of memory is used again, and is given back when the scheduler is dropped. In a program of its
//! own: what other tests pin would wait for them.

mod common;
#[path = "../benches/counting/mod.rs"]
mod counting;

use common::*;
use slotyard::Scheduler;

/// Everything that was deferred until now is done.
fn held() -> i64 {
    (0..1_000).for_each(|_| crossbeam_epoch::pin().flush());
    counting::so_far().held
}

fn fleet() -> Scheduler {
    let scheduler = build(builder().max_finished_jobs(50));
    add_workers(&scheduler, (0..40).map(|n| format!("n{n}")), 4);
    scheduler
}

/// Jobs with two attempts each, and with ids for which there is no room in place.
fn jobs(scheduler: &Scheduler, round: u32) {
    let long = "x".repeat(200);
    for n in 0..500 {
        // Or all would end at the same time, and those that end once be forgotten first.
        scheduler.tick(ms((500 * round + n).into()));
        let job = create(scheduler, format!("{round}-{n}-{long}"), work());
        scheduler.fail(job.id(), 1).unwrap();
        let again = scheduler.retry(job.id(), 1).unwrap();
        complete(scheduler, &again);
    }
}

#[test]
fn what_jobs_have_taken_is_used_again_and_given_back_at_the_end() {
    // What is made once for all schedulers.
    jobs(&fleet(), 0);
    let before = held();
    let scheduler = fleet();
    (0..4).for_each(|round| jobs(&scheduler, round));
    let warm = held();
    (4..10).for_each(|round| jobs(&scheduler, round));
    let later = held();
    assert!(later - warm < 10_000, "{} bytes more are held after 3,000 jobs", later - warm);
    drop(scheduler);
    let after = held();
    assert!(after - before < 10_000, "{} bytes are held of a scheduler that was dropped", after - before);
}
