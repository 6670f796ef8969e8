//! **A storm of registration**, with pools: nodes of few kinds come, change, fall silent and go, all at once, and at the end
//! directory, pools, tallies and indexes are of one mind.
//!
//! Four threads, four ids, so that several are at the same id; three kinds, and no more pools than two of them; one thread
//! ticks, by which silent nodes are taken offline and forgotten.

use std::time::Duration;

use super::*;
use crate::{Capabilities, Heartbeat};

const ITERATIONS: usize = 3000;

fn capabilities(kind: usize) -> Capabilities {
    [asr(), Capabilities::new().service(Service::TTS), asr().service(Service::TTS)][kind].clone()
}

/// Any of the calls that change a node.
fn act(core: &Core, seen: &Seen) {
    let id = format!("node-{}", draw(0..4));
    let known = handle(core, &id);
    let spec = NodeSpec::new(id.clone()).capacity(draw(1..3) as u32).capabilities(capabilities(draw(0..3))).ready();
    match (draw(0..8), known) {
        (0 | 1, _) => drop(core.register(spec)),
        (2, _) => drop(core.register(spec.replace_existing()).expect("there is room, and it may be replaced")),
        (3, Some(node)) => {
            seen.note(["it was stale", "it was deregistered"][usize::from(core.deregister(&node).is_ok())])
        }
        (4, Some(node)) => seen.note(
            ["it was stale", "it was updated"][usize::from(core.update(&node, capabilities(draw(0..3))).is_ok())],
        ),
        (5, Some(node)) => drop(core.set_draining(&node, draw(0..2) == 0)),
        (6, Some(node)) => drop(core.set_capacity(&node, draw(1..4) as u32)),
        (7, Some(node)) => drop(core.mark_unavailable(&node, &Service::TTS, Duration::from_secs(20))),
        _ => drop(core.heartbeat_by_id(&id, &Heartbeat::ready().running(draw(0..3) as u32))),
    }
}

#[test]
fn nodes_come_and_change_and_go() {
    let outcomes = ["it was stale", "it was deregistered", "it was updated", "it was taken offline"];
    explore(ITERATIONS, &outcomes, |seen| {
        let core = scheduler(|builder| builder.max_pools(2).offline_retention(Duration::from_secs(20)));
        let noted = seen.clone();
        together(&core, 5, move |core, number| match number {
            0 => (1..4).for_each(|turn| core.tick(Duration::from_secs(10 * turn))),
            _ => (0..4).for_each(|_| act(core, &noted)),
        });
        if core.nodes().iter().any(|node| node.state == crate::NodeState::Offline) {
            seen.note("it was taken offline");
        }
        assert_settled(&core);
        // Nobody is heard of any more.
        (5..10).for_each(|turn| core.tick(Duration::from_secs(20 * turn)));
        assert_eq!(core.stats().now.nodes, 0, "nodes that are offline are not forgotten");
        assert_settled(&core);
    });
}
