//! Slots held by jobs: taken, entered with their nodes, and let go.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use super::selecting::{Asked, Extra};
use crate::capability::Demand;
use crate::error::NoNode;
use crate::job::JobRecord;
use crate::job::attempt::Attempt;
use crate::node::Node;
use crate::node::cell::Cell;
use crate::pool::Lent;

/// A slot taken for a job and entered with its node, but not bound to the job yet.
pub(super) struct Held {
    pub(super) node: Arc<Node>,
    pub(super) pool: Arc<Lent>,
    pub(super) entry: u32,
}

impl Core {
    /// Reserves a slot and enters the job with the node.
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
        self.choose(asked, extra, pin, |candidate, thread| {
            if !self.reserve_on(candidate, thread) {
                return None;
            }
            Some(self.held(record, candidate.found.cell, candidate.pool.lend(thread), pin))
        })
    }

    /// As [`hold`](Self::hold), by the short way to a slot. `None`: that does not lead to one.
    fn hold_shortly(&self, record: &JobRecord, demand: &Demand, pin: &Guard) -> Option<Held> {
        let chosen = self.reserve_shortly(Asked::Plain(demand))?;
        let pool = self.snapshot(pin).table().get(chosen.pool as u32).filter(|pool| pool.key == chosen.pool);
        let Some(pool) = pool else {
            // It was dropped since, with all that stood in it.
            self.give_back(chosen);
            return None;
        };
        Some(self.held(record, self.cells.at(chosen.cell), pool.lend(self.threads.ordinal()), pin))
    }

    /// Enters the job with the node of which a slot has just been taken.
    fn held(&self, record: &JobRecord, cell: &Cell, pool: Arc<Lent>, pin: &Guard) -> Held {
        let node = cell.node.load_arc(pin).expect("a slot that is held keeps the node in its cell");
        let entry = node.jobs.add(record.id.number(), cell.word().capacity());
        Held { node, pool, entry }
    }

    /// Undoes what [`hold`](Self::hold) did.
    pub(super) fn let_go(&self, record: &JobRecord, attempt: &Attempt) {
        attempt.node.jobs.remove(attempt.entry, record.id.number());
        self.release(attempt.node.cell, attempt.node.generation);
    }
}
