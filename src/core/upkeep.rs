//! Maintenance: everything that happens because time passes. One `tick` at a time, whoever calls it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use super::nodes::managed;
use crate::clock::millis;
use crate::event::Event;
use crate::job::Lease;
use crate::node::cell::{Cell, Report};
use crate::node::word::{Flags, SlotWord};
use crate::node::{Node, NodeState};
use crate::sync::{Mutex, Ordering};

/// A sweep lets go of its pin after this many cells, so that what others retire meanwhile can be freed.
const CELLS_A_PIN: u32 = 4096;

/// What maintenance keeps between ticks.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Held through a tick.
    turn: Mutex<Turn>,
    timers: Mutex<BinaryHeap<Reverse<Timer>>>,
}

#[derive(Debug, Default)]
struct Turn {
    /// When the nodes are to be looked at next, in ms.
    next_sweep: u64,
    /// Sessions have been looked through at this time.
    last_sessions: u64,
}

/// Something to be done to a node at a time; nothing, if it is not that incarnation any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: u64,
    pub(super) cell: u32,
    pub(super) generation: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A service that was off may be on again.
    Restore,
    /// A node that is still offline is forgotten.
    Forget,
}

impl Upkeep {
    pub(super) fn remind(&self, timer: Timer) {
        self.timers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Reverse(timer));
    }

    fn due(&self, now: u64) -> Option<Timer> {
        let mut timers = self.timers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        timers.peek().filter(|Reverse(timer)| timer.at <= now)?;
        timers.pop().map(|Reverse(timer)| timer)
    }
}

impl Core {
    /// Moves the clock on and does what has come due. A time before the last one changes nothing.
    pub(crate) fn tick(&self, now: Duration) {
        let mut turn = self.upkeep.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.clock.advance(millis(now));
        let pin = crossbeam_epoch::pin();
        self.wheel.turn(now, |lease: Lease| self.look_at_lease(lease, now, &pin));
        while let Some(timer) = self.upkeep.due(now) {
            self.act_on(timer, now, &pin);
        }
        if now >= turn.next_sweep {
            self.sweep(&mut turn, now, pin);
        }
        self.jobs.forget_until(now.checked_sub(millis(self.config.finished_retention)), &crossbeam_epoch::pin());
        let ttl = millis(self.config.session_ttl);
        if now >= turn.last_sessions + (ttl / 8).max(1) {
            turn.last_sessions = now;
            // A session is not forgotten at the very time at which it may still be used.
            self.sessions.forget_before((now + 1).saturating_sub(ttl));
        }
    }

    fn act_on(&self, timer: Timer, now: u64, pin: &Guard) {
        let Some(node) =
            self.cells.at(timer.cell).node.load_arc(pin).filter(|node| node.generation == timer.generation)
        else {
            return;
        };
        match timer.what {
            What::Restore => {
                let mut state = self.shard(node.key.hash).writer.lock(&self.meters.locks);
                let Some(managed) = managed(&mut state, &node, self.threads.scheduler()) else { return };
                managed.off.retain(|(_, until)| *until > now);
                self.reseat(managed, pin);
            }
            What::Forget => {
                let retention = millis(self.config.offline_retention);
                let still_offline = |managed: &crate::node::Managed| {
                    managed.offline_since.is_some_and(|since| now >= since + retention)
                };
                if self.forget_node(&node, pin, still_offline).is_some() {
                    tracing::debug!(node = %node.id, incarnation = node.incarnation, "offline node forgotten");
                    self.events.emit(|| Event::NodeForgotten { node: node.id.clone(), incarnation: node.incarnation });
                }
            }
        }
    }

    /// Looks at every node: whose heartbeats have stopped, whose reports fade, how many slots its pools have free.
    fn sweep(&self, turn: &mut Turn, now: u64, mut pin: Guard) {
        let timeout = millis(self.config.heartbeat_timeout);
        let mut next = now + (timeout / 8).max(1);
        let mut free: Vec<u64> = Vec::new();
        let count = |number: u32, slots: u64, free: &mut Vec<u64>| {
            if free.len() <= number as usize {
                free.resize(number as usize + 1, 0);
            }
            free[number as usize] += slots;
        };
        for number in 0..self.cells.high_water() {
            if number % CELLS_A_PIN == CELLS_A_PIN - 1 {
                pin.repin();
            }
            let Some(cell) = self.cells.get(number) else { continue };
            let word = cell.word();
            let flags = word.flags();
            // Generation 0: the cell is being given to its first node.
            if word.generation() == 0 || flags.has(Flags::GONE) || flags.has(Flags::OFFLINE) {
                continue;
            }
            let deadline = cell.last_seen.load(Ordering::Relaxed).saturating_add(timeout);
            if deadline <= now {
                self.take_offline(cell, word, now - timeout, &pin);
                continue;
            }
            next = next.min(deadline);
            self.fade(cell, word, now, &pin);
            if NodeState::of(flags) == NodeState::Ready {
                let slots = u64::from(word.capacity().saturating_sub(word.in_flight()));
                self.for_each_home(cell, &pin, |pool, _| count(pool.number, slots, &mut free));
            }
        }
        let snapshot = self.snapshot(&pin);
        for pool in snapshot.table().iter() {
            pool.tally.set_free(free.get(pool.number as usize).copied().unwrap_or(0));
        }
        snapshot.routes().for_each(|route| route.refresh(&pin));
        // With an own thread, a fleet whose nodes fall silent one by one must not be swept at every tick.
        let pause = if self.config.manual_maintenance { 1 } else { (timeout / 64).max(1) };
        turn.next_sweep = next.max(now + pause);
    }

    /// Takes a node out of use that has not been heard of since `since`, and orphans its jobs.
    fn take_offline(&self, cell: &Cell, word: SlotWord, since: u64, pin: &Guard) {
        let Some(node) = cell.node.load_arc(pin).filter(|node| node.generation == word.generation()) else { return };
        let mut state = self.shard(node.key.hash).writer.lock(&self.meters.locks);
        let Some(managed) = managed(&mut state, &node, self.threads.scheduler()) else { return };
        self.set_flags(managed, pin, |flags| flags.with(Flags::OFFLINE, true));
        // A heartbeat that came meanwhile is seen here, but for one that is just being written: then the next one
        // brings the node up again.
        if cell.last_seen.load(Ordering::Relaxed) > since {
            self.set_flags(managed, pin, |flags| flags.with(Flags::OFFLINE, false));
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
        let report = Report::unpack(cell.report.load(Ordering::Relaxed));
        if report.external == 0 {
            return;
        }
        let Some(node) = cell.node.load(pin).filter(|node: &&Node| node.generation == word.generation()) else {
            return;
        };
        let external = report.decayed(now, millis(self.config.external_load_decay));
        // A newer report has been counted in full already.
        if external < cell.basis().external {
            self.set_external(node, cell, external);
        }
    }
}
