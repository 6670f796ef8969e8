//! Slots held by jobs: taken, entered with their nodes, and let go.

use crossbeam_epoch::Guard;

use super::Core;
use super::reserving::Slot;
use super::selecting::{Asked, Extra};
use crate::capability::Demand;
use crate::error::NoNode;
use crate::job::JobRecord;
use crate::job::attempt::{Attempt, Held};
use crate::node::cell::Cell;
use crate::node::{Lodging, Node};
use crate::pool::Pool;
use crate::publish::Shared;

impl Core {
    /// Reserves a slot and enters the job with the node.
    #[inline(always)]
    pub(super) fn hold(
        &self,
        record: &JobRecord,
        asked: Asked<'_>,
        extra: Extra<'_>,
        pin: &Guard,
    ) -> Result<Held, NoNode> {
        if extra.is_none()
            && let Some(held) = self.hold_shortly(record, asked.demand(), pin)
        {
            return Ok(held);
        }
        self.hold_at_large(record, asked, extra, pin)
    }

    #[inline(never)]
    fn hold_at_large(
        &self,
        record: &JobRecord,
        asked: Asked<'_>,
        extra: Extra<'_>,
        pin: &Guard,
    ) -> Result<Held, NoNode> {
        self.choose(asked, extra, pin, |candidate, thread| {
            if !self.reserve_on(candidate, thread) {
                return None;
            }
            Some(self.held(record, candidate.found.cell, candidate.pool, pin))
        })
    }

    /// As [`hold`](Self::hold), by the short way to a slot. `None`: that does not lead to one.
    #[inline(always)]
    fn hold_shortly(&self, record: &JobRecord, demand: &Demand, pin: &Guard) -> Option<Held> {
        let slot = self.reserve_shortly(Asked::Plain(demand))?;
        let node = node_in(slot.cell, pin);
        if let Some(lodging) = node.jobs.lodging(slot.chosen.pool) {
            let entry = node.jobs.add(record.id.number(), slot.cell.word().capacity());
            return Some(Held { node: node.to_arc(), entry, lodging, pool: None });
        }
        self.hold_in_new_pool(record, slot, pin)
    }

    /// The same, if the node does not keep the pool yet, or not at all.
    #[cold]
    fn hold_in_new_pool(&self, record: &JobRecord, slot: Slot<'_>, pin: &Guard) -> Option<Held> {
        let key = slot.chosen.pool;
        let pool = self.snapshot(pin).table().get(key as u32).filter(|pool| pool.key == key);
        let Some(pool) = pool else {
            // It was dropped since, with all that stood in it.
            self.give_back(slot);
            return None;
        };
        Some(self.held(record, slot.cell, pool, pin))
    }

    /// Enters the job with the node of which a slot has just been taken.
    fn held(&self, record: &JobRecord, cell: &Cell, pool: &Pool, pin: &Guard) -> Held {
        let (node, capacity) = (node_in(cell, pin), cell.word().capacity());
        let lodging = node.jobs.lodging(pool.key).unwrap_or_else(|| node.jobs.keep(pool.lend(), capacity));
        let entry = node.jobs.add(record.id.number(), capacity);
        let pool = (lodging == Lodging::OWN).then(|| pool.lend().clone());
        Held { node: node.to_arc(), entry, lodging, pool }
    }

    /// Undoes what [`hold`](Self::hold) did.
    #[inline(always)]
    pub(super) fn let_go(&self, record: &JobRecord, attempt: &Attempt) {
        attempt.node.jobs.remove(attempt.entry(), record.id.number());
        self.release(self.cells.at(attempt.node.cell), attempt.node.cell, attempt.node.generation);
    }
}

/// The node of a cell of which a slot is held.
#[inline(always)]
fn node_in<'g>(cell: &Cell, pin: &'g Guard) -> Shared<'g, Node> {
    cell.node.load_shared(pin).expect("a slot that is held keeps the node in its cell")
}
