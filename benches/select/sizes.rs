//! Sizes of fleet, slots of a node, and loads.
//!
//! Operations follow one another at once, as the budget has it. A processor then works on several of them at a time,
//! the more the shorter they are: of a fleet that is larger than its caches it fetches the nodes of the next two or
//! three while it waits for those of the first. A gateway does something else between two jobs, so nothing of this
//! helps it; the rows `apart` begin an operation only when the one before has ended.

use crate::harness::clock::wait_for_the_last;
use crate::harness::{About, Suite, repeat};
use crate::load::{Fleet, Held};
use crate::{BUDGET, compare};

const SIZES: [u32; 5] = [10, 1_000, 10_000, 100_000, 1_000_000];
const CAPACITIES: [u32; 2] = [1, 8];
/// Percent of the slots that are held; 100: all but one. Load is lowered, so the highest comes first.
const LOADS: [u32; 4] = [100, 99, 90, 0];

pub(crate) fn measure(suite: &mut Suite) {
    let sizes = if Suite::is_bench() { &SIZES[..] } else { &SIZES[..2] };
    for (nodes, capacity) in sizes.iter().flat_map(|nodes| CAPACITIES.map(|capacity| (*nodes, capacity))) {
        let fleet_of = format!("{nodes} nodes of {capacity}");
        if !suite.wants(&fleet_of) {
            continue;
        }
        let fleet = Fleet::new(nodes, capacity);
        let mut held = fleet.fill();
        for load in LOADS {
            let free = held.lower_to(load);
            let case = format!("{fleet_of}, {load} % held, {free} free");
            compare(suite, &case, &fleet, &held, Some(BUDGET));
            apart(suite, &case, &fleet, &held);
        }
    }
}

fn apart(suite: &mut Suite, case: &str, fleet: &Fleet, held: &Held<'_>) {
    let about = About { case, subject: "apart", floor: "floor, apart", budget: None };
    suite.compare(about, &mut one_by_one(fleet.prepared_once()), &mut one_by_one(held.bare()));
}

fn one_by_one(mut operation: impl FnMut()) -> impl FnMut(u32) {
    repeat(move || {
        wait_for_the_last();
        operation();
    })
}
