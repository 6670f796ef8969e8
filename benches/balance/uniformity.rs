//! Whether every free node is as likely to be drawn as any other.
//!
//! Nodes of one slot, some of which are free, in a random pattern; nodes are selected at random many times, without
//! being reserved. The floor is a fair draw among the same nodes, as often: how far that is off is chance.
//!
//! `Index::draw` says of itself: uniform while most are free; else a node in a word of the index with few free ones is
//! likelier than one in a word with many, by the ratio of the words' counts.

use slotyard::{Policy, Scheduler};

use crate::fleet;
use crate::harness::{About, Figures, Suite};

/// Nodes, and how often each of them is drawn on average.
const SIZES: [(u32, u32); 2] = [(1_000, 5_000), (100_000, 100)];
/// Percent of the nodes.
const FREE: [u32; 4] = [100, 50, 10, 1];
/// The fewer are free, the more often each is drawn; but not in all.
const MOST_DRAWS: u32 = 10_000_000;

pub(crate) fn measure(suite: &mut Suite) {
    let sizes = if Suite::is_bench() { &SIZES[..] } else { &[(200, 10)][..] };
    for (nodes, each) in sizes {
        for percent in FREE {
            let case = format!("draws of {nodes} nodes, {percent} % free");
            if suite.wants(&case) {
                compare(suite, &case, *nodes, (nodes * percent / 100).max(1), *each);
            }
        }
    }
}

fn compare(suite: &mut Suite, case: &str, nodes: u32, free: u32, each: u32) {
    let builder = Scheduler::builder().seed(1).manual_maintenance().policy(Policy::random());
    let scheduler = builder.build().expect("the configuration is valid");
    fleet::register(&scheduler, 0..nodes, 1);
    let prepared = scheduler.prepare(&fleet::demand());
    let mut held: Vec<_> = (0..nodes).map(|_| scheduler.reserve_prepared(&prepared).expect("one is free")).collect();
    let mut random = fastrand::Rng::with_seed(1);
    random.shuffle(&mut held);
    let mut places = vec![usize::MAX; nodes as usize];
    for (place, reservation) in held.drain(..free as usize).enumerate() {
        places[fleet::number_of(&reservation.node_id()) as usize] = place;
    }

    let draws = (u64::from(free) * u64::from(each)).clamp(u64::from(MOST_DRAWS) / 10, u64::from(MOST_DRAWS));
    let draws = if Suite::is_bench() { draws } else { 100 };
    let (mut ours, mut fair) = (vec![0u32; free as usize], vec![0u32; free as usize]);
    for _ in 0..draws {
        let selected = scheduler.select_prepared(&prepared).expect("some are free");
        ours[places[fleet::number_of(selected.node_id()) as usize]] += 1;
        fair[random.usize(..free as usize)] += 1;
    }
    if free > 1 {
        let mut row = |subject, unit, of: fn(&[u32]) -> f64| {
            let about = About { case, subject, floor: "fair draw", budget: None };
            suite.record_ratio(about, unit, Figures::once(of(&ours)), Figures::once(of(&fair)));
        };
        row("chi-square / freedom", "times", |counts| chi_square(counts) / (counts.len() - 1) as f64);
        row("most drawn / mean", "times", |counts| counts.iter().copied().max().map_or(0.0, f64::from) / mean(counts));
        if Suite::is_bench() {
            let least = ours.iter().copied().min().map_or(0.0, f64::from) / mean(&ours);
            println!("{case}: off by {:.1} % beyond chance, the least drawn has {least:.2} of the mean", bias(&ours));
        }
    }
}

fn mean(counts: &[u32]) -> f64 {
    counts.iter().map(|count| f64::from(*count)).sum::<f64>() / counts.len() as f64
}

fn chi_square(counts: &[u32]) -> f64 {
    let mean = mean(counts);
    counts.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum()
}

/// How far the likelihoods are off the mean, in percent (standard deviation), when what chance alone does is taken off.
fn bias(counts: &[u32]) -> f64 {
    let by_chance = (counts.len() - 1) as f64;
    ((chi_square(counts) - by_chance).max(0.0) / by_chance / mean(counts)).sqrt() * 100.0
}
