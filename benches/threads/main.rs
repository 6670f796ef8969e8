//! What more threads bring: all of them choose among all nodes; with homes, which change, and without.
//!
//! ```sh
//! cargo bench --bench threads
//! cargo bench --bench threads -- "threads/1000 nodes"     # both of one size
//! ```
//!
//! Throughput of reserve + release by 1, 2, 4, 8, 16 threads, as far as there are cores; how even it is; and how even
//! the load is that they leave on the nodes. One thread and many take turns of some 200 ms, ours and the floor, too.
//!
//! # Which lines an operation writes
//! To see lines move between caches (`perf c2c`) takes counters of the processor that virtual machines do not show, so
//! here is what there is to see. Of memory that threads share, reserving writes
//! - the cell of the node that was chosen: one compare-and-swap. The cells of the two nodes drawn are read.
//!
//! and giving back writes the same cell. Only when that fills the node, or frees it, are written besides
//! - the leaf of the availability index with the node's bit, on a line with those of 128 nodes; the words above it only
//!   when a find has met it empty in between.
//!
//! Shared and only read, as long as no node comes or goes: the snapshot, the prepared demand's route, the pool, its list
//! of members, the time, and the index words that the draws look at. Written by one thread only, on lines of its own:
//! its counters, its random stream, its pin.
//!
//! So without homes threads meet at the cells. An operation of one of `n` threads reads those of two nodes and then writes one of
//! them; what another thread wrote last, which it did with a chance of `1 - 1/n` however many nodes there are, comes
//! from its core's cache: two lines to fetch, and one to have alone. That, and not a counter or a lock, is what scaling
//! has against it, as long as the cells fit into the caches. Those of more nodes come from memory anyhow, and there
//! threads cost nothing. Where nodes fill and free all the time, index words come on top: one or two more lines, each of
//! which belongs to as many nodes.

#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../floor/mod.rs"]
mod floor;
#[path = "../harness/mod.rs"]
mod harness;
mod late;
#[allow(dead_code, reason = "what the other suite uses of it")]
#[path = "../select/load.rs"]
mod load;
mod spread;
mod throughput;

use std::time::Duration;

use harness::Suite;
use harness::crew::cores;
use load::Fleet;
use slotyard::Scheduler;

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Of a node.
const SLOTS: u32 = 8;
/// Percent of the slots that others hold. Load is lowered, so the highest comes first.
const LOADS: [u32; 2] = [90, 0];
/// Of the scheduler, where not said otherwise. Homes move on every 64 ticks.
const TICK: Duration = Duration::from_millis(10);
/// Others, for which homes move ten times as often, and ten times as seldom; and the size of fleet for that.
const TICKS: [(Duration, &str); 2] = [(Duration::from_millis(1), "64 ms"), (Duration::from_millis(100), "6.4 s")];
const MOVED: u32 = 10_000;
/// A larger fleet takes long to fill and is no different, as far as the spread of jobs goes.
const MOST_SPREAD: u32 = 100_000;

fn main() {
    let mut suite = Suite::new("threads");
    let sizes = if Suite::is_bench() { &SIZES[..] } else { &[100][..] };
    for nodes in sizes {
        for homes in [true, false] {
            let fleet_of = format!("{nodes} nodes{}", if homes { "" } else { " without homes" });
            if !suite.wants(&fleet_of) {
                continue;
            }
            let budgeted = if homes { Budgeted::All } else { Budgeted::Evenness };
            measure(&mut suite, &fleet_of, *nodes, (homes, TICK), budgeted);
        }
    }
    for (tick, often) in TICKS {
        let nodes = if Suite::is_bench() { MOVED } else { 100 };
        let fleet_of = format!("{nodes} nodes, homes move every {often}");
        if suite.wants(&fleet_of) {
            measure(&mut suite, &fleet_of, nodes, (true, tick), Budgeted::Nothing);
        }
    }
    late::measure(&mut suite);
    suite.finish();
}

/// What of a fleet is held against budgets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Budgeted {
    All,
    Evenness,
    Nothing,
}

/// Throughput, and how even the load is; without homes, or with homes that move with these ticks.
fn measure(suite: &mut Suite, fleet_of: &str, nodes: u32, (homes, tick): (bool, Duration), budgeted: Budgeted) {
    let new = |homes| Fleet::of(scheduler(nodes, homes, tick), nodes, SLOTS, &fleet::demand());
    let fleet = new(homes);
    {
        let mut held = fleet.fill();
        for load in LOADS {
            held.lower_to(load);
            let case = format!("{fleet_of}, {load} % held");
            throughput::measure(suite, &case, &fleet, &held.floor, budgeted == Budgeted::All);
        }
    }
    if nodes <= MOST_SPREAD {
        spread::measure(suite, fleet_of, &fleet, &new(false), budgeted != Budgeted::Nothing);
    }
}

/// With a maintenance thread of its own: it is that which gives threads their homes.
fn scheduler(nodes: u32, homes: bool, tick: Duration) -> Scheduler {
    let builder = Scheduler::builder().seed(1).heartbeat_timeout(Duration::from_secs(24 * 3600)).homes(homes);
    let scheduler = builder.tick_interval(tick).build().expect("the configuration is valid");
    fleet::register(&scheduler, 0..nodes, SLOTS);
    scheduler
}

/// One thread, and doubled from there as far as there are cores; two at least, for what does not depend on speed.
fn counts(at_least: usize) -> Vec<usize> {
    (0..5).map(|power| 1 << power).take_while(|count| *count <= cores().max(at_least)).collect()
}
