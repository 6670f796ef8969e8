//! The replay itself: a discrete-event simulation of clients and nodes around the real scheduler, in virtual time.
//!
//! Nothing here knows how the scheduler decides. Clients ask it for slots, nodes send it heartbeats, its clock is moved
//! by `tick`, and it tells of expired and orphaned jobs by events; everything else is the ledger's to check.

mod clients;
mod queue;
mod series;
mod tally;
mod work;
mod workers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use slab::Slab;
use slotyard::{Capabilities, ConfigError, Event as Notice, EventReceiver, Heartbeat, JobId, Scheduler};

use crate::args::Args;
use crate::ledger::{Broken, Ledger};
use crate::progress::Progress;
use crate::random::{Purpose, stream};
use crate::requests::Requests;
use crate::workload::Workload;

use clients::Client;
use queue::{Event, Queue};
pub(crate) use series::{Series, SlotTime, Window};
pub(crate) use tally::{Tally, times};
use work::Task;
use workers::Worker;

/// One second. Times are in microseconds since the scheduler was built, in virtual time.
const SECOND: u64 = 1_000_000;
/// How often the scheduler's clock is moved.
const TICK: u64 = SECOND / 10;
/// How often a node sends a heartbeat. Nodes take turns: with every tick, one in `TURNS` of them.
const HEARTBEAT: u64 = 5 * SECOND;
const TURNS: u64 = HEARTBEAT / TICK;
/// How long a slot stays reserved without news of the job; clients renew three times as often.
const LEASE: u64 = 30 * SECOND;
/// More jobs and sessions than any workload here has at once.
const PLENTY: usize = 1 << 26;
/// For how long a lost job is remembered at least, in seconds: clients may try again for a minute.
const REMEMBERED: f64 = 240.0;
/// Windows of the series: at least this long, unless there would be too few, and about so many at most.
const MIN_WINDOW: u64 = 15 * SECOND;
const WINDOWS: std::ops::Range<u64> = 4..200;
/// Nodes whose count is compared with the ledger's at the end of every window.
const COMPARED: usize = 32;
/// Events that the scheduler keeps for the replay, which takes them after every step that may cause some.
const NOTICES: usize = 1 << 16;

/// What a replay has found.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) ledger: Ledger,
    pub(crate) series: Series,
    pub(crate) pools: Vec<Pool>,
    /// By the scheduler's own count.
    pub(crate) slots_held_at_end: u64,
    /// Virtual time that it took, in seconds.
    pub(crate) seconds: f64,
}

/// A team, by the name of the pool that the scheduler made of it.
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) slots: u64,
    pub(crate) time: SlotTime,
}

/// The state of a replay.
struct Engine<'a> {
    workload: &'a Workload,
    scheduler: Scheduler,
    notices: EventReceiver,
    now: u64,
    queue: Queue,
    requests: Requests<'a>,
    clients: Slab<Client>,
    /// Which client has which job.
    by_job: HashMap<JobId, usize>,
    tasks: Slab<Task>,
    workers: Vec<Worker>,
    by_name: HashMap<Arc<str>, usize>,
    /// What each team can do, and the pool that it got.
    capabilities: Vec<Capabilities>,
    pool_names: Vec<String>,
    /// The heartbeat that reports this many running jobs.
    beats: Vec<Heartbeat>,
    ledger: Ledger,
    tally: Tally,
    series: Series,
    client_random: StdRng,
    incident_random: StdRng,
    check_random: StdRng,
    stamps: u64,
    longest_service: u64,
}

/// Replays a workload to its end.
///
/// # Errors
/// When the scheduler does not take its configuration.
pub(crate) fn replay(workload: &Workload, args: &Args, progress: &Progress) -> Result<Outcome, ConfigError> {
    let scheduler = Scheduler::builder()
        .manual_maintenance()
        .seed(args.seed)
        .policy(args.policy.policy.clone())
        .tick_interval(Duration::from_micros(TICK))
        .default_lease(Duration::from_micros(LEASE))
        .max_nodes(workload.fleet.len())
        .max_jobs(PLENTY)
        .max_sessions(PLENTY)
        .max_finished_jobs(workload.requests_within(REMEMBERED).clamp(1 << 16, 1 << 20) as usize)
        .build()?;
    let mut engine = Engine::new(workload, scheduler, args.seed);
    engine.run(progress);
    Ok(engine.finish())
}

impl<'a> Engine<'a> {
    fn new(workload: &'a Workload, scheduler: Scheduler, seed: u64) -> Self {
        let workers: Vec<Worker> = workload.fleet.iter().map(|(machine, team)| Worker::new(machine, *team)).collect();
        let teams = workload.teams.len();
        let span = workload.arrivals.last().map_or(0, |last| last.at);
        // A whole number of ticks, so that windows end where they say.
        let window = MIN_WINDOW.clamp(span / WINDOWS.end, span / WINDOWS.start).max(TICK) / TICK * TICK;
        Self {
            notices: scheduler.subscribe(NOTICES),
            now: 0,
            queue: Queue::default(),
            requests: Requests::new(workload, seed),
            clients: Slab::new(),
            by_job: HashMap::new(),
            tasks: Slab::new(),
            by_name: workers.iter().zip(0..).map(|(worker, index)| (worker.name.clone(), index)).collect(),
            capabilities: (0..teams).map(|team| workload.teams.capabilities(team, &workload.pairs)).collect(),
            pool_names: Vec::new(),
            beats: Vec::new(),
            ledger: Ledger::new(workers.len()),
            tally: Tally::new(),
            series: Series::new(window, workers.len(), teams),
            workers,
            client_random: stream(seed, Purpose::Clients),
            incident_random: stream(seed, Purpose::Incidents),
            check_random: stream(seed, Purpose::Checks),
            stamps: 0,
            longest_service: 0,
            scheduler,
            workload,
        }
    }

    /// Until the last request has been answered, or should have been long ago.
    fn run(&mut self, progress: &Progress) {
        self.open_fleet();
        let mut last_arrival = 0;
        let mut next_tick = TICK;
        loop {
            let arrival = self.requests.next_at();
            let overdue = last_arrival + 3600 * SECOND + 4 * self.longest_service;
            if arrival.is_none() && (self.clients.is_empty() || self.now > overdue) {
                break;
            }
            let (arrival, event) = (arrival.unwrap_or(u64::MAX), self.queue.next_at().unwrap_or(u64::MAX));
            self.now = arrival.min(event).min(next_tick);
            if self.now == next_tick {
                next_tick += TICK;
                self.tick();
                progress.show(self.tally.offered, self.clients.len() as u64, self.ledger.held());
            } else if self.now == event {
                if let Some(event) = self.queue.pop() {
                    self.happens(event);
                }
            } else if let Some(request) = self.requests.next() {
                last_arrival = self.now;
                self.arrives(request);
            }
        }
    }

    /// Moves the scheduler's clock, and lets the nodes beat whose turn it is.
    fn tick(&mut self) {
        self.scheduler.tick(Duration::from_micros(self.now));
        self.take_notices();
        let turn = self.now / TICK % TURNS;
        let nodes = self.workers.len() as u64;
        self.beat((turn * nodes / TURNS) as usize..((turn + 1) * nodes / TURNS) as usize);
        self.take_notices();
        if self.requests.next_at().is_some() && self.series.due(self.now) {
            for _ in 0..COMPARED.min(self.workers.len()) {
                let worker = self.check_random.random_range(0..self.workers.len());
                self.compare(worker);
            }
            let waiting = self.clients.len().saturating_sub(self.ledger.held() as usize);
            let workers = &self.workers;
            self.series.end(self.now, &mut self.ledger, |worker| workers[worker].team, waiting);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Offer { client, stamp } if self.is_current(client, stamp) => self.offer(client),
            Event::Start { client, stamp } if self.is_current(client, stamp) => self.start(client),
            Event::Renew { client, stamp } if self.is_current(client, stamp) => self.renew(client),
            Event::Cancel { client, stamp } if self.is_current(client, stamp) => self.cancel(client),
            Event::Switch { client, stamp } if self.is_current(client, stamp) => self.switch(client),
            Event::Done { task } => self.done(task),
            Event::Node { worker, change } => self.change(worker, change),
            _ => {}
        }
    }

    /// Takes what the scheduler tells.
    fn take_notices(&mut self) {
        while let Some(notice) = self.notices.try_recv() {
            match notice {
                Notice::JobExpired { job, attempt, .. } => self.expired(job, attempt),
                Notice::JobOrphaned { job, attempt, .. } => self.orphaned(job, attempt),
                Notice::NodeDown { node, incarnation } => {
                    if let Some(worker) = self.by_name.get(node.as_str()) {
                        self.tally.nodes_down += u64::from(self.ledger.goes_down(*worker, incarnation, self.now));
                    }
                }
                _ => {}
            }
        }
    }

    /// Holds the scheduler's count of a node's slots against the ledger's; what the scheduler says.
    fn compare(&mut self, worker: usize) -> u64 {
        let Some(view) = self.scheduler.node(&self.workers[worker].name) else { return 0 };
        let held = self.ledger.accounts[worker].held;
        if view.in_flight != held {
            let example = || format!("{} holds {held}, the scheduler says {}", view.id, view.in_flight);
            self.ledger.violations.note(Broken::Miscounted, self.now, example);
        }
        u64::from(view.in_flight)
    }

    /// Notes an answer that is not as it must be.
    fn unexpected(&mut self, step: &str, answer: &dyn std::fmt::Display) {
        let example = || format!("{step}: {answer}");
        self.ledger.violations.note(Broken::UnexpectedAnswers, self.now, example);
    }

    /// The last checks, and the result.
    fn finish(mut self) -> Outcome {
        let slots_held_at_end = (0..self.workers.len()).map(|worker| self.compare(worker)).sum();
        for (_, client) in &self.clients {
            let job = client.job.and_then(|(job, _)| self.scheduler.job(job));
            let example = || format!("request {}, as {job:?} with {:?}", client.request.number, client.hold);
            self.ledger.violations.note(Broken::Unsettled, self.now, example);
        }
        let violations = &mut self.ledger.violations;
        violations.add(Broken::SlotsHeldAtEnd, slots_held_at_end);
        violations.add(Broken::EventsDropped, self.notices.dropped());
        Outcome {
            pools: self.pools(),
            slots_held_at_end,
            seconds: self.now as f64 / SECOND as f64,
            tally: self.tally,
            ledger: self.ledger,
            series: self.series,
        }
    }
}
