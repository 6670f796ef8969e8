//! **A node of two pools goes**: its cell is not vacated before the pins have ended under which it may have been found in
//! either of them; and nothing is reserved on it by way of the one or the other when it was replaced.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | found in the second pool while the node leaves them one after the other | 2 | 1 |
//! | a slot is reserved by way of the second pool while the node is replaced | 2 | 1 |
//!
//! Seen to fail by `cargo xtask mutants-loom several_pools`.

use loom::thread;

use super::*;
use crate::core::Asked;
use crate::sync::AtomicU64;
use crate::{Demand, PoolConfig};

fn needs(service: Service) -> Capabilities {
    Capabilities::new().service(service)
}

/// A node in two pools, and that of the two from which it goes last.
fn fleet() -> (Arc<Core>, NodeHandle, Arc<Pool>) {
    let core = scheduler(|builder| {
        let pool = |name, service| PoolConfig::new(name).requires(needs(service));
        builder.pool(pool("speaks", Service::TTS)).pool(pool("hears", Service::ASR))
    });
    let node = core.register(spec("node")).unwrap();
    let pin = crossbeam_epoch::pin();
    let last = core.places(&node.node, &pin).to_vec().pop().expect("it stands in two").pool.into_owned();
    drop(pin);
    (core, node, last)
}

fn spec(id: &str) -> NodeSpec {
    NodeSpec::new(id).capabilities(asr().service(Service::TTS)).ready()
}

#[test]
fn its_cell_is_not_vacated_while_it_was_found_in_the_second_pool() {
    explore(1, &["it was found", "it had left"], |seen| {
        let (core, node, last) = fleet();
        let cell = core.cells.at(node.cell);
        let reader = thread::spawn({
            let (core, seen, number, generation) = (core.clone(), seen.clone(), node.cell, node.generation);
            move || {
                // Has the epoch go on as far as the other's pin lets it.
                for _ in 0..3 {
                    crossbeam_epoch::pin().flush();
                }
                let pin = crossbeam_epoch::pin();
                let found = last.index.member(0) == Some(number);
                seen.note(if found { "it was found" } else { "it had left" });
                // The other's turn, which is no preemption.
                thread::yield_now();
                let now = core.cells.at(number).word().generation();
                assert!(!found || now == generation, "its cell was vacated under the pin under which it was found");
                drop(pin);
                crossbeam_epoch::pin().flush();
            }
        });
        core.deregister(&node).unwrap();
        for _ in 0..4 {
            crossbeam_epoch::pin().flush();
        }
        reader.join().unwrap();
        reclaim(|| cell.word().generation() != node.generation);
        assert_told(&core);
    });
}

#[test]
fn a_slot_is_reserved_in_the_second_pool_while_the_node_is_replaced() {
    let outcomes = ["of the old one", "of the new one"];
    explore(1, &outcomes, move |seen| {
        let (core, old, last) = fleet();
        let service = if &*last.name == "hears" { Service::ASR } else { Service::TTS };
        let replaced = Arc::new(AtomicU64::new(0));
        let other = thread::spawn({
            let (core, replaced) = (core.clone(), replaced.clone());
            move || {
                let new = core.register(spec("node").replace_existing()).unwrap();
                replaced.store(1, Ordering::Release);
                crossbeam_epoch::pin().flush();
                new
            }
        });
        let demand = Demand::new().service(service);
        let was_replaced = replaced.load(Ordering::Acquire) == 1;
        let slot = core.reserve(Asked::Plain(&demand)).ok();
        let used = slot.map(|slot| {
            let node = slot.cell.node.load_arc(&crossbeam_epoch::pin()).expect("its slot is held");
            core.give_back(slot);
            node.incarnation
        });
        let new = other.join().unwrap();
        match used {
            Some(incarnation) if incarnation == old.incarnation() => {
                assert!(!was_replaced, "a slot was taken of a node that was replaced");
                seen.note(outcomes[0]);
            }
            Some(incarnation) => {
                assert_eq!(incarnation, new.incarnation());
                seen.note(outcomes[1]);
            }
            None => assert!(!was_replaced, "the new one is there"),
        }
        for service in [Service::ASR, Service::TTS] {
            let slot = core.reserve(Asked::Plain(&Demand::new().service(service))).expect("the new one is free");
            assert_eq!(slot.chosen.cell, new.cell);
            core.give_back(slot);
        }
        reclaim(|| core.cells.at(old.cell).word().generation() != old.generation);
        assert_told(&core);
    });
}
