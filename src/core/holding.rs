//! Slots held by jobs: taken, entered with their nodes, and let go.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use super::reserving::Slot;
use super::selecting::{Asked, Extra};
use crate::error::NoNode;
use crate::job::JobRecord;
use crate::job::attempt::{Attempt, Held};
use crate::node::cell::Cell;
use crate::node::{Lodging, Node};
use crate::pool::{Lent, Pool};
use crate::publish::Shared;

impl Core {
    /// Reserves a slot and enters the job of this number with the node.
    #[inline(always)]
    pub(super) fn hold(&self, number: u32, asked: Asked<'_>, extra: Extra<'_>, pin: &Guard) -> Result<Held, NoNode> {
        if extra.is_none()
            && let Some(slot) = self.reserve_shortly(asked)
            && let Some(held) = self.hold_shortly(number, slot, pin)
        {
            return Ok(held);
        }
        self.hold_at_large(number, asked, extra, pin)
    }

    #[inline(never)]
    fn hold_at_large(&self, number: u32, asked: Asked<'_>, extra: Extra<'_>, pin: &Guard) -> Result<Held, NoNode> {
        self.choose(asked, extra, pin, |candidate, thread| {
            if !self.reserve_on(candidate, thread) {
                return None;
            }
            Some(self.held(number, candidate.found.cell, candidate.pool, pin))
        })
    }

    /// Has fetched what [`hold_shortly`](Self::hold_shortly) will need, soon; and what it will need of the node that this
    /// thread chooses next, if that can be guessed.
    #[inline(always)]
    pub(super) fn foresee_hold(&self, slot: Slot<'_>, pin: &Guard) {
        self.rows.fetch_ahead(slot.chosen.cell, &node_in(slot.cell, pin));
        let Some(index) = self.indexes.get(slot.chosen.pool as u32) else { return };
        let (random, thread) = self.threads.stream();
        if let Some(next) = index.guess_next(&self.cells, self.homes.part(thread, index.high_water()), &random)
            && let Some(node) = next.cell.node.load(pin)
        {
            self.rows.fetch_ahead(next.number, node);
        }
    }

    /// Enters the job of this number with the node of which a slot was taken by the short way. `None`: the pool was dropped
    /// since, with all that stood in it, and the slot is given back.
    #[inline(always)]
    pub(super) fn hold_shortly(&self, number: u32, slot: Slot<'_>, pin: &Guard) -> Option<Held> {
        let node = node_in(slot.cell, pin);
        let (lodging, pool) = match node.jobs.lodging(slot.chosen.pool) {
            Some(lodging) => (lodging, None),
            None => self.lodge_in_new_pool(slot, pin),
        };
        if lodging == Lodging::OWN && pool.is_none() {
            self.give_back(slot);
            return None;
        }
        let entry = self.rows.add(&node, number, slot.cell.word().capacity());
        Some(Held { node: node.to_arc(), entry, lodging, pool })
    }

    /// Where the job has its pool from, if the node does not keep that yet, or not at all. Nowhere, if it was dropped since.
    #[cold]
    fn lodge_in_new_pool(&self, slot: Slot<'_>, pin: &Guard) -> (Lodging, Option<Arc<Lent>>) {
        let key = slot.chosen.pool;
        let pool = self.snapshot(pin).table().get(key as u32).filter(|pool| pool.key == key);
        pool.map_or((Lodging::OWN, None), |pool| lodge(&node_in(slot.cell, pin), pool))
    }

    /// Enters the job with the node of which a slot has just been taken.
    fn held(&self, number: u32, cell: &Cell, pool: &Pool, pin: &Guard) -> Held {
        let node = node_in(cell, pin);
        let (lodging, pool) = lodge(&node, pool);
        let entry = self.rows.add(&node, number, cell.word().capacity());
        Held { node: node.to_arc(), entry, lodging, pool }
    }

    /// Undoes what [`hold`](Self::hold) did.
    #[inline(always)]
    pub(super) fn let_go(&self, record: &JobRecord, attempt: &Attempt) {
        self.rows.remove(&attempt.node, attempt.entry(), record.id.number());
        self.release(self.cells.at(attempt.node.cell), attempt.node.cell, attempt.node.generation);
    }
}

/// Where a job of the node has its pool from: from the node, or for itself.
fn lodge(node: &Node, pool: &Pool) -> (Lodging, Option<Arc<Lent>>) {
    let kept = node.jobs.lodging(pool.key);
    let lodging = kept.unwrap_or_else(|| node.jobs.keep(pool.lend()));
    (lodging, (lodging == Lodging::OWN).then(|| pool.lend().clone()))
}

/// The node of a cell of which a slot is held.
#[inline(always)]
fn node_in<'g>(cell: &Cell, pin: &'g Guard) -> Shared<'g, Node> {
    cell.node.load_shared(pin).expect("a slot that is held keeps the node in its cell")
}
