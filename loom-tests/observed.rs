//! **What was used can be found**: who has taken a slot of a node finds the node while another slot of it is free, and
//! after giving his back, even if the change that made it selectable has not been told to the index by the one who made
//! it.
//!
//! A node can be found before its bit is marked, by a stale bit. Whoever takes a slot of it knows that it is selectable;
//! if the stale bit is cleared then, by a find that saw the node before, and nobody else tells the index, he is refused
//! by a pool with a free slot. So a change that makes a node selectable asks for help in the slot word (`pending`), and
//! whoever takes a slot or gives one back does the telling. (Only with a single slot nobody has to be asked: then the
//! node falls when the slot is taken, and rises when it is given back.)
//!
//! Two models, of 3 threads and 3 preemptions. The user of the node comes by a stale bit that he has drawn before, so
//! he looks at the member at once; and where he would look for the node again, its bits are looked at.
//!
//! Seen to fail by `cargo xtask mutants-loom observed`.

use loom::thread;

use super::*;
use crate::node::word::Flags;

/// Takes a slot, if the node can be selected, and gives it back. `slots`: those that the node has for sure.
fn use_it(fleet: &Fleet, slots: u32, seen: &Seen) {
    let (cell, member) = (fleet.core.cells.at(0), fleet.nodes[0].node.clone());
    let word = cell.word();
    let found = Found { number: member.cell, cell, word };
    if !word.selectable() || !fleet.core.reserve_on(&Candidate { pool: &fleet.pool, found }, 0) {
        return seen.note("it could not be used yet");
    }
    assert!(slots == 1 || fleet.pool.index.is_told(0), "it has a free slot and is not told");
    fleet.give(Slot { cell: member.cell, generation: member.generation });
    assert!(fleet.pool.index.is_told(0), "its slot was given back and it is not told");
    seen.note("it was used");
}

/// A find that clears the bit, if it sees the node as it was; and the user.
fn others(fleet: &Arc<Fleet>, slots: u32, seen: &Seen) -> [thread::JoinHandle<()>; 2] {
    let (clearing, using, seen) = (fleet.clone(), fleet.clone(), seen.clone());
    [
        thread::spawn(move || clearing.pool.index.mend(&clearing.core.cells, 0)),
        thread::spawn(move || use_it(&using, slots, &seen)),
    ]
}

#[test]
fn a_node_that_is_undrained() {
    explore(3, &["it could not be used yet", "it was used"], |seen| {
        let fleet = Fleet::new([2]);
        let (cell, generation) = (fleet.core.cells.at(0), fleet.nodes[0].node.generation);
        let drain = |set| move |word: SlotWord| word.with_flags(Flags::NONE.with(Flags::DRAINING, set));
        // Drained, and its bit is left.
        cell.change(generation, drain(true)).unwrap();
        assert!(fleet.pool.index.is_told(0));
        let others = others(&fleet, 2, seen);
        let undrained = cell.change(generation, drain(false)).unwrap();
        fleet.core.tell(cell, undrained.edge);
        for other in others {
            other.join().unwrap();
        }
        assert_told(&fleet.core);
    });
}

#[test]
fn a_node_that_is_given_a_second_slot() {
    explore(3, &["it could not be used yet", "it was used"], |seen| {
        let fleet = Fleet::new([1]);
        let slot = fleet.take().unwrap();
        // Full, and a late mark has left its bit set.
        fleet.pool.index.mark(0);
        let others = others(&fleet, 1, seen);
        // Two operations, the second of them (a heartbeat that reports fewer jobs of others) done while the first one
        // has yet to tell the index.
        let cell = fleet.core.cells.at(slot.cell);
        let released = cell.release(slot.generation).unwrap();
        let grown = cell.change(slot.generation, |word| word.with_capacity(2)).unwrap();
        fleet.core.tell(cell, grown.edge);
        fleet.core.tell(cell, released.edge);
        for other in others {
            other.join().unwrap();
        }
        assert_told(&fleet.core);
    });
}
