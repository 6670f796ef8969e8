//! Nodes that a demand must not have, beside a floor that chooses among all.

use slotyard::ExclusionMode;

use crate::harness::Suite;
use crate::load::Fleet;
use crate::{compare, fleet};

const CAPACITY: u32 = 8;
const EXCLUDED: [u32; 3] = [0, 1, 8];
/// Percent of the slots that are held. Load is lowered, so the higher comes first.
const LOADS: [u32; 2] = [99, 0];

pub(crate) fn measure(suite: &mut Suite) {
    let nodes = if Suite::is_bench() { 1_000 } else { 100 };
    for excluded in EXCLUDED {
        let of = format!("{excluded} of {nodes} nodes excluded");
        if !suite.wants(&of) {
            continue;
        }
        let (scheduler, _) = fleet::scheduler(nodes, CAPACITY);
        // All over the fleet.
        let ids = (0..excluded).map(|place| fleet::node_id(place * nodes / excluded));
        let all = fleet::demand();
        let prepared_for_all = scheduler.prepare(&all);
        let fleet = Fleet::of(scheduler, nodes, CAPACITY, &all.exclude(ids, ExclusionMode::Hard));
        let mut held = fleet.fill_for(&prepared_for_all);
        for load in LOADS {
            held.lower_to(load);
            compare(suite, &format!("{of}, {load} % held"), &fleet, &held, None);
        }
    }
}
