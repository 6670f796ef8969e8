//! The slowest of a million: single operations under a mixed load, on all cores, with the maintenance thread at work.
//!
//! ```sh
//! cargo bench --bench tail                               # 60 s
//! SLOTYARD_BENCH_SECONDS=600 cargo bench --bench tail
//! ```
//!
//! Each thread mixes jobs, heartbeats, drains and registrations, and times every operation by itself. What it sees at
//! the far end is not all the library's: the operating system takes the core away now and then, the machine under it
//! does, too. So the same loop runs in turns with it, of some 100 ms, with the same draws, the same clock readings and
//! histograms, but operations that do nothing: *the machine*. They do nothing for as long as the real one takes at the
//! median, because an interruption hits a longer operation more often: beside one that takes no time at all, every
//! operation would look bad. That one is measured as well, and told as `the clock`: what all times have in them.

#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../harness/mod.rs"]
mod harness;
mod player;

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use slotyard::{NodeHandle, Scheduler};

use harness::clock::Clock;
use harness::crew::{Crew, Signal, cores};
use harness::latencies::{Latencies, QUANTILES};
use harness::{About, Suite};
use player::{KINDS, Player, Times};

/// How long, in seconds, unless the environment variable says otherwise.
const SECONDS: f64 = 60.0;
const VARIABLE: &str = "SLOTYARD_BENCH_SECONDS";
/// What a loop with operations that do nothing is called.
const MACHINE: &str = "the machine";
/// Of a node.
const SLOTS: u32 = 8;

/// What the threads do in a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Library,
    Machine,
    Clock,
}

/// The turns that follow one another, with their lengths in ms. Those of the library and of the machine are equally
/// long, since the longest of a longer time is longer.
const TURNS: [(Turn, u64); 3] = [(Turn::Library, 100), (Turn::Machine, 100), (Turn::Clock, 20)];

fn main() {
    let mut suite = Suite::new("tail");
    let nodes = if Suite::is_bench() { 10_000 } else { 200 };
    let case = format!("{nodes} nodes, half of the slots held, {} threads", cores());
    if suite.wants(&case) {
        let (scheduler, handles) = fleet(nodes);
        let [library, machine, clock] = play(&scheduler, &handles, time());
        record(&mut suite, &case, &library, &machine, &clock);
    }
    suite.finish();
}

/// With a time in the environment, as a test, too.
fn time() -> Duration {
    let set = std::env::var(VARIABLE).ok();
    let set = set.map(|text| text.parse::<f64>().unwrap_or_else(|error| panic!("{VARIABLE}={text}: {error}")));
    Duration::from_secs_f64(set.unwrap_or(if Suite::is_bench() { SECONDS } else { 0.3 }))
}

/// As in production, time passes in a thread of the library's own. Nodes are silent for longer than a heartbeat each
/// takes on a slow machine, and are not to go.
fn fleet(nodes: u32) -> (Scheduler, Vec<NodeHandle>) {
    let builder = Scheduler::builder().seed(1).heartbeat_timeout(Duration::from_secs(24 * 3600));
    let scheduler = builder.build().expect("the configuration is valid");
    fleet::register(&scheduler, 0..nodes, SLOTS);
    let handles = (0..nodes).filter_map(|number| scheduler.handle(&fleet::node_id(number))).collect();
    (scheduler, handles)
}

/// What was seen in the turns of each kind, all threads and turns together.
fn play(scheduler: &Scheduler, handles: &[NodeHandle], time: Duration) -> [Times; 3] {
    let jobs = handles.len() * SLOTS as usize / 2 / cores();
    let players: Vec<_> =
        (0..cores()).map(|number| Mutex::new(Player::new(scheduler, handles, number, jobs))).collect();
    let mut seen = [(); 3].map(|()| Times::default());
    // How long each kind takes, without what the clock takes; the machine's turn does nothing for so long.
    let (mut waits, cost) = ([0; KINDS], Clock::cost());
    thread::scope(|scope| {
        let crew = Crew::new(scope, cores());
        let players = &players;
        let player = move |member: usize| players[member].lock().expect("nobody has panicked");
        crew.turn(cores(), time, move |member, _| player(member).fill());
        let start = Instant::now();
        while start.elapsed() < time {
            for (turn, millis) in TURNS {
                let length = (time / 8).min(Duration::from_millis(millis));
                let times = crew.turn(cores(), length, move |member, signal: &Signal| match turn {
                    Turn::Library => player(member).play(signal),
                    Turn::Machine => player(member).idle(signal, &waits),
                    Turn::Clock => player(member).idle(signal, &[0; KINDS]),
                });
                let mut together = Times::default();
                times.iter().for_each(|of_one| together.absorb(of_one));
                if turn == Turn::Library {
                    for (wait, median) in waits.iter_mut().zip(together.medians()) {
                        *wait = median.map_or(*wait, |ticks| ticks.saturating_sub(cost));
                    }
                }
                seen[turn as usize].absorb(&together);
            }
        }
    });
    seen
}

fn record(suite: &mut Suite, case: &str, library: &Times, machine: &Times, clock: &Times) {
    let unit = Clock::new();
    let mut all = Latencies::new();
    clock.each().for_each(|(_, latencies)| all.absorb(latencies));
    for ((kind, ours), (_, floor)) in library.each().zip(machine.each()) {
        if Suite::is_bench() {
            println!("{}", line(kind, ours, unit));
        }
        for (quantile, share) in QUANTILES {
            let subject = format!("{kind}, {quantile}");
            let about = About { case, subject: &subject, floor: MACHINE, budget: None };
            suite.record_ratio(about, "ns", ours.figures(unit, share), floor.figures(unit, share));
        }
    }
    if Suite::is_bench() {
        println!("{}", line("the clock", &all, unit));
    }
}

fn line(name: &str, latencies: &Latencies, clock: Clock) -> String {
    let figures = QUANTILES.map(|(quantile, share)| {
        let nanos = latencies.figures(clock, share).median;
        format!("{quantile} {:>10.2} us", nanos / 1e3)
    });
    format!("{name:<12} {}   of {}", figures.join("  "), latencies.len())
}
