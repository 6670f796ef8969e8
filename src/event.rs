//! Events: what has happened, for whoever subscribed. A subscriber that does not keep up misses events; the scheduler
//! never waits.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::id::{JobId, NodeId};
use crate::sync::channel::{self, Receiver, Sender, TrySendError};
use crate::sync::{Flag, Ordering, Statistic};

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A node takes jobs now.
    NodeUp {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// A node's heartbeats have stopped, or it was deregistered or replaced.
    NodeDown {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// A node was drained: it gets no new jobs.
    NodeDrained {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// A node that was offline for long was forgotten.
    NodeForgotten {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// A pool was made.
    PoolMade {
        /// Its name.
        pool: String,
    },
    /// A pool was dropped: its last node has left.
    PoolDropped {
        /// Its name.
        pool: String,
    },
    /// There are as many pools as `max_pools` allows: a node went to the mixed pool.
    PoolsExhausted {
        /// The node.
        node: NodeId,
        /// `max_pools`.
        limit: usize,
    },
    /// A job's lease ran out; its slot is free again.
    JobExpired {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// The node that had it.
        node: NodeId,
        /// The request id.
        request_id: Arc<str>,
    },
    /// A job's node went away; its slot is free again.
    JobOrphaned {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// The node that had it.
        node: NodeId,
        /// The request id.
        request_id: Arc<str>,
    },
}

/// The queue of one subscriber. Dropping it ends the subscription.
#[derive(Debug)]
pub struct EventReceiver {
    queue: Receiver<Event>,
    dropped: Arc<Statistic>,
}

impl EventReceiver {
    /// The next event, if there is one.
    pub fn try_recv(&self) -> Option<Event> {
        self.queue.try_recv().ok()
    }

    /// The next event, waited for no longer than this. `None` when none came, or when the scheduler is gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        self.queue.recv_timeout(timeout).ok()
    }

    /// How many events were missed because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Iterator for &EventReceiver {
    type Item = Event;

    /// As [`try_recv`](EventReceiver::try_recv).
    fn next(&mut self) -> Option<Event> {
        self.try_recv()
    }
}

#[derive(Debug)]
struct Subscriber {
    queue: Sender<Event>,
    dropped: Arc<Statistic>,
}

impl Subscriber {
    /// Whether the receiver is still there. One that is gone leaves its queue disconnected, which only a send tells; so
    /// the count of references to `dropped` stands for it: ours, and the receiver's.
    fn is_here(&self) -> bool {
        Arc::strong_count(&self.dropped) > 1
    }
}

/// The longest queue: it is allocated when somebody subscribes.
const MAX_QUEUE: usize = 1 << 20;

/// The subscribers of a scheduler.
#[derive(Debug, Default)]
pub(crate) struct Events {
    subscribers: ArcSwap<Vec<Arc<Subscriber>>>,
    /// There was a subscriber at some time. Most schedulers never have one, and need not look for any.
    wanted: Flag,
    dropped: Statistic,
}

impl Events {
    pub(crate) fn subscribe(&self, capacity: usize) -> EventReceiver {
        let (sender, queue) = channel::bounded(capacity.clamp(1, MAX_QUEUE));
        let dropped = Arc::new(Statistic::new(0));
        let subscriber = Arc::new(Subscriber { queue: sender, dropped: dropped.clone() });
        self.subscribers.rcu(|subscribers| {
            // Those who left are forgotten here as well as when an event comes, which may be never.
            let here = subscribers.iter().filter(|subscriber| subscriber.is_here()).cloned();
            here.chain([subscriber.clone()]).collect::<Vec<_>>()
        });
        // Release: pairs with `emit`. Who emits after this has returned finds it set.
        self.wanted.store(true, Ordering::Release);
        EventReceiver { queue, dropped }
    }

    /// Tells every subscriber; `event` is not made when there is none.
    #[inline(always)]
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        // Acquire: pairs with `subscribe`.
        if self.wanted.load(Ordering::Acquire) {
            self.tell(event);
        }
    }

    #[inline(never)]
    fn tell(&self, event: impl FnOnce() -> Event) {
        let subscribers = self.subscribers.load();
        if subscribers.is_empty() {
            return;
        }
        let event = event();
        let mut left = false;
        for subscriber in subscribers.iter() {
            match subscriber.queue.try_send(event.clone()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    subscriber.dropped.fetch_add(1, Ordering::Relaxed);
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Err(TrySendError::Disconnected(_)) => left = true,
            }
        }
        drop(subscribers);
        if left {
            self.forget_those_who_left();
        }
    }

    fn forget_those_who_left(&self) {
        self.subscribers.rcu(|subscribers| {
            subscribers.iter().filter(|subscriber| subscriber.is_here()).cloned().collect::<Vec<_>>()
        });
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_and_one_who_left_is_forgotten() {
        let events = Events::default();
        let (slow, gone) = (events.subscribe(2), events.subscribe(1));
        drop(gone);
        for n in 0..5 {
            events.emit(|| Event::PoolMade { pool: n.to_string() });
        }
        assert_eq!((slow.count(), slow.dropped(), events.dropped()), (2, 3, 3));
        assert_eq!(events.subscribers.load().len(), 1);
    }
}
