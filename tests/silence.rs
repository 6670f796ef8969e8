//! What time does to nodes, against a model that is right by reading: whose heartbeats have stopped, who is forgotten,
//! which services are off, over random ticks, however far they jump.

mod common;

use std::collections::BTreeMap;

use common::*;
use fastrand::Rng;
use slotyard::{Capabilities, Heartbeat, NodeHandle, NodeSpec, NodeState, NodeView, Scheduler};

const SERVICES: [&str; 3] = ["work", "x", "y"];

/// A node as it should be.
struct Model {
    handle: NodeHandle,
    /// When it was heard of last, and since when it is offline.
    heard: u64,
    offline: Option<u64>,
    /// What it reported of others' jobs, and when; and when it came back from being offline.
    report: (u32, u64),
    back: u64,
    /// Services that are off, and until when.
    off: BTreeMap<&'static str, u64>,
}

struct Times {
    timeout: u64,
    decay: u64,
    retention: u64,
}

struct Run {
    random: Rng,
    times: Times,
    scheduler: Scheduler,
    now: u64,
    nodes: BTreeMap<String, Model>,
    /// Ids to choose from: many, so that several blocks of cells are in use, or few, so that they come again.
    ids: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut of = |times: &[u64]| times[random.usize(..times.len())];
        let (timeout, decay, retention) = (of(&[1, 7, 8, 100, 1000]), of(&[1, 3, 50, 5000]), of(&[1, 50, 3000]));
        let configured = builder().heartbeat_timeout(ms(timeout)).external_load_decay(ms(decay));
        let scheduler = build(configured.offline_retention(ms(retention)).seed(seed));
        let ids = if seed.is_multiple_of(10) { 3000 } else { 12 };
        let times = Times { timeout, decay, retention };
        Self { random, times, scheduler, now: 0, nodes: BTreeMap::new(), ids }
    }

    fn step(&mut self) {
        match self.random.u32(..12) {
            0..=2 => self.register(),
            3..=6 => self.beat(),
            7 => {
                if let Some(id) = self.any_id() {
                    let node = self.nodes.remove(&id).unwrap();
                    self.scheduler.deregister(&node.handle).unwrap();
                }
            }
            8 => self.mark_unavailable(),
            9 => self.update(),
            _ => self.tick(),
        }
    }

    fn any_id(&mut self) -> Option<String> {
        let place = self.random.usize(..self.nodes.len().max(1));
        self.nodes.keys().nth(place).cloned()
    }

    fn register(&mut self) {
        for _ in 0..self.ids.div_ceil(150) {
            let id = format!("n{}", self.random.u32(..self.ids));
            let spec = SERVICES.iter().fold(NodeSpec::new(&id).capacity(4), |spec, service| spec.service(*service));
            let handle = add(&self.scheduler, spec.replace_existing().ready());
            let off = BTreeMap::new();
            self.nodes.insert(id, Model { handle, heard: self.now, offline: None, report: (0, 0), back: 0, off });
        }
    }

    fn beat(&mut self) {
        for _ in 0..self.random.usize(1..=20) {
            let Some(id) = self.any_id() else { return };
            let node = self.nodes.get_mut(&id).unwrap();
            let mut beat = Heartbeat::ready();
            if self.random.bool() {
                node.report = (self.random.u32(..4), self.now);
                beat = beat.running(node.report.0);
            }
            self.scheduler.heartbeat(&node.handle, &beat).unwrap();
            if node.offline.take().is_some() {
                node.back = self.now;
            }
            node.heard = self.now;
        }
    }

    fn mark_unavailable(&mut self) {
        let Some(id) = self.any_id() else { return };
        let service = SERVICES[self.random.usize(..SERVICES.len())];
        let time = self.random.u64(1..2 * self.times.timeout + 2);
        let node = self.nodes.get_mut(&id).unwrap();
        self.scheduler.mark_unavailable(&node.handle, &service.into(), ms(time)).unwrap();
        node.off.insert(service, self.now + time);
    }

    /// A service that is taken away and given back is not off any more.
    fn update(&mut self) {
        let Some(id) = self.any_id() else { return };
        let node = self.nodes.get_mut(&id).unwrap();
        let less = Capabilities::new().service("work").service("x");
        self.scheduler.update(&node.handle, less.clone()).unwrap();
        self.scheduler.update(&node.handle, less.service("y")).unwrap();
        node.off.remove("y");
    }

    fn tick(&mut self) {
        let Times { timeout, decay, retention } = self.times;
        let jump = match self.random.u32(..5) {
            0 => 0,
            1 => 1,
            2 => self.random.u64(..timeout / 8 + 2),
            3 => self.random.u64(..timeout + 2),
            _ => self.random.u64(..3 * timeout + retention),
        };
        self.now += jump;
        let now = self.now;
        self.scheduler.tick(ms(now));
        self.nodes.retain(|_, node| node.offline.is_none_or(|since| now < since + retention));
        for node in self.nodes.values_mut() {
            node.off.retain(|_, until| *until > now);
            if node.heard + timeout <= now {
                node.offline.get_or_insert(now);
            }
        }
        let views: BTreeMap<String, NodeView> =
            self.scheduler.nodes().into_iter().map(|view| (view.id.to_string(), view)).collect();
        assert!(views.keys().eq(self.nodes.keys()), "who is there at {now}");
        let mut selectable = false;
        for (id, node) in &self.nodes {
            let view = &views[id];
            assert_eq!(view.state == NodeState::Offline, node.offline.is_some(), "{id} at {now}, heard {}", node.heard);
            let off: Vec<&str> = view.services_off.iter().map(|service| service.name()).collect();
            assert!(off.iter().eq(node.off.keys()), "{id} at {now}: off are {off:?}, not {:?}", node.off);
            let (external, reported_at) = node.report;
            assert!(view.external <= external);
            let faded = node.back.max(reported_at + decay) + timeout.min(decay) / 8 + jump + 1;
            assert!(node.offline.is_some() || now < faded || view.external == 0, "{id} at {now}: {:?}", node.report);
            selectable |= node.offline.is_none() && !node.off.contains_key("work") && view.external < 4;
        }
        assert_eq!(self.scheduler.select(&work()).is_ok(), selectable, "at {now}");
    }
}

#[test]
fn nodes_are_what_they_should_be_after_every_tick() {
    for seed in 0..150 {
        let mut run = Run::new(seed);
        let steps = if run.ids > 1000 { 600 } else { 300 };
        (0..steps).for_each(|_| run.step());
    }
}
