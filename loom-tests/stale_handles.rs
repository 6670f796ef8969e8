//! **Stale handles**: what is called with a handle of a node that is gone is refused, and changes nothing of another node
//! that gets its cell meanwhile, in whatever shard that is.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a change of weight, and the cell is vacated and given to a node of another shard | 2 | 1 |
//! | it is asked whether the node is current, as all that goes by a handle does, and the same | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom stale_handles`.

use loom::thread;

use super::*;
use crate::node::cell::Basis;

/// An id in another shard than this one's.
fn elsewhere(core: &Core, id: &str) -> String {
    let shard = |id: &str| std::ptr::from_ref(core.shard(core.node_key(id).hash));
    (0..).map(|number| format!("new-{number}")).find(|other| shard(other) != shard(id)).expect("there are two")
}

/// A call with a stale handle, which says whether it was taken.
fn called_late(preemptions: usize, call: impl Fn(&Core, &NodeHandle) -> bool + Send + Sync + Copy + 'static) {
    explore(preemptions, &["the other has the cell"], move |seen| {
        let fleet = Fleet::of(scheduler(|builder| builder.shards(2)), [1]);
        // So that the pool stays.
        fleet.core.register(NodeSpec::new("full").capabilities(asr())).unwrap();
        let id = elsewhere(&fleet.core, "node-0");
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        let late = thread::spawn({
            let fleet = fleet.clone();
            move || {
                let taken = call(&fleet.core, &fleet.nodes[0]);
                crossbeam_epoch::pin().flush();
                taken
            }
        });
        // Vacates the cell, unless the other is in the way.
        for _ in 0..3 {
            crossbeam_epoch::pin().flush();
        }
        let new = add_node(&fleet.core, &id, 4);
        assert!(!late.join().unwrap(), "the handle was stale before the call");
        if new.cell == fleet.nodes[0].cell {
            seen.note("the other has the cell");
        }
        let basis = fleet.core.cells.at(new.cell).basis();
        assert_eq!(basis, Basis { capacity: 4, weight: 100, external: 0 });
        assert_told(&fleet.core);
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].generation);
    });
}

#[test]
fn a_late_change_is_refused() {
    called_late(1, |core, node| core.set_weight(node, 7).is_ok());
}

#[test]
fn a_node_that_is_gone_is_not_current() {
    called_late(2, |core, node| core.is_current(&node.node));
}
