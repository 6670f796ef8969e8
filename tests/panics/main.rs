//! Code of the embedder's that panics in the middle of a call: policies and iterators. Afterwards nothing is held, nothing
//! is half made, nothing stays pinned, and no other thread has noticed. And receivers of events, which are not called but
//! can be dropped, full or forgotten at any time.
//!
//! A subscriber of `tracing` must not panic, see the limitations; what becomes of the maintenance thread when one does is in
//! `maintenance`.

#[path = "../common/mod.rs"]
mod common;

mod iterators;
mod policies;
mod receivers;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use common::*;
use slotyard::{Candidate, Choose, Drawing, NodeSpec, Policy, Scheduler, SchedulerBuilder};

/// What a test here panics with, so that another panic is not taken for it.
const WANTED: &str = "as the test wants";

/// Panics without a word to the panic hook: there are many.
fn panic_as_wanted() -> ! {
    resume_unwind(Box::new(WANTED))
}

/// Runs what is to panic with [`WANTED`], and looks whether it has left a pin.
fn panics<T>(call: impl FnOnce() -> T) {
    let outcome = catch_unwind(AssertUnwindSafe(|| drop(call())));
    let panic = outcome.expect_err("the call was to panic");
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    assert_eq!(text, Some(WANTED), "another panic");
    assert!(!crossbeam_epoch::is_pinned(), "a pin is left");
}

/// Where in a choice the policy panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Never = 0,
    BeforeDrawing,
    AfterOneDraw,
    AfterTheNextInTurn,
    /// With two candidates in hand, and the stream of random numbers in use.
    BetweenTwo,
    /// After more draws than there are nodes.
    AfterMany,
}

const POINTS: [Point; 5] =
    [Point::BeforeDrawing, Point::AfterOneDraw, Point::AfterTheNextInTurn, Point::BetweenTwo, Point::AfterMany];

/// Two choices, and a panic where and when it is told to.
#[derive(Debug, Default)]
struct Script {
    point: AtomicU32,
    /// The choice that panics, counted from now; later ones, too.
    from: AtomicU32,
    /// Choices so far.
    choices: AtomicU64,
}

impl Script {
    fn panic_at(&self, point: Point) {
        self.from.store(0, Ordering::Relaxed);
        self.point.store(point as u32, Ordering::Relaxed);
    }

    /// So many choices are still made.
    fn panic_after(&self, choices: u32, point: Point) {
        self.panic_at(point);
        self.from.store(choices, Ordering::Relaxed);
    }

    fn is_at(&self, point: Point) {
        if self.point.load(Ordering::Relaxed) == point as u32 {
            panic_as_wanted();
        }
    }
}

/// The policy of a test that keeps the script.
#[derive(Debug)]
struct Scripted(Arc<Script>);

impl Choose for Scripted {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let script = &self.0;
        script.choices.fetch_add(1, Ordering::Relaxed);
        let still = script.from.load(Ordering::Relaxed);
        if still > 0 {
            script.from.store(still - 1, Ordering::Relaxed);
            return drawing.draw();
        }
        script.is_at(Point::BeforeDrawing);
        // Where a demand may not fall back to other pools, or only some members will do, a draw may find nobody.
        let first = drawing.draw();
        script.is_at(Point::AfterOneDraw);
        let _ = drawing.next_in_turn();
        script.is_at(Point::AfterTheNextInTurn);
        let second = drawing.draw();
        drawing.below(7);
        script.is_at(Point::BetweenTwo);
        (0..100).for_each(|_| _ = drawing.draw());
        script.is_at(Point::AfterMany);
        match (first, second) {
            (Some(first), Some(second)) => Some(drawing.less_loaded(first, second)),
            (first, second) => first.or(second),
        }
    }
}

fn scripted(builder: SchedulerBuilder) -> (Scheduler, Arc<Script>) {
    let script = Arc::new(Script::default());
    (build(builder.policy(Policy::custom(Scripted(script.clone())))), script)
}

/// Nodes in two pools, two slots each; of one pool some members can do more.
fn populate(scheduler: &Scheduler) -> u32 {
    for n in 0..3 {
        add(scheduler, worker(format!("a{n}"), 2));
        add(
            scheduler,
            NodeSpec::new(format!("b{n}")).service("work").service("more").label("l", "1").capacity(2).ready(),
        );
    }
    12
}

/// Asserts that all slots are there, by taking and giving back every one.
fn assert_whole(scheduler: &Scheduler, slots: u32, name: &str) {
    let jobs = fill(scheduler, name, &work());
    assert_eq!(jobs.len() as u32, slots);
    jobs.iter().for_each(|job| complete(scheduler, job));
    let stats = scheduler.stats();
    assert_eq!((stats.counters.reserved, stats.counters.double_released), (stats.counters.released, 0));
    assert!(scheduler.nodes().iter().all(|node| node.in_flight == 0));
}
