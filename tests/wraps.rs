//! Counts that come round while a scheduler runs, and can be brought to in a test: changes of what a node's load is held
//! against (2^16), rises of a node (2^18). Uses of a cell (2^10) are in `core`, which can see that the cell is the same. Those
//! that take longer are begun near their ends in unit tests: marks of an index word in `pool::index::word`, changes of a
//! list in `job::vacant`, pools ever made in `core::pools`, uses of a number in `job::ids`.

mod common;

use common::*;
use slotyard::Heartbeat;

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
