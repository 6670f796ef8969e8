//! **Stale bits only cost**: a bit whose member has no free slot is met by a find, cleared by it, and the find goes on
//! to a member that has one, or says that there is none; a find that clears it while a slot comes free does not lose
//! that slot.
//!
//! The stale bit comes about as it does in practice: a release marks late, when its slot has been taken again.
//!
//! Two and three threads, 3 preemptions.
//!
//! Seen to fail by `cargo xtask mutants-loom stale_bits`.

use loom::thread;

use super::*;

/// A node of two slots whose first release marks late, so that its bit may be left behind, and a second node.
fn with_a_late_mark(second_node_is_free: bool) -> (Arc<Fleet>, thread::JoinHandle<()>) {
    let fleet = Fleet::new([2, 1]);
    let slots = fleet.take_all();
    if second_node_is_free {
        fleet.give(slots[2]);
    }
    let late = thread::spawn({
        let (fleet, slot) = (fleet.clone(), slots[0]);
        move || fleet.give(slot)
    });
    fleet.give(slots[1]);
    (fleet, late)
}

#[test]
fn a_find_mends_the_stale_bit_that_it_meets() {
    explore(3, &["a stale bit was left behind", "no stale bit was left behind"], |seen| {
        let (fleet, late) = with_a_late_mark(false);
        // Both slots of node 0 are taken again, the late one's if it is free by now.
        let taken = [fleet.take_of(0), fleet.take_of(0)].into_iter().flatten().count();
        late.join().unwrap();
        let stale = fleet.pool.index.is_told(0) && !fleet.word(0).selectable();
        seen.note(if stale { "a stale bit was left behind" } else { "no stale bit was left behind" });
        assert_eq!(fleet.find().is_some(), taken < 2);
        assert_eq!(fleet.pool.index.is_told(0), taken < 2, "a find has not mended what it met");
        assert_eq!(fleet.pool.index.is_empty(), taken == 2);
        assert_told(&fleet.core);
    });
}

#[test]
fn a_find_that_mends_goes_on_and_loses_nothing() {
    explore(3, &["the find came past a stale bit", "another release was in time"], |seen| {
        let (fleet, late) = with_a_late_mark(true);
        let taken: Vec<_> = std::iter::from_fn(|| fleet.take_of(0)).take(2).collect();
        if fleet.pool.index.is_told(0) && !fleet.word(0).selectable() {
            seen.note("the find came past a stale bit");
        }
        let finder = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.find().expect("node 1 is free all the while").number
        });
        // Comes free while the find may be about to clear its bit.
        fleet.give(taken[0]);
        fleet.find().expect("two are free, and nobody takes one");
        if finder.join().unwrap() == 0 {
            seen.note("another release was in time");
        }
        late.join().unwrap();
        assert_told(&fleet.core);
    });
}
