//! How good the choices are, not how fast: what each policy makes of the same jobs.
//!
//! ```sh
//! cargo bench --bench balance
//! cargo bench --bench balance -- "balance/slots"        # jobs as long whatever else their node has
//! cargo bench --bench balance -- "balance/shared"       # jobs that slow one another down
//! cargo bench --bench balance -- "balance/draws"        # whether every free node is as likely
//! ```
//!
//! A simulation sends jobs to 100 nodes of 4 slots through the library: arrivals at random, durations exponential, one
//! on average, and virtual time. The same arrivals and durations go to each policy, and to three of the simulation's
//! own: `blind`, a node at random even if it is full, where the job then waits while others are free; `two, fairly`, the
//! less loaded of two free nodes drawn with equal likelihoods, which is what the library's power of two choices should
//! come to; and `all-knowing`, the node with the fewest jobs of all, which is the floor.
//!
//! *Slots*: a job takes as long on a busy node as on an idle one. Then it does not matter which free slot it gets, only
//! that it gets one: who never refuses while a slot is free is as good as the all-knowing, whatever the policy.
//! *Shared*: jobs of a node slow one another down, as on one accelerator. There balance pays, and shows in how long
//! jobs take.

#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../harness/mod.rs"]
mod harness;
mod placing;
mod simulation;
mod uniformity;

use harness::{About, Figures, Suite};
use placing::{Among, Blind, Knowing, Library};
use simulation::{Outcome, Scenario};

use slotyard::Policy;

/// Percent of what the nodes can do at most.
const LOADS: [u32; 3] = [50, 90, 99];
/// How much a job slows every other of its node down: with `n`, each takes `1 + (n - 1) x` this times as long.
const MODELS: [(&str, f64); 2] = [("slots", 0.0), ("shared", 0.25)];
const ALL_KNOWING: &str = "all-knowing";

fn main() {
    let mut suite = Suite::new("balance");
    for (model, slowdown) in MODELS {
        for load in LOADS {
            let case = format!("{model}, {load} % load");
            if suite.wants(&case) {
                let jobs = if Suite::is_bench() { 300_000 } else { 500 };
                compare(&mut suite, &case, &Scenario { load: f64::from(load) / 100.0, slowdown, jobs });
            }
        }
    }
    uniformity::measure(&mut suite);
    suite.finish();
}

fn policies() -> [(&'static str, Policy); 5] {
    [
        ("power_of_two", Policy::power_of_two()),
        ("random", Policy::random()),
        ("round_robin", Policy::round_robin()),
        ("least_loaded(4)", Policy::least_loaded(4)),
        ("least_loaded(16)", Policy::least_loaded(16)),
    ]
}

fn compare(suite: &mut Suite, case: &str, scenario: &Scenario) {
    let floor = scenario.play(&mut Knowing::new(Among::All));
    let mut found: Vec<(&str, Outcome)> =
        policies().map(|(name, policy)| (name, scenario.play(&mut Library::new(policy)))).into();
    found.push(("two, fairly", scenario.play(&mut Knowing::new(Among::TwoFree))));
    found.push(("blind", scenario.play(&mut Blind::new())));
    for (name, outcome) in &found {
        for ((figure, unit, value), (_, _, floor)) in outcome.figures().into_iter().zip(floor.figures()) {
            let subject = format!("{name}, {figure}");
            let about = About { case, subject: &subject, floor: ALL_KNOWING, budget: None };
            suite.record_ratio(about, unit, Figures::once(value), Figures::once(floor));
        }
    }
    if Suite::is_bench() {
        println!("{case}: waiting, mean / p99, and how many waited at all");
        for (name, outcome) in found.iter().chain([&(ALL_KNOWING, floor)]) {
            println!("  {name:<18} {}", outcome.waiting());
        }
    }
}
