//! Receivers of events that go, fill up, are forgotten, or die with their threads, while events come.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;

use slotyard::Event;

use super::common::*;
use super::*;

/// A node that comes and goes: four events each time, with its pool's.
fn come_and_go(scheduler: &Scheduler, id: &str) {
    let handle = add(scheduler, NodeSpec::new(id).service(format!("of {id}")).ready());
    scheduler.deregister(&handle).unwrap();
}

#[test]
fn receivers_that_come_go_and_die_while_events_are_told_change_nothing_for_the_others() {
    let scheduler = scheduler();
    let (stays, small) = (scheduler.subscribe(1 << 16), scheduler.subscribe(3));
    let stop = AtomicBool::new(false);
    let barrier = Barrier::new(4);
    let told = thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            while !stop.load(Ordering::Relaxed) {
                let events = scheduler.subscribe(2);
                assert!(events.try_recv().is_none_or(|event| !matches!(event, Event::JobExpired { .. })));
            }
        });
        scope.spawn(|| {
            barrier.wait();
            let mut died = 0;
            while !stop.load(Ordering::Relaxed) || died < 20 {
                let outcome = thread::scope(|inner| {
                    let dies = || {
                        let _events = scheduler.subscribe(1);
                        panic_as_wanted()
                    };
                    inner.spawn(dies).join()
                });
                assert!(outcome.is_err());
                died += 1;
            }
        });
        let emitting: Vec<_> = (0..2)
            .map(|thread| {
                let (scheduler, barrier) = (&scheduler, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    (0..1_000).for_each(|n| come_and_go(scheduler, &format!("{thread}-{n}")));
                })
            })
            .collect();
        emitting.into_iter().for_each(|thread| thread.join().expect("nothing is wrong with it"));
        stop.store(true, Ordering::Relaxed);
        drain(&stays)
    });
    // One who stays hears of everything, once, and of each node and its pool in order.
    assert_eq!((told.len(), stays.dropped()), (8_000, 0));
    let mut lives: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for event in &told {
        let (of, what) = match event {
            Event::PoolMade { pool } => (pool.clone(), "made"),
            Event::NodeUp { node, .. } => (format!("of {node}"), "up"),
            Event::NodeDown { node, .. } => (format!("of {node}"), "down"),
            Event::PoolDropped { pool } => (pool.clone(), "dropped"),
            other => panic!("nothing else happens, but {other:?}"),
        };
        lives.entry(of).or_default().push(what);
    }
    assert_eq!(lives.len(), 2_000);
    assert!(lives.values().all(|life| *life == ["made", "up", "down", "dropped"]));
    assert_eq!((small.count(), small.dropped()), (3, 8_000 - 3));
    // Whoever came in between has missed some, and is forgotten with what it missed.
    assert!(scheduler.stats().now.events_dropped >= 8_000 - 3);
}

#[test]
fn a_receiver_that_is_forgotten_costs_its_queue_and_no_more() {
    let scheduler = scheduler();
    // Never dropped, never read.
    (0..10).for_each(|_| std::mem::forget(scheduler.subscribe(5)));
    let events = scheduler.subscribe(1 << 12);
    (0..500).for_each(|n| come_and_go(&scheduler, &format!("{n}")));
    assert_eq!((events.count(), events.dropped()), (2_000, 0));
    assert_eq!(scheduler.stats().now.events_dropped, 10 * (2_000 - 5));
    add_workers(&scheduler, ["a", "b"], 5);
    assert_whole(&scheduler, 10, "whole");
    drop(scheduler);
    assert_eq!(events.recv_timeout(std::time::Duration::MAX).map(drop), Some(()), "the nodes a and b are up");
}

#[test]
fn a_receiver_may_be_dropped_from_a_full_queue_and_by_another_thread() {
    for capacity in [1, 2, 64] {
        let scheduler = scheduler();
        let events = scheduler.subscribe(capacity);
        (0..100).for_each(|n| come_and_go(&scheduler, &format!("{n}")));
        assert_eq!(events.dropped(), 400 - capacity as u64);
        thread::spawn(move || drop(events)).join().unwrap();
        let before = scheduler.stats().now.events_dropped;
        (0..100).for_each(|n| come_and_go(&scheduler, &format!("{n}")));
        assert_eq!(scheduler.stats().now.events_dropped, before, "nobody is told any more");
    }
}
