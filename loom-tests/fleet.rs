//! What the models have in common, those of loom and those of shuttle: small schedulers, and what holds at the end.

#![cfg_attr(slotyard_shuttle, allow(dead_code, reason = "shuttle's go through the whole engine, mostly"))]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_epoch::Guard;

use crate::core::Core;
use crate::node::NodeHandle;
use crate::node::word::SlotWord;
use crate::pool::{Found, Pool};
use crate::random::Random;
use crate::select::Candidate;
use crate::{Capabilities, NodeSpec, SchedulerBuilder, Service};

/// A guard that pins nothing, for models in which no published value is replaced while threads run, and no place of a job is
/// used again: then nothing that a reader has found is freed, or becomes something else, before all threads have ended.
pub(super) fn unpinned() -> &'static Guard {
    // SAFETY: by what the models that use it promise, see above.
    unsafe { crossbeam_epoch::unprotected() }
}

/// A small scheduler whose maintenance is the model's.
pub(super) fn scheduler(configure: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> Arc<Core> {
    let builder = SchedulerBuilder::default().seed(7).manual_maintenance();
    let small = builder.max_pools(3).max_routes(2).shards(1).max_jobs(4).max_finished_jobs(4);
    Arc::new(Core::new(configure(small).check().expect("the configuration is valid")))
}

/// A node that is ready and can do `asr`.
pub(super) fn add_node(core: &Core, id: &str, capacity: u32) -> NodeHandle {
    let spec = NodeSpec::new(id).capacity(capacity).capabilities(asr()).ready();
    core.register(spec).expect("there is room for it")
}

pub(super) fn asr() -> Capabilities {
    Capabilities::new().service(Service::ASR)
}

/// One pool with nodes of these capacities, at positions 0, 1, ..., and in cells of the same numbers.
pub(super) struct Fleet {
    pub(super) core: Arc<Core>,
    pub(super) pool: Arc<Pool>,
    pub(super) nodes: Vec<NodeHandle>,
    /// Seed of every find.
    seed: u64,
    /// See [`Fleet::stir`].
    stirred: crate::sync::AtomicU64,
}

/// A slot that is held: its cell, and the generation under which it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) cell: u32,
    pub(super) generation: u32,
}

impl Fleet {
    pub(super) fn new<const N: usize>(capacities: [u32; N]) -> Arc<Self> {
        Self::from_position(0, capacities)
    }

    /// Finds begin their search at this position.
    pub(super) fn from_position<const N: usize>(position: u32, capacities: [u32; N]) -> Arc<Self> {
        let begins_there = |seed: &u64| Random::new(*seed).below(N as u32) == position;
        let seed = (0..).find(begins_there).expect("some seed does");
        Self::seeded(seed, scheduler(|builder| builder), capacities)
    }

    pub(super) fn of<const N: usize>(core: Arc<Core>, capacities: [u32; N]) -> Arc<Self> {
        Self::seeded(7, core, capacities)
    }

    fn seeded<const N: usize>(seed: u64, core: Arc<Core>, capacities: [u32; N]) -> Arc<Self> {
        let node = |(number, capacity): (usize, &u32)| add_node(&core, &format!("node-{number}"), *capacity);
        let nodes: Vec<_> = capacities.iter().enumerate().map(node).collect();
        let pool = core.find_pool(&Arc::new(asr())).expect("registering has made it");
        assert!(nodes.iter().enumerate().all(|(number, node)| node.node.cell == number as u32));
        Arc::new(Self { core, pool, nodes, seed, stirred: Default::default() })
    }

    pub(super) fn word(&self, node: usize) -> SlotWord {
        self.core.cells.at(self.nodes[node].node.cell).word()
    }

    /// Makes loom try each order of this and the other threads' calls of it. It tries another order of two accesses only
    /// when it sees that they conflict, and of a thread that reads a word before it writes it, it does not see that with
    /// an earlier read by another. Orders nothing else: it is Relaxed.
    pub(super) fn stir(&self) {
        self.stirred.fetch_add(1, Ordering::Relaxed);
    }

    /// What a selection does in a pool: draws until it finds a member with a free slot, or none.
    pub(super) fn find(&self) -> Option<Found<'_>> {
        self.pool.index.draw(&self.core.cells, &mut Random::new(self.seed))
    }

    /// Takes a slot of some node; `None` when none is free.
    pub(super) fn take(&self) -> Option<Slot> {
        loop {
            let found = self.find()?;
            if self.core.reserve_on(&Candidate { pool: &self.pool, found }, 0) {
                return Some(Slot { cell: found.number, generation: found.word.generation() });
            }
        }
    }

    /// Takes a slot of this node, whatever the index says.
    pub(super) fn take_of(&self, node: usize) -> Option<Slot> {
        let (cell, generation) = (self.nodes[node].node.cell, self.nodes[node].node.generation);
        loop {
            let found = self.pool.index.look(&self.core.cells, node as u32)?;
            if self.core.reserve_on(&Candidate { pool: &self.pool, found }, 0) {
                return Some(Slot { cell, generation });
            }
        }
    }

    pub(super) fn give(&self, slot: Slot) {
        self.core.release(self.core.cells.at(slot.cell), slot.cell, slot.generation);
    }

    /// Takes every slot, and has a find notice that: no bit is left set, up to that of the pool.
    pub(super) fn exhaust(&self) -> Vec<Slot> {
        let slots = self.take_all();
        assert!(self.find().is_none());
        self.pool.index.mend_occupancy();
        slots
    }

    /// Takes every slot, one after the other, node by node.
    pub(super) fn take_all(&self) -> Vec<Slot> {
        (0..self.nodes.len()).flat_map(|node| std::iter::from_fn(move || self.take_of(node))).collect()
    }
}

/// When all threads are done: every member that can be selected is told, from its bit up to that of its pool; no
/// release was refused.
pub(super) fn assert_told(core: &Core) {
    for pool in core.snapshot(unpinned()).table().iter() {
        for position in 0..pool.index.high_water() {
            let Some(cell) = pool.index.member(position) else { continue };
            let word = core.cells.at(cell).word();
            if word.selectable() {
                assert!(pool.index.is_told(position), "{word:?} at {position} of {} is not told", pool.name);
            }
        }
    }
    assert_eq!(core.stats().counters.double_released, 0, "a release was refused");
}
