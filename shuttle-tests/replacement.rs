//! **Replacement, moves and pools**: see `loom-tests/replacement.rs`, `moving.rs` and `short_way.rs`. Nothing is reserved of an
//! incarnation after the call that has taken it away has returned; its slots are given back to it alone; nodes are found in
//! the pools in which they end up, and in no other; pools come and go with their nodes.
//!
//! | scenario | threads |
//! |---|---|
//! | nodes are replaced, by ones that can do other things, while slots of them are taken and given back | 5 |
//! | nodes move between two pools, and stand in both (configured ones), while slots are taken and given back | 5 |
//! | the last node of a pool goes while others join it, again and again | 5 |

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::core::Asked;
use crate::{Capabilities, PoolConfig};

const ITERATIONS: usize = 3000;

/// What nodes can do, in turn: in one pool, in the other, in both (or in a third).
fn capabilities(turn: usize) -> Capabilities {
    match turn % 3 {
        0 => asr(),
        1 => Capabilities::new().service(Service::TTS),
        _ => asr().service(Service::TTS),
    }
}

fn wants(turn: usize) -> Demand {
    Demand::new().service(if turn.is_multiple_of(2) { Service::ASR } else { Service::TTS })
}

/// The last incarnation that is known to be gone, of each id: a slot of that or of an earlier one must not be found.
#[derive(Debug, Default)]
struct Gone([AtomicU64; 3]);

impl Gone {
    fn of(&self, id: &str) -> &AtomicU64 {
        &self.0[id.strip_prefix("node-").unwrap().parse::<usize>().unwrap()]
    }

    fn note(&self, node: &NodeHandle) {
        self.of(node.id()).fetch_max(node.incarnation(), Ordering::SeqCst);
    }
}

/// Takes a slot and gives it back, if there is one.
fn use_a_slot(core: &Core, gone: &Gone, demand: &Demand) -> bool {
    let before: Vec<_> = gone.0.iter().map(|gone| gone.load(Ordering::SeqCst)).collect();
    let Ok(slot) = core.reserve(Asked::Plain(demand)) else { return false };
    let node = slot.cell.node.load_arc(&pin()).expect("a slot that is held keeps the node in its cell");
    assert_eq!(node.generation, slot.chosen.generation());
    let number: usize = node.id.strip_prefix("node-").unwrap().parse().unwrap();
    assert!(node.incarnation > before[number], "a slot was taken of a node that was gone before");
    core.give_back(slot);
    true
}

fn register(core: &Core, node: usize, turn: usize) -> NodeHandle {
    let spec = NodeSpec::new(format!("node-{node}")).capacity(1).capabilities(capabilities(turn));
    core.register(spec.ready().replace_existing()).unwrap()
}

#[test]
fn nodes_are_replaced_while_they_are_used() {
    explore(ITERATIONS, &["a slot was used", "none was found", "a cell was used again"], |seen| {
        let core = scheduler(|builder| builder);
        let world = Arc::new((core, Gone::default()));
        let nodes: Vec<_> = (0..3).map(|node| register(&world.0, node, node)).collect();
        let cells: BTreeSet<_> = nodes.iter().map(|node| node.node.cell).collect();
        drop(nodes);
        let (noted, first) = (seen.clone(), cells);
        together(&world, 5, move |world, number| {
            let (core, gone) = &**world;
            for turn in 0..4 {
                if number < 2 {
                    let id = format!("node-{}", draw(0..3));
                    let old = handle(core, &id);
                    let node = register(core, id[5..].parse().unwrap(), draw(0..3));
                    if turn > 1 && first.contains(&node.node.cell) {
                        noted.note("a cell was used again");
                    }
                    old.iter().for_each(|old| gone.note(old));
                    continue;
                }
                let used = use_a_slot(core, gone, &wants(draw(0..2)));
                noted.note(if used { "a slot was used" } else { "none was found" });
            }
        });
        assert_settled(&world.0);
        assert_eq!(world.0.stats().now.nodes, 3);
    });
}

fn nodes_move(core: Arc<Core>) {
    let world = Arc::new((core, Gone::default()));
    (0..3).for_each(|node| drop(register(&world.0, node, node)));
    together(&world, 5, |world, number| {
        let (core, gone) = &**world;
        for _ in 0..4 {
            if number < 2 {
                let node = handle(core, &format!("node-{}", draw(0..3))).unwrap();
                core.update(&node, capabilities(draw(0..3))).unwrap();
            } else {
                use_a_slot(core, gone, &wants(draw(0..2)));
            }
        }
    });
    assert_settled(&world.0);
    // Whoever can do it is found.
    for turn in 0..2 {
        let able = world
            .0
            .nodes()
            .iter()
            .any(|node| node.capabilities.services().any(|it| *it == [Service::ASR, Service::TTS][turn]));
        assert_eq!(use_a_slot(&world.0, &world.1, &wants(turn)), able);
    }
}

#[test]
fn nodes_move_between_automatic_pools() {
    explore(ITERATIONS, &[], |_| nodes_move(scheduler(|builder| builder)));
}

#[test]
fn nodes_move_between_configured_pools() {
    explore(ITERATIONS, &[], |_| {
        let pool = |name, service| PoolConfig::new(name).requires(Capabilities::new().service(service));
        nodes_move(scheduler(|builder| builder.pool(pool("hears", Service::ASR)).pool(pool("speaks", Service::TTS))));
    });
}

#[test]
fn pools_come_and_go_while_nodes_join_them() {
    explore(ITERATIONS, &["it was dropped", "it was kept"], |seen| {
        let core = scheduler(|builder| builder);
        let world = Arc::new((core, Gone::default()));
        let noted = seen.clone();
        together(&world, 5, move |world, number| {
            let (core, gone) = &**world;
            for turn in 0..3 {
                if number < 3 {
                    let node = register(core, number, turn % 2);
                    use_a_slot(core, gone, &wants(turn));
                    core.deregister(&node).unwrap();
                    gone.note(&node);
                    let there = core.find_pool(&Arc::new(capabilities(turn % 2))).is_some();
                    noted.note(if there { "it was kept" } else { "it was dropped" });
                } else {
                    use_a_slot(core, gone, &wants(turn));
                }
            }
        });
        assert_settled(&world.0);
        assert_eq!((world.0.stats().now.nodes, world.0.stats().now.pools), (0, 1), "the mixed pool is left");
    });
}
