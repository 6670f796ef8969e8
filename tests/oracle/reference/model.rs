//! What a scheduler is to do, in the plainest way: a list of nodes, a list of jobs, and a clock.
//!
//! The model does not choose nodes. It says which ones may be chosen, and is told which one was.

use std::collections::BTreeMap;

use slotyard::{JobId, JobState, NodeState};

/// Times in the model, in ms. The scheduler under test is configured with them.
pub(crate) const TIMEOUT: u64 = 15_000;
pub(crate) const RETENTION: u64 = 40_000;
pub(crate) const LEASE: u64 = 8_000;
pub(crate) const REMEMBERED: u64 = 20_000;
pub(crate) const MAX_ATTEMPTS: u32 = 4;
/// Use from which on a node is degraded, and below which it recovers.
pub(crate) const DEGRADE: f32 = 0.9;
pub(crate) const RECOVER: f32 = 0.7;

/// A set of the services `s0`, `s1` ..., one bit each: what a node offers, or what a job needs.
pub(crate) type Services = u8;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) incarnation: u64,
    pub(crate) capacity: u32,
    pub(crate) weight: u16,
    pub(crate) external: u32,
    pub(crate) declared: Services,
    /// When each service that is off comes back.
    off: BTreeMap<u8, u64>,
    registering: bool,
    unready: bool,
    overloaded: bool,
    draining: bool,
    offline_since: Option<u64>,
    last_seen: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) needs: Services,
    pub(crate) state: JobState,
    pub(crate) attempt: u32,
    /// Node and incarnation of each attempt.
    pub(crate) nodes: Vec<(u8, u64)>,
    deadline: u64,
    ended_at: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) nodes: BTreeMap<u8, Node>,
    /// By the number of their request.
    pub(crate) jobs: BTreeMap<u8, Job>,
}

/// What a heartbeat says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beat {
    pub(crate) ready: Option<bool>,
    pub(crate) running: Option<u32>,
    pub(crate) usage: Option<f32>,
}

impl Node {
    pub(crate) fn state(&self) -> NodeState {
        if self.offline_since.is_some() {
            NodeState::Offline
        } else if self.draining || self.weight == 0 {
            NodeState::Draining
        } else if self.registering {
            NodeState::Registering
        } else if self.unready || self.overloaded {
            NodeState::Degraded
        } else {
            NodeState::Ready
        }
    }

    /// The services that are not off.
    pub(crate) fn effective(&self) -> Services {
        self.off.keys().fold(self.declared, |left, service| left & !(1 << service))
    }
}

impl Model {
    pub(crate) fn in_flight(&self, node: u8) -> u32 {
        let on = |job: &&Job| !job.state.has_ended() && job.nodes.last().is_some_and(|(id, _)| *id == node);
        self.jobs.values().filter(on).count() as u32
    }

    fn able(&self, needs: Services) -> impl Iterator<Item = (u8, &Node)> {
        self.nodes.iter().filter(move |(_, node)| node.effective() & needs == needs).map(|(id, node)| (*id, node))
    }

    /// The nodes that a job with these needs may go to now.
    pub(crate) fn selectable(&self, needs: Services) -> Vec<u8> {
        let free = |(id, node): &(u8, &Node)| {
            node.state() == NodeState::Ready && self.in_flight(*id) < node.capacity.saturating_sub(node.external)
        };
        self.able(needs).filter(free).map(|(id, _)| id).collect()
    }

    /// What a select says of these needs.
    pub(crate) fn kind(&self, needs: Services) -> &'static str {
        if !self.selectable(needs).is_empty() {
            "selected"
        } else if self.able(needs).any(|(_, node)| node.state() == NodeState::Ready) {
            "busy"
        } else if self.able(needs).next().is_some() {
            "gone"
        } else {
            "unsupported"
        }
    }

    /// The nodes that the next attempt of a job may go to: those that it has not had, where there are any.
    pub(crate) fn for_retry(&self, job: &Job) -> Vec<u8> {
        let free = self.selectable(job.needs);
        let had = |id: &u8| job.nodes.contains(&(*id, self.nodes[id].incarnation));
        let others: Vec<u8> = free.iter().copied().filter(|id| !had(id)).collect();
        if others.is_empty() { free } else { others }
    }

    pub(crate) fn register(&mut self, id: u8, incarnation: u64, capacity: u32, declared: Services, ready: bool) {
        self.remove(id);
        let node = Node {
            incarnation,
            capacity,
            weight: 100,
            external: 0,
            declared,
            off: BTreeMap::new(),
            registering: !ready,
            unready: false,
            overloaded: false,
            draining: false,
            offline_since: None,
            last_seen: self.now,
        };
        self.nodes.insert(id, node);
    }

    /// A node that is gone, with its jobs orphaned.
    pub(crate) fn remove(&mut self, id: u8) {
        self.nodes.remove(&id);
        self.orphan(id);
    }

    fn orphan(&mut self, node: u8) {
        let now = self.now;
        let on = |job: &&mut Job| !job.state.has_ended() && job.nodes.last().is_some_and(|(id, _)| *id == node);
        self.jobs.values_mut().filter(on).for_each(|job| job.end(JobState::Orphaned, now));
    }

    pub(crate) fn beat(&mut self, id: u8, beat: Beat) {
        let (now, in_flight) = (self.now, self.in_flight(id));
        let node = self.nodes.get_mut(&id).expect("the caller knows the node");
        (node.last_seen, node.offline_since) = (now, None);
        if let Some(ready) = beat.ready {
            node.unready = !ready;
            node.registering &= !ready;
        }
        if let Some(usage) = beat.usage {
            node.overloaded = usage >= if node.overloaded { RECOVER } else { DEGRADE };
        }
        if let Some(running) = beat.running {
            node.external = running.saturating_sub(in_flight);
        }
    }

    pub(crate) fn set_draining(&mut self, id: u8, draining: bool) {
        self.nodes.get_mut(&id).expect("the caller knows the node").draining = draining;
    }

    pub(crate) fn update(&mut self, id: u8, declared: Services) {
        let node = self.nodes.get_mut(&id).expect("the caller knows the node");
        node.declared = declared;
        node.off.retain(|service, _| declared >> service & 1 == 1);
    }

    pub(crate) fn mark_unavailable(&mut self, id: u8, service: u8, time: u64) {
        let until = self.now + time;
        self.nodes.get_mut(&id).expect("the caller knows the node").off.insert(service, until);
    }

    pub(crate) fn create(&mut self, request: u8, id: JobId, needs: Services, node: u8) {
        let nodes = vec![(node, self.nodes[&node].incarnation)];
        let deadline = self.now + LEASE;
        let job = Job { id, needs, state: JobState::Reserved, attempt: 1, nodes, deadline, ended_at: 0 };
        self.jobs.insert(request, job);
    }

    pub(crate) fn retry(&mut self, request: u8, node: u8) {
        let (incarnation, deadline) = (self.nodes[&node].incarnation, self.now + LEASE);
        let job = self.jobs.get_mut(&request).expect("the caller knows the job");
        job.nodes.push((node, incarnation));
        (job.attempt, job.state, job.deadline) = (job.attempt + 1, JobState::Reserved, deadline);
    }

    pub(crate) fn end(&mut self, request: u8, state: JobState) {
        let now = self.now;
        self.jobs.get_mut(&request).expect("the caller knows the job").end(state, now);
    }

    pub(crate) fn renew(&mut self, request: u8) {
        let deadline = self.now + LEASE;
        self.jobs.get_mut(&request).expect("the caller knows the job").deadline = deadline;
    }

    /// Leases first, then what is due to a node, then who is silent, then what is old.
    pub(crate) fn tick(&mut self, now: u64) {
        self.now = now;
        let expired = |job: &&mut Job| !job.state.has_ended() && job.deadline <= now;
        self.jobs.values_mut().filter(expired).for_each(|job| job.end(JobState::Expired, now));
        self.nodes.values_mut().for_each(|node| node.off.retain(|_, until| *until > now));
        self.nodes.retain(|_, node| node.offline_since.is_none_or(|since| now < since + RETENTION));
        let silent = |node: &Node| node.offline_since.is_none() && node.last_seen + TIMEOUT <= now;
        let silent: Vec<u8> = self.nodes.iter().filter(|(_, node)| silent(node)).map(|(id, _)| *id).collect();
        for id in silent {
            self.nodes.get_mut(&id).expect("just found").offline_since = Some(now);
            self.orphan(id);
        }
        self.jobs.retain(|_, job| !job.state.has_ended() || now < job.ended_at + REMEMBERED);
    }
}

impl Job {
    fn end(&mut self, state: JobState, now: u64) {
        (self.state, self.ended_at) = (state, now);
    }

    pub(crate) fn may_retry(&self) -> bool {
        !matches!(self.state, JobState::Completed | JobState::Cancelled)
    }
}
