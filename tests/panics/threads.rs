//! Threads that panic in policies, and threads beside them that do not.

use std::cell::Cell;
use std::sync::Barrier;
use std::thread;

use slotyard::{JobRequest, NodeSpec};

use super::common::*;
use super::*;

thread_local! {
    /// Of the choices of this thread every so many panics; 0: none.
    static EVERY: Cell<u32> = const { Cell::new(0) };
    static MADE: Cell<u32> = const { Cell::new(0) };
}

/// Two choices; panics on threads that want it.
#[derive(Debug)]
struct Here;

impl Choose for Here {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let first = drawing.draw()?;
        let made = MADE.replace(MADE.get() + 1);
        if made.checked_rem(EVERY.get()) == Some(0) {
            panic_as_wanted();
        }
        let second = drawing.draw()?;
        Some(drawing.less_loaded(first, second))
    }
}

#[test]
fn threads_beside_one_that_panics_never_notice() {
    let scheduler = build(builder().policy(Policy::custom(Here)).max_jobs(600).max_finished_jobs(100));
    // Of slots there are more than all of them hold at once.
    add_workers(&scheduler, (0..8).map(|n| format!("n{n}")), 4);
    let barrier = Barrier::new(5);
    thread::scope(|scope| {
        for every in [1, 2, 7] {
            let (scheduler, barrier) = (&scheduler, &barrier);
            scope.spawn(move || {
                EVERY.set(every);
                barrier.wait();
                for n in 0..1_500 {
                    let request = JobRequest::new(format!("{every}-{n}"), work());
                    let create = || scheduler.create_job(&request).expect("a slot is free");
                    match catch_unwind(AssertUnwindSafe(create)) {
                        Ok(job) => complete(scheduler, &job),
                        Err(_) => {
                            assert!(!crossbeam_epoch::is_pinned());
                            assert!(scheduler.job_by_request(request.request_id()).is_none(), "a job is half made");
                        }
                    }
                    let _ = catch_unwind(AssertUnwindSafe(|| scheduler.reserve(&work()).is_ok()));
                }
            });
        }
        for thread in 0..2 {
            let (scheduler, barrier) = (&scheduler, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..3_000 {
                    let job = create(scheduler, format!("calm {thread}-{n}"), work());
                    assert_eq!(create(scheduler, format!("calm {thread}-{n}"), work()).id(), job.id());
                    assert!(scheduler.select(&work()).is_ok());
                    complete(scheduler, &job);
                    if n % 100 == 0 {
                        let id = format!("coming and going {thread}");
                        // Not ready: the job of another thread there would be orphaned.
                        let handle = add(scheduler, NodeSpec::new(&id).service("work").capacity(4));
                        scheduler.deregister(&handle).unwrap();
                    }
                }
            });
        }
    });
    assert_whole(&scheduler, 32, "whole");
}

#[test]
fn threads_that_die_of_a_policy_leave_nothing_held_and_take_nothing_with_them() {
    // There is room for few jobs, so what the dead have taken with them would soon be missed.
    let scheduler = build(builder().policy(Policy::custom(Here)).max_jobs(40).max_finished_jobs(10));
    add_workers(&scheduler, ["a", "b"], 10);
    for round in 0..300 {
        let died = thread::scope(|scope| {
            let dies = |thread: u32| {
                let scheduler = &scheduler;
                scope.spawn(move || {
                    for n in 0..thread {
                        complete(scheduler, &create(scheduler, format!("{round}-{thread}-{n}"), work()));
                    }
                    let held = scheduler.reserve(&work()).expect("a slot is free");
                    EVERY.set(1);
                    let dead = scheduler.create_job(&JobRequest::new(format!("dead {round}-{thread}"), work()));
                    drop((held, dead));
                })
            };
            let threads: Vec<_> = (0..3).map(dies).collect();
            threads.into_iter().map(|thread| thread.join().is_err()).collect::<Vec<_>>()
        });
        assert_eq!(died, [true; 3]);
        assert!(scheduler.nodes().iter().all(|node| node.in_flight == 0), "in round {round}");
    }
    let events = scheduler.stats();
    assert!(events.now.jobs <= 11, "{events:?}");
    assert_whole(&scheduler, 20, "whole");
}
