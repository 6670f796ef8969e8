//! Jobs created through Redis, beside the flow with a lock that it takes the place of, and beside what a round trip costs at
//! least.
//!
//! ```sh
//! cargo bench --features redis --bench shared
//! cargo bench --features redis --bench shared -- "shared/local, 64 callers"
//! cargo bench --features redis --bench shared -- --quick      # fewer and shorter turns
//! ```
//!
//! A server of its own on this machine, an instance, and callers that are tasks of a runtime, as in a gateway: each does
//! the same again and again, and waits for the answer. All contenders take turns of some 100 ms. New jobs are completed, and the
//! lock flow's slots given back, between turns.
//!
//! Under `tried` are the steps of a create by themselves, and other ways to create: see the module.
//!
//! Distances are what the way to the server and back takes, by a proxy that delays: what it does to a PING is told beside
//! what it should. The server's time is told in two ways: in commands, as the server counts it, without reading requests and
//! writing answers; and what its main thread has used of its processor, which is all of it. Its statistics are reset before a
//! turn and read after it. Of this process, callers and instance together, what its threads have used of the processors.
//!
//! Where client and server share few cores, what many callers get is bounded by all of them together, not by the server.

mod contenders;
#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../harness/mod.rs"]
mod harness;
mod lock_flow;
mod stage;
mod tried;

use std::time::Duration;

use contenders::{Contender, Existing, New, Old, Plain};
use harness::{About, Bound, Figures, Suite};
use stage::{Stage, Turn};
use tried::{STEPS, Tried, WAYS};

/// What the way to the server and back takes beside what it takes anyhow.
const DISTANCES: [(&str, Duration); 3] =
    [("local", Duration::ZERO), ("1 ms away", Duration::from_millis(1)), ("5 ms away", Duration::from_millis(5))];
const CALLERS: [usize; 3] = [1, 16, 64];
const NODES: u32 = 1_000;
/// How many try other ways.
const TRIED_BY: usize = 16;
/// Of a node: all jobs of a turn fit.
const SLOTS: u32 = 16;

/// How often the lock flow's creates a second, by callers.
const FASTER: [(usize, Bound); 2] = [(1, Bound::AtLeast(4.5)), (64, Bound::AtLeast(2.3))];
/// Of the server, in commands, for each create, in us.
const SERVER_TIME: f64 = 8.0;
const ROUND_TRIPS: f64 = 1.0;

/// What one create has of a turn.
type Share = fn(&Turn) -> f64;

/// Who takes turns, in this order.
const CONTENDERS: [&str; 6] = ["create_job", "lock flow", "PING", "SET NX PX", "empty script", "create_job, existing"];
const NEW: usize = 0;
const OLD: usize = 1;
const PING: usize = 2;
const SET: usize = 3;
const SCRIPT: usize = 4;
const EXISTING: usize = 5;

fn main() {
    let mut suite = Suite::new("shared");
    let quick = std::env::args().any(|argument| argument == "--quick");
    for (distance, away) in DISTANCES {
        for callers in CALLERS {
            let case = format!("{distance}, {callers} {}", if callers == 1 { "caller" } else { "callers" });
            if suite.wants(&case) {
                let done = play(away, callers, how_many(quick, away));
                record(&mut suite, &case, away, callers, &done);
            }
        }
    }
    let case = format!("tried, {TRIED_BY} callers");
    if suite.wants(&case) {
        let done = try_others(how_many(quick, Duration::ZERO));
        record_tried(&mut suite, &case, &done);
    }
    suite.finish();
}

/// How many turns, and how long.
fn how_many(quick: bool, away: Duration) -> (usize, Duration) {
    match (Suite::is_bench(), quick) {
        (false, _) => (1, Duration::from_millis(5)),
        (true, true) => (3, Duration::from_millis(if away.is_zero() { 50 } else { 100 })),
        (true, false) => (12, Duration::from_millis(if away.is_zero() { 100 } else { 200 })),
    }
}

/// Lets those of these benches take turns on a server of their own.
fn play(away: Duration, callers: usize, turns: (usize, Duration)) -> Vec<Vec<Turn>> {
    let nodes = if Suite::is_bench() { NODES } else { 100 };
    let stage = &Stage::new(away, nodes, SLOTS);
    let contenders: [Box<dyn Contender>; CONTENDERS.len()] = [
        Box::new(New),
        Box::new(Old::new(stage, SLOTS)),
        Box::new(Plain::ping()),
        Box::new(Plain::set()),
        Box::new(Plain::script(stage)),
        Box::new(Existing::new(stage)),
    ];
    take_turns(stage, contenders.into(), callers, turns)
}

/// The same of the steps of a create, and then of other ways to create.
fn try_others(turns: (usize, Duration)) -> Vec<Vec<Turn>> {
    let stage = &Stage::new(Duration::ZERO, 1, SLOTS);
    let steps = (0..STEPS.len()).map(|last| Tried::steps(stage, last));
    let ways = (0..WAYS.len()).map(|way| Tried::way(stage, way));
    let contenders = steps.chain(ways).map(|tried| Box::new(tried) as Box<dyn Contender>).collect();
    take_turns(stage, contenders, TRIED_BY, turns)
}

/// Lets all take so many turns of such a length.
fn take_turns(
    stage: &Stage,
    mut contenders: Vec<Box<dyn Contender>>,
    callers: usize,
    (turns, time): (usize, Duration),
) -> Vec<Vec<Turn>> {
    let mut done: Vec<Vec<Turn>> = contenders.iter().map(|_| Vec::new()).collect();
    for turn in 0..=turns {
        // Neither is always the first.
        for place in 0..contenders.len() {
            let place = (place + turn) % contenders.len();
            let shown = contenders[place].turn(stage, callers, if turn == 0 { time / 4 } else { time });
            // The first finds the caches empty, and scripts that are not loaded.
            if turn > 0 {
                done[place].push(shown);
            }
        }
    }
    done
}

fn record(suite: &mut Suite, case: &str, away: Duration, callers: usize, done: &[Vec<Turn>]) {
    let budget = FASTER.iter().find(|(of, _)| *of == callers).map(|(_, bound)| *bound);
    let mut beside = |ours: usize, floor: usize, what: &str, unit, budget, of: &dyn Fn(&[Turn]) -> Figures| {
        let (subject, floor_name) = (format!("{}, {what}", CONTENDERS[ours]), CONTENDERS[floor]);
        let about = About { case, subject: &subject, floor: floor_name, budget };
        suite.record_ratio(about, unit, of(&done[ours]), of(&done[floor]));
    };
    beside(NEW, OLD, "rate", "1/s", budget, &|turns| figures(turns, rate));
    for floor in [PING, SET, SCRIPT] {
        beside(NEW, floor, "rate", "1/s", None, &|turns| figures(turns, rate));
    }
    beside(EXISTING, PING, "rate", "1/s", None, &|turns| figures(turns, rate));
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        for (ours, floor) in [(NEW, OLD), (NEW, PING), (EXISTING, PING)] {
            beside(ours, floor, what, "us", None, &|turns| latency(turns, share));
        }
    }
    if away.is_zero() {
        let used: [(&str, Share); 3] = [
            ("this side's processors", |turn| turn.client / turn.done as f64),
            ("the server's processor", |turn| turn.processor / turn.done as f64),
            ("the server in commands", |turn| turn.in_commands),
        ];
        for (what, of) in used {
            for (ours, floor) in [(NEW, OLD), (NEW, SET), (NEW, SCRIPT), (EXISTING, NEW)] {
                beside(ours, floor, what, "us", None, &|turns| figures(turns, of));
            }
        }
        let server = figures(&done[NEW], |turn| turn.in_commands);
        suite.limit(case, "create_job, the server in commands", "us", server, SERVER_TIME);
    } else {
        let about = About { case, subject: "PING, p50", floor: "the distance", budget: None };
        let distance = Figures::once(away.as_secs_f64() * 1e6);
        suite.record_ratio(about, "us", latency(&done[PING], 0.5), distance);
    }
    let trips = figures(&done[NEW], |turn| turn.round_trips as f64 / turn.done as f64);
    suite.limit(case, "create_job, round trips", "trips", trips, ROUND_TRIPS);
}

fn record_tried(suite: &mut Suite, case: &str, done: &[Vec<Turn>]) {
    let (steps, ways) = done.split_at(STEPS.len());
    let mut beside = |(subject, ours): (&str, &[Turn]), (floor, others): (&str, &[Turn]), unit, of: Share| {
        let about = About { case, subject, floor, budget: None };
        suite.record_ratio(about, unit, figures(ours, of), figures(others, of));
    };
    for (name, turns) in STEPS.iter().zip(steps).skip(1) {
        let subject = format!("{name}, the server in commands");
        beside((&subject, turns), ("the empty script", &steps[0]), "us", |turn| turn.in_commands);
    }
    for (name, turns) in WAYS.iter().zip(ways).skip(1) {
        let of: [(&str, &str, Share); 3] = [
            ("rate", "1/s", rate),
            ("the server's processor", "us", |turn| turn.processor / turn.done as f64),
            ("the server in commands", "us", |turn| turn.in_commands),
        ];
        for (what, unit, of) in of {
            beside((&format!("{name}, {what}"), turns), (WAYS[0], &ways[0]), unit, of);
        }
    }
}

fn rate(turn: &Turn) -> f64 {
    turn.done as f64 / turn.took.as_secs_f64()
}

fn figures(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> Figures {
    Figures::of(turns.iter().map(of).collect()).expect("a turn at least")
}

/// Of all turns together, since in some there are few: what this share of them took at most, and the least that one took.
fn latency(turns: &[Turn], share: f64) -> Figures {
    let mut all: Vec<f64> = turns.iter().flat_map(|turn| turn.latencies.iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    let at = ((all.len() as f64 * share).ceil() as usize).clamp(1, all.len());
    Figures { min: all[0], median: all[at - 1] }
}
