//! `RwLock<HashMap>` and a search for the least loaded: the design that slotyard was written to replace, here without
//! the queries that it made while it held the lock, and with the lock of the standard library, the faster one.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::node::Node;
use crate::fleet;
use crate::peer::{ANY_SIZE, Does, Entry, Operation, Peer};

/// Different nodes that report their load.
const IDS: u32 = 1 << 16;

pub(super) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "RwLock<HashMap> scan",
        does: Does::Reserve,
        lacks: "looks at every node for each job; no capabilities; a writer stops all readers, readers share the \
                lock's word",
        has: &[Operation::Change, Operation::Load],
        most: ANY_SIZE,
        build: |nodes| Ok(Box::new(LockedMap::new(nodes))),
    }]
}

struct LockedMap {
    nodes: RwLock<HashMap<Arc<str>, Node>>,
    ids: Vec<Arc<str>>,
    /// Of the next node.
    number: u32,
}

impl LockedMap {
    fn new(nodes: u32) -> Self {
        let all = (0..nodes).map(|number| (fleet::node_id(number).into(), Node::new())).collect();
        let mut random = fastrand::Rng::with_seed(5);
        let ids = (0..IDS).map(|_| fleet::node_id(random.u32(..nodes)).into()).collect();
        Self { nodes: RwLock::new(all), ids, number: nodes }
    }

    fn reserve(&self) -> Option<Arc<str>> {
        let nodes = self.nodes.read().expect("no writer panics");
        let (id, node) = nodes.iter().min_by_key(|(_, node)| node.load())?;
        node.reserve().then(|| id.clone())
    }

    fn release(&self, id: &str) {
        if let Some(node) = self.nodes.read().expect("no writer panics").get(id) {
            node.release();
        }
    }
}

impl Peer for LockedMap {
    fn select(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            let id = self.reserve().expect("nothing else is held");
            self.release(&black_box(id));
        }
        start.elapsed()
    }

    fn change(&mut self, count: u32) -> Duration {
        let ids: Vec<Arc<str>> =
            (self.number..self.number + count).map(|number| fleet::node_id(number).into()).collect();
        self.number += count;
        let start = Instant::now();
        for id in &ids {
            self.nodes.write().expect("no writer panics").insert(id.clone(), Node::new());
            self.nodes.write().expect("no writer panics").remove(id);
        }
        start.elapsed()
    }

    fn load(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for (turn, id) in (0..count).zip(self.ids.iter().cycle()) {
            let nodes = self.nodes.read().expect("no writer panics");
            nodes.get(id).expect("it is there").report(turn & 1);
        }
        start.elapsed()
    }
}
