//! Select + reserve + release beside its floor: over sizes of fleet and loads, over many pools, with nodes excluded, and
//! within sessions.
//!
//! ```sh
//! cargo bench --bench select
//! cargo bench --bench select -- "select/1000 nodes of 8"
//! cargo bench --bench select -- "select/100 pools"
//! ```

mod exclusions;
#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../floor/mod.rs"]
mod floor;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../jobs/life.rs"]
mod life;
mod load;
mod pools;
mod sessions;
mod sizes;

use harness::{About, Bound, Contender, Suite, repeat};
use load::{Fleet, Held};
use slotyard::Service;

/// Of all this is reserved.
const BUDGET: Bound = Bound::AtMost(1.5);

fn main() {
    let mut suite = Suite::new("select");
    sizes::measure(&mut suite);
    pools::measure(&mut suite);
    exclusions::measure(&mut suite);
    sessions::measure(&mut suite);
    suite.finish();
}

/// The calls that choose, each beside the floor under the same load.
fn compare(suite: &mut Suite, case: &str, fleet: &Fleet, held: &Held<'_>, budget: Option<Bound>) {
    let demand = fleet.prepared.demand();
    let plain = || assert!(fleet.scheduler.reserve(demand).is_ok(), "refused with a slot free");
    // As gateways have it that make a demand for each job: it has to be compared with the one that the route is for.
    // Asking once more for a service that is asked for makes an equal one that is not the same.
    let equal = demand.clone().service(Service::ASR);
    let equal = || assert!(fleet.scheduler.reserve(&equal).is_ok(), "refused with a slot free");
    let select = || assert!(fleet.scheduler.select_prepared(&fleet.prepared).is_ok(), "refused with a slot free");
    let mut one = |subject, budget, ours: Contender<'_>| {
        let about = About { case, subject, floor: "floor", budget };
        suite.compare(about, ours, &mut repeat(held.bare()));
    };
    one("prepared", budget, &mut repeat(fleet.prepared_once()));
    one("plain", budget, &mut repeat(plain));
    one("equal", None, &mut repeat(equal));
    one("select alone", None, &mut repeat(select));
}
