//! Nodes registered, changed, taken out of use.
//!
//! Whoever changes what a node can do or whether it is to be used holds its shard's writer lock; a heartbeat that
//! changes neither takes none. What a node adds to the tallies of its pools is changed under that lock, too, so the
//! tallies do not drift.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use super::pools::Place;
use super::upkeep::{Timer, What};
use crate::capability::{Capabilities, CapabilityError, Service};
use crate::clock::millis;
use crate::config::MAX_CAPACITY;
use crate::error::{InvalidId, NodeError, RegisterError};
use crate::event::Event;
use crate::few::Few;
use crate::id::{NodeId, NodeKey};
use crate::node::cell::{Basis, Change, Home};
use crate::node::word::{Flags, SlotWord};
use crate::node::{Membership, Node, NodeHandle, NodeSpec, NodeState, ShardState, Special};
use crate::pool::{Known, Seat, Seated, Share};
use crate::publish::{Published, Shared};
use crate::sync::Ordering;

pub(super) fn check_id(kind: &'static str, id: &str, limit: usize) -> Result<(), InvalidId> {
    if (1..=limit).contains(&id.len()) {
        Ok(())
    } else {
        Err(InvalidId { kind, id: id.chars().take(64).collect(), len: id.len(), limit })
    }
}

pub(super) fn slots(capacity: u32) -> Option<u16> {
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
        let pin = crate::sync::pin();
        let profile = match self.profile(capabilities, &pin) {
            Ok(profile) => profile,
            Err(error) => return Err(RegisterError::InvalidCapabilities { id, error }),
        };
        // All that can be worked out is, before any lock.
        let seats = self.layout.seats(&id, &profile);
        if seats.is_empty() {
            return Err(RegisterError::NoPool { id });
        }
        let key = self.node_key(&id);
        let (hash, name) = (key.hash, key.name);
        let shard = self.shard(hash);

        let mut state = shard.writer.lock(&self.meters.locks);
        let old = shard.find(&key, &pin);
        if let Some(old) = old.filter(|_| !replace) {
            return Err(RegisterError::AlreadyRegistered { incarnation: old.incarnation, id });
        }
        if old.is_none() {
            let more = |nodes| (nodes < self.config.max_nodes as u64).then_some(nodes + 1);
            if self.live_nodes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
                return Err(RegisterError::TooManyNodes { id, limit: self.config.max_nodes });
            }
        }
        // Nothing fails from here on.
        let left = old.and_then(|old| self.take_out(&mut state, &old.to_arc(), &pin));
        let flags = Flags::REGISTERING.with(Flags::WEIGHTLESS, weight == 0);
        // As it will be when this returns, so that it is counted once.
        let up = if ready { flags.with(Flags::REGISTERING, false) } else { flags };
        let share = Share { state: NodeState::of(up), capacity: slots };
        let Settled { cell: number, places, record } = self.settle(&seats, &id, weight, share, &pin);
        let cell = self.cells.at(number);
        self.cells.put_name(number, name);
        let generation = cell.prepare(slots, weight);
        cell.hear(generation, self.clock.now());
        let (home, memberships) = homes(places);
        // Nobody has a slot of this generation yet, so no release has to be asked to tell the index there.
        cell.set_home(home);
        let node = Node::shared(profile, record, |declared| Node {
            id,
            cell: number,
            generation,
            hash,
            incarnation: state.next_incarnation(),
            declared,
            reduced: Published::default(),
            ready_services: Published::default(),
            memberships: memberships.map(Published::new).unwrap_or_default(),
            jobs: Default::default(),
        });
        cell.node.put(node.clone());
        // It is found by its id from the next step on, and by what it can do from the one after.
        let edge = cell.open(generation, slots, up);
        shard.insert(&mut state, &node, old.as_deref());
        self.tell(cell, edge);
        if share.state != NodeState::of(flags) {
            self.report(&node, NodeState::of(flags), share.state);
        }
        drop(state);
        if let Some(old) = left {
            self.take_leave(&old, &pin);
        }
        tracing::debug!(node = %node.id, incarnation = node.incarnation, capacity, "node registered");
        Ok(NodeHandle::new(node))
    }

    /// What nodes that can do this share; made, if these are the first.
    pub(super) fn profile<'g>(&self, capabilities: Capabilities, pin: &'g Guard) -> Result<Known<'g>, CapabilityError> {
        match self.profiles.find(&capabilities, pin) {
            Some(profile) => Ok(profile),
            None => {
                capabilities.validate()?;
                Ok(Known::Found(self.profiles.of(capabilities, &self.layout, pin)))
            }
        }
    }

    /// Takes these seats for a node that is to come, and a cell. A node of one pool lives where it stands in that pool's
    /// index.
    fn settle<'g>(&self, seats: &[Seat<'g>], id: &NodeId, weight: u16, share: Share, pin: &'g Guard) -> Settled<'g> {
        match seats {
            [only] => {
                let (place, Seated { cell, record, .. }) = self.join(*only, id, None, weight, share, pin);
                Settled { cell, places: Few::One(place), record }
            }
            several => {
                let cell = self.cells.take();
                let join = |seat: &Seat<'g>| self.join(*seat, id, Some(cell), weight, share, pin).0;
                Settled { cell, places: several.iter().map(join).collect(), record: None }
            }
        }
    }

    pub(crate) fn handle(&self, id: &str) -> Option<NodeHandle> {
        let pin = crate::sync::pin();
        self.registered(&self.node_key(id), &pin).map(|node| NodeHandle::new(node.to_arc()))
    }

    /// The node that is registered under this id.
    pub(super) fn registered<'g>(&self, id: &NodeKey<'_>, pin: &'g Guard) -> Option<Shared<'g, Node>> {
        let shard = self.shard(id.hash);
        let found = shard.find(id, pin)?;
        if self.is_current(&found) {
            return Some(found);
        }
        // It is gone, and the directory does not say so yet, nor who has come in its place. Whoever sees to that has the lock.
        let _state = shard.writer.lock(&self.meters.locks);
        shard.find(id, pin)
    }

    pub(crate) fn deregister(&self, handle: &NodeHandle) -> Result<(), NodeError> {
        let node = &handle.node;
        let pin = crate::sync::pin();
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
        provided: impl FnOnce(Option<&Special>) -> bool,
    ) -> Option<()> {
        let shard = self.shard(node.hash);
        let mut state = shard.writer.lock(&self.meters.locks);
        if !self.is_current(node) || !provided(state.special(node)) {
            return None;
        }
        let left = self.take_out(&mut state, node, pin)?;
        shard.remove(&mut state, node);
        self.live_nodes.fetch_sub(1, Ordering::Relaxed);
        drop(state);
        self.take_leave(&left, pin);
        Some(())
    }

    /// Takes a node out of use for good and orphans its jobs. It still has its places in the pools, to be left after
    /// a successor has taken its own, so that a pool is not dropped and made again.
    fn take_out<'g>(&self, state: &mut ShardState, node: &Arc<Node>, pin: &'g Guard) -> Option<Left<'g>> {
        let cell = self.cells.at(node.cell);
        let (basis, places) = (cell.basis(), self.places(node, pin));
        let change = cell.change(node.generation, |word| word.with_flags(word.flags().with(Flags::GONE, true)))?;
        let share = Share { state: NodeState::of(change.before.flags()), capacity: basis.capacity };
        self.forget_timers(state, node);
        // It leaves its cell with its last slot: now, or when that is released. Its bits are cleared when it leaves the pools,
        // and the cell is put away there.
        let mut idle = change.leaves_idle().then_some(node.cell);
        if places.is_empty()
            && let Some(cell) = idle.take()
        {
            self.cells.retire(cell, pin);
        }
        if share.state != NodeState::Offline {
            self.events.emit(|| Event::NodeDown { node: node.id.clone(), incarnation: node.incarnation });
        }
        // A job that is under way holds a slot.
        if !change.leaves_idle() {
            self.orphan_jobs(node, pin);
        }
        Some(Left { places, share, weight: basis.weight, idle })
    }

    /// Leaves the pools of a node that was taken out.
    fn take_leave(&self, left: &Left<'_>, pin: &Guard) {
        let mut places = left.places.iter().peekable();
        while let Some(place) = places.next() {
            // The cell is put away with the last place: as long as it stands in one, somebody may come who finds it there.
            let idle = left.idle.filter(|_| places.peek().is_none());
            self.leave(place, idle, left.weight, left.share, pin);
        }
    }

    /// Where the node stands. For whoever has its shard locked, so that it stays there.
    pub(super) fn places<'g>(&self, node: &Node, pin: &'g Guard) -> Few<Place<'g>> {
        match self.cells.at(node.cell).home() {
            Home::None => Few::Several(Vec::new()),
            Home::At { pool, position } => {
                let pool = self.snapshot(pin).table().get(pool).expect("a pool with a member is there");
                Few::One(Place { pool: Cow::Borrowed(pool), position })
            }
            Home::Several => {
                let place = |at: &'g Membership| Place { pool: Cow::Borrowed(&at.pool), position: at.position };
                Few::Several(node.memberships.load(pin).into_iter().flatten().map(place).collect())
            }
        }
    }

    /// Gives the node these seats in place of those that it has. New ones are taken and made known before old ones
    /// are left, so the node can be found all the while.
    fn seat(&self, node: &Node, seats: &[Seat<'_>], pin: &Guard) {
        let cell = self.cells.at(node.cell);
        let basis = cell.basis();
        // Neither changes while the shard is locked.
        let share = Share { state: NodeState::of(cell.word().flags()), capacity: basis.capacity };
        let mut before = self.places(node, pin).to_vec();
        let had = before.len();
        let mut has_joined = false;
        let places: Few<Place<'_>> = seats
            .iter()
            .map(|seat| match before.iter().position(|old| self.is_seated(old, seat)) {
                Some(place) => before.swap_remove(place),
                None => {
                    has_joined = true;
                    self.join(*seat, &node.id, Some(node.cell), basis.weight, share, pin).0
                }
            })
            .collect();
        if !has_joined && places.len() == had {
            return;
        }
        let marks = places.clone();
        let (home, memberships) = homes(places);
        if memberships.is_some() {
            node.memberships.swap(memberships, pin);
        }
        cell.set_home(home);
        // A release that does not know the new places yet is seen here.
        let word = cell.announce();
        if word.selectable() {
            marks.iter().for_each(|at| at.pool.index.mark(at.position));
            cell.settle(word);
        }
        for old in &before {
            self.leave(old, None, basis.weight, share, pin);
        }
    }

    fn is_seated(&self, place: &Place<'_>, seat: &Seat<'_>) -> bool {
        match seat {
            Seat::Fixed(pool) => Arc::ptr_eq(pool, &place.pool),
            // In the mixed pool there is no knowing whether its own could be made by now.
            Seat::Automatic(automatic) => {
                place.pool.guarantee == automatic.signature && place.pool.kind == crate::PoolKind::Automatic
            }
        }
    }

    /// Gives the node the seats that it should have now. Where a configuration has none for what is left of its
    /// services, it has none until more are back.
    pub(super) fn reseat(&self, state: &ShardState, node: &Node, pin: &Guard) {
        let declared = node.declared(pin);
        let is_on = |service: &Service| state.is_on(node, service, pin);
        let all = declared.capabilities.services().all(is_on);
        let profile = if all {
            declared.to_arc()
        } else {
            self.profiles.of(declared.capabilities.retain(is_on), &self.layout, pin)
        };
        node.reduced.swap((!all).then(|| profile.capabilities.clone()), pin);
        self.seat(node, &self.layout.seats(&node.id, &profile), pin);
    }

    pub(crate) fn update(&self, handle: &NodeHandle, capabilities: Capabilities) -> Result<(), NodeError> {
        let node = &handle.node;
        let profile = match self.profile(capabilities, &crate::sync::pin()) {
            Ok(profile) => profile.into_arc(),
            Err(error) => return Err(NodeError::InvalidCapabilities { id: node.id.clone(), error }),
        };
        if self.layout.seats(&node.id, &profile).is_empty() {
            return Err(NodeError::NoPool { id: node.id.clone() });
        }
        self.manage(node, |state, pin| {
            state.specially(node, |special| {
                special.off.retain(|(service, _)| profile.capabilities.offers(service));
            });
            self.remind_to_restore(state, node);
            // What it said of its old services says nothing of the new ones.
            node.ready_services.swap(None, pin);
            node.declared.swap(Some(profile), pin);
            self.reseat(state, node, pin);
            Ok(())
        })
    }

    pub(crate) fn set_capacity(&self, handle: &NodeHandle, capacity: u32) -> Result<(), NodeError> {
        let node = &handle.node;
        let Some(slots) = slots(capacity) else {
            return Err(NodeError::InvalidCapacity { id: node.id.clone(), capacity, limit: MAX_CAPACITY });
        };
        self.manage(node, |state, _| {
            self.change_basis(state, node, |basis| Basis { capacity: slots, ..basis });
            Ok(())
        })
    }

    pub(crate) fn set_weight(&self, handle: &NodeHandle, weight: u16) -> Result<(), NodeError> {
        let node = &handle.node;
        self.manage(node, |state, pin| {
            let before = self.cells.at(node.cell).basis().weight;
            for place in self.places(node, pin).iter() {
                place.pool.change_weight(before, weight, &self.meters.locks);
            }
            self.change_basis(state, node, |basis| Basis { weight, ..basis });
            self.set_flags(state, node, |flags| flags.with(Flags::WEIGHTLESS, weight == 0));
            Ok(())
        })
    }

    pub(crate) fn set_draining(&self, handle: &NodeHandle, draining: bool) -> Result<(), NodeError> {
        let node = &handle.node;
        self.manage(node, |state, _| {
            let change = self.set_flags(state, node, |flags| flags.with(Flags::DRAINING, draining));
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
        let node = &handle.node;
        if time.is_zero() || time > Duration::from_secs(366 * 24 * 3600) {
            return Err(NodeError::InvalidTime { id: node.id.clone(), time });
        }
        self.manage(node, |state, pin| {
            if !node.declared(pin).capabilities.offers(service) {
                return Err(NodeError::UnknownService { id: node.id.clone(), service: service.clone() });
            }
            let until = self.clock.now().saturating_add(millis(time).max(1));
            state.specially(node, |special| {
                special.off.retain(|(off, _)| off != service);
                special.off.push((service.clone(), until));
            });
            self.reseat(state, node, pin);
            self.remind_to_restore(state, node);
            Ok(())
        })
    }

    /// Sees to it that the node is looked at when the first of its services that are off may be on again.
    pub(super) fn remind_to_restore(&self, state: &mut ShardState, node: &Node) {
        let next = state.off(node).iter().map(|(_, until)| *until).min();
        let before = state.special(node).and_then(|special| special.restore_at);
        if next != before {
            before.into_iter().for_each(|at| self.upkeep.forget(Timer::of(node, at, What::Restore)));
            next.into_iter().for_each(|at| self.upkeep.remind(Timer::of(node, at, What::Restore)));
            state.specially(node, |special| special.restore_at = next);
        }
    }

    /// Nothing has to be done to a node that is gone.
    fn forget_timers(&self, state: &mut ShardState, node: &Node) {
        let Some(special) = state.forget(node) else { return };
        let restore = special.restore_at.map(|at| Timer::of(node, at, What::Restore));
        let forget = special.offline_since.map(|since| self.retention(node, since));
        restore.into_iter().chain(forget).for_each(|timer| self.upkeep.forget(timer));
    }

    /// When and that a node that is offline is forgotten.
    fn retention(&self, node: &Node, since: u64) -> Timer {
        Timer::of(node, since.saturating_add(millis(self.config.offline_retention)), What::Forget)
    }

    /// Runs a change of one node under its shard's writer lock.
    fn manage(
        &self,
        node: &Node,
        change: impl FnOnce(&mut ShardState, &Guard) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let mut state = self.shard(node.hash).writer.lock(&self.meters.locks);
        if self.is_current(node) { change(&mut state, &crate::sync::pin()) } else { Err(stale(node)) }
    }

    fn change_basis(&self, state: &mut ShardState, node: &Node, to: impl Fn(Basis) -> Basis) {
        let cell = self.cells.at(node.cell);
        let before = cell.basis();
        if let Some(word) = cell.change_basis(node.generation, to, |change| self.tell(cell, change.edge)) {
            let share = |basis: Basis| Share { state: NodeState::of(word.flags()), capacity: basis.capacity };
            self.account(state, node, share(before), share(cell.basis()));
        }
    }

    /// Changes the flags of a node as `to` says, tells the indexes and the tallies, and reports what became of it. For the
    /// shard's writer.
    pub(super) fn set_flags(&self, state: &mut ShardState, node: &Node, to: impl Fn(Flags) -> Flags) -> Option<Change> {
        let cell = self.cells.at(node.cell);
        let change = cell.change(node.generation, |word| word.with_flags(to(word.flags())))?;
        self.tell(cell, change.edge);
        let capacity = cell.basis().capacity;
        let share = |word: SlotWord| Share { state: NodeState::of(word.flags()), capacity };
        self.account(state, node, share(change.before), share(change.after));
        Some(change)
    }

    /// Brings the tallies of a node's pools up to its present state and capacity. Both change under the shard's lock only,
    /// each change being accounted for at once: so what it added before is what they were.
    fn account(&self, state: &mut ShardState, node: &Node, before: Share, share: Share) {
        if share == before {
            return;
        }
        self.for_each_home(self.cells.at(node.cell), &crate::sync::pin(), |pool, _| {
            pool.tally.replace(before, share);
        });
        match (before.state, share.state) {
            (before, after) if before == after => return,
            (NodeState::Offline, _) => {
                let since = state.specially(node, |special| special.offline_since.take());
                since.into_iter().for_each(|since| self.upkeep.forget(self.retention(node, since)));
            }
            (_, NodeState::Offline) => {
                let since = self.clock.now();
                state.specially(node, |special| special.offline_since = Some(since));
                self.upkeep.remind(self.retention(node, since));
                self.events.emit(|| Event::NodeDown { node: node.id.clone(), incarnation: node.incarnation });
            }
            _ => {}
        }
        self.report(node, before.state, share.state);
    }

    /// Tells of a node that has changed from one state to another.
    fn report(&self, node: &Node, before: NodeState, after: NodeState) {
        if after == NodeState::Ready {
            self.events.emit(|| Event::NodeUp { node: node.id.clone(), incarnation: node.incarnation });
        }
        tracing::debug!(node = %node.id, incarnation = node.incarnation, from = %before, to = %after, "node changed state");
    }
}

/// What a node that was taken out leaves behind.
struct Left<'g> {
    places: Few<Place<'g>>,
    share: Share,
    weight: u16,
    /// Its cell, if no slot of it is held.
    idle: Option<u32>,
}

/// Where a node that is to come will be.
struct Settled<'g> {
    cell: u32,
    places: Few<Place<'g>>,
    /// See [`Seated`].
    record: Option<Arc<Node>>,
}

/// These places as the cell has them, and those that the node's record has to have.
fn homes(places: Few<Place<'_>>) -> (Home, Option<Arc<Vec<Membership>>>) {
    match places {
        Few::One(Place { pool, position }) => (Home::At { pool: pool.number, position }, None),
        Few::Several(none) if none.is_empty() => (Home::None, None),
        Few::Several(several) => {
            let kept = |place: Place<'_>| Membership { pool: place.pool.into_owned(), position: place.position };
            (Home::Several, Some(Arc::new(several.into_iter().map(kept).collect())))
        }
    }
}
