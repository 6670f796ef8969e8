//! Models of the scheduler's concurrent protocols, one file an invariant, explored by loom: every order in which two to
//! four threads can take their steps, up to a number of preemptions, and every value that a load may see under the
//! memory model.
//!
//! ```console
//! cargo xtask test --only loom
//! ```
//!
//! The models are a part of the crate's own tests, and below `core`, so that they use the real structures and not
//! copies. With `--cfg slotyard_loom`, `src/sync.rs` gives the crate loom's atomics, and stand-ins for the structures
//! that loom cannot look into, see there what those promise. Sizes are smaller, so that two nodes fill a word of the
//! availability index and a third one adds a level (`sized` in `src/sync.rs`).
//!
//! That each of them can fail is shown by `cargo xtask mutants-loom`, which breaks what they are about, as the lists in
//! `mutants/` say, and sees them fail.
//!
//! # What a model does not show
//! - More threads, longer histories and more preemptions than it says. Loom's authors find that two or three preemptions
//!   show most bugs; `LOOM_MAX_PREEMPTIONS` sets another number for all models.
//! - What SeqCst accesses promise beyond AcqRel (there are none here; SeqCst fences are modelled), and load buffering.
//! - Orders between numbers that are only shown (`Statistic` in `src/sync.rs`), which loom does not see.
//! - Where a model pins with the real epoch: a pin has a SeqCst fence, and to loom every such fence is ordered with all
//!   earlier ones. So these models see less of the memory model between two pins. The models of cells, words and the
//!   index do without, see [`unpinned`].
//!
//! # When one fails
//! The program ends at the first failed assertion and says which model it was: loom cannot go on, and destructors that
//! touch atomics after their model has ended would only hide the cause. The executions are the same in every run.

mod arena;
mod attempts;
mod availability;
mod clock;
mod creates;
mod emptied;
mod ends;
mod events;
mod finished;
mod growth;
mod heartbeat;
mod lease;
mod looked_up;
mod moving;
mod observed;
mod one_end;
mod one_job;
mod pools;
mod positions;
mod publication;
mod replacement;
mod requests;
mod reuse;
mod roll;
mod routes;
mod session;
mod several_pools;
mod short_way;
mod slot_word;
mod spread;
mod stale_bits;
mod stale_handles;
mod taken_out;
mod wheel;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use crossbeam_epoch::Guard;

use super::Core;
use crate::node::NodeHandle;
use crate::node::word::SlotWord;
use crate::pool::{Found, Pool};
use crate::random::Random;
use crate::select::Candidate;
use crate::{Capabilities, NodeSpec, SchedulerBuilder, Service};

/// What became of a model's executions, so that it can be seen to have explored what it is about.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<BTreeSet<&'static str>>>);

impl Seen {
    fn note(&self, outcome: &'static str) {
        self.0.lock().unwrap().insert(outcome);
    }
}

/// Explores the model up to so many preemptions. Every one of `outcomes` must have been noted in some execution.
fn explore(preemptions: usize, outcomes: &[&'static str], model: impl Fn(&Seen) + Send + Sync + 'static) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(give_up)));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    // More than any model takes: the limit is there to find loops that do not end.
    builder.max_branches = 20_000;
    let (seen, executions, begin) = (Seen::default(), Arc::new(AtomicU64::new(0)), Instant::now());
    let (noted, counted) = (seen.clone(), executions.clone());
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model(&noted);
    });
    eprintln!("{}: {} executions in {:.1?}", this_model(), executions.load(Ordering::Relaxed), begin.elapsed());
    let seen = seen.0.lock().unwrap();
    for outcome in outcomes {
        assert!(seen.contains(outcome), "no execution in which {outcome}; there were: {seen:?}");
    }
}

fn this_model() -> String {
    std::thread::current().name().unwrap_or("a model").to_owned()
}

/// Ends the program: see the module's documentation.
fn give_up(panic: &PanicHookInfo<'_>) {
    // Not by `eprintln`: the test harness keeps that to itself until the test ends, which it will not.
    let _ = writeln!(std::io::stderr(), "\n{} failed: {panic}", this_model());
    std::process::exit(101);
}

/// A guard that pins nothing, for models in which no published value is replaced while threads run: then nothing that
/// a reader has found is freed before all threads have ended.
fn unpinned() -> &'static Guard {
    // SAFETY: by what the models that use it promise, see above.
    unsafe { crossbeam_epoch::unprotected() }
}

/// A small scheduler whose maintenance is the model's.
fn scheduler(configure: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> Arc<Core> {
    let builder = SchedulerBuilder::default().seed(7).manual_maintenance();
    let small = builder.max_pools(3).max_routes(2).shards(1).max_jobs(4).max_finished_jobs(4);
    Arc::new(Core::new(configure(small).check().expect("the configuration is valid")))
}

/// A node that is ready and can do `asr`.
fn add_node(core: &Core, id: &str, capacity: u32) -> NodeHandle {
    let spec = NodeSpec::new(id).capacity(capacity).capabilities(asr()).ready();
    core.register(spec).expect("there is room for it")
}

fn asr() -> Capabilities {
    Capabilities::new().service(Service::ASR)
}

/// One pool with nodes of these capacities, at positions 0, 1, ..., and in cells of the same numbers.
struct Fleet {
    core: Arc<Core>,
    pool: Arc<Pool>,
    nodes: Vec<NodeHandle>,
    /// Seed of every find.
    seed: u64,
    /// See [`Fleet::stir`].
    stirred: crate::sync::AtomicU64,
}

/// A slot that is held: its cell, and the generation under which it is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    cell: u32,
    generation: u32,
}

impl Fleet {
    fn new<const N: usize>(capacities: [u32; N]) -> Arc<Self> {
        Self::from_position(0, capacities)
    }

    /// Finds begin their search at this position.
    fn from_position<const N: usize>(position: u32, capacities: [u32; N]) -> Arc<Self> {
        let begins_there = |seed: &u64| Random::new(*seed).below(N as u32) == position;
        let seed = (0..).find(begins_there).expect("some seed does");
        Self::seeded(seed, scheduler(|builder| builder), capacities)
    }

    fn of<const N: usize>(core: Arc<Core>, capacities: [u32; N]) -> Arc<Self> {
        Self::seeded(7, core, capacities)
    }

    fn seeded<const N: usize>(seed: u64, core: Arc<Core>, capacities: [u32; N]) -> Arc<Self> {
        let node = |(number, capacity): (usize, &u32)| add_node(&core, &format!("node-{number}"), *capacity);
        let nodes: Vec<_> = capacities.iter().enumerate().map(node).collect();
        let pool = core.find_pool(&Arc::new(asr())).expect("registering has made it");
        assert!(nodes.iter().enumerate().all(|(number, node)| node.node.cell == number as u32));
        Arc::new(Self { core, pool, nodes, seed, stirred: Default::default() })
    }

    fn word(&self, node: usize) -> SlotWord {
        self.core.cells.at(self.nodes[node].node.cell).word()
    }

    /// Makes loom try each order of this and the other threads' calls of it. It tries another order of two accesses only
    /// when it sees that they conflict, and of a thread that reads a word before it writes it, it does not see that with
    /// an earlier read by another. Orders nothing else: it is Relaxed.
    fn stir(&self) {
        self.stirred.fetch_add(1, Ordering::Relaxed);
    }

    /// What a selection does in a pool: draws until it finds a member with a free slot, or none.
    fn find(&self) -> Option<Found<'_>> {
        self.pool.index.draw(&self.core.cells, &mut Random::new(self.seed))
    }

    /// Takes a slot of some node; `None` when none is free.
    fn take(&self) -> Option<Slot> {
        loop {
            let found = self.find()?;
            if self.core.reserve_on(&Candidate { pool: &self.pool, found }, 0) {
                return Some(Slot { cell: found.number, generation: found.word.generation() });
            }
        }
    }

    /// Takes a slot of this node, whatever the index says.
    fn take_of(&self, node: usize) -> Option<Slot> {
        let (cell, generation) = (self.nodes[node].node.cell, self.nodes[node].node.generation);
        loop {
            let found = self.pool.index.look(&self.core.cells, node as u32)?;
            if self.core.reserve_on(&Candidate { pool: &self.pool, found }, 0) {
                return Some(Slot { cell, generation });
            }
        }
    }

    fn give(&self, slot: Slot) {
        self.core.release(self.core.cells.at(slot.cell), slot.cell, slot.generation);
    }

    /// Takes every slot, and has a find notice that: no bit is left set, up to that of the pool.
    fn exhaust(&self) -> Vec<Slot> {
        let slots = self.take_all();
        assert!(self.find().is_none());
        self.pool.index.mend_occupancy();
        slots
    }

    /// Takes every slot, one after the other, node by node.
    fn take_all(&self) -> Vec<Slot> {
        (0..self.nodes.len()).flat_map(|node| std::iter::from_fn(move || self.take_of(node))).collect()
    }
}

/// Has everything reclaimed before the model ends: what retires a cell pins, and cannot any more when loom takes down
/// what the threads keep for themselves. Other threads that have retired a cell flush before they end.
fn reclaim(done: impl Fn() -> bool) {
    for _ in 0..20 {
        crossbeam_epoch::pin().flush();
        if done() {
            return;
        }
        loom::thread::yield_now();
    }
    panic!("what was retired is not reclaimed");
}

/// The cell, which belongs to a place in an index, is vacated once, and given out once.
fn assert_vacated_once(core: &Core, cell: u32, generation: u32) {
    let now = || core.cells.at(cell).word().generation();
    reclaim(|| now() != generation);
    assert_eq!(now(), SlotWord::next_generation(generation), "the cell was vacated twice");
    assert_eq!([core.cells.take_this(cell), core.cells.take_this(cell)], [true, false], "it is not vacant");
}

/// When all threads are done: every member that can be selected is told, from its bit up to that of its pool; no
/// release was refused.
fn assert_told(core: &Core) {
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
