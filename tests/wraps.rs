//! Counts that come round while a scheduler runs, and can be brought to in a test: uses of a cell (2^10), changes of what
//! a node's load is held against (2^16), rises of a node (2^18). Those that take longer are begun near their ends in unit
//! tests: marks of an index word in `pool::index::word`, changes of a list in `job::vacant`, pools ever made in
//! `core::pools`, uses of a number in `job::ids`.

mod common;

use common::*;
use slotyard::{Heartbeat, HeartbeatError, NodeError, Scheduler};

#[test]
fn a_handle_is_not_taken_for_a_later_one_of_the_same_cell_however_often_that_was_used() {
    let scheduler = scheduler();
    let first = add(&scheduler, worker("a", 1));
    scheduler.deregister(&first).unwrap();
    // Two generations a use, of 1,023: the first one's comes again and again.
    for turn in 0..5 * 1024 {
        let handle = add(&scheduler, worker("a", 1));
        let stale = scheduler.heartbeat(&first, &Heartbeat::ready().running(1));
        let expected = HeartbeatError::StaleHandle { id: "a".into(), incarnation: first.incarnation() };
        assert_eq!(stale, Err(expected), "in turn {turn}");
        let refused: [fn(&Scheduler, &slotyard::NodeHandle) -> Result<(), NodeError>; 3] =
            [Scheduler::drain, Scheduler::deregister, |scheduler, node| scheduler.set_capacity(node, 2)];
        for call in refused {
            assert!(matches!(call(&scheduler, &first), Err(NodeError::StaleHandle { .. })), "in turn {turn}");
        }
        let view = node(&scheduler, "a");
        assert_eq!((view.incarnation, view.external, view.capacity), (handle.incarnation(), 0, 1));
        assert_eq!(selected(&scheduler, &work()), "a");
        scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
        scheduler.deregister(&handle).unwrap();
    }
}

#[test]
fn what_others_take_of_a_node_is_known_however_often_it_has_changed() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 3));
    for turn in 0..(1 << 16) + 300u32 {
        let external = turn % 4;
        scheduler.heartbeat(&handle, &Heartbeat::ready().running(external)).unwrap();
        let free = scheduler.select(&work()).is_ok();
        assert_eq!(free, external < 3, "with {external} of others in turn {turn}");
    }
    scheduler.heartbeat(&handle, &Heartbeat::ready().running(1)).unwrap();
    assert_eq!((node(&scheduler, "a").external, fill(&scheduler, "r", &work()).len()), (1, 2));
}

#[test]
fn a_node_is_found_however_often_it_has_become_free() {
    for capacity in [1, 2] {
        let scheduler = scheduler();
        add(&scheduler, worker("a", capacity));
        let demand = work();
        for turn in 0..(1 << 18) + 100 {
            // Full, and free again: it rises once in each turn.
            let held: Vec<_> = (0..capacity).map(|_| scheduler.reserve(&demand)).collect();
            assert!(held.iter().all(Result::is_ok), "in turn {turn}");
            if turn % 1024 == 0 || turn > 1 << 18 {
                assert_eq!(kind(&scheduler, &demand), "busy", "in turn {turn}");
            }
        }
        assert_eq!(fill(&scheduler, "r", &demand).len(), capacity as usize);
        assert_eq!(scheduler.stats().counters.double_released, 0);
    }
}
