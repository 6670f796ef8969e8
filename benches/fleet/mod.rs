//! Schedulers with nodes to choose from.

#![allow(dead_code, reason = "each suite is a program of its own and uses what it needs of this")]

use std::time::{Duration, Instant};

use slotyard::{Capabilities, Demand, NodeSpec, Scheduler, Service};

/// Specs made at a time: making one is not what is measured, and a million of them need not be there at once.
const BATCH: u32 = 1024;

/// A scheduler that never looks at the clock, with ready nodes of one pool: bare as the floor.
pub(crate) fn scheduler(nodes: u32, capacity: u32) -> (Scheduler, Duration) {
    let builder = Scheduler::builder().seed(1).manual_maintenance();
    let scheduler = builder.build().expect("the default configuration is valid");
    let time = register(&scheduler, 0..nodes, capacity);
    (scheduler, time)
}

/// Registers nodes of these numbers; says how long that took, without making their specs.
pub(crate) fn register(scheduler: &Scheduler, nodes: std::ops::Range<u32>, capacity: u32) -> Duration {
    let capabilities = capabilities();
    let mut time = Duration::ZERO;
    let mut next = nodes.start;
    while next < nodes.end {
        let batch = next..nodes.end.min(next + BATCH);
        next = batch.end;
        let specs: Vec<NodeSpec> = batch.map(|number| spec(number, capacity, &capabilities)).collect();
        let start = Instant::now();
        for spec in specs {
            scheduler.register(spec).expect("the ids are new");
        }
        time += start.elapsed();
    }
    time
}

/// What every node offers.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities::new().asr(["zh", "en"]).nmt_any(["zh", "en"]).tts(["zh", "en"])
}

/// What every job needs, and every node can do.
pub(crate) fn demand() -> Demand {
    Demand::translate("zh", "en").services([Service::ASR, Service::NMT, Service::TTS])
}

pub(crate) fn spec(number: u32, capacity: u32, capabilities: &Capabilities) -> NodeSpec {
    NodeSpec::new(node_id(number)).capacity(capacity).capabilities(capabilities.clone()).ready()
}

/// As long as ids of containers in a cluster tend to be.
pub(crate) fn node_id(number: u32) -> String {
    format!("speech-worker-{number:08}")
}

/// The number of the node of this id.
///
/// # Panics
/// When it is not one of [`node_id`].
pub(crate) fn number_of(id: &str) -> u32 {
    let number = id.rsplit('-').next().and_then(|digits| digits.parse().ok());
    number.expect("the id ends with the node's number")
}
