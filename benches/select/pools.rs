//! Many pools in one route, beside a floor that is one pool of all their nodes.

use slotyard::{Capabilities, Scheduler};

use crate::harness::Suite;
use crate::load::Fleet;
use crate::{compare, fleet};

/// Of each pool.
const NODES: u32 = 10;
const CAPACITY: u32 = 8;
/// A routing label: nodes that differ in it are in different pools, all of which are for a demand that does not name it.
const LABEL: &str = "tier";

pub(crate) fn measure(suite: &mut Suite) {
    let counts = if Suite::is_bench() { &[100, 1_000][..] } else { &[10] };
    for pools in counts {
        let of = format!("{pools} pools of {NODES} nodes of {CAPACITY}");
        if !suite.wants(&of) {
            continue;
        }
        let fleet = build(*pools);
        let mut held = fleet.fill();
        // Neither the first in the route nor the last, wherever that begins.
        let lucky = pools / 2;
        held.free(|node| node / NODES == lucky);
        compare(suite, &format!("{of}, one has room"), &fleet, &held, None);
        held.lower_to(0);
        compare(suite, &format!("{of}, all have room"), &fleet, &held, None);
    }
}

fn build(pools: u32) -> Fleet {
    let builder = Scheduler::builder().seed(1).manual_maintenance().routing_label(LABEL);
    let scheduler = builder.build().expect("the configuration is valid");
    for pool in 0..pools {
        let capabilities: Capabilities = fleet::capabilities().label(LABEL, format!("tier-{pool:04}"));
        for number in pool * NODES..(pool + 1) * NODES {
            scheduler.register(fleet::spec(number, CAPACITY, &capabilities)).expect("the id is new");
        }
    }
    assert_eq!(scheduler.pools().iter().filter(|pool| pool.nodes > 0).count(), pools as usize);
    Fleet::of(scheduler, pools * NODES, CAPACITY, &fleet::demand())
}
