//! **Finding by id**: an id that is registered throughout a look-up is found, in its old cell or in its new one, whatever
//! becomes of cells and of the table meanwhile; and what is found has that id.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | the node is replaced, and its old cell vacated | 2 | 2 |
//! | others come and go: the table grows | 2 | 2 |
//!
//! Seen to fail with `Roll::renew` publishing the table before it has put the words there: second model.
//!
//! Not reached: the second look of `Roll::find` at a word. A cell is vacated under a pin that found its word only when what
//! the writer deferred is on its way to be freed before his own pin ends, which takes more than these do.

use loom::thread;

use super::*;

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
