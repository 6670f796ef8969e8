//! `RwLock<Vec<Arc<Node>>>` and the less loaded of two drawn at random: what one writes first.

use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::node::Node;
use crate::peer::{ANY_SIZE, Does, Entry, Operation, Peer};

pub(super) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "RwLock<Vec<Arc<Node>>> + p2c",
        does: Does::Reserve,
        lacks: "no ids, no capabilities; refuses when two full nodes are drawn, however many are free; a writer stops \
                all readers, readers share the lock's word; removal searches the list; a node's load is told by whoever \
                holds the node",
        has: &[Operation::Change, Operation::Load],
        most: ANY_SIZE,
        build: |nodes| {
            let all = (0..nodes).map(|_| Arc::new(Node::new())).collect::<Vec<_>>();
            let known = all.clone();
            Ok(Box::new(LockedVec { nodes: RwLock::new(all), known, random: fastrand::Rng::with_seed(4) }))
        },
    }]
}

struct LockedVec {
    nodes: RwLock<Vec<Arc<Node>>>,
    /// The same, as those who send heartbeats hold them.
    known: Vec<Arc<Node>>,
    random: fastrand::Rng,
}

impl LockedVec {
    #[inline(always)]
    fn reserve(&mut self) -> Option<Arc<Node>> {
        let nodes = self.nodes.read().expect("no writer panics");
        let one = &nodes[self.random.usize(..nodes.len())];
        let other = &nodes[self.random.usize(..nodes.len())];
        let (better, worse) = if one.load() <= other.load() { (one, other) } else { (other, one) };
        if better.reserve() {
            return Some(better.clone());
        }
        worse.reserve().then(|| worse.clone())
    }
}

impl Peer for LockedVec {
    fn select(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            let node = self.reserve().expect("nothing else is held");
            black_box(&node).release();
        }
        start.elapsed()
    }

    fn change(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            // The new one comes to the place of the one that goes, so that the search ends anywhere in the list.
            let new = Arc::new(Node::new());
            self.nodes.write().expect("no writer panics").push(new.clone());
            let old = std::mem::replace(self.random.choice(&mut self.known).expect("there are nodes"), new);
            let mut nodes = self.nodes.write().expect("no writer panics");
            let place = nodes.iter().position(|node| Arc::ptr_eq(node, &old)).expect("it is there");
            nodes.swap_remove(place);
        }
        start.elapsed()
    }

    fn load(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for turn in 0..count {
            let node = &self.known[self.random.usize(..self.known.len())];
            node.report(turn & 1);
        }
        start.elapsed()
    }
}
