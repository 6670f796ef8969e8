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
///
/// Every node has an event ahead, mostly far off; apart from the others they do not make the heap that is busy large.
#[derive(Debug, Default)]
pub(super) struct Queue {
    busy: Heap,
    nodes: Heap,
    queued: u64,
}

type Heap = BinaryHeap<Reverse<(u64, u64, Event)>>;

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.queued += 1;
        let heap = if matches!(event, Event::Node { .. }) { &mut self.nodes } else { &mut self.busy };
        heap.push(Reverse((at, self.queued, event)));
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        let at = |heap: &Heap| heap.peek().map(|Reverse((at, ..))| *at);
        at(&self.busy).into_iter().chain(at(&self.nodes)).min()
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        // `None` is less than any event, and a `Reverse` is larger the earlier it is.
        let next = if self.nodes.peek() > self.busy.peek() { self.nodes.pop() } else { self.busy.pop() };
        next.map(|Reverse((.., event))| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_order() {
        let node = |worker| Event::Node { worker, change: Change::Incident };
        let mut queue = Queue::default();
        for (at, event) in [(5, Event::Done { task: 1 }), (3, node(1)), (5, node(2)), (3, Event::Done { task: 2 })] {
            queue.push(at, event);
        }
        assert_eq!(queue.next_at(), Some(3));
        let order: Vec<Event> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [node(1), Event::Done { task: 2 }, Event::Done { task: 1 }, node(2)]);
        assert_eq!(queue.next_at(), None);
    }
}
