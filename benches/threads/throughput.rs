//! How much more two and more threads get done than one.
//!
//! Only turns count in which every thread had a core for itself, as the system tells: where other programs run, two
//! threads often share one core, and what they get done then says nothing of what they do to one another.

use std::thread;
use std::time::{Duration, Instant};

use crate::floor::Floor;
use crate::harness::crew::{Crew, Signal, waited};
use crate::harness::{About, Bound, Figures, Suite};
use crate::load::Fleet;

/// Throughput over that of one thread, by number of threads.
const BUDGETS: [(usize, Bound); 2] = [(2, Bound::AtLeast(1.6)), (16, Bound::AtLeast(12.0))];
/// Turns wanted of each number of threads and contender, and the most that are taken to get them.
const TURNS: [usize; 2] = [8, 80];
/// Long beside the ticks after which threads that begin to be busy have homes, two at most.
const TURN: Duration = Duration::from_millis(200);
/// The share of a turn for which a thread may have waited for a core.
const DISTURBED: f64 = 0.02;
/// Operations between two looks at the signal.
const BATCH: u32 = 32;
/// The scheduler, and the floor.
const CONTENDERS: usize = 2;

/// What the threads did in a turn.
pub(super) struct Done {
    /// Millions of operations a second, all threads together.
    pub(super) rate: f64,
    /// The least that one did over the most that another did.
    fairness: f64,
    /// Whether each had a core for itself.
    undisturbed: bool,
}

/// What one of them did.
pub(super) struct Part {
    rate: f64,
    undisturbed: bool,
}

pub(super) fn measure(suite: &mut Suite, case: &str, fleet: &Fleet, floor: &Floor, budgeted: bool) {
    let ([wanted, most], time) = if Suite::is_bench() { (TURNS, TURN) } else { ([1, 1], Duration::from_millis(2)) };
    let counts = super::counts(1);
    // By contender and number of threads.
    let mut done: Vec<[Vec<Done>; CONTENDERS]> = counts.iter().map(|_| Default::default()).collect();
    thread::scope(|scope| {
        let crew = Crew::new(scope, *counts.last().expect("one at least"));
        for round in 0..most {
            if done.iter().flatten().all(|turns| undisturbed(turns) >= wanted) {
                break;
            }
            // Each is first, and last, as often as any other.
            let mut order: Vec<usize> = (0..counts.len() * CONTENDERS).collect();
            order.rotate_left(round % (counts.len() * CONTENDERS));
            for turn in order {
                let (place, contender) = (turn / CONTENDERS, turn % CONTENDERS);
                let work = move |_, signal: &Signal| {
                    if contender == 0 { ours(fleet, signal) } else { bare(floor, signal) }
                };
                done[place][contender].push(Done::of(&crew.turn(counts[place], time, work)));
            }
        }
    });
    warn(case, done.iter().flatten());
    record(suite, case, &counts, &done, budgeted);
}

fn undisturbed(turns: &[Done]) -> usize {
    turns.iter().filter(|turn| turn.undisturbed).count()
}

/// Of the turns that count; of all if hardly any does.
pub(super) fn figures(turns: &[Done], of: fn(&Done) -> f64) -> Figures {
    let all = too_disturbed(turns);
    Figures::of(turns.iter().filter(|turn| all || turn.undisturbed).map(of).collect()).expect("a turn at least")
}

fn too_disturbed(turns: &[Done]) -> bool {
    undisturbed(turns) < TURNS[0] / 2
}

/// Says so where the figures are those of disturbed turns.
pub(super) fn warn<'d>(case: &str, kinds: impl IntoIterator<Item = &'d Vec<Done>>) {
    let disturbed = kinds.into_iter().filter(|turns| too_disturbed(turns)).count();
    if disturbed > 0 && Suite::is_bench() {
        println!("{case}: of {disturbed} kinds of turns hardly any had its cores for itself; the machine is too busy");
    }
}

fn record(suite: &mut Suite, case: &str, counts: &[usize], done: &[[Vec<Done>; CONTENDERS]], budgeted: bool) {
    let figures = |place: usize, contender: usize, of| figures(&done[place][contender], of);
    for (place, threads) in counts.iter().enumerate() {
        let budget = BUDGETS.iter().find(|(count, _)| budgeted && count == threads).map(|(_, budget)| *budget);
        let mut row = |subject: &str, floor, unit, budget, ours, base| {
            let subject = format!("{threads} threads, {subject}");
            suite.record_ratio(About { case, subject: &subject, floor, budget }, unit, ours, base);
        };
        let [ours, bare] = [0, 1].map(|contender| figures(place, contender, |done| done.rate));
        row("together", "floor", "M/s", None, ours, bare);
        if *threads > 1 {
            let [ours_alone, bare_alone] = [0, 1].map(|contender| figures(0, contender, |done| done.rate));
            row("scaling", "1 thread", "M/s", budget, ours, ours_alone);
            row("scaling of the floor", "1 thread", "M/s", None, bare, bare_alone);
            let [ours, bare] = [0, 1].map(|contender| figures(place, contender, |done| done.fairness));
            row("least / most of one", "floor", "of 1", None, ours, bare);
        }
    }
}

impl Done {
    pub(super) fn of(threads: &[Part]) -> Self {
        let rates = || threads.iter().map(|part| part.rate);
        let (least, most) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        let undisturbed = threads.iter().all(|part| part.undisturbed);
        Self { rate: rates().sum(), fairness: least / most, undisturbed }
    }
}

/// The scheduler's reserve + release.
pub(super) fn ours(fleet: &Fleet, signal: &Signal) -> Part {
    repeat(signal, || assert!(fleet.scheduler.reserve_prepared(&fleet.prepared).is_ok(), "refused with slots free"))
}

fn bare(floor: &Floor, signal: &Signal) -> Part {
    let mut random = fastrand::Rng::new();
    repeat(signal, || floor.release(floor.reserve(&mut random).expect("slots are free")))
}

/// Until the turn ends.
fn repeat(signal: &Signal, mut operation: impl FnMut()) -> Part {
    let (start, waited_before) = (Instant::now(), waited());
    let mut operations = 0;
    while signal.is_on() {
        (0..BATCH).for_each(|_| operation());
        operations += u64::from(BATCH);
    }
    let time = start.elapsed();
    let undisturbed = (waited() - waited_before).as_secs_f64() <= DISTURBED * time.as_secs_f64();
    Part { rate: operations as f64 / time.as_secs_f64() / 1e6, undisturbed }
}
