//! **No lost slot**, with an index of three levels and more: see `loom-tests/availability.rs`. With as many slots as threads
//! that hold one each at most, nobody is ever refused, whatever comes and goes; and at the end every member that can be
//! selected is told.
//!
//! | scenario | threads |
//! |---|---|
//! | each takes and gives, through the whole engine | 6 |
//! | the same, while nodes come, and go: positions and cells are used again, the index grows | 6 |
//! | two pools, by a demand that either satisfies: the occupancy | 6 |

use super::*;
use crate::core::Asked;
use fleet::Fleet;

const ITERATIONS: usize = 3000;

/// Takes a slot, which must be there, and gives it back.
fn use_a_slot(core: &Core, demand: &Demand) {
    let slot = core.reserve(Asked::Plain(demand)).expect("a slot is free for each thread");
    if draw(0..2) == 0 {
        shuttle::thread::yield_now();
    }
    core.give_back(slot);
}

#[test]
fn nobody_is_refused_while_others_take_and_give() {
    explore(ITERATIONS, &[], |_| {
        let world = Fleet::new([1, 2, 1, 1, 1]);
        let demand = demand();
        together(&world, 6, move |world, _| (0..4).for_each(|_| use_a_slot(&world.core, &demand)));
        assert_settled(&world.core);
    });
}

#[test]
fn nobody_is_refused_while_nodes_come_and_go() {
    explore(ITERATIONS, &["a cell was used again"], |seen| {
        let (world, seen) = (Fleet::new([1, 1, 1, 1, 1]), seen.clone());
        let demand = demand();
        together(&world, 6, move |world, number| {
            let mut cells = BTreeSet::new();
            for turn in 0..4 {
                if number > 0 {
                    use_a_slot(&world.core, &demand);
                    continue;
                }
                let node = add_node(&world.core, &format!("other-{turn}"), 1);
                if !cells.insert(node.node.cell) {
                    seen.note("a cell was used again");
                }
                world.core.deregister(&node).unwrap();
                drop(node);
                pin().flush();
            }
        });
        assert_settled(&world.core);
        assert_eq!(world.core.stats().now.nodes, 5);
    });
}

#[test]
fn nobody_is_refused_whose_demand_two_pools_satisfy() {
    explore(ITERATIONS, &[], |_| {
        let core = scheduler(|builder| builder);
        for (number, capacity) in [1, 1, 2, 1, 1].into_iter().enumerate() {
            let more = if number % 2 == 0 { asr() } else { asr().service(Service::TTS) };
            core.register(NodeSpec::new(number.to_string()).capacity(capacity).capabilities(more).ready()).unwrap();
        }
        let demand = demand();
        together(&core, 6, move |core, _| (0..4).for_each(|_| use_a_slot(core, &demand)));
        assert_settled(&core);
    });
}
