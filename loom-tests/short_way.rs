//! **The short way**: a slot that is reserved without a pin is one of a node of the right pool. When a node has been moved
//! to another pool, or replaced by one that is there, nothing is reserved on it for demands of the old pool.
//!
//! The demand has been reserved for before, so that it remembers its pool; see `core::reserving`.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | the node moves while a slot of it is reserved | 2 | 2 |
//! | the node is replaced by one of another pool | 2 | 1 |
//! | a node that has come from another pool goes, and a node of that pool gets its cell | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom short_way`.

use loom::thread;

use super::*;
use crate::core::Asked;
use crate::sync::AtomicU64;
use crate::{Demand, NodeSpec};

fn tts() -> Capabilities {
    Capabilities::new().service(Service::TTS)
}

/// Reserves for nodes that do `asr` while another thread has the only one do something else.
fn reserve_while(preemptions: usize, vacates: bool, change: fn(&Fleet)) {
    explore(preemptions, &["it was reserved before", "it was refused"], move |seen| {
        let fleet = Fleet::new([1]);
        // Both pools are there all the while, so that the stamp says nothing.
        for (id, capabilities) in [("stays", asr()), ("elsewhere", tts())] {
            fleet.core.register(NodeSpec::new(id).capabilities(capabilities)).unwrap();
        }
        let demand = Demand::new().service(Service::ASR);
        for _ in 0..2 {
            let first = fleet.core.reserve(Asked::Plain(&demand)).expect("it is ready");
            fleet.core.give_back(first);
        }
        let changed = Arc::new(AtomicU64::new(0));
        let other = thread::spawn({
            let (fleet, changed) = (fleet.clone(), changed.clone());
            move || {
                fleet.stir();
                change(&fleet);
                // Release: as whoever tells another that it is done.
                changed.store(1, Ordering::Release);
                fleet.stir();
                crossbeam_epoch::pin().flush();
            }
        });
        fleet.stir();
        let was_changed = changed.load(Ordering::Acquire) == 1;
        match fleet.core.reserve(Asked::Plain(&demand)) {
            Ok(slot) => {
                assert!(!was_changed, "a slot was reserved of a node that does something else by then");
                seen.note("it was reserved before");
                fleet.core.give_back(slot);
            }
            Err(_) => seen.note("it was refused"),
        }
        other.join().unwrap();
        let later = Demand::new().service(Service::TTS);
        let held = fleet.core.reserve(Asked::Plain(&later)).expect("whatever was taken was given back");
        assert!(fleet.core.reserve(Asked::Plain(&later)).is_err(), "it has one slot");
        fleet.core.give_back(held);
        assert_told(&fleet.core);
        let (cell, generation) = (fleet.nodes[0].node.cell, fleet.nodes[0].node.generation);
        reclaim(|| !vacates || fleet.core.cells.at(cell).word().generation() != generation);
    });
}

#[test]
fn a_slot_is_reserved_while_the_node_moves() {
    reserve_while(2, false, |fleet| fleet.core.update(&fleet.nodes[0], tts()).unwrap());
}

#[test]
fn a_slot_is_reserved_while_the_node_is_replaced() {
    reserve_while(1, true, |fleet| {
        let spec = NodeSpec::new(fleet.nodes[0].node.id.clone()).capabilities(tts()).ready();
        fleet.core.register(spec.replace_existing()).unwrap();
    });
}

#[test]
fn a_slot_is_reserved_while_the_cell_gets_a_node_of_another_pool() {
    explore(2, &["it was reserved of the one", "it was refused", "the other has the cell"], |seen| {
        let core = scheduler(|builder| builder);
        for (id, capabilities) in [("stays", asr()), ("elsewhere", tts())] {
            core.register(NodeSpec::new(id).capabilities(capabilities)).unwrap();
        }
        let one = core.register(NodeSpec::new("one").capabilities(tts()).ready()).unwrap();
        core.update(&one, asr()).unwrap();
        let demand = Demand::new().service(Service::ASR);
        for _ in 0..2 {
            let first = core.reserve(Asked::Plain(&demand)).expect("it is ready");
            core.give_back(first);
        }
        let other = thread::spawn({
            let (core, one) = (core.clone(), one.clone());
            move || {
                core.deregister(&one).unwrap();
                for _ in 0..3 {
                    crossbeam_epoch::pin().flush();
                }
                let other = core.register(NodeSpec::new("other").capabilities(tts()).ready()).unwrap();
                crossbeam_epoch::pin().flush();
                other.node.cell
            }
        });
        match core.reserve(Asked::Plain(&demand)) {
            Ok(slot) => {
                let node = slot.cell.node.load_arc(&crossbeam_epoch::pin()).expect("its slot is held");
                assert_eq!(node.incarnation, one.incarnation(), "a slot was taken of a node that cannot do it");
                seen.note("it was reserved of the one");
                core.give_back(slot);
            }
            Err(_) => seen.note("it was refused"),
        }
        if other.join().unwrap() == one.node.cell {
            seen.note("the other has the cell");
        }
        assert_told(&core);
        reclaim(|| core.cells.at(one.node.cell).word().generation() != one.node.generation);
    });
}
