//! Heartbeats beside what they cannot do without, by size of fleet. They come in no order, from every node in turn, so
//! no cache knows more of one than a gateway's would.
//!
//! ```sh
//! cargo bench --bench heartbeat
//! cargo bench --bench heartbeat -- "heartbeat/1000 nodes"
//! ```

mod changes;
#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../harness/mod.rs"]
mod harness;
mod lines;
mod nodes;

use harness::{About, Bound, Suite, repeat};
use lines::Lines;
use nodes::Nodes;
use slotyard::{Heartbeat, NodeHandle, ResourceUse};

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const BATCHES: [usize; 2] = [64, 1024];
/// By handle, in ns.
const BUDGET: f64 = 10.0;
/// By id, of a look-up.
const BUDGET_BY_ID: Bound = Bound::AtMost(1.3);

fn main() {
    let mut suite = Suite::new("heartbeat");
    let sizes = if Suite::is_bench() { &SIZES[..] } else { &SIZES[..1] };
    for nodes in sizes {
        let case = format!("{nodes} nodes");
        if !suite.wants(&case) {
            continue;
        }
        let nodes = Nodes::new(*nodes);
        by_handle(&mut suite, &case, &nodes);
        by_id(&mut suite, &case, &nodes);
        batches(&mut suite, &case, &nodes);
        // Last: nodes are not in one pool any more after them.
        changes::measure(&mut suite, &case, &nodes);
    }
    suite.finish();
}

/// With no more to say than that the node is ready, and with all that a node says of itself, none of it new.
fn by_handle(suite: &mut Suite, case: &str, nodes: &Nodes) {
    let lines = Lines::new(nodes.len());
    let beats = [("by handle", "one store", Heartbeat::ready(), false), ("in full", "three stores", in_full(), true)];
    for (subject, floor, beat, full) in beats {
        let (mut handle, mut number) = (nodes.handles(), nodes.numbers());
        let ours = || assert!(nodes.scheduler.heartbeat(handle(), &beat).is_ok(), "it is registered");
        let bare = || if full { lines.store_all(number()) } else { lines.store(number()) };
        let about = About { case, subject, floor, budget: None };
        if let Some((ours, _)) = suite.compare(about, &mut repeat(ours), &mut repeat(bare)) {
            suite.limit(case, subject, "ns", ours, BUDGET);
        }
    }
}

fn in_full() -> Heartbeat {
    let usage = ResourceUse { cpu: 0.4, memory: 0.5, gpu: 0.6, gpu_memory: 0.7 };
    Heartbeat::ready().running(0).resources(usage)
}

fn by_id(suite: &mut Suite, case: &str, nodes: &Nodes) {
    // In the order in which the nodes were registered, which is not the one in which they are asked for.
    let map: papaya::HashMap<String, u32, ahash::RandomState> =
        (0..nodes.len() as u32).map(|number| (fleet::node_id(number), number)).collect();
    let beat = Heartbeat::ready();
    let (mut id, mut key) = (nodes.ids(), nodes.other_ids());
    let ours = || assert!(nodes.scheduler.heartbeat_by_id(id(), &beat).is_ok(), "it is registered");
    let bare = || assert!(map.pin().get(key()).is_some(), "it is in the map");
    let about = About { case, subject: "by id", floor: "papaya get", budget: Some(BUDGET_BY_ID) };
    suite.compare(about, &mut repeat(ours), &mut repeat(bare));
}

/// Each heartbeat of a batch.
fn batches(suite: &mut Suite, case: &str, nodes: &Nodes) {
    let lines = Lines::new(nodes.len());
    let beat = Heartbeat::ready();
    for most in BATCHES {
        let mut number = nodes.numbers();
        let mut left: &[NodeHandle] = &[];
        let mut ours = |times: u32| {
            let mut times = times as usize;
            while times > 0 {
                if left.is_empty() {
                    left = &nodes.handles;
                }
                let (batch, rest) = left.split_at(most.min(times).min(left.len()));
                let refused = nodes.scheduler.heartbeat_batch(batch.iter().map(|handle| (handle, &beat)));
                assert!(refused.is_empty(), "all are registered");
                (left, times) = (rest, times - batch.len());
            }
        };
        let subject = format!("in batches of {most}");
        let about = About { case, subject: &subject, floor: "one store", budget: None };
        suite.compare(about, &mut ours, &mut repeat(|| lines.store(number())));
    }
}
