//! Heartbeats that change what a node can do, or how much, beside one that does not.
//!
//! Each node's changes and is changed back in turn, so that the fleet stays as it is on the whole.

use slotyard::{Heartbeat, Service};

use crate::harness::{About, Suite, repeat};
use crate::nodes::Nodes;

pub(crate) fn measure(suite: &mut Suite, case: &str, nodes: &Nodes) {
    let scheduler = &nodes.scheduler;
    let still = Heartbeat::ready();
    let mut compare = |subject: &str, change: &mut dyn FnMut()| {
        let mut handle = nodes.other_handles();
        let floor = || assert!(scheduler.heartbeat(handle(), &still).is_ok(), "it is registered");
        let about = About { case, subject, floor: "no change", budget: None };
        suite.compare(about, &mut repeat(change), &mut repeat(floor));
    };

    // Some jobs of others come and go: the effective capacity changes.
    let [more, fewer] = [3, 0].map(|running| Heartbeat::ready().running(running));
    let mut next = in_rounds(nodes);
    compare("jobs of others", &mut || {
        let (node, odd) = next();
        let beat = if odd { &fewer } else { &more };
        assert!(scheduler.heartbeat(&nodes.handles[node], beat).is_ok(), "it is registered");
    });
    let mut next = in_rounds(nodes);
    compare("set_capacity", &mut || {
        let (node, odd) = next();
        let capacity = if odd { 8 } else { 9 };
        assert!(scheduler.set_capacity(&nodes.handles[node], capacity).is_ok(), "it is registered");
    });
    // A service goes off and on: the node changes pools.
    let some = Heartbeat::ready().services([Service::ASR, Service::NMT]);
    let all = Heartbeat::ready().services([Service::ASR, Service::NMT, Service::TTS]);
    let mut next = in_rounds(nodes);
    compare("a service off or on", &mut || {
        let (node, odd) = next();
        let beat = if odd { &all } else { &some };
        assert!(scheduler.heartbeat(&nodes.handles[node], beat).is_ok(), "it is registered");
    });
}

/// The places of the nodes, over and over, with whether the round is an odd one.
fn in_rounds(nodes: &Nodes) -> impl FnMut() -> (usize, bool) {
    let (mut node, mut odd, len) = (0, false, nodes.len());
    move || {
        let now = (node, odd);
        (node, odd) = if node + 1 < len { (node + 1, odd) } else { (0, !odd) };
        now
    }
}
