//! What selection sees while something else goes on.
//!
//! One thread selects and reserves, each operation timed by itself. Beside it another does one thing as fast as it can,
//! the storm; or it only counts, the calm: a busy core, too, which touches no memory. Storm and calm take turns of some
//! 100 ms, and what is compared is the median of the turns' quantiles, so that what else the machine does hits both
//! and does not decide.

use std::hint::black_box;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use slotyard::{NodeHandle, PreparedDemand, Scheduler};

use super::storms::{Drains, Expiries, Heartbeats, Registrations, Storm};
use crate::fleet;
use crate::harness::clock::Clock;
use crate::harness::crew::{Crew, Signal};
use crate::harness::latencies::{Latencies, QUANTILES, figures_of};
use crate::harness::{About, Bound, Figures, Suite};

/// p99.9 of selection while nodes register, over that of the calm.
const BUDGET: Bound = Bound::AtMost(2.0);
const BUDGETED: (&str, &str) = ("registrations", "p99.9");
const OPERATIONS: [&str; 2] = ["select", "reserve + release"];
/// Operations before a turn's times are taken: the other thread has to get going.
const UNTIMED: u32 = 1000;

/// How much is measured.
struct Extent {
    nodes: u32,
    turns: usize,
    time: Duration,
    /// Nodes that come in one turn, at most; and those with a pool of their own.
    arrivals: (u32, u32),
}

const BENCH: Extent =
    Extent { nodes: 100_000, turns: 12, time: Duration::from_millis(100), arrivals: (1 << 16, 4_000) };
const TEST: Extent = Extent { nodes: 1_000, turns: 2, time: Duration::from_millis(5), arrivals: (1_000, 100) };

pub(crate) fn measure(suite: &mut Suite) {
    let extent = if Suite::is_bench() { BENCH } else { TEST };
    let names = ["registrations", "registrations with a pool each", "heartbeats", "drains", "expiries"];
    if !names.iter().any(|name| suite.wants(&case(name))) {
        return;
    }
    let (scheduler, _) = fleet::scheduler(extent.nodes, 8);
    let mut handles: Vec<NodeHandle> = (0..extent.nodes).filter_map(|n| scheduler.handle(&fleet::node_id(n))).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut handles);
    let (same, others) = extent.arrivals;
    let (scheduler, handles) = (&scheduler, &handles[..]);
    let storms: [Box<dyn Storm + '_>; 5] = [
        Box::new(Registrations::of_the_same(scheduler, 10_000_000, same)),
        Box::new(Registrations::of_others(scheduler, 20_000_000, others)),
        Box::new(Heartbeats { scheduler, handles, next: 0 }),
        Box::new(Drains { scheduler, handles, next: 0 }),
        Box::new(Expiries::new(scheduler, handles)),
    ];
    let prepared = scheduler.prepare(&fleet::demand());
    for (name, storm) in names.into_iter().zip(storms) {
        if suite.wants(&case(name)) {
            weather(suite, &extent, name, storm, scheduler, &prepared);
        }
    }
}

fn case(name: &str) -> String {
    format!("while {name}")
}

/// Histograms of a kind of turn, those of each operation.
#[derive(Default)]
struct Turns([Vec<Latencies>; 2]);

/// What the two threads of a turn return.
enum Seen {
    Selecting([Latencies; 2]),
    /// Steps a second.
    Beside(f64),
}

fn weather(
    suite: &mut Suite,
    extent: &Extent,
    name: &str,
    storm: Box<dyn Storm + '_>,
    scheduler: &Scheduler,
    prepared: &PreparedDemand,
) {
    let clock = Clock::new();
    let (mut calm, mut stormy, mut rates) = (Turns::default(), Turns::default(), Vec::new());
    let storm = Mutex::new(storm);
    thread::scope(|scope| {
        let crew = Crew::new(scope, 2);
        for turn in 0..2 * extent.turns {
            // Neither is always the first of two.
            let blows = [true, false, false, true][turn % 4];
            if blows {
                storm.lock().expect("nobody has panicked").prepare();
            }
            let storm_of_turn = &storm;
            let seen = crew.turn(2, extent.time, move |member, signal| match member {
                0 => Seen::Selecting(select(scheduler, prepared, signal)),
                _ if blows => Seen::Beside(blow(&mut **storm_of_turn.lock().expect("nobody has panicked"), signal)),
                _ => Seen::Beside(count(signal)),
            });
            if blows {
                storm.lock().expect("nobody has panicked").clear_up();
            }
            for seen in seen {
                match seen {
                    Seen::Selecting(latencies) => {
                        let turns = if blows { &mut stormy } else { &mut calm };
                        turns.0.iter_mut().zip(latencies).for_each(|(all, one)| all.push(one));
                    }
                    Seen::Beside(rate) if blows => rates.push(rate),
                    Seen::Beside(_) => {}
                }
            }
        }
    });
    record(suite, name, clock, &stormy, &calm);
    if let Some(rate) = Figures::of(rates).filter(|_| Suite::is_bench()) {
        println!("{name}: {:.0} a second", rate.median);
    }
}

fn record(suite: &mut Suite, name: &str, clock: Clock, stormy: &Turns, calm: &Turns) {
    for (operation, (stormy, calm)) in OPERATIONS.into_iter().zip(stormy.0.iter().zip(&calm.0)) {
        for (quantile, share) in QUANTILES.into_iter().filter(|(quantile, _)| *quantile != "p99.99") {
            let (Some(ours), Some(floor)) = (figures_of(stormy, clock, share), figures_of(calm, clock, share)) else {
                continue;
            };
            let subject = format!("{operation}, {quantile}");
            let budget = ((name, quantile) == BUDGETED).then_some(BUDGET);
            let about = About { case: &case(name), subject: &subject, floor: "calm", budget };
            suite.record_ratio(about, "ns", ours, floor);
        }
    }
}

/// Selects and reserves, in turns, each timed.
fn select(scheduler: &Scheduler, prepared: &PreparedDemand, signal: &Signal) -> [Latencies; 2] {
    let select = || assert!(scheduler.select_prepared(prepared).is_ok(), "refused with slots free");
    let reserve = || assert!(scheduler.reserve_prepared(prepared).is_ok(), "refused with slots free");
    for _ in 0..UNTIMED {
        select();
        reserve();
    }
    let mut latencies = [Latencies::new(), Latencies::new()];
    while signal.is_on() {
        latencies[0].time(select);
        latencies[1].time(reserve);
    }
    latencies
}

/// The storm, until the turn ends; its steps a second.
fn blow(storm: &mut dyn Storm, signal: &Signal) -> f64 {
    let start = Instant::now();
    let mut steps = 0u32;
    while signal.is_on() {
        steps += 1;
        if !storm.step() {
            break;
        }
    }
    f64::from(steps) / start.elapsed().as_secs_f64()
}

/// The calm: a thread that runs and touches nothing.
fn count(signal: &Signal) -> f64 {
    let mut sum = 0u64;
    while signal.is_on() {
        for number in 0..1000u64 {
            sum = black_box(sum.wrapping_mul(number | 1).wrapping_add(1));
        }
    }
    sum as f64
}
