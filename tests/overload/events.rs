//! More events than a subscriber's queue has room for.

use slotyard::{Event, NodeSpec};

use super::common::*;
use super::*;

#[test]
fn events_that_crowd_in_fill_the_queue_and_no_more_and_all_are_counted() {
    const ROOM: usize = 10;
    let scheduler = scheduler();
    let (small, large) = (scheduler.subscribe(ROOM), scheduler.subscribe(1 << 16));
    for round in 0..5 {
        let dropped = (small.dropped(), scheduler.stats().now.events_dropped);
        let crowd = |thread: usize| {
            for n in 0..200 {
                let id = format!("{round}-{thread}-{n}");
                let handle = add(&scheduler, NodeSpec::new(&id).service("work").ready());
                scheduler.drain(&handle).unwrap();
                scheduler.deregister(&handle).unwrap();
            }
        };
        under_load(&scheduler, THREADS, crowd, |_| {});
        let (kept, all) = (drain(&small), drain(&large));
        assert_eq!((kept.len(), large.dropped()), (ROOM, 0));
        // Up, drained, down; and the pool, as often as it was empty.
        let nodes = all.iter().filter(|event| !matches!(event, Event::PoolMade { .. } | Event::PoolDropped { .. }));
        assert_eq!(nodes.count(), THREADS * 200 * 3);
        let missed = small.dropped() - dropped.0;
        assert_eq!(missed as usize, all.len() - ROOM);
        assert_eq!(scheduler.stats().now.events_dropped - dropped.1, missed);
        // There is room again, and it is told of what comes.
        let handle = add(&scheduler, worker("afterwards", 1));
        scheduler.deregister(&handle).unwrap();
        assert_eq!((drain(&small).len(), drain(&large).len(), small.dropped()), (4, 4, dropped.0 + missed));
    }
}
