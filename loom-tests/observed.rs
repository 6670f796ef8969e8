//! **What was used can be found**: who has taken a slot of a node and given it back finds the node afterwards, even if
//! the change that made it selectable has not been told to the index by the one who made it.
//!
//! A node can be found before its bit is marked, by a stale bit. Whoever takes a slot of it knows that it is selectable;
//! if the stale bit is cleared then, by a find that saw the node before, and nobody else tells the index, he is refused
//! by a pool with a free slot. So a change that makes a node selectable asks for help in the slot word (`pending`), and
//! whoever gives a slot back does the telling. (Only with a single slot nobody has to be asked: then the node falls when
//! the slot is taken, and rises when it is given back.)
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | undrained, two slots | 3 | 3 |
//! | its only slot came free, and it is given a second one | 3 | 3 |
//!
//! Seen to fail with: `Cell::step` asking for help only when slots are held (`in_flight() > 0`): first model; not asking
//! when the capacity of a selectable node grows: second model.

use loom::thread;

use super::*;
use crate::node::word::Flags;

/// Takes a slot if the bit shows the node, and looks for the node again: right then, if it has so many slots for sure
/// that another one is left, and after giving it back.
fn use_and_find(fleet: &Fleet, slots: u32, seen: &Seen) {
    let Some(slot) = fleet.take() else {
        return seen.note("it was not found yet");
    };
    if slots > 1 {
        fleet.find().expect("one of its slots is free, and nobody else takes one");
    }
    fleet.give(slot);
    fleet.find().expect("the node was there, and nobody else takes a slot");
    seen.note("it was used and found again");
}

const OUTCOMES: &[&str] = &["it was not found yet", "it was used and found again"];

#[test]
fn a_node_that_is_undrained() {
    explore(3, OUTCOMES, |seen| {
        let fleet = Fleet::new([2]);
        let cell = fleet.core.cells.at(0);
        let generation = fleet.nodes[0].0.generation;
        let drain = |set| move |word: SlotWord| word.with_flags(Flags::NONE.with(Flags::DRAINING, set));
        // Drained, and a late mark has left its bit set.
        cell.change(generation, drain(true)).unwrap();
        assert!(fleet.pool.index.is_told(0));
        let clearer = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.find().is_some()
        });
        let user = thread::spawn({
            let (fleet, seen) = (fleet.clone(), seen.clone());
            move || use_and_find(&fleet, 2, &seen)
        });
        let change = cell.change(generation, drain(false)).unwrap();
        fleet.core.tell(cell, &change, unpinned());
        clearer.join().unwrap();
        user.join().unwrap();
        assert_told(&fleet.core);
    });
}

#[test]
fn a_node_that_is_given_a_second_slot() {
    explore(3, OUTCOMES, |seen| {
        let fleet = Fleet::new([1]);
        let slot = fleet.take().unwrap();
        // Full, and a late mark has left its bit set.
        fleet.pool.index.mark(0);
        let clearer = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.find().is_some()
        });
        let user = thread::spawn({
            let (fleet, seen) = (fleet.clone(), seen.clone());
            move || use_and_find(&fleet, 1, &seen)
        });
        // Two operations, the second of them (a heartbeat that reports fewer jobs of others) done while the first one
        // has yet to tell the index.
        let cell = fleet.core.cells.at(slot.cell);
        let released = cell.release(slot.generation).unwrap();
        let grown = cell.change(slot.generation, |word| word.with_capacity(2)).unwrap();
        fleet.core.tell(cell, &grown, unpinned());
        fleet.core.tell(cell, &released, unpinned());
        clearer.join().unwrap();
        user.join().unwrap();
        assert_told(&fleet.core);
    });
}
