//! Calls that change nodes.

use slotyard::{
    Heartbeat, HeartbeatError, NodeError, NodeHandle, NodeSpec, RegisterError, ResourceUse, Service, limits,
};

use super::super::ability::{Ability, bits, has, service_name};
use super::super::difference::{Difference, holds, same};
use super::super::model::{Newcomer, node_id};
use super::super::step::{Beat, Named};
use super::{Outcome, Pair, ms};

/// A node that a call is about.
struct Called {
    node: u8,
    handle: NodeHandle,
    /// It has ended.
    stale: bool,
}

fn wrong_capacity(capacity: u32) -> bool {
    !(1..=limits::MAX_CAPACITY).contains(&capacity)
}

impl Beat {
    fn sent(&self) -> Heartbeat {
        let mut sent = match self.ready {
            None => Heartbeat::alive(),
            Some(true) => Heartbeat::ready(),
            Some(false) => Heartbeat::not_ready(),
        };
        if let Some(running) = self.running {
            sent = sent.running(running);
        }
        if let Some((cpu, gpu)) = self.usage {
            sent = sent.resources(ResourceUse { cpu, gpu, ..Default::default() });
        }
        match self.services {
            Some(services) => sent.services(bits(services).map(service_name)),
            None => sent,
        }
    }
}

impl Pair<'_> {
    pub(super) fn register(
        &mut self,
        node: u8,
        (capacity, weight, ability): (u32, u16, Ability),
        ready: bool,
        replace: bool,
    ) -> Outcome {
        let mut spec = NodeSpec::new(node_id(node)).capacity(capacity).weight(weight);
        spec = spec.capabilities(ability.capabilities());
        spec = if ready { spec.ready() } else { spec };
        spec = if replace { spec.replace_existing() } else { spec };
        let (id, model) = (node_id(node).into(), &mut self.model);
        let known = model.nodes.get(&node).map(|known| known.incarnation);
        let limit = model.setup.max_nodes;
        let expected = if wrong_capacity(capacity) {
            Some(RegisterError::InvalidCapacity { id, capacity, limit: limits::MAX_CAPACITY })
        } else if model.has_no_pool(&ability) {
            Some(RegisterError::NoPool { id })
        } else if let Some(incarnation) = known.filter(|_| !replace) {
            Some(RegisterError::AlreadyRegistered { id, incarnation })
        } else if known.is_none() && model.nodes.len() >= limit {
            Some(RegisterError::TooManyNodes { id, limit })
        } else {
            None
        };
        let result = self.scheduler.register(spec);
        let Ok(handle) = result else {
            same!(result.err(), expected, "registering n{node}");
            self.reach("register: ", &expected);
            return Ok(());
        };
        same!(None, expected, "registering n{node}");
        let incarnation = handle.incarnation();
        holds!(handle.id() == &*node_id(node), "the handle of n{node} is {handle:?}");
        let before = self.handles.insert(node, handle).or_else(|| self.ended.get(&node).cloned());
        if let Some(before) = before {
            holds!(before.incarnation() < incarnation, "{before:?} is followed by {incarnation}");
            self.ended.insert(node, before);
        }
        let pools = self.scheduler.node(&node_id(node)).map(|view| view.pools).unwrap_or_default();
        self.model.learn_hash_pool(node, &pools);
        self.model.register(node, Newcomer { incarnation, capacity, weight, ability, ready });
        Ok(())
    }

    /// The node that is meant, if there is one.
    fn called(&self, named: Named) -> Result<Option<Called>, Difference> {
        let (Named::Node(node) | Named::Id(node) | Named::Ended(node)) = named;
        if let Named::Ended(_) = named {
            let Some(handle) = self.ended.get(&node).cloned() else { return Ok(None) };
            return Ok(Some(Called { node, handle, stale: true }));
        }
        let found = self.scheduler.handle(&node_id(node));
        let shown = found.as_ref().map(|handle| handle.incarnation());
        same!(shown, self.model.nodes.get(&node).map(|known| known.incarnation), "the handle of n{node}");
        // The one that was given when it was registered, which may have become stale in the course of time.
        let handle = self.handles.get(&node).cloned();
        Ok(handle.map(|handle| Called { node, stale: found.is_none(), handle }))
    }

    /// Makes a call about a node and compares what it gives: `refusal`, if that is one, whatever the handle; that the handle
    /// is stale; or what `model` makes of it.
    fn manage(
        &mut self,
        named: Named,
        refusal: impl FnOnce(&Self, &Called) -> Option<NodeError>,
        call: impl FnOnce(&Self, &Called) -> Result<(), NodeError>,
        model: impl FnOnce(&mut Self, u8) -> Result<(), NodeError>,
    ) -> Outcome {
        let Some(called) = self.called(named)? else { return Ok(()) };
        let refusal = refusal(self, &called);
        let result = call(self, &called);
        let pools = self.scheduler.node(&node_id(called.node)).map(|view| view.pools).unwrap_or_default();
        self.model.learn_hash_pool(called.node, &pools);
        let expected = match refusal {
            Some(error) => Err(error),
            None if called.stale => {
                let (id, incarnation) = (called.handle.id().clone(), called.handle.incarnation());
                Err(NodeError::StaleHandle { id, incarnation })
            }
            None => model(self, called.node),
        };
        same!(result, expected, "what became of n{}", called.node);
        self.reach("change: ", &result);
        Ok(())
    }

    pub(super) fn deregister(&mut self, named: Named) -> Outcome {
        let call = |pair: &Self, called: &Called| pair.scheduler.deregister(&called.handle);
        self.manage(
            named,
            |_, _| None,
            call,
            |pair, node| {
                pair.model.deregister(node);
                pair.ended.extend(pair.handles.remove(&node).map(|handle| (node, handle)));
                Ok(())
            },
        )
    }

    pub(super) fn drain(&mut self, named: Named, drain: bool) -> Outcome {
        let call = |pair: &Self, called: &Called| {
            let (scheduler, handle) = (pair.scheduler, &called.handle);
            if drain { scheduler.drain(handle) } else { scheduler.undrain(handle) }
        };
        self.manage(
            named,
            |_, _| None,
            call,
            |pair, node| {
                pair.model.set_draining(node, drain);
                Ok(())
            },
        )
    }

    pub(super) fn set_capacity(&mut self, named: Named, capacity: u32) -> Outcome {
        let refusal = |_: &Self, called: &Called| {
            let (id, limit) = (called.handle.id().clone(), limits::MAX_CAPACITY);
            wrong_capacity(capacity).then_some(NodeError::InvalidCapacity { id, capacity, limit })
        };
        let call = |pair: &Self, called: &Called| pair.scheduler.set_capacity(&called.handle, capacity);
        self.manage(named, refusal, call, |pair, node| {
            pair.model.set_capacity(node, capacity);
            Ok(())
        })
    }

    pub(super) fn set_weight(&mut self, named: Named, weight: u16) -> Outcome {
        let call = |pair: &Self, called: &Called| pair.scheduler.set_weight(&called.handle, weight);
        self.manage(
            named,
            |_, _| None,
            call,
            |pair, node| {
                pair.model.set_weight(node, weight);
                Ok(())
            },
        )
    }

    pub(super) fn update(&mut self, named: Named, ability: Ability) -> Outcome {
        let refusal = |pair: &Self, called: &Called| {
            let id = called.handle.id().clone();
            pair.model.has_no_pool(&ability).then_some(NodeError::NoPool { id })
        };
        let call = |pair: &Self, called: &Called| pair.scheduler.update(&called.handle, ability.capabilities());
        self.manage(named, refusal, call, |pair, node| {
            pair.model.update(node, ability);
            Ok(())
        })
    }

    pub(super) fn mark_unavailable(&mut self, named: Named, service: u8, time: u64) -> Outcome {
        let refusal = |_: &Self, called: &Called| {
            let (id, time) = (called.handle.id().clone(), ms(time));
            time.is_zero().then_some(NodeError::InvalidTime { id, time })
        };
        let name = Service::from(service_name(service));
        let call = |pair: &Self, called: &Called| pair.scheduler.mark_unavailable(&called.handle, &name, ms(time));
        self.manage(named, refusal, call, |pair, node| {
            if !has(pair.model.nodes[&node].declared.services, service) {
                return Err(NodeError::UnknownService { id: node_id(node).into(), service: name.clone() });
            }
            pair.model.mark_unavailable(node, service, time);
            Ok(())
        })
    }

    /// What is wrong with a heartbeat of this node.
    fn wrong_beat(&self, node: u8, beat: &Beat) -> Option<HeartbeatError> {
        let id = || node_id(node).into();
        let (cpu, gpu) = beat.usage.unwrap_or_default();
        if let Some((resource, value)) =
            [("cpu", cpu), ("gpu", gpu)].into_iter().find(|(_, value)| !(0.0..=1.0).contains(value))
        {
            return Some(HeartbeatError::InvalidResource { id: id(), resource, value });
        }
        let unknown = self.model.unknown_of(node, beat.services?)?;
        // The first by name.
        let mut all = bits(beat.services?).filter(|service| self.model.unknown_of(node, 1 << service).is_some());
        let first = all.by_ref().map(service_name).min().unwrap_or_else(|| service_name(unknown));
        Some(HeartbeatError::UnknownService { id: id(), service: Service::from(first) })
    }

    /// What a heartbeat is to give; the model takes it in.
    fn model_beat(&mut self, called: &Called, beat: Beat) -> Result<(), HeartbeatError> {
        if called.stale {
            let (id, incarnation) = (called.handle.id().clone(), called.handle.incarnation());
            return Err(HeartbeatError::StaleHandle { id, incarnation });
        }
        match self.wrong_beat(called.node, &beat) {
            Some(error) => Err(error),
            None => {
                self.model.beat(called.node, beat);
                Ok(())
            }
        }
    }

    pub(super) fn beat(&mut self, named: Named, beat: Beat) -> Outcome {
        let sent = beat.sent();
        let (called, by_id) = (self.called(named)?, matches!(named, Named::Id(_)));
        let (result, expected) = match (called, named) {
            (called, Named::Id(node)) => {
                let result = self.scheduler.heartbeat_by_id(&node_id(node), &sent);
                self.learn(node);
                let unknown = HeartbeatError::UnknownNode { id: node_id(node) };
                let called = called.filter(|called| !called.stale);
                (result, called.map_or(Err(unknown), |called| self.model_beat(&called, beat)))
            }
            (Some(called), _) => {
                let result = self.scheduler.heartbeat(&called.handle, &sent);
                self.learn(called.node);
                (result, self.model_beat(&called, beat))
            }
            (None, _) => return Ok(()),
        };
        // A use that is not a number is unlike itself.
        same!(format!("{result:?}"), format!("{expected:?}"), "a heartbeat, by id: {by_id}");
        self.reach("heartbeat: ", &result);
        Ok(())
    }

    fn learn(&mut self, node: u8) {
        let pools = self.scheduler.node(&node_id(node)).map(|view| view.pools).unwrap_or_default();
        self.model.learn_hash_pool(node, &pools);
    }

    pub(super) fn beat_all(&mut self, beat: Beat) -> Outcome {
        let sent = beat.sent();
        let mut all: Vec<Called> = Vec::new();
        for node in 0..super::super::step::NODES {
            all.extend(self.called(Named::Node(node))?);
            all.extend(self.called(Named::Ended(node))?);
        }
        let refused = self.scheduler.heartbeat_batch(all.iter().map(|called| (&called.handle, &sent)));
        let mut expected = Vec::new();
        for (place, called) in all.iter().enumerate() {
            self.learn(called.node);
            expected.extend(self.model_beat(called, beat).err().map(|error| (place, error)));
        }
        same!(format!("{refused:?}"), format!("{expected:?}"), "heartbeats that were refused");
        Ok(())
    }
}
