//! What happens when: a heap of small events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a time.
///
/// Events of a client carry the stamp that it had when they were queued, so that those of a phase that has ended are
/// known as stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A client asks for a slot, again.
    Offer { client: usize, stamp: u64 },
    /// A job reaches its node.
    Start { client: usize, stamp: u64 },
    /// A client renews the lease of its job.
    Renew { client: usize, stamp: u64 },
    /// A client cancels its job.
    Cancel { client: usize, stamp: u64 },
    /// A client takes another node.
    Switch { client: usize, stamp: u64 },
    /// A node has done its work on a job.
    Done { task: usize },
    /// Something happens to a node.
    Node { worker: usize, change: Change },
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Whatever the dice say.
    Incident,
    /// A node that went away registers again.
    Restart,
    /// A node that was cut off is heard again.
    Speak,
    /// A drained node takes jobs again.
    Undrain,
    /// A drained node goes away.
    Leave,
    /// A node has all its slots again.
    Restore,
}

/// Events by time; those of the same time in the order in which they were queued.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    queued: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.heap.push(Reverse((at, self.queued, event)));
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((.., event))| event)
    }
}
