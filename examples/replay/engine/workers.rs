//! What nodes do: register, beat, fail, come back, drain, change.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use slotyard::{Heartbeat, NodeError, NodeHandle, NodeSpec, Service};

use crate::input::Machine;
use crate::ledger::Hold;
use crate::random::exponential;
use crate::workload::Workload;

use super::queue::{Change, Event};
use super::{Engine, Pool, SECOND, TICK};

/// What an incident is, each with its share.
const CRASHES: f64 = 0.40;
const SILENCES: f64 = 0.20;
const DRAINS: f64 = 0.25;
const RESIZES: f64 = 0.10;
/// Mean time from a crash to the restart, and the shortest, in seconds. Some are back before they are missed, others
/// after they have been forgotten.
const RESTART: (f64, f64) = (90.0, 2.0);
/// How long a node is cut off, drained, and away after it has left, in seconds.
const SILENCE: Range<u64> = 3..60;
const DRAINED: Range<u64> = 20..120;
const AWAY: Range<u64> = 5..30;
/// How long a node runs with half its slots, and without speech synthesis, in seconds.
const HALVED: u64 = 60;
const VOICELESS: u64 = 30;
/// For how long what a node reported beyond the scheduler's count may keep slots off: until that is forgotten.
const EXTERNAL: u64 = 20 * SECOND;
/// Registrations, or first heartbeats, between two looks at the events that they cause.
const BATCH: usize = 1024;

/// One node.
pub(super) struct Worker {
    pub(super) name: Arc<str>,
    pub(super) class: usize,
    pub(super) team: usize,
    slots: u32,
    /// As registered last.
    handle: Option<NodeHandle>,
    /// Whether its process runs, and whether its heartbeats get through.
    alive: bool,
    silent: bool,
    /// Counts its processes.
    pub(super) life: u32,
    /// Jobs that it works on, whatever has become of them elsewhere.
    pub(super) running: u32,
    /// Until when what it reported may keep slots off.
    external_until: u64,
    voiceless_until: u64,
}

impl Worker {
    pub(super) fn new(machine: &Machine, team: usize) -> Self {
        Self {
            name: machine.name.as_str().into(),
            class: machine.class,
            team,
            slots: machine.slots,
            handle: None,
            alive: false,
            silent: false,
            life: 0,
            running: 0,
            external_until: 0,
            voiceless_until: 0,
        }
    }

    /// Whether the process runs that a slot was given on.
    pub(super) fn is_running(&self, hold: Hold) -> bool {
        self.alive && self.handle.as_ref().is_some_and(|handle| handle.incarnation() == hold.incarnation)
    }

    /// Whether it may be given a job. The scheduler's clock is up to one tick behind.
    pub(super) fn can_serve(&self, workload: &Workload, demand: usize, now: u64) -> bool {
        let voiceless = now + TICK < self.voiceless_until;
        workload.teams.serves(self.team, demand) && !(voiceless && workload.demands.speaks(demand))
    }

    /// Whether nothing keeps it from a job that it has a slot for.
    pub(super) fn surely_free(&self, workload: &Workload, demand: usize, now: u64) -> bool {
        let able = now > self.voiceless_until + TICK || !workload.demands.speaks(demand);
        workload.teams.serves(self.team, demand) && able && now > self.external_until
    }
}

impl Engine<'_> {
    /// Registers the fleet, and hears every node once.
    pub(super) fn open_fleet(&mut self) {
        for worker in 0..self.workers.len() {
            let spec = self.spec(worker);
            self.register(worker, spec);
            let first = self.until_incident();
            self.queue.push(first, Event::Node { worker, change: Change::Incident });
            if worker % BATCH == 0 {
                self.take_notices();
            }
        }
        for begin in (0..self.workers.len()).step_by(BATCH) {
            self.beat(begin..(begin + BATCH).min(self.workers.len()));
            self.take_notices();
        }
        self.pool_names = self.pool_names_now();
    }

    fn spec(&self, worker: usize) -> NodeSpec {
        let Worker { name, slots, team, .. } = &self.workers[worker];
        NodeSpec::new(&**name).capacity(*slots).capabilities(self.capabilities[*team].clone())
    }

    fn register(&mut self, worker: usize, spec: NodeSpec) {
        match self.scheduler.register(spec) {
            Ok(handle) => {
                let node = &mut self.workers[worker];
                self.ledger.opens(worker, handle.incarnation(), node.slots, self.now);
                (node.handle, node.alive, node.silent) = (Some(handle), true, false);
                (node.external_until, node.voiceless_until) = (0, 0);
            }
            Err(error) => self.unexpected("register", &error),
        }
    }

    /// Heartbeats of these nodes, as far as they get through.
    pub(super) fn beat(&mut self, workers: Range<usize>) {
        let speaking: Vec<usize> = workers.filter(|worker| self.workers[*worker].speaking()).collect();
        let most = speaking.iter().map(|worker| self.workers[*worker].running as usize).max().unwrap_or(0);
        for running in self.beats.len()..=most {
            self.beats.push(Heartbeat::ready().running(running as u32));
        }
        for worker in &speaking {
            let (node, account) = (&mut self.workers[*worker], &self.ledger.accounts[*worker]);
            if node.running > account.held {
                node.external_until = self.now + EXTERNAL;
            }
        }
        let nodes = speaking.iter().map(|worker| &self.workers[*worker]);
        let beats = nodes.filter_map(|node| Some((node.handle.as_ref()?, &self.beats[node.running as usize])));
        let errors = self.scheduler.heartbeat_batch(beats);
        self.tally.heartbeats += speaking.len() as u64;
        for worker in &speaking {
            self.ledger.heard(*worker, self.now);
        }
        for (_, error) in errors {
            self.unexpected("heartbeat", &error);
        }
    }

    /// When a node has its next incident.
    fn until_incident(&mut self) -> u64 {
        self.now + (exponential(self.workload.incidents.mean_gap, &mut self.incident_random) * SECOND as f64) as u64
    }

    pub(super) fn change(&mut self, worker: usize, change: Change) {
        let next = match change {
            Change::Incident => self.incident(worker),
            Change::Restart => {
                let spec = self.spec(worker).replace_existing();
                self.register(worker, spec);
                self.take_notices();
                None
            }
            Change::Speak => {
                self.workers[worker].silent = false;
                None
            }
            Change::Undrain => {
                let undrained = self.call(worker, "undrain", |engine, handle| engine.scheduler.undrain(handle));
                self.ledger.drains(worker, !undrained, self.now);
                None
            }
            Change::Leave => {
                self.ends(worker);
                self.call(worker, "deregister", |engine, handle| engine.scheduler.deregister(handle));
                self.ledger.leaves(worker, self.now);
                self.take_notices();
                Some((self.incident_random.random_range(AWAY) * SECOND, Change::Restart))
            }
            Change::Restore => {
                self.resize(worker, self.workers[worker].slots);
                None
            }
        };
        let (at, change) = match next {
            Some((after, change)) => (self.now + after, change),
            None => (self.until_incident(), Change::Incident),
        };
        self.queue.push(at, Event::Node { worker, change });
    }

    /// Something happens to a node that is well; what follows from it, and after which time.
    fn incident(&mut self, worker: usize) -> Option<(u64, Change)> {
        let seconds = |engine: &mut Self, range| engine.incident_random.random_range(range) * SECOND;
        let mut share: f64 = self.incident_random.random();
        let mut falls = |part: f64| {
            share -= part;
            share < 0.0
        };
        if falls(CRASHES) {
            self.tally.crashes += 1;
            self.ends(worker);
            let away = exponential(RESTART.0, &mut self.incident_random).max(RESTART.1);
            Some(((away * SECOND as f64) as u64, Change::Restart))
        } else if falls(SILENCES) {
            self.tally.silences += 1;
            self.workers[worker].silent = true;
            Some((seconds(self, SILENCE), Change::Speak))
        } else if falls(DRAINS) {
            self.tally.drains += 1;
            let drained = self.call(worker, "drain", |engine, handle| engine.scheduler.drain(handle));
            self.ledger.drains(worker, drained, self.now);
            let then = if self.incident_random.random_bool(0.5) { Change::Undrain } else { Change::Leave };
            Some((seconds(self, DRAINED), then))
        } else if falls(RESIZES) {
            self.tally.resizes += 1;
            self.resize(worker, (self.workers[worker].slots / 2).max(1));
            Some((HALVED * SECOND, Change::Restore))
        } else {
            self.lose_voice(worker);
            None
        }
    }

    /// The process of a node ends, and all its work with it.
    fn ends(&mut self, worker: usize) {
        let node = &mut self.workers[worker];
        node.alive = false;
        node.running = 0;
        node.life += 1;
    }

    fn resize(&mut self, worker: usize, slots: u32) {
        if self.call(worker, "set_capacity", |engine, handle| engine.scheduler.set_capacity(handle, slots)) {
            self.ledger.resizes(worker, slots, self.now);
        }
    }

    /// A node says that its model for speech synthesis is gone for now.
    fn lose_voice(&mut self, worker: usize) {
        if self.workload.teams.speaks(self.workers[worker].team) {
            self.tally.unavailable += 1;
            let time = Duration::from_secs(VOICELESS);
            let off =
                |engine: &Self, handle: &NodeHandle| engine.scheduler.mark_unavailable(handle, &Service::TTS, time);
            if self.call(worker, "mark_unavailable", off) {
                self.workers[worker].voiceless_until = self.now + VOICELESS * SECOND;
            }
        }
    }

    /// A call about a node that must succeed.
    fn call(
        &mut self,
        worker: usize,
        step: &str,
        call: impl FnOnce(&Self, &NodeHandle) -> Result<(), NodeError>,
    ) -> bool {
        let answer = self.workers[worker].handle.as_ref().map(|handle| call(self, handle));
        match answer {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                self.unexpected(step, &error);
                false
            }
            None => false,
        }
    }

    /// The pool that the scheduler made of each team.
    fn pool_names_now(&self) -> Vec<String> {
        let mut names = vec![String::new(); self.workload.teams.len()];
        for worker in &self.workers {
            let name = &mut names[worker.team];
            if name.is_empty() {
                *name = self.scheduler.node(&worker.name).map(|view| view.pools.join(" ")).unwrap_or_default();
            }
        }
        names
    }

    /// The pools of the teams, the largest first.
    pub(super) fn pools(&self) -> Vec<Pool> {
        let of = |team: usize| self.workers.iter().filter(move |worker| worker.team == team);
        let pools = self.pool_names.iter().enumerate().map(|(team, name)| Pool {
            name: name.clone(),
            nodes: of(team).count(),
            slots: of(team).map(|worker| u64::from(worker.slots)).sum(),
            time: self.series.teams[team],
        });
        let mut pools: Vec<Pool> = pools.filter(|pool| pool.nodes > 0).collect();
        pools.sort_by(|a, b| b.slots.cmp(&a.slots).then(a.name.cmp(&b.name)));
        pools
    }
}

impl Worker {
    /// Whether its heartbeats get through.
    fn speaking(&self) -> bool {
        self.alive && !self.silent && self.handle.is_some()
    }
}
