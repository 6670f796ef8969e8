//! What allocates nothing, by an allocator that counts for each thread.

mod common;
#[path = "../benches/counting/mod.rs"]
mod counting;

use common::*;
use slotyard::Heartbeat;

/// Allocations in a hundred calls, after enough of them for everything to have been made that is made once.
fn allocations(mut call: impl FnMut()) -> u64 {
    (0..300).for_each(|_| call());
    counting::during(|| (0..100).for_each(|_| call())).allocations
}

#[test]
fn the_allocator_counts_what_is_allocated_and_what_is_held_by_size() {
    let of = |size: usize| counting::held_by_class().into_iter().find(|class| size <= class.up_to).unwrap();
    for size in [1, 16, 17, 1024, 1025, 5000] {
        let before = of(size);
        let mut held = Vec::new();
        let took = counting::during(|| held = std::hint::black_box(Vec::<u8>::with_capacity(size)));
        assert_eq!((took.allocations, took.frees, took.bytes, took.held), (1, 0, size as u64, size as i64));
        let now = of(size);
        assert_eq!((now.allocations - before.allocations, now.bytes - before.bytes), (1, size as i64), "{size}");
        let took = counting::during(|| drop(held));
        assert_eq!((took.allocations, took.frees, took.bytes, took.held), (0, 1, 0, -(size as i64)));
        assert_eq!(of(size), before);
    }
}

#[test]
fn choosing_and_reserving_allocate_nothing() {
    let scheduler = scheduler();
    let handles: Vec<_> = (0..40).map(|n| add(&scheduler, worker(format!("a{n}"), 2).label("model", "m1"))).collect();
    add(&scheduler, worker("b", 1).label("model", "m2"));
    // Labels do not make pools here, so each member is held against the demand.
    let (plain, checked) = (work(), work().label("model", "m2"));
    let prepared = scheduler.prepare(&plain);
    assert_eq!(allocations(|| drop(scheduler.select(&plain).unwrap())), 0, "select");
    assert_eq!(allocations(|| drop(scheduler.select(&checked).unwrap())), 0, "select where members are checked");
    assert_eq!(allocations(|| drop(scheduler.select_prepared(&prepared).unwrap())), 0, "select_prepared");
    assert_eq!(allocations(|| drop(scheduler.reserve(&plain).unwrap())), 0, "reserve and release");
    let beat = Heartbeat::ready().running(0);
    assert_eq!(allocations(|| scheduler.heartbeat(&handles[0], &beat).unwrap()), 0, "heartbeat");
}

#[test]
fn completing_allocates_nothing() {
    // Few are remembered, so that as many are forgotten as end.
    let scheduler = build(builder().max_finished_jobs(50));
    add(&scheduler, worker("a", 1));
    let mut rounds = 0;
    let mut in_completing = 0;
    allocations(|| {
        rounds += 1;
        let job = create(&scheduler, format!("r{rounds}"), work());
        in_completing += counting::during(|| complete(&scheduler, &job)).allocations;
    });
    assert_eq!(in_completing, 0, "in {rounds} completions");
}

#[test]
fn what_is_asked_for_again_and_again_does_not_pile_up() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("n", 1).service("other"));
    let year = secs(366 * 24 * 3600);
    let mark = || scheduler.mark_unavailable(&handle, &"other".into(), year).unwrap();
    let mut time = 0;
    let mut grown_by = |call: &dyn Fn()| {
        let mut held = || {
            // Enough pins for what was replaced to be freed.
            (0..200_000).for_each(|_| drop(scheduler.select(&work())));
            time += 1;
            scheduler.tick(ms(time));
            counting::so_far().held
        };
        call();
        let before = held();
        (0..10_000).for_each(|_| call());
        held() - before
    };
    let marks = grown_by(&mark);
    assert!(marks < 50_000, "{marks} bytes held for 10,000 marks of one service");
    let subscriptions = grown_by(&|| drop(scheduler.subscribe(64)));
    assert!(subscriptions < 50_000, "{subscriptions} bytes held for 10,000 receivers that are gone");
}
