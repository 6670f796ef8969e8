//! A node's process: it runs what it is sent, and knows of no server. For each of its slots it keeps the largest fence it has
//! seen, and refuses smaller ones.

use std::collections::BTreeMap;

use crate::id::JobId;
use crate::redis::lease::Lease;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Worker {
    fences: BTreeMap<u32, u128>,
    running: BTreeMap<u32, Vec<(JobId, u32)>>,
}

/// The processes of all nodes, and what is on its way to them: each may come at any time, or never.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Site {
    pub(super) workers: Vec<Worker>,
    pub(super) wire: Vec<(usize, Lease)>,
}

impl Site {
    pub(super) fn send(&mut self, node: usize, lease: Lease) {
        self.wire.push((node, lease));
        self.wire.sort_by_key(|(node, lease)| (*node, lease.slot, lease.fence, lease.job));
    }
}

/// What a node did with what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Runs,
    /// It has seen a larger fence.
    Refused,
    /// Another runs in its slot.
    Second,
}

impl Worker {
    pub(super) fn arrive(&mut self, lease: Lease, fences_count: bool) -> Arrival {
        let Lease { job, attempt, slot, fence, .. } = lease;
        let seen = self.fences.entry(slot).or_default();
        let running = self.running.entry(slot).or_default();
        if fences_count {
            if fence.to_u128() < *seen {
                return Arrival::Refused;
            }
            running.retain(|other| *other == (job, attempt));
        }
        *seen = fence.to_u128().max(*seen);
        if !running.contains(&(job, attempt)) {
            running.push((job, attempt));
        }
        if running.len() > 1 { Arrival::Second } else { Arrival::Runs }
    }

    /// What it runs for this attempt is over.
    pub(super) fn end(&mut self, job: JobId, attempt: u32) {
        self.running.retain(|_, running| {
            running.retain(|other| *other != (job, attempt));
            !running.is_empty()
        });
    }

    /// Its process begins anew, and remembers nothing.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}
