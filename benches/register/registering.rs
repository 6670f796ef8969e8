//! One node more, beside few and many; and all at once.
//!
//! The floor is what any directory of nodes has to do at least: putting the id into a concurrent map.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use slotyard::{Capabilities, NodeHandle, NodeSpec, Scheduler};

use crate::fleet;
use crate::harness::clock::Clock;
use crate::harness::crew::{Crew, cores};
use crate::harness::latencies::{Latencies, QUANTILES, figures_of};
use crate::harness::{About, Bound, Figures, Suite};

type Map = papaya::HashMap<String, u32, ahash::RandomState>;

/// Slots of a node.
const CAPACITY: u32 = 8;
/// What registering a node beside 100,000 may cost.
const BUDGET: Figures = Figures { min: 10_000.0, median: 10_000.0 };
const BUDGETED: u32 = 100_000;
/// How much more it may cost beside the most nodes than beside the fewest.
const FLAT: Bound = Bound::AtMost(2.0);
/// Nodes registered in one turn, and then taken out again.
const TURN: u32 = 256;

/// The turn ends with the work.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// A fleet to which nodes come and from which they go, and a map that is as large.
struct Beside {
    nodes: u32,
    scheduler: Scheduler,
    map: Map,
    /// Time of a registration and of an insertion, in ns, a turn each.
    times: [Vec<f64>; 2],
}

/// One node more, beside so many. Sizes take turns, so that they can be compared.
pub(crate) fn one_more(suite: &mut Suite) {
    let (sizes, turns) =
        if Suite::is_bench() { (&[1_000, 10_000, 100_000, 1_000_000][..], 400) } else { (&[100, 1_000][..], 2) };
    let wanted = sizes.iter().filter(|nodes| suite.wants(&case(**nodes)));
    let mut fleets: Vec<Beside> = wanted.map(|nodes| Beside::new(*nodes)).collect();
    let capabilities = fleet::capabilities();
    for turn in 0..turns {
        for beside in &mut fleets {
            beside.turn(turn, &capabilities);
        }
    }
    let found: Vec<(u32, Figures)> = fleets.into_iter().filter_map(|beside| beside.record(suite)).collect();
    if let [(_, fewest), .., (most_nodes, most)] = found[..] {
        let floor = format!("beside {}", sizes[0]);
        let about = About { case: &case(most_nodes), subject: "one more, growth", floor: &floor, budget: Some(FLAT) };
        suite.record_ratio(about, "ns", most, fewest);
    }
}

fn case(nodes: u32) -> String {
    format!("beside {nodes}")
}

impl Beside {
    fn new(nodes: u32) -> Self {
        let (scheduler, _) = fleet::scheduler(nodes, CAPACITY);
        let map = (0..nodes).map(|number| (fleet::node_id(number), number)).collect();
        Self { nodes, scheduler, map, times: Default::default() }
    }

    /// New nodes every turn: ids that were there before would find the map's places for them.
    fn turn(&mut self, turn: u32, capabilities: &Capabilities) {
        let numbers = self.nodes + turn * TURN..self.nodes + (turn + 1) * TURN;
        let specs: Vec<NodeSpec> = numbers.clone().map(|number| fleet::spec(number, CAPACITY, capabilities)).collect();
        let mut handles: Vec<NodeHandle> = Vec::with_capacity(specs.len());
        let start = Instant::now();
        handles.extend(specs.into_iter().map(|spec| self.scheduler.register(spec).expect("the id is new")));
        self.times[0].push(start.elapsed().as_secs_f64() * 1e9 / f64::from(TURN));
        for handle in &handles {
            self.scheduler.deregister(handle).expect("it has just been registered");
        }
        let ids: Vec<String> = numbers.clone().map(fleet::node_id).collect();
        let start = Instant::now();
        for (id, number) in ids.into_iter().zip(numbers.clone()) {
            self.map.pin().insert(id, number);
        }
        self.times[1].push(start.elapsed().as_secs_f64() * 1e9 / f64::from(TURN));
        for number in numbers {
            self.map.pin().remove(&fleet::node_id(number));
        }
    }

    fn record(self, suite: &mut Suite) -> Option<(u32, Figures)> {
        let [ours, floor] = self.times.map(Figures::of);
        let (ours, floor) = (ours?, floor?);
        let case = case(self.nodes);
        let about = |floor, budget| About { case: &case, subject: "one more", floor, budget };
        suite.record_ratio(about("papaya insert", None), "ns", ours, floor);
        if self.nodes == BUDGETED {
            let about = about("10 us", Some(Bound::AtMost(1.0)));
            suite.record_ratio(about, "ns", ours, BUDGET);
        }
        Some((self.nodes, ours))
    }
}

/// All nodes of a fleet arrive at once, as after a restart of the gateway, on one thread and on all.
pub(crate) fn storm(suite: &mut Suite) {
    let (nodes, turns) = if Suite::is_bench() { (100_000, 7) } else { (200, 1) };
    let case = format!("storm of {nodes}");
    if !suite.wants(&case) {
        return;
    }
    let clock = Clock::new();
    let counts = if cores() > 1 { vec![1, cores()] } else { vec![1] };
    thread::scope(|scope| {
        let crew = Crew::new(scope, cores());
        for threads in counts {
            let taken: Vec<_> =
                (0..turns).map(|_| (arrive(&crew, threads, nodes), insert(&crew, threads, nodes))).collect();
            let (ours, floor): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
            let mut record = |what, ours, floor| {
                if let (Some(ours), Some(floor)) = (ours, floor) {
                    let subject = format!("{threads} threads, {what}");
                    let about = About { case: &case, subject: &subject, floor: "papaya insert", budget: None };
                    suite.record_ratio(about, "ns", ours, floor);
                }
            };
            let each = |turns: &[Arrived]| Figures::of(turns.iter().map(|turn| turn.each).collect());
            record("time over nodes", each(&ours), each(&floor));
            let [ours, floor] =
                [ours, floor].map(|turns| turns.into_iter().map(|turn| turn.latencies).collect::<Vec<_>>());
            for (name, share) in QUANTILES {
                record(name, figures_of(&ours, clock, share), figures_of(&floor, clock, share));
            }
        }
    });
}

/// How long a storm took.
struct Arrived {
    /// The whole time over the number of nodes, in ns.
    each: f64,
    latencies: Latencies,
}

fn arrive(crew: &Crew<'_>, threads: usize, nodes: u32) -> Arrived {
    let (scheduler, _) = fleet::scheduler(0, CAPACITY);
    let capabilities = fleet::capabilities();
    let specs = (0..nodes).map(|number| fleet::spec(number, CAPACITY, &capabilities)).collect();
    all_at_once(crew, threads, specs, move |spec| drop(scheduler.register(spec).expect("the id is new")))
}

fn insert(crew: &Crew<'_>, threads: usize, nodes: u32) -> Arrived {
    let map = Arc::new(Map::default());
    let ids = (0..nodes).map(fleet::node_id).collect();
    all_at_once(crew, threads, ids, move |id| assert!(map.pin().insert(id, 1).is_none(), "the id is new"))
}

/// Deals the items to the threads, which take all of theirs as fast as they can.
fn all_at_once<T: Send + 'static>(
    crew: &Crew<'_>,
    threads: usize,
    items: Vec<T>,
    take: impl Fn(T) + Clone + Send + 'static,
) -> Arrived {
    let count = items.len();
    let mut shares: Vec<Vec<T>> = (0..threads).map(|_| Vec::new()).collect();
    for (place, item) in items.into_iter().enumerate() {
        shares[place % threads].push(item);
    }
    let shares = Arc::new(Mutex::new(shares));
    let results = crew.turn(threads, FOR_EVER, move |member, _| {
        let share = std::mem::take(&mut shares.lock().expect("nobody panics with it")[member]);
        let mut latencies = Latencies::new();
        let start = Instant::now();
        share.into_iter().for_each(|item| latencies.time(|| take(item)));
        (start.elapsed(), latencies)
    });
    let mut latencies = Latencies::new();
    results.iter().for_each(|(_, of_one)| latencies.absorb(of_one));
    let longest = results.iter().map(|(time, _)| *time).max().unwrap_or_default();
    Arrived { each: longest.as_secs_f64() * 1e9 / count as f64, latencies }
}
