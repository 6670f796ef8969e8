//! More kinds of nodes than pools, and more kinds of demands than routes that are kept.

use std::sync::atomic::AtomicU64;

use slotyard::limits::MAX_POOLS;
use slotyard::{Demand, Event, NodeHandle, NodeSpec, Scheduler};

use super::common::*;
use super::*;

fn kind_of(n: usize) -> NodeSpec {
    NodeSpec::new(format!("n{n}")).service(format!("s{n}")).ready()
}

fn wants(n: usize) -> Demand {
    Demand::new().service(format!("s{n}"))
}

#[test]
pub(crate) fn kinds_of_nodes_that_crowd_in_share_the_mixed_pool_and_have_their_own_when_there_is_room() {
    const LIMIT: usize = 8;
    let scheduler = build(builder().max_pools(LIMIT));
    let events = scheduler.subscribe(1 << 16);
    // Kinds by thread, so that each knows which of its nodes are there.
    let crowd = |thread: usize| {
        for turn in 0..60 {
            let mine = (0..10).map(|n| thread * 10 + n);
            let handles: Vec<NodeHandle> = mine.clone().map(|n| add(&scheduler, kind_of(n))).collect();
            for n in mine {
                assert_eq!(selected(&scheduler, &wants(n)), format!("n{n}"), "in turn {turn}");
                let held = scheduler.reserve(&wants(n)).expect("its one slot is free");
                assert_eq!(kind(&scheduler, &wants(n)), "busy");
                drop(held);
            }
            handles.iter().for_each(|handle| scheduler.deregister(handle).unwrap());
        }
    };
    // The mixed pool apart.
    under_load(&scheduler, THREADS, crowd, |now| assert!(now.pools <= LIMIT + 1, "{now:?}"));
    let told = drain(&events);
    let exhausted = told.iter().filter(|event| matches!(event, Event::PoolsExhausted { limit: LIMIT, .. })).count();
    let others = told.iter().any(|event| matches!(event, Event::PoolsExhausted { limit, .. } if *limit != LIMIT));
    assert!(exhausted > 100 && !others, "the bound was hardly reached: {exhausted}");

    assert_eq!(scheduler.stats().now.pools, 1);
    let handles: Vec<_> = (0..LIMIT).map(|n| add(&scheduler, kind_of(n))).collect();
    assert_eq!((peopled_pools(&scheduler).len(), pool(&scheduler, "mixed").nodes), (LIMIT, 0));
    let ninth = add(&scheduler, kind_of(99));
    assert_eq!(node(&scheduler, "n99").pools, ["mixed"]);
    // With room for it it moves to one of its own when it changes.
    scheduler.deregister(&handles[0]).unwrap();
    scheduler.update(&ninth, node(&scheduler, "n99").capabilities.label("l", "1")).unwrap();
    assert_eq!(node(&scheduler, "n99").pools, ["s99"]);
    assert_eq!(selected(&scheduler, &wants(99)), "n99");
}

#[test]
pub(crate) fn demands_that_crowd_in_are_served_without_their_routes_being_kept() {
    const LIMIT: usize = 16;
    const KINDS: usize = 60;
    let scheduler = build(builder().max_routes(LIMIT));
    (0..KINDS).for_each(|n| drop(add(&scheduler, kind_of(n).capacity(100))));
    let crowd = |thread: usize| {
        for turn in 0..20 {
            for n in (0..KINDS).map(|n| (n + 17 * thread) % KINDS) {
                assert_eq!(selected(&scheduler, &wants(n)), format!("n{n}"));
                let job = create(&scheduler, format!("{thread}-{turn}-{n}"), wants(n).routing_key("key"));
                assert_eq!(job.node_id(), format!("n{n}").as_str());
                complete(&scheduler, &job);
            }
        }
    };
    under_load(&scheduler, THREADS, crowd, |now| assert!(now.routes <= LIMIT, "{now:?}"));
    let counters = scheduler.stats().counters;
    assert!(counters.routes_not_kept > 1_000, "the bound was hardly reached: {counters:?}");
    assert_eq!(scheduler.stats().now.routes, LIMIT);
    assert_idle(&scheduler);

    // When the pools change there are no routes, and so there is room again: what is asked for then is kept.
    add(&scheduler, kind_of(KINDS));
    assert_eq!(scheduler.stats().now.routes, 0);
    let not_kept = || scheduler.stats().counters.routes_not_kept;
    let before = not_kept();
    (0..1_000).for_each(|turn| drop(selected(&scheduler, &wants(KINDS - turn % LIMIT))));
    assert_eq!((not_kept(), scheduler.stats().now.routes), (before, LIMIT));
}

#[test]
pub(crate) fn pools_that_are_dropped_under_a_pin_use_up_the_numbers_until_it_ends() {
    // As many numbers as this are kept for pools that were dropped and may still be seen.
    const RESTING: usize = 8_192;
    const LIMIT: usize = 4;
    // No configuration has more pools than there are, whatever it asks for.
    assert!(builder().max_pools(MAX_POOLS + 1).build().is_err());
    let scheduler = build(builder().max_pools(LIMIT));
    add(&scheduler, kind_of(0));
    let events = scheduler.subscribe(1 << 16);
    let exhausted = AtomicU64::new(0);
    let come_and_go = |scheduler: &Scheduler, thread: usize, times: usize| {
        for n in 0..times {
            let spec = NodeSpec::new(format!("{thread}-{n}")).service(format!("of {thread}-{n}")).ready();
            let handle = add(scheduler, spec);
            assert!(scheduler.select(&Demand::new().service(format!("of {thread}-{n}"))).is_ok());
            scheduler.deregister(&handle).unwrap();
        }
    };
    let kept = scheduler.select(&wants(0)).unwrap();
    let crowd = |thread: usize| come_and_go(&scheduler, thread, RESTING / 2 + 50);
    under_load(&scheduler, 2, crowd, |now| assert!(now.pools <= LIMIT + 1, "{now:?}"));
    let count = |event: &Event| matches!(event, Event::PoolsExhausted { .. });
    exhausted.store(drain(&events).iter().filter(|event| count(event)).count() as u64, Ordering::Relaxed);
    let times = exhausted.load(Ordering::Relaxed);
    assert!((1..=2 * 50).contains(&times), "without a number {times} times");
    drop(kept);
    // Enough pins for those that were there to have ended, each of a node of a kind that there is.
    for n in 0..2_000 {
        let handle = add(&scheduler, NodeSpec::new(format!("beside {n}")).service("s0").ready());
        scheduler.deregister(&handle).unwrap();
    }
    drain(&events);
    come_and_go(&scheduler, 9, 500);
    assert_eq!(drain(&events).iter().filter(|event| count(event)).count(), 0, "there are numbers again");
}
