//! What must hold when all threads stand still.

use std::collections::{BTreeMap, BTreeSet};

use slotyard::{
    Event, EventReceiver, JobId, JobState, NodeId, NodeState, NodeView, PoolKind, Reason, Scheduler, Service, Stats,
};

use super::setups::{MAX_SLOTS, Setup};
use super::work::{Attempt, Counts, Operation, Report};

/// The books of one run: what was begun, and what has become of it.
pub(super) struct Books<'s> {
    scheduler: &'s Scheduler,
    setup: &'s Setup,
    threads: usize,
    /// Hears of everything.
    events: EventReceiver,
    /// Hears at stops only, and misses most.
    seldom: EventReceiver,
    heard: u64,
    heard_seldom: u64,
    /// Attempts that have begun, have not ended, and were not replaced by the next.
    open: BTreeSet<Attempt>,
    /// Attempts whose end an event has told since the last stop.
    told: Vec<Attempt>,
    /// Attempts that have ended, of jobs that are remembered.
    ended: BTreeSet<Attempt>,
    begun: u64,
    retried: u64,
    ends: u64,
    expired: u64,
    orphaned: u64,
    pools_exhausted: u64,
    /// Incarnations whose capacity was changed.
    resized: BTreeSet<u64>,
    /// What the threads have done since they began, as of the last stop.
    pub(super) counts: Counts,
}

/// Slots that can be had, if the node is in use.
fn free_slots(view: &NodeView) -> u32 {
    view.capacity.saturating_sub(view.external).saturating_sub(view.in_flight)
}

fn is_active(state: JobState) -> bool {
    matches!(state, JobState::Reserved | JobState::Dispatched | JobState::Running)
}

impl<'s> Books<'s> {
    pub(super) fn new(scheduler: &'s Scheduler, setup: &'s Setup, threads: usize) -> Self {
        Self {
            scheduler,
            setup,
            threads,
            events: scheduler.subscribe(1 << 18),
            seldom: scheduler.subscribe(16),
            heard: 0,
            heard_seldom: 0,
            open: BTreeSet::new(),
            told: Vec::new(),
            ended: BTreeSet::new(),
            begun: 0,
            retried: 0,
            ends: 0,
            expired: 0,
            orphaned: 0,
            pools_exhausted: 0,
            resized: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Takes in the events so far, so that none is missed.
    pub(super) fn listen(&mut self) {
        for event in &self.events {
            self.heard += 1;
            match event {
                Event::JobExpired { job, attempt, .. } => {
                    self.expired += 1;
                    self.told.push((job, attempt));
                }
                Event::JobOrphaned { job, attempt, .. } => {
                    self.orphaned += 1;
                    self.told.push((job, attempt));
                }
                Event::PoolsExhausted { .. } => self.pools_exhausted += 1,
                _ => {}
            }
        }
    }

    /// Everything stands still, and these are what the threads have to tell.
    pub(super) fn check(&mut self, reports: &[Report]) {
        let mut counts = Counts::default();
        reports.iter().for_each(|report| counts.add(&report.counts));
        self.counts = counts;
        self.check_after(reports);
    }

    fn check_after(&mut self, reports: &[Report]) {
        self.listen();
        self.check_events();
        let mut held: BTreeMap<(NodeId, u64), u32> = BTreeMap::new();
        let mut reservations = 0;
        for report in reports {
            self.resized.extend(&report.resized);
            reservations += report.held.len() as u64;
            report.held.iter().for_each(|node| *held.entry(node.clone()).or_default() += 1);
        }
        self.settle(reports);
        let stats = self.scheduler.stats();
        let active = self.check_jobs(&mut held);
        self.check_counters(&stats, reservations + active);
        self.check_bounds(&stats);
        let nodes = self.scheduler.nodes();
        assert_eq!(stats.now.nodes, nodes.len());
        self.check_nodes(&nodes, &held);
        self.check_pools(&nodes);
        self.check_that_each_free_slot_is_found(&nodes);
        // What is not there any more is of no interest.
        let there: BTreeSet<u64> = nodes.iter().map(|view| view.incarnation).collect();
        self.resized.retain(|incarnation| there.contains(incarnation));
    }

    fn check_events(&mut self) {
        assert_eq!(self.events.dropped(), 0, "the books are not complete");
        self.heard_seldom += (&self.seldom).count() as u64;
        assert_eq!(self.heard_seldom + self.seldom.dropped(), self.heard, "an event is neither received nor missed");
        assert!(self.scheduler.stats().now.events_dropped >= self.seldom.dropped());
    }

    /// Every attempt begins once, and ends once or is replaced by the next while it is active.
    fn settle(&mut self, reports: &[Report]) {
        let mut retried = BTreeSet::new();
        for attempt in reports.iter().flat_map(|report| &report.retried) {
            assert!(retried.insert(*attempt), "attempt {attempt:?} was begun by two retries");
        }
        // A repeated create is told of an attempt that began before, and may have ended.
        let begun = reports.iter().flat_map(|report| &report.begun).copied();
        let new: BTreeSet<Attempt> = begun.filter(|at| !self.open.contains(at) && !self.ended.contains(at)).collect();
        assert!(retried.is_subset(&new), "a retry has begun what had begun before");
        self.begun += new.len() as u64;
        self.retried += retried.len() as u64;
        self.open.extend(new);
        let ends = reports.iter().flat_map(|report| &report.ended).copied().chain(std::mem::take(&mut self.told));
        for attempt in ends {
            assert!(self.ended.insert(attempt), "attempt {attempt:?} has ended twice");
            assert!(self.open.remove(&attempt), "attempt {attempt:?} has ended, and had not begun or was replaced");
            self.ends += 1;
        }
        self.open.retain(|(job, number)| !retried.contains(&(*job, number + 1)));
        // Nobody is told again of a job that is forgotten.
        self.ended.retain(|(job, _)| self.scheduler.job(*job).is_some());
    }

    /// Adds what jobs hold to what is held; returns how many jobs do.
    fn check_jobs(&self, held: &mut BTreeMap<(NodeId, u64), u32>) -> u64 {
        let mut requests: BTreeMap<String, JobId> = BTreeMap::new();
        for (job, attempt) in &self.open {
            let view = self.scheduler.job(*job).unwrap_or_else(|| panic!("{job} is active and not known"));
            assert!(view.attempt == *attempt && is_active(view.state), "attempt {attempt} has no end: {view:?}");
            let found = self.scheduler.job_by_request(&view.request_id).map(|found| found.id);
            assert_eq!(found, Some(*job), "{view:?} is not what its request names");
            *held.entry((view.node_id, view.incarnation)).or_default() += 1;
            if let Some(other) = requests.insert(view.request_id.clone(), *job) {
                panic!("request {} has two active jobs, {job} and {other}", view.request_id);
            }
        }
        self.open.len() as u64
    }

    fn check_counters(&self, stats: &Stats, held: u64) {
        let (counted, done) = (&stats.counters, &self.counts);
        assert_eq!(counted.double_released, 0);
        assert_eq!(counted.reserved - counted.released, held, "slots held: {counted:?}");
        let (now, open) = (&stats.now, self.open.len());
        assert_eq!(now.jobs, now.finished_jobs + open, "jobs in memory that have neither ended nor are active");
        let created = done.of(Operation::create_job) + done.of(Operation::create_jobs);
        assert_eq!(counted.created + counted.repeated, created);
        assert_eq!((counted.retried, done.of(Operation::retry)), (self.retried, self.retried));
        assert_eq!(counted.created + counted.retried, self.begun, "attempts begun");
        assert_eq!((counted.failed, counted.cancelled), (done.of(Operation::fail), done.of(Operation::cancel)));
        assert_eq!((counted.expired, counted.orphaned), (self.expired, self.orphaned));
        let told = counted.failed + counted.cancelled + counted.expired + counted.orphaned;
        assert_eq!(counted.completed + told, self.ends, "attempts ended");
        assert_eq!(counted.heartbeats, done.beats);
    }

    fn check_bounds(&self, stats: &Stats) {
        let (now, config) = (&stats.now, self.scheduler.config());
        // A few percent more where the bound is large, one for each thread where sessions begin at once, and the mixed pool.
        let jobs = |most: usize| most + if most > 256 { most / 16 + self.threads } else { 0 };
        let held = [
            ("nodes", now.nodes, config.max_nodes),
            ("pools", now.pools, config.max_pools + 1),
            ("jobs", now.jobs, jobs(config.max_jobs)),
            ("finished jobs", now.finished_jobs, jobs(config.max_finished_jobs)),
            ("sessions", now.sessions, config.max_sessions + self.threads),
            ("routes", now.routes, config.max_routes),
        ];
        for (what, there_are, most) in held {
            assert!(there_are <= most, "{there_are} {what}, {most} at most");
        }
    }

    fn check_nodes(&self, nodes: &[NodeView], held: &BTreeMap<(NodeId, u64), u32>) {
        for view in nodes {
            let expected = held.get(&(view.id.clone(), view.incarnation)).copied().unwrap_or(0);
            assert_eq!(view.in_flight, expected, "jobs and reservations on {view:?}");
            let most = if self.resized.contains(&view.incarnation) { MAX_SLOTS } else { view.capacity };
            assert!(view.in_flight <= most, "{view:?}");
        }
    }

    /// What is shown of pools must be what their nodes make of it.
    fn check_pools(&self, nodes: &[NodeView]) {
        let mut of: BTreeMap<&str, (usize, usize, u64, bool)> = BTreeMap::new();
        for view in nodes {
            for pool in &view.pools {
                let (members, ready, capacity, free) = of.entry(pool).or_default();
                *members += 1;
                *capacity += u64::from(view.capacity);
                *ready += usize::from(view.state == NodeState::Ready);
                *free |= view.state == NodeState::Ready && free_slots(view) > 0;
            }
        }
        let pools = self.scheduler.pools();
        for pool in &pools {
            let (members, ready, capacity, free) = of.remove(pool.name.as_str()).unwrap_or_default();
            assert_eq!((pool.nodes, pool.ready, pool.capacity), (members, ready, capacity), "{pool:?}");
            // A stale bit may say more than there is, until somebody meets it.
            assert!(pool.available || !free, "{pool:?} has free slots");
            assert!(members > 0 || pool.kind != PoolKind::Automatic, "{pool:?} is of nobody");
        }
        assert!(of.is_empty(), "nodes are in pools that are not there: {of:?}");
    }

    /// Takes every slot that can be had, to exactly as many as are free, and gives all back.
    fn check_that_each_free_slot_is_found(&mut self, nodes: &[NodeView]) {
        let demand = self.setup.basic_demand();
        let work = Service::from("work");
        let able = |view: &&NodeView| self.setup.bare || !view.services_off.contains(&work);
        let usable: Vec<_> = nodes.iter().filter(able).filter(|view| view.state == NodeState::Ready).collect();
        let free: u32 = usable.iter().map(|view| free_slots(view)).sum();
        let open = usable.iter().filter(|view| free_slots(view) > 0).count();

        let explained = self.scheduler.explain(&demand);
        let told: usize = explained.nodes.values().map(|tallied| tallied.count).sum();
        assert_eq!(told, nodes.len(), "{explained}");
        // Who is not heard of is in use until the next sweep.
        let usable_told = |explained: &slotyard::Explanation| {
            [Reason::Available, Reason::Full, Reason::Stale].map(|reason| explained.count(reason)).iter().sum::<usize>()
        };
        assert_eq!(usable_told(&explained), usable.len(), "{explained}");
        assert!(explained.count(Reason::Available) <= open, "{explained}");
        assert!(explained.count(Reason::Full) <= usable.len() - open, "{explained}");

        let mut held = Vec::new();
        let refusal = loop {
            match self.scheduler.reserve(&demand) {
                Ok(reservation) => held.push(reservation),
                Err(no_node) => break no_node,
            }
            assert!(held.len() <= free as usize, "more than the {free} free slots were taken");
        };
        assert_eq!(held.len(), free as usize, "free slots were not found: {refusal}\n{explained}");
        let heard_of = usable.len() - explained.count(Reason::Stale);
        assert!(refusal.kind() == "busy" || heard_of == 0, "{refusal}\n{explained}");
        assert_eq!(self.scheduler.explain(&demand).count(Reason::Available), 0);
        drop(held);
        assert_eq!(self.scheduler.explain(&demand), explained, "all was given back");
        assert_eq!(self.scheduler.nodes(), nodes, "all was given back");
    }

    /// Everything has been given back or has run out, and everybody has left.
    pub(super) fn check_that_nothing_is_left(&mut self) {
        self.check_after(&[]);
        let stats = self.scheduler.stats();
        let now = &stats.now;
        assert_eq!((now.nodes, now.jobs, now.finished_jobs, now.sessions), (0, 0, 0, 0), "{now:?}");
        assert_eq!(stats.counters.reserved, stats.counters.released);
        assert!(self.open.is_empty());
        assert!(self.scheduler.pools().iter().all(|pool| pool.nodes == 0 && !pool.available));
    }

    /// What was reached beside refusals.
    pub(super) fn reached(&self) -> [(&'static str, u64); 6] {
        let stats = self.scheduler.stats();
        let counted = &stats.counters;
        [
            ("jobs expired", counted.expired),
            ("jobs orphaned", counted.orphaned),
            ("creates repeated", counted.repeated),
            ("routes not kept", counted.routes_not_kept),
            ("pools exhausted", self.pools_exhausted),
            ("events dropped", stats.now.events_dropped),
        ]
    }
}
