//! **Positions are used again**: what comes late of a member that had a position, the clearing of its bit, does not hide the
//! member that has it now.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a node becomes full, moves to another pool, and a new one comes to its position, before its bit is cleared | 2 | 2 |
//! | a node becomes full, and moves to another pool, where it has a position that another has here, before its bit is cleared | 2 | 2 |
//! | a find has seen that a node cannot be selected, which goes, and a new one comes to its position | 2 | 1 |
//!
//! Seen to fail by `cargo xtask mutants-loom positions`.

use loom::thread;

use super::*;

/// A node, one that keeps its pool in being, and one in another pool.
fn fleet() -> Arc<Fleet> {
    let fleet = Fleet::new([1]);
    fleet.core.register(NodeSpec::new("stays").capabilities(asr())).unwrap();
    fleet.core.register(NodeSpec::new("elsewhere").capabilities(asr().service(Service::TTS))).unwrap();
    fleet
}

/// The new node has the position of the first one, and is found.
fn assert_found(fleet: &Fleet, new: &NodeHandle) {
    assert_eq!(fleet.pool.index.member(0), Some(new.cell), "it has another position");
    let found = fleet.find().expect("it is ready, and nobody takes its slot");
    assert_eq!(found.number, new.cell);
}

/// Takes a slot of the node, which stood in the fleet's pool and was selectable when it was found.
fn take_as_found_before(fleet: &Arc<Fleet>, node: usize) -> thread::JoinHandle<bool> {
    let (fleet, word) = (fleet.clone(), fleet.word(node));
    thread::spawn(move || {
        fleet.stir();
        let number = fleet.nodes[node].cell;
        let found = Found { number, cell: fleet.core.cells.at(number), word };
        let taken = fleet.core.reserve_on(&Candidate { pool: &fleet.pool, found }, 0);
        fleet.stir();
        taken
    })
}

#[test]
fn one_that_has_moved_hides_nobody() {
    explore(2, &["it became full", "it moved before"], |seen| {
        let fleet = fleet();
        let taker = take_as_found_before(&fleet, 0);
        fleet.stir();
        fleet.core.update(&fleet.nodes[0], asr().service(Service::TTS)).unwrap();
        let new = add_node(&fleet.core, "new", 1);
        fleet.stir();
        assert_found(&fleet, &new);
        seen.note(if taker.join().unwrap() { "it became full" } else { "it moved before" });
        assert_found(&fleet, &new);
        assert_told(&fleet.core);
    });
}

#[test]
fn one_that_has_moved_hides_nobody_by_its_new_position() {
    explore(2, &["it became full", "it moved before"], |seen| {
        let fleet = Fleet::new([1, 1]);
        let taker = take_as_found_before(&fleet, 1);
        fleet.stir();
        // There it has the position that the other one has here.
        fleet.core.update(&fleet.nodes[1], asr().service(Service::TTS)).unwrap();
        fleet.stir();
        seen.note(if taker.join().unwrap() { "it became full" } else { "it moved before" });
        let found = fleet.find().expect("nobody takes its slot");
        assert_eq!(found.number, fleet.nodes[0].cell);
        assert_told(&fleet.core);
    });
}

#[test]
fn one_that_has_gone_hides_nobody() {
    explore(1, &["its bit was cleared by another"], |seen| {
        let fleet = fleet();
        let finder = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                // What a find does that has seen the node drained.
                fleet.pool.index.mend(&fleet.core.cells, 0);
                fleet.stir();
                crossbeam_epoch::pin().flush();
            }
        });
        fleet.stir();
        let (cell, generation) = (fleet.core.cells.at(0), fleet.nodes[0].generation);
        cell.change(generation, |word| word.with_flags(crate::node::word::Flags::DRAINING)).unwrap();
        fleet.stir();
        if !fleet.pool.index.is_told(0) {
            seen.note("its bit was cleared by another");
        }
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        let new = add_node(&fleet.core, "new", 1);
        fleet.stir();
        assert_found(&fleet, &new);
        finder.join().unwrap();
        assert_found(&fleet, &new);
        assert_told(&fleet.core);
        reclaim(|| fleet.word(0).generation() != generation);
    });
}
