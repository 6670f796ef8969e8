//! How much more two and more threads get done than one.

use std::thread;
use std::time::{Duration, Instant};

use crate::floor::Floor;
use crate::harness::crew::{Crew, Signal};
use crate::harness::{About, Bound, Figures, Suite};
use crate::load::Fleet;

/// Throughput over that of one thread, by number of threads.
const BUDGETS: [(usize, Bound); 2] = [(2, Bound::AtLeast(1.6)), (16, Bound::AtLeast(12.0))];
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
}

pub(super) fn measure(suite: &mut Suite, case: &str, fleet: &Fleet, floor: &Floor) {
    let (rounds, time) =
        if Suite::is_bench() { (12, Duration::from_millis(50)) } else { (1, Duration::from_millis(2)) };
    let counts = super::counts(1);
    // By contender and number of threads.
    let mut done: Vec<[Vec<Done>; CONTENDERS]> = counts.iter().map(|_| Default::default()).collect();
    thread::scope(|scope| {
        let crew = Crew::new(scope, *counts.last().expect("one at least"));
        for round in 0..rounds {
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
    record(suite, case, &counts, &done);
}

fn record(suite: &mut Suite, case: &str, counts: &[usize], done: &[[Vec<Done>; CONTENDERS]]) {
    let figures = |place: usize, contender: usize, of: fn(&Done) -> f64| -> Figures {
        let turns: &Vec<Done> = &done[place][contender];
        Figures::of(turns.iter().map(of).collect()).expect("a turn at least")
    };
    for (place, threads) in counts.iter().enumerate() {
        let budget = BUDGETS.iter().find(|(count, _)| count == threads).map(|(_, budget)| *budget);
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
    /// Of what each has done, in millions of operations a second.
    pub(super) fn of(threads: &[f64]) -> Self {
        let least = threads.iter().copied().fold(f64::INFINITY, f64::min);
        let most = threads.iter().copied().fold(0.0, f64::max);
        Self { rate: threads.iter().sum(), fairness: least / most }
    }
}

/// The scheduler's reserve + release; millions of operations a second.
pub(super) fn ours(fleet: &Fleet, signal: &Signal) -> f64 {
    repeat(signal, || assert!(fleet.scheduler.reserve_prepared(&fleet.prepared).is_ok(), "refused with slots free"))
}

fn bare(floor: &Floor, signal: &Signal) -> f64 {
    let mut random = fastrand::Rng::new();
    repeat(signal, || floor.release(floor.reserve(&mut random).expect("slots are free")))
}

/// Until the turn ends; millions of operations a second.
fn repeat(signal: &Signal, mut operation: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut operations = 0;
    while signal.is_on() {
        (0..BATCH).for_each(|_| operation());
        operations += u64::from(BATCH);
    }
    operations as f64 / start.elapsed().as_secs_f64() / 1e6
}
