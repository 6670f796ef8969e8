//! **Found empty**: a pool, or a word of its index, that was found empty is not said to be so when that is not so any more,
//! and not on account of a level of the index that is not the topmost any more. So a release is found by a find after it, and
//! a pool with a free slot has its bit in the occupancy.
//!
//! As `availability` and `growth`; here it is what finds do that come to the topmost word, and what is late by a whole
//! coming and going of a slot.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a pool is found empty, a release fills it | 2 | 4 |
//! | the same, and the index gets another level, with a node that is ready | 2 | 3 |
//! | an index gets its second level, the first is found empty at that, a release fills it | 3 | 1 |
//! | a mark has told the level above, and is late to say so: the word was emptied, found so, and filled meanwhile | 2 | 3 |
//!
//! Seen to fail by `cargo xtask mutants-loom emptied`.

use loom::thread;

use super::*;

#[test]
fn a_pool_found_empty_is_told_of_a_release() {
    explore(4, &["the bit was cleared before", "the release came first"], |seen| {
        let fleet = Fleet::new([1]);
        let slots = fleet.take_all();
        let finder = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                fleet.pool.index.mend_occupancy();
                fleet.stir();
            }
        });
        fleet.stir();
        let marked = fleet.core.indexes.occupancy().is_marked(fleet.pool.number);
        seen.note(if marked { "the release came first" } else { "the bit was cleared before" });
        fleet.give(slots[0]);
        assert!(fleet.pool.index.is_told(0), "the pool has a free slot, and is not told");
        finder.join().unwrap();
        assert_told(&fleet.core);
    });
}

#[test]
fn a_pool_found_empty_before_it_grew_is_told_of_its_new_node() {
    explore(3, &["it was found at the old size"], |seen| {
        let fleet = Fleet::new([1, 1]);
        fleet.take_all();
        let finder = thread::spawn({
            let (fleet, seen) = (fleet.clone(), seen.clone());
            move || {
                fleet.stir();
                fleet.pool.index.mend_occupancy();
                fleet.stir();
                if fleet.pool.index.high_water() == 2 {
                    seen.note("it was found at the old size");
                }
            }
        });
        fleet.stir();
        let new = add_node(&fleet.core, "new", 1);
        fleet.stir();
        assert_eq!(fleet.pool.index.member(2), Some(new.cell));
        assert!(fleet.pool.index.is_told(2), "the pool has a free slot, and is not told");
        finder.join().unwrap();
        assert_told(&fleet.core);
    });
}

#[test]
fn a_release_is_found_in_an_index_that_grows_while_it_is_found_empty() {
    explore(1, &["the find came first", "the release came first"], |seen| {
        let fleet = Fleet::new([1, 1]);
        let slots = fleet.exhaust();
        let grower = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                let share = crate::pool::Share { state: crate::node::NodeState::Ready, capacity: 1 };
                // A member that is never selected: nobody moves into its cell.
                fleet.pool.join(None, &fleet.core.cells, 100, share, &fleet.core.meters.locks).expect("it is open");
                fleet.stir();
            }
        });
        let finder = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                let found = fleet.find().is_some();
                fleet.stir();
                found
            }
        });
        // The others' turn, which is no preemption.
        thread::yield_now();
        fleet.stir();
        fleet.give(slots[0]);
        fleet.stir();
        fleet.find().expect("a slot is free, and nobody takes one");
        seen.note(if finder.join().unwrap() { "the release came first" } else { "the find came first" });
        grower.join().unwrap();
        fleet.find().expect("a slot is free, and nobody takes one");
        assert_told(&fleet.core);
    });
}

#[test]
fn a_word_emptied_since_it_was_told_is_not_said_to_be_told() {
    explore(3, &["it was emptied before its mark was done", "its mark was done first"], |seen| {
        let fleet = Fleet::from_position(0, [1, 1, 1, 1]);
        let slots = fleet.exhaust();
        // Marks, tells the level above, and says so at any later time.
        let other = thread::spawn({
            let (fleet, slot) = (fleet.clone(), slots[2]);
            move || {
                fleet.stir();
                fleet.give(slot);
                fleet.stir();
            }
        });
        fleet.stir();
        let taken = fleet.take_of(2);
        // Finds the word empty, if it was told of.
        let found = fleet.find().is_some();
        fleet.stir();
        if let Some(taken) = taken {
            assert!(!found, "nobody gives one back");
            seen.note("it was emptied before its mark was done");
            fleet.give(taken);
            fleet.stir();
            fleet.find().expect("a slot is free, and nobody takes one");
        } else {
            seen.note("its mark was done first");
        }
        other.join().unwrap();
        fleet.find().expect("a slot is free, and nobody takes one");
        assert_told(&fleet.core);
    });
}
