//! What a scheduler is to do, in the plainest way: a list of nodes, of jobs, of sessions, of pools, and a clock.
//!
//! The model does not choose nodes. It says which ones may be chosen, and is told which one was. Nor does it make numbers
//! up (incarnations, ids of jobs, which of the hash pools is a node's): it is told, and holds the scheduler to them.

mod choice;
mod jobs;
mod nodes;
mod pools;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use slotyard::{Counters, Event, JobId, JobState, NodeState};

pub(crate) use choice::{Legal, Wish};
pub(crate) use jobs::{Begun, Created, Refused};
pub(crate) use nodes::Newcomer;
pub(crate) use pools::{Birth, Pool};

use super::ability::{Ability, bits, has};
use super::setup::Setup;
use super::step::Ask;

/// A node, and one of its lives.
pub(crate) type Life = (u8, u64);

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) incarnation: u64,
    pub(crate) capacity: u32,
    pub(crate) weight: u16,
    pub(crate) declared: Ability,
    /// Slots that jobs of others take, and what was said of them last, and when.
    pub(crate) external: u32,
    report: (u32, u64),
    /// Use of the processor and the accelerator, as last said.
    pub(crate) usage: (f32, f32),
    /// When each service that is off comes back.
    off: BTreeMap<u8, u64>,
    /// The services that it last said are ready, if it did.
    says_ready: Option<u8>,
    registering: bool,
    unready: bool,
    overloaded: bool,
    draining: bool,
    offline_since: Option<u64>,
    last_seen: u64,
    /// The pools that it is in.
    pub(crate) homes: Vec<Birth>,
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) ask: Ask,
    pub(crate) state: JobState,
    pub(crate) attempt: u32,
    /// The node of each attempt.
    pub(crate) nodes: Vec<Life>,
    /// The name of the pool in which the last was found.
    pub(crate) pool: String,
    deadline: u64,
    ended_at: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pool: Option<Birth>,
    last: Option<Life>,
    last_used: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) setup: Setup,
    pub(crate) now: u64,
    pub(crate) nodes: BTreeMap<u8, Node>,
    /// By the number of their request.
    pub(crate) jobs: BTreeMap<u8, Job>,
    /// How the latest job of each request ended, if it has, known still or not.
    pub(crate) endings: BTreeMap<u8, JobState>,
    pub(crate) sessions: BTreeMap<u8, Session>,
    /// Slots held by reservations.
    pub(crate) reservations: Vec<Life>,
    pub(crate) pools: BTreeMap<Birth, Pool>,
    births: Birth,
    pub(crate) version: u64,
    /// Which of the hash pools is a node's, once it was seen in one.
    hash_pools: BTreeMap<u8, Birth>,
    /// Which pools may be a routing key's, of those of a tier with their slots.
    keyed: BTreeMap<(u8, Vec<(Birth, u64)>), BTreeSet<Birth>>,
    next_sweep: u64,
    last_sessions: u64,
    pub(crate) counted: Counters,
    pub(crate) dispatched: u64,
    /// What has happened since the last time that somebody looked: groups, in each of which the order is not said.
    pub(crate) events: Vec<Vec<Event>>,
}

/// In the order of the numbers.
pub(crate) fn node_id(node: u8) -> String {
    format!("n{node:03}")
}

pub(crate) fn request_id(request: u8) -> String {
    format!("r{request}")
}

pub(crate) fn session_id(session: u8) -> String {
    format!("session-{session}")
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

    /// The services that are off: marked so, or left out by its last word on them.
    pub(crate) fn services_off(&self) -> u8 {
        let marked = self.off.keys().fold(0, |set, service| set | 1 << service);
        (marked | !self.says_ready.unwrap_or(u8::MAX)) & self.declared.services
    }

    /// What it can do now.
    pub(crate) fn able(&self) -> Ability {
        self.declared.without(self.services_off())
    }

    pub(crate) fn is_unready(&self) -> bool {
        self.unready
    }
}

impl Model {
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut model = Self {
            setup: setup.clone(),
            now: 0,
            nodes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            endings: BTreeMap::new(),
            sessions: BTreeMap::new(),
            reservations: Vec::new(),
            pools: BTreeMap::new(),
            births: 0,
            version: 1,
            hash_pools: BTreeMap::new(),
            keyed: BTreeMap::new(),
            next_sweep: 0,
            last_sessions: 0,
            counted: Counters::default(),
            dispatched: 0,
            events: Vec::new(),
        };
        model.lay_out();
        model
    }

    fn tell(&mut self, event: Event) {
        self.events.push(vec![event]);
    }

    /// The present life of a node.
    pub(crate) fn life(&self, node: u8) -> Option<Life> {
        self.nodes.get(&node).map(|known| (node, known.incarnation))
    }

    pub(crate) fn is_current(&self, life: Life) -> bool {
        self.life(life.0) == Some(life)
    }

    /// The jobs that hold a slot of this life of a node.
    fn active_on(&self, life: Life) -> Vec<u8> {
        let on = |job: &Job| !job.state.has_ended() && job.nodes.last() == Some(&life);
        self.jobs.iter().filter(|(_, job)| on(job)).map(|(request, _)| *request).collect()
    }

    pub(crate) fn in_flight(&self, node: u8) -> u32 {
        let Some(life) = self.life(node) else { return 0 };
        let reserved = self.reservations.iter().filter(|held| **held == life).count();
        (self.active_on(life).len() + reserved) as u32
    }

    /// Whether a further slot of the node may be taken.
    pub(crate) fn is_free(&self, id: u8) -> bool {
        let node = &self.nodes[&id];
        node.state() == NodeState::Ready && self.in_flight(id) < node.capacity.saturating_sub(node.external)
    }

    /// All slots that are held, of nodes that are gone, too.
    pub(crate) fn slots_held(&self) -> u64 {
        let active = self.jobs.values().filter(|job| !job.state.has_ended()).count();
        (active + self.reservations.len()) as u64
    }

    pub(crate) fn finished(&self) -> BTreeSet<u8> {
        self.jobs.iter().filter(|(_, job)| job.state.has_ended()).map(|(request, _)| *request).collect()
    }

    fn node(&mut self, id: u8) -> &mut Node {
        self.nodes.get_mut(&id).expect("the caller knows the node")
    }

    fn up(&self, id: u8) -> Event {
        Event::NodeUp { node: node_id(id).into(), incarnation: self.nodes[&id].incarnation }
    }

    fn down(&self, (id, incarnation): Life) -> Event {
        Event::NodeDown { node: node_id(id).into(), incarnation }
    }

    /// The services of these bits that the node does not offer.
    pub(crate) fn unknown_of(&self, id: u8, services: u8) -> Option<u8> {
        bits(services).find(|service| !has(self.nodes[&id].declared.services, *service))
    }
}
