//! What nodes that have gone leave is used for those that come. In a program of its own: the garbage that is made here would
//! be done away with by calls of other tests, and what they pin is not used again meanwhile.

mod common;
#[path = "../benches/counting/mod.rs"]
mod counting;

use common::*;
use slotyard::NodeHandle;

#[test]
fn a_fleet_whose_nodes_come_and_go_allocates_next_to_nothing_for_those_that_come() {
    let scheduler = scheduler();
    let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let mut handles = add_workers(&scheduler, names.iter().cloned(), 1);
    let mut allocated_in_a_round = || {
        let come_and_go = |(handle, name): (&mut NodeHandle, &String)| {
            scheduler.deregister(handle).unwrap();
            let spec = worker(name, 1);
            counting::during(|| *handle = scheduler.register(spec).unwrap()).allocations
        };
        (0..10).map(|_| handles.iter_mut().zip(&names).map(come_and_go).sum::<u64>()).sum::<u64>()
    };
    allocated_in_a_round();
    let allocated: Vec<u64> = (0..20).map(|_| allocated_in_a_round()).collect();
    assert!(allocated.iter().all(|allocated| *allocated < 20), "{allocated:?} allocations for 1,000 nodes each");
}
