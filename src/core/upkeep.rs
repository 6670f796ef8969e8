//! Maintenance: everything that happens because time passes. One `tick` at a time, whoever calls it.

use std::collections::BTreeSet;
use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use super::homes::Census;
use crate::clock::millis;
use crate::event::Event;
use crate::node::cell::{Cell, Report};
use crate::node::word::{Flags, SlotWord};
use crate::node::{Node, NodeState, Special};
use crate::select::Route;
use crate::sync::{Mutex, Ordering, Statistic};

/// Cells that are looked at together: under one pin, which lets what others retire be freed after it, and with one
/// deadline.
const BLOCK: u32 = 1024;

/// What maintenance keeps between ticks.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Held through a tick.
    turn: Mutex<Turn>,
    /// At most two a node: one of each kind.
    timers: Mutex<BTreeSet<Timer>>,
    /// Sweeps of all nodes so far.
    sweeps: Statistic,
}

#[derive(Debug, Default)]
struct Turn {
    /// When all nodes are to be looked at next, in ms.
    next_sweep: u64,
    /// For each block of cells, the time before which no heartbeat of its nodes can be overdue. Nodes that came since it
    /// was looked at have more time than the next sweep takes to come.
    deadlines: Vec<u64>,
    /// Sessions have been looked through at this time.
    last_sessions: u64,
    census: Census,
}

/// Something to be done to a node at a time; nothing, if it is not that incarnation any more. Those of one time come in
/// the order of incarnations, which a seed repeats, and not in that of cells, which none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: u64,
    pub(super) incarnation: u64,
    pub(super) cell: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A service that was off may be on again.
    Restore,
    /// A node that is still offline is forgotten.
    Forget,
}

impl Timer {
    pub(super) fn of(node: &Node, at: u64, what: What) -> Self {
        Self { at, incarnation: node.incarnation, cell: node.cell, what }
    }
}

/// Free slots by pool number.
#[derive(Default)]
struct FreeSlots(Vec<u64>);

impl FreeSlots {
    fn add(&mut self, pool: u32, slots: u64) {
        let pool = pool as usize;
        if self.0.len() <= pool {
            self.0.resize(pool + 1, 0);
        }
        self.0[pool] += slots;
    }

    fn of(&self, pool: u32) -> u64 {
        self.0.get(pool as usize).copied().unwrap_or(0)
    }
}

impl Upkeep {
    pub(super) fn sweeps(&self) -> u64 {
        self.sweeps.load(Ordering::Relaxed)
    }

    pub(super) fn remind(&self, timer: Timer) {
        self.timers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(timer);
    }

    pub(super) fn forget(&self, timer: Timer) {
        self.timers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&timer);
    }

    fn due(&self, now: u64) -> Option<Timer> {
        let mut timers = self.timers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        timers.first().filter(|timer| timer.at <= now)?;
        timers.pop_first()
    }
}

impl Core {
    /// Moves the clock on and does what has come due. A time before the last one changes nothing.
    pub(crate) fn tick(&self, now: Duration) {
        let mut turn = self.upkeep.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.clock.advance(millis(now));
        let pin = crate::sync::pin();
        self.look_at_leases(now, &pin);
        while let Some(timer) = self.upkeep.due(now) {
            self.act_on(timer, now, &pin);
        }
        drop(pin);
        self.sweep(&mut turn, now);
        self.share_out_homes(&mut turn.census);
        let pin = crate::sync::pin();
        let thread = self.threads.ordinal();
        self.jobs.forget_until(now.checked_sub(millis(self.config.finished_retention)), thread, &pin);
        self.jobs.clear_all_later(&pin);
        drop(pin);
        let ttl = millis(self.config.session_ttl);
        if now >= turn.last_sessions.saturating_add((ttl / 8).max(1)) {
            turn.last_sessions = now;
            // A session is not forgotten at the very time at which it may still be used.
            self.sessions.forget_before(now.saturating_add(1).saturating_sub(ttl));
        }
    }

    fn act_on(&self, timer: Timer, now: u64, pin: &Guard) {
        let Some(node) =
            self.cells.at(timer.cell).node.load_arc(pin).filter(|node| node.incarnation == timer.incarnation)
        else {
            return;
        };
        match timer.what {
            What::Restore => {
                let mut state = self.shard(node.hash).writer.lock(&self.meters.locks);
                if !self.is_current(&node) {
                    return;
                }
                state.specially(&node, |special| special.off.retain(|(_, until)| *until > now));
                self.remind_to_restore(&mut state, &node);
                self.reseat(&state, &node, pin);
            }
            What::Forget => {
                let retention = millis(self.config.offline_retention);
                let still_offline = |special: Option<&Special>| {
                    let since = special.and_then(|special| special.offline_since);
                    since.is_some_and(|since| now >= since.saturating_add(retention))
                };
                if self.forget_node(&node, pin, still_offline).is_some() {
                    tracing::debug!(node = %node.id, incarnation = node.incarnation, "offline node forgotten");
                    self.events.emit(|| Event::NodeForgotten { node: node.id.clone(), incarnation: node.incarnation });
                }
            }
        }
    }

    /// Looks at the nodes whose heartbeats may have stopped; from time to time at all, to learn as well how many slots
    /// each pool has free.
    fn sweep(&self, turn: &mut Turn, now: u64) {
        let all = now >= turn.next_sweep;
        let mut free = FreeSlots::default();
        let mut silent = Vec::new();
        turn.deadlines.resize(self.cells.high_water().div_ceil(BLOCK) as usize, 0);
        for (deadline, block) in turn.deadlines.iter_mut().zip(0..) {
            if all || *deadline <= now {
                *deadline = self.look_at_block(block, now, all.then_some(&mut free), &mut silent);
            }
        }
        // By incarnation: the order of cells is not repeated by a seed.
        silent.sort_unstable();
        for (_, cell) in silent {
            self.take_offline(self.cells.at(cell), now.saturating_sub(self.timeout()), &crate::sync::pin());
        }
        if all {
            let soonest = self.config.heartbeat_timeout.min(self.config.external_load_decay);
            turn.next_sweep = now.saturating_add((millis(soonest) / 8).max(1));
            let pin = crate::sync::pin();
            let snapshot = self.snapshot(&pin);
            for pool in snapshot.table().iter() {
                pool.tally.set_free(free.of(pool.number));
                // Where few come and go, what they leave would never be a lot.
                self.cells.retire_all(pool.take_left(&self.meters.locks), &pin);
            }
            snapshot.routes().for_each(&pin, Route::refresh);
            self.upkeep.sweeps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Looks at the nodes of one block; when the next of them may be overdue. Those that are go into `silent`, by
    /// incarnation and cell.
    fn look_at_block(
        &self,
        block: u32,
        now: u64,
        mut free: Option<&mut FreeSlots>,
        silent: &mut Vec<(u64, u32)>,
    ) -> u64 {
        let pin = crate::sync::pin();
        let timeout = self.timeout();
        let mut next = u64::MAX;
        for number in block * BLOCK..(block + 1) * BLOCK {
            let Some(cell) = self.cells.get(number) else { continue };
            let word = cell.word();
            let flags = word.flags();
            // Generation 0: the cell is being given to its first node.
            if word.generation() == 0 || flags.has(Flags::GONE) {
                continue;
            }
            self.fade(cell, word, now, &pin);
            if flags.has(Flags::OFFLINE) {
                continue;
            }
            let heard = cell.heard(word.generation()).unwrap_or_else(|| {
                // A late heartbeat of the node before has overwritten when this one was heard of.
                cell.hear(word.generation(), now);
                now
            });
            let deadline = heard.saturating_add(timeout);
            if deadline <= now {
                silent.extend(cell.node.load(&pin).map(|node: &Node| (node.incarnation, number)));
                continue;
            }
            next = next.min(deadline);
            if let Some(free) = free.as_deref_mut().filter(|_| NodeState::of(flags) == NodeState::Ready) {
                let slots = u64::from(word.capacity().saturating_sub(word.in_flight()));
                self.for_each_home(cell, &pin, |pool, _| free.add(pool.number, slots));
            }
        }
        next
    }

    /// How long a node may be silent. As with leases, the clock may have been behind by a tick when it was heard.
    fn timeout(&self) -> u64 {
        millis(self.config.heartbeat_timeout).saturating_add(self.clock_lag())
    }

    /// Takes a node out of use that has not been heard of since `since`, and orphans its jobs.
    fn take_offline(&self, cell: &Cell, since: u64, pin: &Guard) {
        let Some(node) = cell.node.load_arc(pin) else { return };
        // Also of a node that has come into the cell since, which has just been heard of.
        let heard_since = || cell.heard(node.generation).is_none_or(|at| at > since);
        if heard_since() {
            return;
        }
        let mut state = self.shard(node.hash).writer.lock(&self.meters.locks);
        if !self.is_current(&node) {
            return;
        }
        self.set_flags(&mut state, &node, |flags| flags.with(Flags::OFFLINE, true));
        // A heartbeat that came meanwhile is seen here, but for one that is just being written: then the next one
        // brings the node up again.
        if heard_since() {
            self.set_flags(&mut state, &node, |flags| flags.with(Flags::OFFLINE, false));
            return;
        }
        // Under the lock: a heartbeat that brings the node up again waits for it, so no job created after that is taken
        // for one of those before.
        self.orphan_jobs(&node, pin);
        drop(state);
        tracing::info!(node = %node.id, incarnation = node.incarnation, "node is offline, its heartbeats have stopped");
    }

    /// What a node once reported of others' jobs counts for less by and by.
    fn fade(&self, cell: &Cell, word: SlotWord, now: u64, pin: &Guard) {
        if cell.basis().external == 0 {
            return;
        }
        let Some(node) = cell.node.load(pin).filter(|node: &&Node| node.generation == word.generation()) else {
            return;
        };
        // Held against the report at the time of the change: who reports anew writes that first, then the basis.
        let faded = |external: u16| {
            let report = Report::unpack(cell.report.load(Ordering::Relaxed));
            external.min(report.decayed(now, millis(self.config.external_load_decay)))
        };
        if faded(cell.basis().external) < cell.basis().external {
            self.change_external(node, cell, faded);
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::config::SchedulerBuilder;
    use crate::node::NodeSpec;
    use crate::{Demand, Heartbeat, Service};

    #[test]
    fn a_node_has_one_timer_of_each_kind_at_most_and_none_once_it_is_gone() {
        let core = Core::new(SchedulerBuilder::default().manual_maintenance().check().unwrap());
        let node = core.register(NodeSpec::new("n").service("a").service("b").ready()).unwrap();
        let timers = || core.upkeep.timers.lock().unwrap().len();
        for seconds in [9, 8, 100, 7] {
            for service in ["a", "b"] {
                let time = Duration::from_secs(seconds);
                core.mark_unavailable(&node, &Service::new(service), time).unwrap();
                assert_eq!(timers(), 1);
            }
        }
        core.tick(Duration::from_secs(7));
        assert_eq!(timers(), 0);
        for turn in 1..4 {
            core.tick(core.config.heartbeat_timeout * 2 * turn);
            assert_eq!(timers(), 1, "it is to be forgotten");
            core.heartbeat(&node, &Heartbeat::ready()).unwrap();
            assert_eq!(timers(), 0, "it is back");
        }
        core.mark_unavailable(&node, &Service::new("a"), Duration::from_secs(500)).unwrap();
        assert_eq!(timers(), 1);
        core.deregister(&node).unwrap();
        assert_eq!(timers(), 0);
    }

    #[test]
    fn a_route_that_is_not_kept_is_good_until_the_next_sweep() {
        let scheduler = SchedulerBuilder::default().manual_maintenance().max_routes(1).build().unwrap();
        scheduler.register(NodeSpec::new("n").service("a").service("b").ready()).unwrap();
        let computed = || scheduler.stats().counters.routes_computed;
        scheduler.select(&Demand::new().service("a")).unwrap();
        let prepared = scheduler.prepare(&Demand::new().service("b"));
        for (time, expected) in [(0, 2), (0, 2), (10, 3), (10, 3), (20, 4)] {
            scheduler.heartbeat_by_id("n", &Heartbeat::alive()).unwrap();
            scheduler.tick(Duration::from_secs(time));
            scheduler.select_prepared(&prepared).unwrap();
            assert_eq!(computed(), expected, "after {time} s");
        }
    }

    #[test]
    fn of_a_large_fleet_every_node_is_looked_at_and_counted_once() {
        const NODES: u32 = 2 * BLOCK + 500;
        let core = Core::new(SchedulerBuilder::default().manual_maintenance().check().unwrap());
        for node in 0..NODES {
            core.register(NodeSpec::new(format!("n{node}")).service("s").capacity(2).ready()).unwrap();
        }
        core.tick(Duration::from_millis(1));
        let pin = crate::sync::pin();
        let pool = core.snapshot(&pin).table().iter().find(|pool| pool.members() > 0).expect("they have one").clone();
        assert_eq!(pool.tally.free(), 2 * u64::from(NODES));
        core.tick(core.config.heartbeat_timeout * 2);
        assert_eq!(pool.tally.count(NodeState::Offline), u64::from(NODES));
    }
}
