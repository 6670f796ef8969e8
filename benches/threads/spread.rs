//! How evenly the nodes are loaded that several threads have chosen, beside those that one thread has from among all.
//!
//! Half of the slots are held. Every thread holds some of them, and again and again gives a random one of its own back
//! and takes another, until all have been taken anew several times: then what is held where is a matter of the choices
//! and not of how it began. With a busy and an idle thread one has a tenth of the jobs of each other, and takes ten
//! times as long for each, as a gateway has whose clients are few.

use std::thread;
use std::time::Duration;

use slotyard::Reservation;

use crate::fleet;
use crate::harness::clock::Clock;
use crate::harness::crew::Crew;
use crate::harness::{About, Bound, Figures, Suite};
use crate::load::Fleet;

/// Max / mean and standard deviation, over those of one thread.
const BUDGET: Bound = Bound::AtMost(1.1);
/// How often a held slot is given back and another taken.
const TURNOVER: usize = 5;
/// What the idle thread has of what each other has, and how much slower it is.
const IDLE: usize = 10;
/// A turn takes as long as it takes.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// Jobs in flight over the nodes.
struct Spread {
    /// Of the fullest node, over the mean.
    max: f64,
    deviation: f64,
}

/// `alone` is a fleet like this one, whose scheduler has no homes: so one thread draws from all nodes, whatever other
/// threads did before.
pub(super) fn measure(suite: &mut Suite, fleet_of: &str, fleet: &Fleet, alone: &Fleet, budgeted: bool) {
    let rounds = if Suite::is_bench() { 7 } else { 1 };
    let counts = super::counts(2);
    // What the others are held against; then one thread, after others; then each count: busy alike, and unevenly.
    let mut cases = vec![(alone, 1, false), (fleet, 1, false)];
    cases.extend(counts[1..].iter().flat_map(|count| [(fleet, *count, false), (fleet, *count, true)]));
    let mut spreads: Vec<Vec<Spread>> = cases.iter().map(|_| Vec::new()).collect();
    thread::scope(|scope| {
        let crew = Crew::new(scope, *counts.last().expect("one at least"));
        for _ in 0..rounds {
            for ((fleet, threads, uneven), spreads) in cases.iter().zip(&mut spreads) {
                spreads.push(hold(&crew, fleet, *threads, *uneven));
            }
        }
    });
    let figures = |of_all: Vec<f64>| Figures::of(of_all).expect("a round at least");
    // The fullest node has whole jobs, one more of which is a seventh: what says how full it is are all rounds together.
    let mean = |of_all: Vec<f64>| figures(vec![of_all.iter().sum::<f64>() / of_all.len() as f64]);
    for ((_, threads, uneven), spreads_of_many) in cases.iter().zip(&spreads).skip(1) {
        let how = if *uneven { ", one nearly idle" } else { "" };
        let maxima = |spreads: &[Spread]| mean(spreads.iter().map(|spread| spread.max).collect());
        let deviations = |spreads: &[Spread]| figures(spreads.iter().map(|spread| spread.deviation).collect());
        for (name, unit, of) in [
            ("max / mean, mean of all rounds", "times", &maxima as &dyn Fn(&[Spread]) -> Figures),
            ("deviation", "jobs", &deviations),
        ] {
            let subject = format!("{threads} threads{how}, {name}");
            let case = format!("{fleet_of}, 50 % held");
            let budget = budgeted.then_some(BUDGET);
            let about = About { case: &case, subject: &subject, floor: "1 thread without homes", budget };
            suite.record_ratio(about, unit, of(spreads_of_many), of(&spreads[0]));
        }
    }
}

fn hold<'f>(crew: &Crew<'f>, fleet: &'f Fleet, threads: usize, uneven: bool) -> Spread {
    let parts = if uneven { IDLE * (threads - 1) + 1 } else { threads };
    let half = fleet.slots() / 2;
    let held = crew.turn(threads, FOR_EVER, move |member, _| {
        let idle = uneven && member == 0;
        let part = if uneven && !idle { IDLE } else { 1 };
        churn(fleet, half * part / parts, idle)
    });
    let mut jobs = vec![0u32; fleet.nodes as usize];
    for reservation in held.iter().flatten() {
        jobs[fleet::number_of(&reservation.node_id()) as usize] += 1;
    }
    Spread::of(&jobs)
}

/// Holds so many slots, and takes each of them anew, several times over.
fn churn(fleet: &Fleet, slots: usize, idle: bool) -> Vec<Reservation<'_>> {
    let take = || fleet.scheduler.reserve_prepared(&fleet.prepared).expect("half of the slots are free");
    let mut random = fastrand::Rng::new();
    let mut held = Vec::with_capacity(slots);
    for step in 0..slots * (TURNOVER + 1) {
        let ((), ticks) = Clock::time(|| {
            if step >= slots {
                drop(held.swap_remove(random.usize(..slots)));
            }
            held.push(take());
        });
        if idle {
            Clock::wait(ticks * (IDLE as u64 - 1));
        }
    }
    held
}

impl Spread {
    fn of(jobs: &[u32]) -> Self {
        let nodes = jobs.len() as f64;
        let mean = jobs.iter().sum::<u32>() as f64 / nodes;
        let max = jobs.iter().max().copied().unwrap_or(0);
        let variance = jobs.iter().map(|jobs| (f64::from(*jobs) - mean).powi(2)).sum::<f64>() / nodes;
        Self { max: f64::from(max) / mean, deviation: variance.sqrt() }
    }
}
