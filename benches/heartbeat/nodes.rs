//! A fleet of which heartbeats come.

use slotyard::{NodeHandle, Scheduler};

use crate::fleet;

/// Nodes in the order in which they are heard of: each once, then from the beginning.
pub(crate) struct Nodes {
    pub(crate) scheduler: Scheduler,
    pub(crate) handles: Vec<NodeHandle>,
    pub(crate) ids: Vec<String>,
    numbers: Vec<u32>,
}

impl Nodes {
    pub(crate) fn new(nodes: u32) -> Self {
        let (scheduler, _) = fleet::scheduler(nodes, 8);
        let mut numbers: Vec<u32> = (0..nodes).collect();
        fastrand::Rng::with_seed(3).shuffle(&mut numbers);
        let ids: Vec<String> = numbers.iter().copied().map(fleet::node_id).collect();
        let handles = ids.iter().map(|id| scheduler.handle(id).expect("it is registered")).collect();
        Self { scheduler, handles, ids, numbers }
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(crate) fn handles<'n>(&'n self) -> impl FnMut() -> &'n NodeHandle + use<'n> {
        in_turn(&self.handles, 0)
    }

    /// Far from where [`handles`](Self::handles) is, or what one has read would be in the caches for the other.
    pub(crate) fn other_handles<'n>(&'n self) -> impl FnMut() -> &'n NodeHandle + use<'n> {
        in_turn(&self.handles, self.len() / 2)
    }

    pub(crate) fn ids<'n>(&'n self) -> impl FnMut() -> &'n String + use<'n> {
        in_turn(&self.ids, 0)
    }

    pub(crate) fn other_ids<'n>(&'n self) -> impl FnMut() -> &'n String + use<'n> {
        in_turn(&self.ids, self.len() / 2)
    }

    pub(crate) fn numbers(&self) -> impl FnMut() -> u32 {
        let mut next = in_turn(&self.numbers, 0);
        move || *next()
    }
}

fn in_turn<'n, T>(all: &'n [T], from: usize) -> impl FnMut() -> &'n T + use<'n, T> {
    let mut rest = all[from..].iter();
    move || {
        rest.next().unwrap_or_else(|| {
            rest = all.iter();
            rest.next().expect("there are nodes")
        })
    }
}
