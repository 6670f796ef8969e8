//! Select + reserve + release beside its floor, over sizes of fleet and loads.
//!
//! ```sh
//! cargo bench --bench select
//! cargo bench --bench select -- "select/1000 nodes of 8"
//! ```
//!
//! Operations follow one another at once, as the budget has it. A processor then works on several of them at a time,
//! the more the shorter they are: of a fleet that is larger than its caches it fetches the nodes of the next two or
//! three while it waits for those of the first. A gateway does something else between two jobs, so nothing of this
//! helps it; the rows `apart` begin an operation only when the one before has ended.

#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../floor/mod.rs"]
mod floor;
#[path = "../harness/mod.rs"]
mod harness;
mod load;

use harness::clock::wait_for_the_last;
use harness::{About, Bound, Suite};
use load::{Fleet, Held};

const SIZES: [u32; 5] = [10, 1_000, 10_000, 100_000, 1_000_000];
const CAPACITIES: [u32; 2] = [1, 8];
/// Percent of the slots that are held; 100: all but one. Load is lowered, so the highest comes first.
const LOADS: [u32; 4] = [100, 99, 90, 0];
/// Of all this is reserved.
const BUDGET: Bound = Bound::AtMost(1.5);

fn main() {
    let mut suite = Suite::new("select");
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
            measure(&mut suite, &case, &fleet, &held);
        }
    }
    suite.finish();
}

fn measure(suite: &mut Suite, case: &str, fleet: &Fleet, held: &Held<'_>) {
    let mut random = fastrand::Rng::with_seed(2);
    let mut bare = || {
        let node = held.floor.reserve(&mut random).expect("a slot is free");
        held.floor.release(node);
    };
    // The results are looked at and dropped where they are: moving them about would be timed, too.
    let prepared = || assert!(fleet.scheduler.reserve_prepared(&fleet.prepared).is_ok(), "refused with a slot free");
    let plain = || assert!(fleet.scheduler.reserve(fleet.prepared.demand()).is_ok(), "refused with a slot free");
    let select = || assert!(fleet.scheduler.select_prepared(&fleet.prepared).is_ok(), "refused with a slot free");
    let about = |subject, budget| About { case, subject, floor: "floor", budget };
    suite.compare(about("prepared", Some(BUDGET)), &mut repeat(prepared), &mut repeat(&mut bare));
    suite.compare(about("plain", Some(BUDGET)), &mut repeat(plain), &mut repeat(&mut bare));
    let apart = About { floor: "floor, apart", ..about("apart", None) };
    suite.compare(apart, &mut one_by_one(prepared), &mut one_by_one(&mut bare));
    suite.compare(about("select alone", None), &mut repeat(select), &mut repeat(&mut bare));
}

fn repeat(mut operation: impl FnMut()) -> impl FnMut(u32) {
    move |times| (0..times).for_each(|_| operation())
}

fn one_by_one(mut operation: impl FnMut()) -> impl FnMut(u32) {
    repeat(move || {
        wait_for_the_last();
        operation();
    })
}
