//! Nodes that come, change and go.

use slotyard::{Event, JobState, NodeState};

use super::super::ability::Ability;
use super::super::setup::{DEGRADE, RECOVER};
use super::super::step::Beat;
use super::{Life, Model, Node, node_id};

/// What a node says of itself when it comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newcomer {
    pub(crate) incarnation: u64,
    pub(crate) capacity: u32,
    pub(crate) weight: u16,
    pub(crate) ability: Ability,
    pub(crate) ready: bool,
}

impl Model {
    /// In place of the one that is there, if there is one.
    pub(crate) fn register(&mut self, id: u8, new: Newcomer) {
        let left = self.nodes.get(&id).map(|old| old.homes.clone()).unwrap_or_default();
        if let Some(life) = self.life(id) {
            self.take_out(life);
        }
        let homes = self.settle(id, &new.ability);
        let node = Node {
            incarnation: new.incarnation,
            capacity: new.capacity,
            weight: new.weight,
            declared: new.ability,
            external: 0,
            report: (0, 0),
            usage: (0.0, 0.0),
            off: Default::default(),
            says_ready: None,
            registering: !new.ready,
            unready: false,
            overloaded: false,
            draining: false,
            offline_since: None,
            last_seen: self.now,
            homes,
        };
        self.nodes.insert(id, node);
        if self.nodes[&id].state() == NodeState::Ready {
            self.tell(self.up(id));
        }
        self.leave(&left);
    }

    /// Its end is told of, and its jobs are orphaned.
    fn take_out(&mut self, life: Life) {
        if self.nodes[&life.0].state() != NodeState::Offline {
            self.tell(self.down(life));
        }
        self.orphan(life);
    }

    pub(super) fn orphan(&mut self, life: Life) {
        let before = self.events.len();
        for request in self.active_on(life) {
            self.end(request, JobState::Orphaned);
        }
        // In which order is not said.
        let orphans: Vec<Event> = self.events.drain(before..).flatten().collect();
        if !orphans.is_empty() {
            self.events.push(orphans);
        }
    }

    pub(crate) fn deregister(&mut self, id: u8) {
        let life = self.life(id).expect("the caller knows the node");
        self.take_out(life);
        let node = self.nodes.remove(&id).expect("the caller knows the node");
        self.leave(&node.homes);
    }

    /// A node that has been offline for long.
    pub(super) fn forget_node(&mut self, id: u8) {
        let incarnation = self.nodes[&id].incarnation;
        self.deregister(id);
        self.tell(Event::NodeForgotten { node: node_id(id).into(), incarnation });
    }

    /// Changes something that its state hangs on.
    pub(super) fn change(&mut self, id: u8, change: impl FnOnce(&mut Node)) {
        let before = self.nodes[&id].state();
        change(self.node(id));
        match self.nodes[&id].state() {
            after if after == before => {}
            NodeState::Ready => self.tell(self.up(id)),
            NodeState::Offline => self.tell(self.down((id, self.nodes[&id].incarnation))),
            _ => {}
        }
    }

    /// A heartbeat with nothing wrong in it.
    pub(crate) fn beat(&mut self, id: u8, beat: Beat) {
        let (now, in_flight) = (self.now, self.in_flight(id));
        self.counted.heartbeats += 1;
        if beat.services.is_some() && self.nodes[&id].says_ready != beat.services {
            self.node(id).says_ready = beat.services;
            self.reseat(id);
        }
        let node = self.node(id);
        node.last_seen = now;
        if let Some(running) = beat.running {
            node.external = running.saturating_sub(in_flight);
            node.report = (node.external, now);
        }
        if let Some(usage) = beat.usage {
            node.usage = usage;
        }
        self.change(id, |node| {
            node.offline_since = None;
            if let Some(ready) = beat.ready {
                node.unready = !ready;
                node.registering &= !ready;
            }
            if let Some((cpu, gpu)) = beat.usage {
                node.overloaded = cpu.max(gpu) >= if node.overloaded { RECOVER } else { DEGRADE };
            }
        });
    }

    pub(crate) fn set_draining(&mut self, id: u8, draining: bool) {
        let incarnation = self.nodes[&id].incarnation;
        let was = self.nodes[&id].draining;
        self.change(id, |node| node.draining = draining);
        if draining && !was {
            self.tell(Event::NodeDrained { node: node_id(id).into(), incarnation });
        }
    }

    pub(crate) fn set_capacity(&mut self, id: u8, capacity: u32) {
        self.node(id).capacity = capacity;
    }

    pub(crate) fn set_weight(&mut self, id: u8, weight: u16) {
        self.change(id, |node| node.weight = weight);
    }

    pub(crate) fn update(&mut self, id: u8, ability: Ability) {
        let node = self.node(id);
        node.declared = ability;
        node.off.retain(|service, _| ability.services >> service & 1 == 1);
        // What it said of its old services says nothing of the new ones.
        node.says_ready = None;
        self.reseat(id);
    }

    pub(crate) fn mark_unavailable(&mut self, id: u8, service: u8, time: u64) {
        let until = self.now + time;
        self.node(id).off.insert(service, until);
        self.reseat(id);
    }
}

impl Node {
    /// What of the jobs of others counts still.
    pub(super) fn faded(&self, now: u64, decay: u64) -> u32 {
        let (external, at) = self.report;
        let left = decay.saturating_sub(now - at);
        self.external.min((u64::from(external) * left).div_ceil(decay) as u32)
    }

    /// When it is to be looked at because of services that come back.
    pub(super) fn restores_at(&self) -> Option<u64> {
        self.off.values().min().copied()
    }

    pub(super) fn restore(&mut self, now: u64) {
        self.off.retain(|_, until| *until > now);
    }

    pub(super) fn is_silent(&self, now: u64, timeout: u64) -> bool {
        self.offline_since.is_none() && self.last_seen + timeout <= now
    }

    pub(super) fn go_offline(&mut self, now: u64) {
        self.offline_since = Some(now);
    }

    pub(super) fn forgotten_at(&self, retention: u64) -> Option<u64> {
        self.offline_since.map(|since| since + retention)
    }
}
