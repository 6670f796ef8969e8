//! Jobs that arrive, wait, run, and end: one queue before many nodes with few slots each.
//!
//! All jobs of a node advance at one rate, which depends on how many they are. So a node has one measure of work that
//! each of its jobs has got since the node began, and a job ends when that measure reaches what it was when the job
//! came, plus its own work.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;

use super::placing::Placing;

pub(crate) const NODES: usize = 100;
pub(crate) const SLOTS: usize = 4;

/// The share of the jobs whose fate is not counted: before them, the nodes were empty.
const WARM_UP: f64 = 0.2;
/// The nodes are looked at with every so manieth arrival, and the fullest of them found.
const LOOK_EVERY: usize = 20;

/// What the jobs are like.
pub(crate) struct Scenario {
    /// Arrivals over the most that could end.
    pub(crate) load: f64,
    /// See `MODELS`.
    pub(crate) slowdown: f64,
    pub(crate) jobs: usize,
}

/// What became of the jobs; times in durations of a job that has a node for itself, on average.
pub(crate) struct Outcome {
    /// The most jobs of a node over the mean, and their standard deviation, on average over time.
    max: f64,
    deviation: f64,
    waits: Vec<f64>,
    latencies: Vec<f64>,
}

/// A job, by its place in the scenario's list.
pub(crate) type Job = usize;

#[derive(Clone, Copy)]
struct Arrival {
    at: f64,
    work: f64,
}

#[derive(Default)]
struct Node {
    /// What each job has got since the node began, up to `since`.
    work: f64,
    since: f64,
    /// Jobs that run, with the work at which each ends.
    running: Vec<(Job, f64)>,
    /// Jobs that have come although all slots were taken.
    waiting: VecDeque<Job>,
    /// Told by every change: an event that was foreseen before it does not come.
    changes: u64,
}

/// The first end of a job that is foreseen for a node.
struct Event {
    at: f64,
    node: usize,
    changes: u64,
}

impl Scenario {
    /// What a node with so many jobs gets done of each of them in a unit of time.
    fn rate(&self, jobs: usize) -> f64 {
        1.0 / (1.0 + (jobs as f64 - 1.0) * self.slowdown)
    }

    /// The same for everybody.
    fn arrivals(&self) -> Vec<Arrival> {
        let mut random = Rng::with_seed(11);
        let mut exponential = |mean: f64| -mean * (1.0 - random.f64()).ln();
        let gap = 1.0 / (self.load * NODES as f64 * SLOTS as f64 * self.rate(SLOTS));
        let mut at = 0.0;
        let mut next = |_| {
            at += exponential(gap);
            Arrival { at, work: exponential(1.0) }
        };
        (0..self.jobs).map(&mut next).collect()
    }

    pub(crate) fn play(&self, placing: &mut dyn Placing) -> Outcome {
        let arrivals = self.arrivals();
        let mut world = World::new(self, &arrivals, placing);
        for (job, arrival) in arrivals.iter().enumerate() {
            world.run_until(arrival.at);
            world.arrive(job);
        }
        world.run_until(f64::INFINITY);
        world.outcome()
    }
}

struct World<'w> {
    scenario: &'w Scenario,
    arrivals: &'w [Arrival],
    placing: &'w mut dyn Placing,
    now: f64,
    nodes: Vec<Node>,
    events: BinaryHeap<Event>,
    /// Jobs that found every slot taken, the first first.
    queue: VecDeque<Job>,
    started: Vec<f64>,
    ended: Vec<f64>,
    /// Of the looks at the nodes.
    looks: Vec<(f64, f64)>,
}

impl<'w> World<'w> {
    fn new(scenario: &'w Scenario, arrivals: &'w [Arrival], placing: &'w mut dyn Placing) -> Self {
        Self {
            scenario,
            arrivals,
            placing,
            now: 0.0,
            nodes: (0..NODES).map(|_| Node::default()).collect(),
            events: BinaryHeap::new(),
            queue: VecDeque::new(),
            started: vec![f64::NAN; arrivals.len()],
            ended: vec![f64::NAN; arrivals.len()],
            looks: Vec::new(),
        }
    }

    fn run_until(&mut self, time: f64) {
        while self.events.peek().is_some_and(|event| event.at <= time) {
            let event = self.events.pop().expect("it has just been seen");
            if self.nodes[event.node].changes == event.changes {
                self.pass(event.at);
                self.end_first(event.node);
            }
        }
    }

    fn pass(&mut self, to: f64) {
        self.now = to;
        self.placing.pass(to);
    }

    fn arrive(&mut self, job: Job) {
        self.pass(self.arrivals[job].at);
        if job.is_multiple_of(LOOK_EVERY) && self.counts(job) {
            self.look();
        }
        match self.placing.place(job) {
            Some(node) => self.send(job, node),
            None => {
                let taken = self.nodes.iter().all(|node| node.running.len() >= SLOTS);
                assert!(taken, "refused while a slot was free");
                self.queue.push_back(job);
            }
        }
    }

    fn send(&mut self, job: Job, node: usize) {
        if self.nodes[node].running.len() < SLOTS {
            self.start(job, node);
        } else {
            self.nodes[node].waiting.push_back(job);
        }
    }

    fn start(&mut self, job: Job, node: usize) {
        self.bring_up(node);
        let ends = self.nodes[node].work + self.arrivals[job].work;
        self.nodes[node].running.push((job, ends));
        self.started[job] = self.now;
        self.foresee(node);
    }

    /// The job of this node that is the first to end does so.
    fn end_first(&mut self, node: usize) {
        self.bring_up(node);
        let first = self.nodes[node].first_to_end().expect("an end was foreseen");
        let (job, _) = self.nodes[node].running.swap_remove(first);
        self.ended[job] = self.now;
        self.placing.end(job);
        self.foresee(node);
        if let Some(next) = self.nodes[node].waiting.pop_front() {
            self.start(next, node);
        }
        if let Some(next) = self.queue.pop_front() {
            let node = self.placing.place(next).expect("a slot has come free");
            self.send(next, node);
        }
    }

    /// What the node's jobs have got up to now.
    fn bring_up(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.work += (self.now - node.since) * self.scenario.rate(node.running.len().max(1));
        node.since = self.now;
    }

    /// After a change: when the next job of the node ends, if no other change comes before.
    fn foresee(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.changes += 1;
        let Some(first) = node.first_to_end() else { return };
        let left = (node.running[first].1 - node.work).max(0.0);
        let at = self.now + left / self.scenario.rate(node.running.len());
        self.events.push(Event { at, node: number, changes: node.changes });
    }

    fn counts(&self, job: Job) -> bool {
        job as f64 >= self.arrivals.len() as f64 * WARM_UP
    }

    fn look(&mut self) {
        let jobs: Vec<f64> = self.nodes.iter().map(|node| (node.running.len() + node.waiting.len()) as f64).collect();
        let mean = jobs.iter().sum::<f64>() / NODES as f64;
        let max = jobs.iter().copied().fold(0.0, f64::max);
        let variance = jobs.iter().map(|jobs| (jobs - mean).powi(2)).sum::<f64>() / NODES as f64;
        if mean > 0.0 {
            self.looks.push((max / mean, variance.sqrt()));
        }
    }

    fn outcome(self) -> Outcome {
        let mean = |of: fn(&(f64, f64)) -> f64| self.looks.iter().map(of).sum::<f64>() / self.looks.len() as f64;
        let counted = (0..self.arrivals.len()).filter(|job| self.counts(*job));
        let times = |until: &[f64]| {
            let mut times: Vec<f64> = counted.clone().map(|job| until[job] - self.arrivals[job].at).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        assert!(self.ended.iter().all(|at| at.is_finite()), "every job ends");
        Outcome {
            max: mean(|look| look.0),
            deviation: mean(|look| look.1),
            waits: times(&self.started),
            latencies: times(&self.ended),
        }
    }
}

impl Node {
    fn first_to_end(&self) -> Option<usize> {
        (0..self.running.len()).min_by(|a, b| self.running[*a].1.total_cmp(&self.running[*b].1))
    }
}

impl Outcome {
    /// Name, unit and value of each.
    pub(crate) fn figures(&self) -> [(&'static str, &'static str, f64); 4] {
        [
            ("max / mean", "times", self.max),
            ("deviation", "jobs", self.deviation),
            ("mean latency", "durations", mean(&self.latencies)),
            ("p99 latency", "durations", p99(&self.latencies)),
        ]
    }

    /// For people: where nobody waits there is no ratio.
    pub(crate) fn waiting(&self) -> String {
        let waited = self.waits.iter().filter(|wait| **wait > 0.0).count();
        let share = waited as f64 / self.waits.len() as f64;
        format!("{:>8.4} / {:>8.4}   {:>5.1} %", mean(&self.waits), p99(&self.waits), share * 100.0)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of sorted values.
fn p99(values: &[f64]) -> f64 {
    values[(values.len() * 99 / 100).min(values.len() - 1)]
}

/// The soonest is the greatest.
impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at)
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Event {}
