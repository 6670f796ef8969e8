//! Nodes registered, changed, taken out of use.
//!
//! Whoever changes what a node can do or whether it is to be used holds its shard's writer lock; a heartbeat that
//! changes neither takes none. What a node adds to the tallies of its pools is changed under that lock, too, so the
//! tallies do not drift.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use super::upkeep::{Timer, What};
use crate::capability::{Capabilities, Service};
use crate::clock::millis;
use crate::config::MAX_CAPACITY;
use crate::error::{InvalidId, NodeError, RegisterError};
use crate::event::Event;
use crate::node::cell::{Basis, Change, Home};
use crate::node::word::{Flags, SlotWord};
use crate::node::{Managed, Membership, Node, NodeHandle, NodeSpec, NodeState, Shard, ShardState};
use crate::pool::{Pool, Seat, Share};
use crate::publish::Published;
use crate::sync::Ordering;

pub(super) fn check_id(kind: &'static str, id: &str, limit: usize) -> Result<(), InvalidId> {
    if (1..=limit).contains(&id.len()) {
        Ok(())
    } else {
        Err(InvalidId { kind, id: id.chars().take(64).collect(), len: id.len(), limit })
    }
}

fn slots(capacity: u32) -> Option<u16> {
    u16::try_from(capacity).ok().filter(|slots| (1..=MAX_CAPACITY).contains(&u32::from(*slots)))
}

fn stale(node: &Node) -> NodeError {
    NodeError::StaleHandle { id: node.id.clone(), incarnation: node.incarnation }
}

impl Core {
    pub(crate) fn register(&self, spec: NodeSpec) -> Result<NodeHandle, RegisterError> {
        let NodeSpec { id, capacity, weight, capabilities, ready, replace } = spec;
        check_id("node", &id, self.config.max_id_len)?;
        let Some(slots) = slots(capacity) else {
            return Err(RegisterError::InvalidCapacity { id, capacity, limit: MAX_CAPACITY });
        };
        if let Err(error) = capabilities.validate() {
            return Err(RegisterError::InvalidCapabilities { id, error });
        }
        // All that can be worked out is, before any lock.
        let seats = self.layout.seats(&id, &capabilities);
        if seats.is_empty() {
            return Err(RegisterError::NoPool { id });
        }
        let declared = Arc::new(capabilities);
        let key = self.prehash(&id).owned();
        let shard = self.shard(key.hash);
        let pin = crossbeam_epoch::pin();

        let mut state = shard.writer.lock(&self.meters.locks);
        let old = shard.find(&self.prehash(&id));
        if let Some(old) = old.as_ref().filter(|_| !replace) {
            return Err(RegisterError::AlreadyRegistered { id, incarnation: old.incarnation });
        }
        if old.is_none() {
            let more = |nodes| (nodes < self.config.max_nodes as u64).then_some(nodes + 1);
            if self.live_nodes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
                return Err(RegisterError::TooManyNodes { id, limit: self.config.max_nodes });
            }
        }
        // Nothing fails from here on.
        let left = old.and_then(|old| self.take_out(&mut state, &old, &pin));
        let flags = Flags::REGISTERING.with(Flags::WEIGHTLESS, weight == 0);
        // A node of one pool lives where it stands in that pool's index.
        let (first, number) = match &seats[..] {
            [only] => {
                let (first, number) = self.join(only, &id, None, weight, &pin);
                (Some(first), number)
            }
            _ => (None, self.cells.take()),
        };
        let cell = self.cells.at(number);
        let generation = cell.occupy(slots, weight, flags);
        cell.last_seen.store(self.clock.now(), Ordering::Relaxed);
        let node = Arc::new(Node {
            id,
            key,
            // Relaxed: only distinctness and growth matter, and a node's shard is locked.
            incarnation: self.incarnations.fetch_add(1, Ordering::Relaxed),
            scheduler: self.threads.scheduler(),
            cell: number,
            generation,
            effective: Published::new(declared.clone()),
            ready_services: Published::default(),
            memberships: Published::default(),
            jobs: Default::default(),
        });
        cell.node.swap(Some(node.clone()), &pin);
        let mut managed = Managed {
            node: node.clone(),
            declared,
            ready: None,
            off: Vec::new(),
            memberships: Vec::new(),
            share: Share { state: NodeState::of(flags), capacity: slots },
            weight,
            offline_since: None,
            restore_at: None,
        };
        self.seat(&mut managed, &seats, first, &pin);
        shard.insert(node.clone());
        if ready {
            self.set_flags(&mut managed, |flags| flags.with(Flags::REGISTERING, false));
        }
        state.managed.insert(number, managed);
        drop(state);
        if let Some(old) = left {
            self.take_leave(&old, &pin);
        }
        tracing::debug!(node = %node.id, incarnation = node.incarnation, capacity, "node registered");
        Ok(NodeHandle(node))
    }

    pub(crate) fn handle(&self, id: &str) -> Option<NodeHandle> {
        let key = self.prehash(id);
        self.shard(key.hash).find(&key).map(NodeHandle)
    }

    pub(crate) fn deregister(&self, handle: &NodeHandle) -> Result<(), NodeError> {
        let node = &handle.0;
        let pin = crossbeam_epoch::pin();
        self.forget_node(node, &pin, |_| true).ok_or_else(|| stale(node))?;
        tracing::debug!(node = %node.id, incarnation = node.incarnation, "node deregistered");
        Ok(())
    }

    /// Takes a node out of the directory, if `provided` holds under the lock. `None` when it does not, or when the
    /// node is not there any more.
    pub(super) fn forget_node(
        &self,
        node: &Arc<Node>,
        pin: &Guard,
        provided: impl FnOnce(&Managed) -> bool,
    ) -> Option<()> {
        let shard = self.shard(node.key.hash);
        let mut state = shard.writer.lock(&self.meters.locks);
        managed(&mut state, node, self.threads.scheduler()).filter(|managed| provided(managed))?;
        let left = self.take_out(&mut state, node, pin)?;
        shard.remove(node);
        self.live_nodes.fetch_sub(1, Ordering::Relaxed);
        drop(state);
        self.take_leave(&left, pin);
        Some(())
    }

    /// Takes a node out of use for good and orphans its jobs. It still has its places in the pools, to be left after
    /// a successor has taken its own, so that a pool is not dropped and made again.
    fn take_out(&self, state: &mut ShardState, node: &Arc<Node>, pin: &Guard) -> Option<Managed> {
        let mut managed = state.managed.remove(&node.cell)?;
        managed.off.clear();
        self.remind_to_restore(&mut managed);
        self.retention(&managed).into_iter().for_each(|timer| self.upkeep.forget(timer));
        let cell = self.cells.at(node.cell);
        let change = cell.change(node.generation, |word| word.with_flags(word.flags().with(Flags::GONE, true)))?;
        // It leaves its cell with its last slot: now, or when that is released.
        self.released(node.cell, cell, &change);
        if managed.share.state != NodeState::Offline {
            self.events.emit(|| Event::NodeDown { node: node.id.clone(), incarnation: node.incarnation });
        }
        self.orphan_jobs(node, pin);
        Some(managed)
    }

    /// Leaves the pools of a node that was taken out.
    fn take_leave(&self, managed: &Managed, pin: &Guard) {
        for membership in &managed.memberships {
            membership.pool.tally.remove(managed.share);
            self.leave(membership, managed.weight, pin);
        }
    }

    /// Gives the node these seats in place of those that it has. New ones are taken and made known before old ones
    /// are left, so the node can be found all the while. `first`: the first seat, if it was taken already.
    fn seat(&self, managed: &mut Managed, seats: &[Seat], mut first: Option<Membership>, pin: &Guard) {
        let node = managed.node.clone();
        let mut before = std::mem::take(&mut managed.memberships);
        let mut joined = Vec::new();
        for seat in seats {
            let kept = before.iter().position(|old| self.is_seated(old, seat));
            let membership = match kept {
                Some(place) => before.swap_remove(place),
                None => {
                    let join = || self.join(seat, &node.id, Some(node.cell), managed.weight, pin).0;
                    let new = first.take().unwrap_or_else(join);
                    new.pool.tally.add(managed.share);
                    joined.push(new.clone());
                    new
                }
            };
            managed.memberships.push(membership);
        }
        if joined.is_empty() && before.is_empty() {
            return;
        }
        let cell = self.cells.at(node.cell);
        match &managed.memberships[..] {
            [] => cell.set_home(Home::None),
            [Membership { pool, position }] => cell.set_home(Home::At { pool: pool.number, position: *position }),
            several => {
                node.memberships.swap(Some(Arc::new(several.to_vec())), pin);
                cell.set_home(Home::Several);
            }
        }
        // A release that does not know the new places yet is seen here.
        let word = cell.announce();
        if word.selectable() {
            managed.memberships.iter().for_each(|at| at.pool.index.mark(at.position));
            cell.settle(word);
        }
        for old in &before {
            old.pool.tally.remove(managed.share);
            self.leave(old, managed.weight, pin);
        }
    }

    fn is_seated(&self, membership: &Membership, seat: &Seat) -> bool {
        match seat {
            Seat::Fixed(pool) => Arc::ptr_eq(pool, &membership.pool),
            // In the mixed pool there is no knowing whether its own could be made by now.
            Seat::Automatic(signature) => {
                membership.pool.guarantee == *signature && membership.pool.kind == crate::PoolKind::Automatic
            }
        }
    }

    /// Gives the node the seats that it should have now. Where a configuration has none for what is left of its
    /// services, it has none until more are back.
    pub(super) fn reseat(&self, managed: &mut Managed, pin: &Guard) {
        let effective = managed.effective();
        let seats = self.layout.seats(&managed.node.id, &effective);
        managed.node.effective.swap(Some(effective), pin);
        self.seat(managed, &seats, None, pin);
    }

    pub(crate) fn update(&self, handle: &NodeHandle, capabilities: Capabilities) -> Result<(), NodeError> {
        let node = &handle.0;
        if let Err(error) = capabilities.validate() {
            return Err(NodeError::InvalidCapabilities { id: node.id.clone(), error });
        }
        if self.layout.seats(&node.id, &capabilities).is_empty() {
            return Err(NodeError::NoPool { id: node.id.clone() });
        }
        self.manage(node, |managed, pin| {
            let declared = Arc::new(capabilities);
            managed.off.retain(|(service, _)| declared.offers(service));
            self.remind_to_restore(managed);
            // What it said of its old services says nothing of the new ones.
            managed.ready = None;
            managed.node.ready_services.swap(None, pin);
            managed.declared = declared;
            self.reseat(managed, pin);
            Ok(())
        })
    }

    pub(crate) fn set_capacity(&self, handle: &NodeHandle, capacity: u32) -> Result<(), NodeError> {
        let node = &handle.0;
        let Some(slots) = slots(capacity) else {
            return Err(NodeError::InvalidCapacity { id: node.id.clone(), capacity, limit: MAX_CAPACITY });
        };
        self.manage(node, |managed, _| {
            self.change_basis(managed, |basis| Basis { capacity: slots, ..basis });
            Ok(())
        })
    }

    pub(crate) fn set_weight(&self, handle: &NodeHandle, weight: u16) -> Result<(), NodeError> {
        self.manage(&handle.0, |managed, _| {
            for membership in &managed.memberships {
                membership.pool.change_weight(managed.weight, weight, &self.meters.locks);
            }
            managed.weight = weight;
            self.change_basis(managed, |basis| Basis { weight, ..basis });
            self.set_flags(managed, |flags| flags.with(Flags::WEIGHTLESS, weight == 0));
            Ok(())
        })
    }

    pub(crate) fn set_draining(&self, handle: &NodeHandle, draining: bool) -> Result<(), NodeError> {
        let node = &handle.0;
        self.manage(node, |managed, _| {
            let change = self.set_flags(managed, |flags| flags.with(Flags::DRAINING, draining));
            if draining && change.is_some_and(|change| !change.before.flags().has(Flags::DRAINING)) {
                self.events.emit(|| Event::NodeDrained { node: node.id.clone(), incarnation: node.incarnation });
            }
            Ok(())
        })
    }

    pub(crate) fn mark_unavailable(
        &self,
        handle: &NodeHandle,
        service: &Service,
        time: Duration,
    ) -> Result<(), NodeError> {
        let node = &handle.0;
        if time.is_zero() || time > Duration::from_secs(366 * 24 * 3600) {
            return Err(NodeError::InvalidTime { id: node.id.clone(), time });
        }
        self.manage(node, |managed, pin| {
            if !managed.declared.offers(service) {
                return Err(NodeError::UnknownService { id: node.id.clone(), service: service.clone() });
            }
            let until = self.clock.now().saturating_add(millis(time).max(1));
            managed.off.retain(|(off, _)| off != service);
            managed.off.push((service.clone(), until));
            self.reseat(managed, pin);
            self.remind_to_restore(managed);
            Ok(())
        })
    }

    /// Sees to it that the node is looked at when the first of its services that are off may be on again.
    pub(super) fn remind_to_restore(&self, managed: &mut Managed) {
        let node = &managed.node;
        let next = managed.off.iter().map(|(_, until)| *until).min();
        let timer = |at| Timer { at, incarnation: node.incarnation, cell: node.cell, what: What::Restore };
        if next != managed.restore_at {
            managed.restore_at.into_iter().for_each(|at| self.upkeep.forget(timer(at)));
            next.into_iter().for_each(|at| self.upkeep.remind(timer(at)));
            managed.restore_at = next;
        }
    }

    /// When and that a node that is offline is forgotten.
    fn retention(&self, managed: &Managed) -> Option<Timer> {
        let at = managed.offline_since?.saturating_add(millis(self.config.offline_retention));
        let node = &managed.node;
        Some(Timer { at, incarnation: node.incarnation, cell: node.cell, what: What::Forget })
    }

    /// Runs a change of one node under its shard's writer lock.
    fn manage(
        &self,
        node: &Arc<Node>,
        change: impl FnOnce(&mut Managed, &Guard) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let shard: &Shard = self.shard(node.key.hash);
        let mut state = shard.writer.lock(&self.meters.locks);
        let managed = managed(&mut state, node, self.threads.scheduler()).ok_or_else(|| stale(node))?;
        change(managed, &crossbeam_epoch::pin())
    }

    fn change_basis(&self, managed: &mut Managed, to: impl Fn(Basis) -> Basis) {
        let cell = self.cells.at(managed.node.cell);
        if let Some(word) = cell.change_basis(managed.node.generation, to, |change| self.tell(cell, change.edge)) {
            self.account(managed, word);
        }
    }

    /// Changes the flags of a node as `to` says, tells the indexes and the tallies, and reports what became of it.
    pub(super) fn set_flags(&self, managed: &mut Managed, to: impl Fn(Flags) -> Flags) -> Option<Change> {
        let cell = self.cells.at(managed.node.cell);
        let change = cell.change(managed.node.generation, |word| word.with_flags(to(word.flags())))?;
        self.tell(cell, change.edge);
        self.account(managed, change.after);
        Some(change)
    }

    /// Brings the tallies of a node's pools up to its present state and capacity.
    fn account(&self, managed: &mut Managed, word: SlotWord) {
        let capacity = self.cells.at(managed.node.cell).basis().capacity;
        let share = Share { state: NodeState::of(word.flags()), capacity };
        if share == managed.share {
            return;
        }
        let before = std::mem::replace(&mut managed.share, share);
        let pools = managed.memberships.iter().map(|at| -> &Pool { &at.pool });
        pools.for_each(|pool| pool.tally.replace(before, share));
        let node = managed.node.clone();
        match (before.state, share.state) {
            (before, after) if before == after => return,
            (NodeState::Offline, _) => {
                self.retention(managed).into_iter().for_each(|timer| self.upkeep.forget(timer));
                managed.offline_since = None;
            }
            (_, NodeState::Offline) => {
                managed.offline_since = Some(self.clock.now());
                self.retention(managed).into_iter().for_each(|timer| self.upkeep.remind(timer));
                self.events.emit(|| Event::NodeDown { node: node.id.clone(), incarnation: node.incarnation });
            }
            _ => {}
        }
        if share.state == NodeState::Ready {
            self.events.emit(|| Event::NodeUp { node: node.id.clone(), incarnation: node.incarnation });
        }
        tracing::debug!(node = %node.id, incarnation = node.incarnation, from = %before.state, to = %share.state, "node changed state");
    }
}

/// What the shard's writer knows of this incarnation, if it is still there.
pub(super) fn managed<'a>(state: &'a mut ShardState, node: &Arc<Node>, scheduler: u64) -> Option<&'a mut Managed> {
    let managed = state.managed.get_mut(&node.cell)?;
    (node.scheduler == scheduler && Arc::ptr_eq(&managed.node, node)).then_some(managed)
}
