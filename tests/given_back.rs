//! What jobs and nodes have taken of memory is used again, and is given back when the scheduler is dropped. In a program of its
//! own: what other tests pin would wait for them.

mod common;
#[path = "../benches/counting/mod.rs"]
mod counting;
#[path = "common/retired.rs"]
mod retired;

use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;

use common::*;
use retired::free_what_was_retired;
use slotyard::{Demand, Job, NodeSpec, Scheduler};

/// It matters what else is pinned in this process.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that this thread holds, and nobody waits for pins to free.
fn held() -> i64 {
    free_what_was_retired();
    counting::so_far().held
}

fn fleet() -> Scheduler {
    let scheduler = build(builder().max_finished_jobs(50));
    // So that their pools stay: the memory of one that is dropped waits until its number is used again.
    for service in ["s0", "s1"] {
        add(&scheduler, NodeSpec::new(service).service(service));
        add(&scheduler, NodeSpec::new(format!("{service}-more")).service(service).service("more"));
    }
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

/// Creates that find no slot, and nodes that come, are replaced, and go.
fn others(scheduler: &Scheduler, round: u32) {
    let service = ["s0", "s1"][round as usize % 2];
    for n in 0..20 {
        add(scheduler, NodeSpec::new(format!("m{n}")).service(service).ready());
        let spec = NodeSpec::new(format!("m{n}")).service(service).service("more").ready();
        let handle = scheduler.register(spec.replace_existing()).unwrap();
        let taken = scheduler.reserve(&Demand::new().service(service)).unwrap();
        for _ in 0..100 {
            try_create(scheduler, "refused", Demand::new().service("more")).unwrap_err();
        }
        drop(taken);
        scheduler.deregister(&handle).unwrap();
    }
}

#[test]
fn what_jobs_and_nodes_have_taken_is_used_again_and_given_back_at_the_end() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let run = |scheduler: &Scheduler, round| {
        jobs(scheduler, round);
        others(scheduler, round);
    };
    // So that what is made once for all schedulers is there.
    run(&fleet(), 0);
    let before = held();
    let scheduler = fleet();
    (0..4).for_each(|round| run(&scheduler, round));
    let warm = held();
    (4..10).for_each(|round| run(&scheduler, round));
    let later = held();
    assert!(later - warm < 10_000, "{} bytes more are held after 3,000 jobs and 240 nodes", later - warm);
    drop(scheduler);
    let after = held();
    assert!(after - before < 10_000, "{} bytes are held of a scheduler that was dropped", after - before);
}

#[test]
fn a_tick_has_the_memory_of_forgotten_jobs_freed_though_nobody_needs_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scheduler = build(builder().max_finished_jobs(0));
    add(&scheduler, worker("n", 2_000));
    let request = |n: usize| format!("{n}-{}", "x".repeat(200));
    let jobs: Vec<Job> = (0..2_000).map(|n| create(&scheduler, request(n), work())).collect();
    jobs.into_iter().for_each(|job| complete(&scheduler, &job));
    let waiting = held();
    let (ticked, looked) = (Barrier::new(2), Barrier::new(2));
    let freed = thread::scope(|scope| {
        // By a thread that does nothing else, as maintenance.
        scope.spawn(|| {
            scheduler.tick(ms(1));
            ticked.wait();
            looked.wait();
        });
        ticked.wait();
        let freed = waiting - held();
        looked.wait();
        freed
    });
    assert!(freed > 300_000, "{freed} bytes were freed of 2,000 jobs with request ids of 200 bytes");
}
