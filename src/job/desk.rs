//! What threads have of the jobs for themselves: places and numbers to take from and to put into, jobs that have ended,
//! counts.
//!
//! The first threads have a desk each, the others share the last one. What is on a desk that one thread has alone is
//! written by that thread only, except for the queue of the jobs that have ended, so it needs no read-modify-write. All
//! of it is on two lines, and found once a call.

use crossbeam_utils::CachePadded;

use super::queue::Queue;
use super::vacant::Stock;
use crate::sync::{AtomicU64, Statistic, sized_by_model};

/// The first threads have a desk each, the others share the last one. In loom's models all do: their threads are one
/// to whoever numbers threads.
pub(super) const DESKS: usize = sized_by_model(32, 1, 4) as usize;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Desk {
    /// Places.
    pub(super) stock: Stock,
    /// Free numbers of ids. Upper half: how many. On the last desk, which is shared, there are none.
    pub(super) ids: AtomicU64,
    /// What this desk has not told yet of how many jobs there are.
    pub(super) all: Statistic,
    /// The same of those that have ended.
    pub(super) ended: Statistic,
    pub(super) queue: Queue,
}

#[derive(Debug)]
pub(super) struct Desks(Box<[CachePadded<Desk>; DESKS]>);

/// The desk of the calling thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) desk: &'a Desk,
    /// It is this thread's alone.
    pub(super) alone: bool,
}

impl Desks {
    pub(super) fn new() -> Self {
        let desk = |number| Desk {
            stock: Stock::default(),
            ids: AtomicU64::new(0),
            all: Statistic::new(0),
            ended: Statistic::new(0),
            queue: Queue::new(number),
        };
        Self(Box::new(std::array::from_fn(|number| CachePadded::new(desk(number)))))
    }

    /// That of the thread known under this number.
    #[inline(always)]
    pub(super) fn at(&self, thread: u32) -> At<'_> {
        const LAST: usize = DESKS - 1;
        let thread = thread as usize;
        At { desk: &self.0[thread.min(LAST)], alone: thread < LAST }
    }

    pub(super) fn number(&self, number: usize) -> &Desk {
        &self.0[number % DESKS]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Desk> {
        self.0.iter().map(|desk| &**desk)
    }
}
