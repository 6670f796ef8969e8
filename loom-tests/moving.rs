//! **Moving**: a node that is moved to another pool while its slots come free is told in the pool in which it ends up.
//!
//! The move is the real one (`Core::update`): it takes its place in the new pool, stores the new home, announces it in
//! the slot word, and leaves the old pool. A release tells the home that it sees. The updating thread pins with the real
//! epoch, the others do not: a snapshot that is replaced stays in the updating thread's bag until the model has ended.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | the last slot of a full node is released while it moves | 2 | 3 |
//! | both slots of a full node are released while it moves | 3 | 2 |
//! | a node with room becomes full and has room again while it moves | 2 | 3 |
//! | from one pool to several | 2 | 3 |
//!
//! Seen to fail by `cargo xtask mutants-loom moving`.

use loom::thread;

use super::*;
use crate::PoolConfig;

fn both() -> Capabilities {
    asr().service(Service::TTS)
}

/// A full node that does `asr`, and one that keeps the pool of its later capabilities in being.
fn fleet(capacity: u32) -> Arc<Fleet> {
    let fleet = Fleet::new([capacity]);
    fleet.core.register(NodeSpec::new("elsewhere").capabilities(both())).unwrap();
    fleet
}

/// Moves the node to the pool of those that do both.
fn move_it(fleet: &Fleet) {
    fleet.stir();
    fleet.core.update(&fleet.nodes[0], both()).unwrap();
    fleet.stir();
}

/// The pool in which the node is to end up has it, and has its free slot.
fn assert_moved(fleet: &Fleet) {
    assert_told(&fleet.core);
    let pool = fleet.core.find_pool(&Arc::new(both())).unwrap();
    let position = pool.index.next(0).expect("the node has a free slot");
    let found = pool.index.look(&fleet.core.cells, position).expect("the bit is the node's");
    assert_eq!(found.number, fleet.nodes[0].node.cell);
}

#[test]
fn the_last_slot_is_released_while_the_node_moves() {
    explore(3, &["the release came first", "the release came last"], |seen| {
        let fleet = fleet(1);
        let slots = fleet.take_all();
        let mover = thread::spawn({
            let fleet = fleet.clone();
            move || move_it(&fleet)
        });
        let moved_before = fleet.core.find_pool(&Arc::new(asr())).is_none();
        fleet.stir();
        fleet.give(slots[0]);
        let moved_after = fleet.core.find_pool(&Arc::new(asr())).is_none();
        seen.note(if moved_after { "the release came last" } else { "the release came first" });
        assert!(moved_after || !moved_before);
        mover.join().unwrap();
        assert_moved(&fleet);
    });
}

#[test]
fn both_slots_are_released_while_the_node_moves() {
    explore(2, &[], |_| {
        let fleet = fleet(2);
        let slots = fleet.take_all();
        let mover = thread::spawn({
            let fleet = fleet.clone();
            move || move_it(&fleet)
        });
        let other = thread::spawn({
            let (fleet, slot) = (fleet.clone(), slots[1]);
            move || fleet.give(slot)
        });
        fleet.stir();
        fleet.give(slots[0]);
        other.join().unwrap();
        mover.join().unwrap();
        assert_moved(&fleet);
    });
}

#[test]
fn a_slot_is_taken_and_released_while_the_node_moves() {
    explore(3, &["it was taken in the old pool", "it could not be taken in the old pool"], |seen| {
        let fleet = fleet(1);
        let mover = thread::spawn({
            let fleet = fleet.clone();
            move || move_it(&fleet)
        });
        fleet.stir();
        match fleet.take() {
            Some(slot) => {
                fleet.give(slot);
                seen.note("it was taken in the old pool");
            }
            None => seen.note("it could not be taken in the old pool"),
        }
        mover.join().unwrap();
        assert_moved(&fleet);
    });
}

#[test]
fn a_slot_is_released_while_the_node_moves_to_several_pools() {
    explore(3, &[], |_| {
        let needs = |service: Service| Capabilities::new().service(service);
        let core = scheduler(|builder| {
            let pool = |name, service| PoolConfig::new(name).requires(needs(service));
            builder.pool(pool("speaks", Service::TTS)).pool(pool("hears", Service::ASR))
        });
        let handle = core.register(NodeSpec::new("node").capabilities(needs(Service::TTS)).ready()).unwrap();
        let demand = |service: Service| crate::Demand::new().service(service);
        let find = |service| core.select(crate::core::Asked::Plain(&demand(service)), unpinned());
        let held = core.reserve(crate::core::Asked::Plain(&demand(Service::TTS))).unwrap();
        assert!(find(Service::ASR).is_err() && find(Service::TTS).is_err());
        let mover = thread::spawn({
            let core = core.clone();
            move || core.update(&handle, both()).unwrap()
        });
        core.give_back(held);
        mover.join().unwrap();
        assert_told(&core);
        assert!(find(Service::ASR).is_ok() && find(Service::TTS).is_ok());
    });
}
