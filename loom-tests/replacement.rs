//! **Replacement, through the whole engine**: when a node has been replaced or deregistered, nothing is reserved on the
//! incarnation that is gone; a slot held of it is still given back to it and to nobody else; its cell is vacated once,
//! when that has happened and no pin is left under which the node may have been found, and then given to another node,
//! which is found. A pool that is dropped with its last node is made again for one that comes at the same time.
//!
//! These models pin with the real epoch, and have it collect while the others run. See `slot_word` for the cell alone.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a slot is taken and given back while the node is replaced | 2 | 1 |
//! | the same while it is deregistered, and another node gets its cell | 2 | 1 |
//! | the last node of a pool goes while another one comes | 2 | 2 |
//! | what was found in a cell is read while the node goes, and its record is used again | 2 | 1 |
//!
//! The first two hold with 2 preemptions as well, which takes five minutes (`LOOM_MAX_PREEMPTIONS=2`).
//!
//! Seen to fail by `cargo xtask mutants-loom replacement`.

use std::sync::atomic::AtomicBool;

use loom::thread;

use super::*;
use crate::core::Asked;
use crate::{Demand, NodeSpec};

fn demand() -> Demand {
    Demand::new().service(Service::ASR)
}

fn spec(id: &str) -> NodeSpec {
    NodeSpec::new(id).capabilities(asr()).ready()
}

/// Takes a slot and gives it back, and says of which incarnation it was; `None` when nothing was found.
fn use_a_slot(core: &Core, gone: Option<(&AtomicBool, u64)>) -> Option<u64> {
    let was_gone = gone.filter(|(gone, _)| gone.load(Ordering::SeqCst)).map(|(_, incarnation)| incarnation);
    let slot = core.reserve(Asked::Plain(&demand())).ok()?;
    // A slot that is held keeps the node in its cell.
    let node = slot.cell.node.load_arc(&crossbeam_epoch::pin()).expect("its slot is held");
    assert_eq!(node.generation, slot.chosen.generation());
    assert_ne!(Some(node.incarnation), was_gone, "a slot was taken of a node that was gone before");
    core.give_back(slot);
    Some(node.incarnation)
}

/// A thread that takes a slot once and gives it back.
fn start_user(core: &Arc<Core>, gone: &Arc<AtomicBool>, incarnation: u64) -> thread::JoinHandle<Option<u64>> {
    let (core, gone) = (core.clone(), gone.clone());
    thread::spawn(move || {
        let used = use_a_slot(&core, Some((&gone, incarnation)));
        crossbeam_epoch::pin().flush();
        used
    })
}

#[test]
fn a_slot_is_used_while_the_node_is_replaced() {
    let outcomes = ["a slot of the old one was used", "a slot of the new one was used", "none was found"];
    explore(1, &outcomes, |seen| {
        let fleet = Fleet::new([1]);
        let (old, gone) = (fleet.nodes[0].node.clone(), Arc::new(AtomicBool::new(false)));
        let user = start_user(&fleet.core, &gone, old.incarnation);
        let new = fleet.core.register(spec(&old.id).replace_existing()).unwrap();
        gone.store(true, Ordering::SeqCst);
        assert_ne!(new.node.cell, old.cell, "the old node is under the pin of this call, at least");
        seen.note(match user.join().unwrap() {
            None => "none was found",
            Some(incarnation) if incarnation == old.incarnation => "a slot of the old one was used",
            Some(_) => "a slot of the new one was used",
        });
        assert_eq!(use_a_slot(&fleet.core, None), Some(new.incarnation()));
        assert_vacated_once(&fleet.core, old.cell, old.generation);
        assert_told(&fleet.core);
    });
}

#[test]
fn a_slot_is_used_while_its_cell_gets_another_node() {
    let outcomes =
        ["a slot of the old one was used", "a slot of the new one was used", "the new node has the old cell"];
    explore(1, &outcomes, |seen| {
        let fleet = Fleet::new([1]);
        let (old, gone) = (fleet.nodes[0].node.clone(), Arc::new(AtomicBool::new(false)));
        // So that the pool stays.
        fleet.core.register(NodeSpec::new("full").capabilities(asr())).unwrap();
        let user = start_user(&fleet.core, &gone, old.incarnation);
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        gone.store(true, Ordering::SeqCst);
        // Vacates the cell, unless the user is in the way.
        for _ in 0..2 {
            crossbeam_epoch::pin().flush();
        }
        let new = fleet.core.register(spec("new")).unwrap();
        match user.join().unwrap() {
            None => {}
            Some(used) if used == old.incarnation => seen.note("a slot of the old one was used"),
            Some(_) => seen.note("a slot of the new one was used"),
        }
        assert_eq!(use_a_slot(&fleet.core, None), Some(new.incarnation()));
        if new.node.cell == old.cell {
            assert_ne!(new.node.generation, old.generation);
            seen.note("the new node has the old cell");
        } else {
            assert_vacated_once(&fleet.core, old.cell, old.generation);
        }
        assert_told(&fleet.core);
    });
}

#[test]
fn a_pool_is_dropped_while_a_node_joins_it() {
    explore(2, &["it was made again", "it was kept"], |seen| {
        let fleet = Fleet::new([1]);
        let old = fleet.nodes[0].node.clone();
        let leaver = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.core.deregister(&fleet.nodes[0]).unwrap();
                crossbeam_epoch::pin().flush();
            }
        });
        let new = fleet.core.register(spec("new")).unwrap();
        let used = use_a_slot(&fleet.core, None).expect("a node is there all the while that is ready");
        leaver.join().unwrap();
        assert!(used == new.incarnation() || used == old.incarnation);
        let pool = fleet.core.find_pool(&Arc::new(asr())).expect("it has a member");
        seen.note(if Arc::ptr_eq(&pool, &fleet.pool) { "it was kept" } else { "it was made again" });
        assert_eq!(pool.members(), 1);
        assert_eq!(use_a_slot(&fleet.core, None), Some(new.incarnation()));
        assert_eq!(fleet.core.stats().now.pools, 2, "its own, and the mixed pool");
        assert_vacated_once(&fleet.core, old.cell, old.generation);
        assert_told(&fleet.core);
    });
}

#[test]
fn a_record_is_read_while_it_is_to_be_used_again() {
    // The reader comes when pins have ended so many times since the node has gone.
    for late in 0..4 {
        explore(1, &["it was used again"], move |seen| {
            let core = scheduler(|builder| builder);
            // No handle is kept of it.
            let old = core.register(NodeSpec::new("old").capabilities(asr())).unwrap();
            core.register(NodeSpec::new("stays").capabilities(asr())).unwrap();
            let turn = Arc::new(crate::sync::AtomicU64::new(0));
            let reader = thread::spawn({
                let (core, turn) = (core.clone(), turn.clone());
                move || {
                    // The first pin of a thread collects, and would be too late for what comes next.
                    drop(crossbeam_epoch::pin());
                    while turn.load(Ordering::Acquire) == 0 {
                        thread::yield_now();
                    }
                    read_record(&core);
                }
            });
            thread::yield_now();
            core.deregister(&old).unwrap();
            let address = Arc::as_ptr(&old.node);
            drop(old);
            (0..late).for_each(|_| crossbeam_epoch::pin().flush());
            turn.store(1, Ordering::Release);
            thread::yield_now();
            (late..4).for_each(|_| crossbeam_epoch::pin().flush());
            let new = core.register(spec("new")).unwrap();
            if Arc::as_ptr(&new.node) == address {
                seen.note("it was used again");
            }
            reader.join().unwrap();
            reclaim(|| core.cells.at(0).word().generation() != 1);
            assert_told(&core);
        });
    }
}

/// Reads the record in the first cell twice: as one who has the number of the cell from somewhere, which may be late.
fn read_record(core: &Core) {
    let pin = crossbeam_epoch::pin();
    let node = core.node_in(0, &pin);
    let read = || node.map(|node| (node.id.to_string(), node.incarnation));
    let before = read();
    // The other's turn, which is no preemption.
    thread::yield_now();
    assert_eq!(before, read(), "a record was written to that somebody reads");
    drop(pin);
    crossbeam_epoch::pin().flush();
}
