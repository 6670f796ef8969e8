//! **Finding by id**: an id that is registered throughout a look-up is found, in its old cell or in its new one, whatever
//! becomes of cells and of the table meanwhile; and what is found has that id. A heartbeat by id, which looks without a
//! pin, is of the node of that id and of no other that gets its cell.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | the node is replaced, and its old cell vacated | 2 | 2 |
//! | others come and go: the table grows | 2 | 2 |
//! | others come and go: tables are filled anew, in turn, in which one still looks | 2 | 2 |
//! | the cell gets another node, which is heard of, too | 2 | 2 |
//! | a heartbeat that has to be acted upon, and the node is replaced: it is taken | 2 | 1 |
//! | the same, and the node is deregistered: it is taken, or the id is unknown | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom roll`.
//!
//! Not reached: the second look of `Roll::find` at a word. A cell is vacated under a pin that found its word only when what
//! the writer deferred is on its way to be freed before his own pin ends, which takes more than these do. What takes many
//! steps to come to is in `looked_up`.

use loom::thread;

use super::*;
use crate::node::{Roll, Tenancy};
use crate::{Heartbeat, HeartbeatError, ResourceUse};

fn register(core: &Core, id: &str) {
    core.register(NodeSpec::new(id).capabilities(asr()).replace_existing()).unwrap();
}

#[test]
fn a_node_is_found_while_it_is_replaced() {
    explore(2, &["the old one was found", "the new one was found"], |seen| {
        let fleet = Fleet::new([1]);
        let writer = thread::spawn({
            let fleet = fleet.clone();
            move || {
                register(&fleet.core, "node-0");
                // Vacates the old cell, unless the other is in the way.
                for _ in 0..3 {
                    crossbeam_epoch::pin().flush();
                }
            }
        });
        let found = fleet.core.handle("node-0").expect("the id is registered all the while");
        assert_eq!(found.id(), "node-0");
        let old = found.incarnation() == fleet.nodes[0].incarnation();
        seen.note(if old { "the old one was found" } else { "the new one was found" });
        writer.join().unwrap();
        let now = fleet.core.handle("node-0").unwrap().incarnation();
        assert!(now > fleet.nodes[0].incarnation(), "it was replaced");
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].node.generation);
    });
}

#[test]
fn a_node_is_found_while_others_come_and_go() {
    explore(2, &["the new one was found", "the new one was not found"], |seen| {
        // One more than these does not go into the smallest table.
        let fleet = Fleet::new([1, 1, 1]);
        let writer = thread::spawn({
            let fleet = fleet.clone();
            move || {
                register(&fleet.core, "new");
                fleet.core.deregister(&fleet.nodes[0]).unwrap();
                crossbeam_epoch::pin().flush();
            }
        });
        let new = fleet.core.handle("new").is_some();
        seen.note(if new { "the new one was found" } else { "the new one was not found" });
        for id in ["node-1", "node-2"] {
            assert_eq!(fleet.core.handle(id).expect("it is registered all the while").id(), id);
        }
        writer.join().unwrap();
        assert!(fleet.core.handle("node-0").is_none() && fleet.core.handle("new").is_some());
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].node.generation);
    });
}

#[test]
fn a_node_is_found_while_tables_are_filled_anew() {
    explore(2, &["it was found"], |seen| {
        let fleet = Fleet::new([1]);
        let roll = Arc::new(Roll::default());
        let mut tenancy = Tenancy::default();
        let hash = fleet.nodes[0].node.hash;
        roll.enter(&mut tenancy, hash, 0);
        let writer = thread::spawn({
            let roll = roll.clone();
            move || {
                // In the places before that of the node, so that they are not empty when they are left. Each third one does not
                // go into the table any more.
                for turn in 0..7 {
                    let other = hash.wrapping_sub(1 + turn % 3);
                    roll.enter(&mut tenancy, other, 1);
                    roll.strike(&mut tenancy, other, 1);
                }
            }
        });
        let key = fleet.core.node_key("node-0");
        let found = roll.find(&key, &fleet.core.cells, unpinned()).expect("it is there all the while");
        assert_eq!(found.cell, 0);
        seen.note("it was found");
        writer.join().unwrap();
        assert!(roll.turns() >= 3, "the table in use was filled anew");
    });
}

#[test]
fn a_heartbeat_by_id_is_of_no_other_node_in_its_cell() {
    let outcomes = ["it was in time", "it was refused", "the other has the cell"];
    explore(2, &outcomes, |seen| {
        let fleet = Fleet::new([1]);
        let usage = |share| Heartbeat::ready().resources(ResourceUse { cpu: share, ..Default::default() });
        // So that the pool stays.
        fleet.core.register(NodeSpec::new("full").capabilities(asr())).unwrap();
        let beating = thread::spawn({
            let (fleet, beat) = (fleet.clone(), usage(0.5));
            move || fleet.core.heartbeat_by_id("node-0", &beat).is_ok()
        });
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        for _ in 0..2 {
            crossbeam_epoch::pin().flush();
        }
        let other = add_node(&fleet.core, "other", 1);
        seen.note(if beating.join().unwrap() { "it was in time" } else { "it was refused" });
        if other.cell == 0 {
            seen.note("the other has the cell");
        }
        assert!(fleet.core.heartbeat_by_id("node-0", &Heartbeat::alive()).is_err(), "it is not registered any more");
        assert_eq!(fleet.core.node("other").unwrap().resources.cpu, 0.0, "the other has not said that yet");
        fleet.core.heartbeat_by_id("other", &usage(0.75)).unwrap();
        assert!((fleet.core.node("other").unwrap().resources.cpu - 0.75).abs() < 0.001);
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].generation);
    });
}

#[test]
fn a_heartbeat_by_id_is_taken_while_the_node_is_replaced() {
    explore(1, &["the old one was heard of", "the new one was heard of"], |seen| {
        let fleet = Fleet::new([1]);
        let writer = thread::spawn({
            let fleet = fleet.clone();
            move || {
                register(&fleet.core, "node-0");
                crossbeam_epoch::pin().flush();
            }
        });
        // The long way, since the node's own count is more than ours.
        let heard = fleet.core.heartbeat_by_id("node-0", &Heartbeat::ready().running(1));
        assert!(heard.is_ok(), "the id is registered all the while: {heard:?}");
        writer.join().unwrap();
        let external = fleet.core.node("node-0").unwrap().external;
        seen.note(if external == 0 { "the old one was heard of" } else { "the new one was heard of" });
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].generation);
    });
}

#[test]
fn what_is_found_by_id_was_not_gone_before() {
    explore(2, &["it was found", "it was unknown"], |seen| {
        let fleet = Fleet::new([1]);
        let writer = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.core.deregister(&fleet.nodes[0]).unwrap();
                crossbeam_epoch::pin().flush();
            }
        });
        let heard = fleet.core.heartbeat_by_id("node-0", &Heartbeat::ready().running(1));
        match &heard {
            Ok(()) => seen.note("it was found"),
            Err(HeartbeatError::UnknownNode { .. }) => {
                seen.note("it was unknown");
                assert!(fleet.core.handle("node-0").is_none());
            }
            Err(error) => panic!("no handle was used that could be stale: {error}"),
        }
        writer.join().unwrap();
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].generation);
    });
}
