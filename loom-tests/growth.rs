//! **Growth**: while a level is added on top of an index, releases, clears and finds go on, and no slot is lost by it.
//!
//! As in `availability`, the releasing thread finds a slot right after its release, wherever the growth has got to, and
//! in the end everything is told.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | one level becomes two, a release in the empty old part | 2 | 4 |
//! | the same, while a reserve empties the old part | 3 | 3 |
//! | two levels become three, a release far off | 2 | 4 |
//! | the new member is the one that comes free, another release goes on | 2 | 4 |
//!
//! Seen to fail by `cargo xtask mutants-loom growth`. Since words above the leaves are cleared by who meets them, these no
//! longer make a model fail, and so either are not needed or are not shown to be: `Index::grow` without `announce`, or
//! storing `depth` before `mark_depth`; `Index::clear_above` without the look at `mark_depth`.

use loom::thread;

use super::*;
use crate::node::NodeState;
use crate::pool::Share;

const SHARE: Share = Share { state: NodeState::Ready, capacity: 1 };

/// Takes in a member that is never selected: nobody moves into its cell.
fn grow(fleet: &Fleet) {
    fleet.stir();
    fleet.pool.join(None, &fleet.core.cells, 100, SHARE, &fleet.core.meters.locks).expect("the pool is open");
    fleet.stir();
}

#[test]
fn a_release_while_one_level_becomes_two() {
    for from in 0..2 {
        explore(4, &["the find saw the old size", "the find saw the new size"], move |seen| {
            let fleet = Fleet::from_position(from, [1, 1]);
            let slots = fleet.exhaust();
            let grower = thread::spawn({
                let fleet = fleet.clone();
                move || grow(&fleet)
            });
            fleet.stir();
            fleet.give(slots[0]);
            let size = fleet.pool.index.high_water();
            seen.note(if size == 2 { "the find saw the old size" } else { "the find saw the new size" });
            fleet.find().expect("a slot is free, and nobody takes one");
            grower.join().unwrap();
            assert_told(&fleet.core);
        });
    }
}

#[test]
fn a_release_and_a_clear_while_one_level_becomes_two() {
    explore(3, &["the other took the old one", "the other took the new one"], |seen| {
        let fleet = Fleet::new([1, 1]);
        let slots = fleet.exhaust();
        fleet.stir();
        fleet.give(slots[1]);
        let grower = thread::spawn({
            let fleet = fleet.clone();
            move || grow(&fleet)
        });
        let taker = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.take().expect("there are more free ones than takers").cell
        });
        fleet.stir();
        fleet.give(slots[0]);
        fleet.find().expect("there are more free ones than takers");
        let taken = taker.join().unwrap();
        seen.note(if taken == 1 { "the other took the old one" } else { "the other took the new one" });
        grower.join().unwrap();
        assert_told(&fleet.core);
    });
}

#[test]
fn a_release_while_two_levels_become_three() {
    for from in [0, 3] {
        explore(4, &[], move |_| {
            let fleet = Fleet::from_position(from, [1, 1, 1, 1]);
            let slots = fleet.exhaust();
            let grower = thread::spawn({
                let fleet = fleet.clone();
                move || grow(&fleet)
            });
            fleet.stir();
            fleet.give(slots[2]);
            fleet.find().expect("a slot is free, and nobody takes one");
            grower.join().unwrap();
            assert_told(&fleet.core);
        });
    }
}

#[test]
fn a_new_node_is_found_as_soon_as_it_is_ready() {
    explore(4, &["the other's was found first"], |seen| {
        let fleet = Fleet::new([1, 1]);
        let slots = fleet.exhaust();
        let releaser = thread::spawn({
            let (fleet, slot) = (fleet.clone(), slots[1]);
            move || {
                fleet.give(slot);
                fleet.find().expect("a slot is free, and nobody takes one");
            }
        });
        // What registering a node does, without its locks and maps.
        let seated = fleet.pool.join(None, &fleet.core.cells, 100, SHARE, &fleet.core.meters.locks).unwrap();
        let (cell, position) = (fleet.core.cells.at(seated.cell), seated.position);
        let generation = cell.occupy(1, 100, crate::node::word::Flags::REGISTERING);
        cell.set_home(crate::node::cell::Home::At { pool: fleet.pool.number, position });
        cell.announce();
        let ready = cell.change(generation, |word| word.with_flags(crate::node::word::Flags::NONE)).unwrap();
        fleet.core.tell(cell, ready.edge);
        if fleet.find().expect("a slot is free, and nobody takes one").number == 1 {
            seen.note("the other's was found first");
        }
        releaser.join().unwrap();
        assert_told(&fleet.core);
    });
}
