//! `loadwise`: a strategy over a slice of nodes that the caller keeps, and counts on.

use std::hint::black_box;
use std::time::{Duration, Instant};

use loadwise::strategy::PowerOfTwoChoices;
use loadwise::{LoadMetric, SelectionContext, Strategy};

use super::node::Node;
use crate::peer::{ANY_SIZE, Does, Entry, Peer};

pub(super) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "loadwise p2c",
        does: Does::Reserve,
        lacks: "a list of all nodes is made for each choice; nodes, their counts and their coming and going are the \
                caller's, here a plain `Vec` with atomics; choice and reservation are two steps",
        has: &[],
        most: ANY_SIZE,
        build: |nodes| {
            let nodes = (0..nodes).map(|_| Node::new()).collect();
            Ok(Box::new(Loadwise { nodes, context: SelectionContext::default() }))
        },
    }]
}

struct Loadwise {
    nodes: Vec<Node>,
    context: SelectionContext,
}

impl LoadMetric for Node {
    fn load_score(&self) -> f64 {
        f64::from(self.load())
    }
}

impl Peer for Loadwise {
    fn select(&mut self, count: u32) -> Duration {
        let strategy = PowerOfTwoChoices::new();
        let start = Instant::now();
        for _ in 0..count {
            let place = strategy.select(&self.nodes, &self.context).expect("there are nodes");
            let node = &self.nodes[black_box(place)];
            assert!(node.reserve(), "nothing else is held");
            node.release();
        }
        start.elapsed()
    }

    fn change(&mut self, _: u32) -> Duration {
        unreachable!("the slice is the caller's")
    }

    fn load(&mut self, _: u32) -> Duration {
        unreachable!("the counts are the caller's")
    }
}
