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
mod finished;
mod fleet;
mod growth;
mod heartbeat;
mod lease;
mod moving;
mod observed;
mod one_end;
mod one_job;
mod publication;
mod replacement;
mod requests;
mod roll;
mod routes;
mod session;
mod short_way;
mod slot_word;
mod stale_bits;
mod stale_handles;
mod wheel;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use super::Core;
use crate::node::word::SlotWord;
use crate::{Capabilities, NodeSpec, SchedulerBuilder, Service};
use fleet::{Fleet, Slot, add_node, asr, assert_told, scheduler, unpinned};

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
