//! The scenarios of `loom-tests/` at a size that loom cannot explore: four to six threads, several nodes, pools and jobs,
//! a few dozen calls. Shuttle runs them in an order that it draws, again and again.
//!
//! ```console
//! cargo xtask test --only shuttle
//! ```
//!
//! # What it shows, and what it does not
//! Shuttle interleaves at each atomic access and each lock, and every access sees the latest value: it explores what is
//! sequentially consistent, and nothing that comes of a weaker ordering (a fence does nothing here). So whether an
//! ordering is strong enough is loom's business, and whether a protocol holds when more is going on at once is shuttle's. It
//! draws, where loom goes through all there is: that a scenario passes says that so many draws have shown nothing.
//!
//! Under `--cfg slotyard_shuttle`, `src/sync.rs` gives the crate shuttle's atomics, locks and threads, with the stand-ins and
//! the small sizes of loom's models. Beyond those, each thread has its own stripes, desk, random stream and participant in
//! the epoch, so cells, places and records are used again while others are pinned, as they are in what ships. What ends a
//! pin, and what is reclaimed then, is the real epoch's; only, a pin is one step here. What is retired is run by whoever
//! pins, as shipped; that may be a thread that is in the middle of a call.
//!
//! # Schedulers
//! Each scenario runs under both:
//! - random: at each step any thread, alike. Many short turns;
//! - PCT (Burckhardt et al., ASPLOS 2010): threads have priorities, which change at a few random steps. Long turns, with
//!   one thread kept waiting at an awkward place.
//!
//! The seed is the same in every run, so that a change of the code is what a failure comes from. For others:
//!
//! | variable | |
//! |---|---|
//! | `SLOTYARD_SHUTTLE_ITERATIONS=100000` | so many iterations of each scenario, under each scheduler |
//! | `SLOTYARD_SHUTTLE_SEED=8`, `=fresh` | another seed; one that is drawn, and said |
//! | `SLOTYARD_SHUTTLE_REPLAY=91...` | this schedule, once, as a failure has printed it; name the scenario, too |
//!
//! # When one fails
//! The program ends at the first failed assertion: the schedule is printed, and which scenario it was.
//!
//! ```console
//! SLOTYARD_SHUTTLE_REPLAY=91... RUSTFLAGS="--cfg slotyard_shuttle" \
//!     cargo test --release --lib --target-dir target/shuttle shuttle_tests::one_job -- --nocapture
//! ```

mod availability;
mod ends;
mod everything;
mod finished;
#[path = "../loom-tests/fleet.rs"]
mod fleet;
mod one_job;
mod replacement;
mod requests;
mod rolls;
mod sessions;
mod slot_word;
mod storms;
mod wheel;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use shuttle::rand::Rng as _;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use super::Core;
use crate::node::NodeHandle;
use crate::pool::PoolKind;
use crate::sync::{execution, pin};
use crate::{Demand, JobRequest, NodeSpec, Service};
use fleet::{add_node, asr, assert_told, scheduler};

/// Steps at which PCT may change priorities, and one.
const DEPTH: usize = 5;
/// More than any execution takes: the limit is there to find loops that do not end.
const MOST_STEPS: usize = 2_000_000;

/// What became of executions, so that a scenario can be seen to have come to what it is about.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<BTreeSet<&'static str>>>);

impl Seen {
    fn note(&self, outcome: &'static str) {
        self.0.lock().unwrap().insert(outcome);
    }
}

std::thread_local! {
    /// The scheduler, and the iterations that have begun. All of a scenario is run by one thread of the system.
    static UNDER_WAY: Cell<(&'static str, usize)> = const { Cell::new(("", 0)) };
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("SLOTYARD_SHUTTLE_{name}")).ok()
}

fn seed() -> u64 {
    match variable("SEED").as_deref() {
        None => 7,
        Some("fresh") => fastrand::u64(..),
        Some(number) => number.parse().expect("SLOTYARD_SHUTTLE_SEED is a number, or `fresh`"),
    }
}

/// Runs the scenario so many times under each scheduler, if it is not said otherwise. Every one of `outcomes` must have been
/// noted in some execution.
fn explore(iterations: usize, outcomes: &[&'static str], scenario: impl Fn(&Seen) + Send + Sync + 'static) {
    static HOOK: Once = Once::new();
    // Before shuttle's, which prints the schedule and then calls this one.
    HOOK.call_once(|| std::panic::set_hook(Box::new(give_up)));
    let number = |text: String| text.parse().expect("SLOTYARD_SHUTTLE_ITERATIONS is a number");
    let (iterations, seed) = (variable("ITERATIONS").map_or(iterations, number), seed());
    let (seen, scenario) = (Seen::default(), Arc::new(scenario));
    let run = |scheduler: &'static str, runner: &dyn Fn(Box<dyn Fn() + Send + Sync>) -> usize| {
        let (begin, noted, scenario) = (Instant::now(), seen.clone(), scenario.clone());
        UNDER_WAY.set((scheduler, 0));
        let runs = runner(Box::new(move || {
            UNDER_WAY.set((UNDER_WAY.get().0, UNDER_WAY.get().1 + 1));
            execution::run(|| scenario(&noted));
        }));
        eprintln!("{}: {scheduler}, seed {seed}, {runs} iterations in {:.1?}", this_scenario(), begin.elapsed());
    };
    if let Some(schedule) = variable("REPLAY") {
        return run("replayed", &|model| under(ReplayScheduler::new_from_encoded(&schedule), model));
    }
    run("random", &|model| under(RandomScheduler::new_from_seed(seed, iterations), model));
    run("PCT", &|model| under(PctScheduler::new_from_seed(seed, DEPTH, iterations), model));
    let seen = seen.0.lock().unwrap();
    for outcome in outcomes {
        assert!(seen.contains(outcome), "no execution in which {outcome}; there were: {seen:?}");
    }
}

fn under(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    // That orderings are not explored.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(model)
}

fn this_scenario() -> String {
    std::thread::current().name().unwrap_or("a scenario").to_owned()
}

/// Ends the program: what unwinds would touch atomics of an execution that has ended, and hide the cause.
fn give_up(panic: &PanicHookInfo<'_>) {
    // Not by `eprintln`: the test harness keeps that to itself until the test ends, which it will not.
    let (scheduler, iteration) = UNDER_WAY.get();
    let _ = writeln!(std::io::stderr(), "\n{} failed, {scheduler}, iteration {iteration}: {panic}", this_scenario());
    std::process::exit(101);
}

/// A number of the range, drawn with the schedule.
fn draw(range: Range<usize>) -> usize {
    shuttle::rand::thread_rng().gen_range(range)
}

/// Runs `act` in so many threads at once, each with its number; what each has returned.
fn together<W, T>(world: &Arc<W>, threads: usize, act: impl Fn(&Arc<W>, usize) -> T + Send + Sync + 'static) -> Vec<T>
where
    W: Send + Sync + 'static,
    T: Send + 'static,
{
    let act = Arc::new(act);
    let begin = |number| {
        let (world, act) = (world.clone(), act.clone());
        shuttle::thread::spawn(move || {
            // First of all that this thread has for itself, so that it goes first: what is reclaimed with it needs the rest.
            drop(pin());
            act(&world, number)
        })
    };
    let threads: Vec<_> = (0..threads).map(begin).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn demand() -> Demand {
    Demand::new().service(Service::ASR)
}

fn request(id: &str) -> JobRequest {
    JobRequest::new(id, demand())
}

/// A node that is ready and can do `asr`.
fn spec(id: &str, capacity: u32) -> NodeSpec {
    NodeSpec::new(id).capacity(capacity).capabilities(asr()).ready()
}

/// When all threads are done, and all jobs have ended: no slot is held, and each was released once; every member that
/// can be selected is told; nodes, pools and tallies are of one mind; jobs are counted, and all can be forgotten.
fn assert_settled(core: &Core) {
    assert_told(core);
    for cell in (0..core.cells.high_water()).filter_map(|cell| core.cells.get(cell)) {
        assert_eq!(cell.word().in_flight(), 0, "a slot is still held: {:?}", cell.word());
    }
    let stats = core.stats();
    assert_eq!(stats.counters.reserved, stats.counters.released, "slots were taken and not given back, or the reverse");
    assert_tallied(core);
    assert_eq!(stats.now.jobs, stats.now.finished_jobs, "a job has not ended");
    core.jobs.forget_until(Some(u64::MAX), core.threads.ordinal(), &pin());
    let now = core.stats().now;
    assert_eq!((now.jobs, now.finished_jobs), (0, 0), "a job that has ended is not forgotten");
}

/// What is known of nodes and pools in several places is the same in all of them.
fn assert_tallied(core: &Core) {
    let nodes = core.nodes();
    assert_eq!(core.stats().now.nodes, nodes.len());
    let pin = pin();
    for pool in core.snapshot(&pin).table().iter() {
        let members: Vec<_> = (0..pool.index.high_water()).filter_map(|at| pool.index.member(at)).collect();
        let sits = |node: &&crate::NodeView| node.pools.iter().any(|name| **name == *pool.name);
        let seated: Vec<_> = nodes.iter().filter(sits).collect();
        assert_eq!(members.len(), seated.len(), "members of {}: {members:?}, {seated:?}", pool.name);
        assert_eq!(pool.members(), members.len() as u64, "{} is off", pool.name);
        let capacity: u64 = seated.iter().map(|node| u64::from(node.capacity)).sum();
        assert_eq!(pool.tally.capacity(), capacity, "{} is off", pool.name);
        for state in crate::NodeState::ALL {
            let count = seated.iter().filter(|node| node.state == state).count();
            assert_eq!(pool.tally.count(state), count as u64, "{} is off in {state}", pool.name);
        }
        assert!(pool.kind != PoolKind::Automatic || !members.is_empty(), "{} is empty and still there", pool.name);
    }
}

/// Ends whatever has not ended, and takes all nodes away.
fn end_all<'a>(core: &Core, ids: impl IntoIterator<Item = &'a str>) {
    for id in ids {
        if let Some(view) = core.job_by_request(id) {
            // It may have ended.
            let _ = core.end(view.id, view.attempt, crate::job::End::Cancelled, &pin());
        }
    }
}

/// Some handle that is registered under this id now.
fn handle(core: &Core, id: &str) -> Option<NodeHandle> {
    core.handle(id)
}
