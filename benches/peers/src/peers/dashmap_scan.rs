//! `DashMap` and a search for the least loaded: the usual answer to a map behind one lock.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::node::Node;
use crate::fleet;
use crate::peer::{ANY_SIZE, Does, Entry, Operation, Peer};

/// Different nodes that report their load.
const IDS: u32 = 1 << 16;

pub(super) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "DashMap scan",
        does: Does::Reserve,
        lacks: "looks at every node for each job, shard after shard, so not at one moment; no capabilities; choice and \
                reservation are two steps",
        has: &[Operation::Change, Operation::Load],
        most: ANY_SIZE,
        build: |nodes| Ok(Box::new(Scan::new(nodes))),
    }]
}

struct Scan {
    nodes: DashMap<String, Arc<Node>>,
    ids: Vec<String>,
    /// Of the next node.
    number: u32,
}

impl Scan {
    fn new(nodes: u32) -> Self {
        let all = (0..nodes).map(|number| (fleet::node_id(number), Arc::new(Node::new()))).collect();
        let mut random = fastrand::Rng::with_seed(6);
        let ids = (0..IDS).map(|_| fleet::node_id(random.u32(..nodes))).collect();
        Self { nodes: all, ids, number: nodes }
    }

    /// The shard of the best one so far must not stay locked, so the node is taken out of it.
    fn reserve(&self) -> Option<Arc<Node>> {
        let mut best: Option<(u32, Arc<Node>)> = None;
        for node in &self.nodes {
            let load = node.load();
            if best.as_ref().is_none_or(|(least, _)| load < *least) {
                best = Some((load, node.clone()));
            }
        }
        let (_, node) = best?;
        node.reserve().then_some(node)
    }
}

impl Peer for Scan {
    fn select(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            let node = self.reserve().expect("nothing else is held");
            black_box(&node).release();
        }
        start.elapsed()
    }

    fn change(&mut self, count: u32) -> Duration {
        let ids: Vec<String> = (self.number..self.number + count).map(fleet::node_id).collect();
        self.number += count;
        let start = Instant::now();
        for id in &ids {
            self.nodes.insert(id.clone(), Arc::new(Node::new()));
            self.nodes.remove(id);
        }
        start.elapsed()
    }

    fn load(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for (turn, id) in (0..count).zip(self.ids.iter().cycle()) {
            self.nodes.get(id).expect("it is there").report(turn & 1);
        }
        start.elapsed()
    }
}
