//! The places whose jobs have ended at one desk, first in, first out, linked through the places themselves.
//!
//! It is Vyukov's queue of many producers and one consumer (2010). Whoever takes from it becomes the one consumer by
//! setting a flag; if another is at it, he is not waited for. A thread that enters a job on its own desk and takes the oldest
//! off for it does both as the consumer.

use super::place::{Link, Place, Places};
use crate::sync::{AtomicU32, Ordering, Statistic};

/// The link to a queue's stub, which is in it when nothing else is.
const STUB: Link = Link::MAX;
/// How often the queues of all desks are looked at for the one whose jobs are the oldest.
const LOOK_AROUND: u64 = 64;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Queue {
    /// The last.
    tail: AtomicU32,
    /// 1: somebody is taking off.
    taking: AtomicU32,
    /// The first. Changed by the consumer only.
    head: AtomicU32,
    /// The stub's link.
    stub: AtomicU32,
    /// Calls for the oldest from this desk; and the queue from which they take it.
    pub(super) calls: Statistic,
    pub(super) from: Statistic,
    /// Of the desk.
    pub(super) number: usize,
}

impl Queue {
    pub(super) fn new(number: usize) -> Self {
        Self {
            tail: AtomicU32::new(STUB),
            taking: AtomicU32::new(0),
            head: AtomicU32::new(STUB),
            stub: AtomicU32::new(0),
            calls: Statistic::new(0),
            from: Statistic::new(number as u64),
            number,
        }
    }

    /// `false`: it is time to look at those of all desks.
    #[inline(always)]
    pub(super) fn counts_a_call(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        self.calls.store(calls.wrapping_add(1), Ordering::Relaxed);
        !calls.is_multiple_of(LOOK_AROUND)
    }

    /// Whether the next call takes from this queue itself, which it then counts.
    #[inline(always)]
    pub(super) fn is_own_turn(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        let own = !calls.is_multiple_of(LOOK_AROUND) && self.from.load(Ordering::Relaxed) == self.number as u64;
        if own {
            self.calls.store(calls.wrapping_add(1), Ordering::Relaxed);
        }
        own
    }

    fn link<'a>(&'a self, places: &'a Places, item: Link) -> &'a AtomicU32 {
        if item == STUB { &self.stub } else { &places.at(item - 1).link }
    }

    #[inline(always)]
    pub(super) fn push(&self, places: &Places, item: Link) {
        self.link(places, item).store(0, Ordering::Relaxed);
        // AcqRel: the item before is linked by whoever entered it, and only then handed out.
        let before = self.tail.swap(item, Ordering::AcqRel);
        // Release: pairs with `take`.
        self.link(places, before).store(item, Ordering::Release);
    }

    /// As [`push`](Self::push), for the consumer, if nobody else pushes meanwhile: on the desk that a thread has alone, that
    /// thread and the consumer are all who push, and it is both.
    #[inline(always)]
    pub(super) fn push_alone(&self, places: &Places, item: Link) {
        self.link(places, item).store(0, Ordering::Relaxed);
        // Relaxed: who pushes next is this thread, or has become the consumer after it.
        let before = self.tail.load(Ordering::Relaxed);
        self.tail.store(item, Ordering::Relaxed);
        // Release: pairs with `take`.
        self.link(places, before).store(item, Ordering::Release);
    }

    /// The place that would come first; it may be gone already.
    pub(super) fn first(&self, places: &Places) -> Option<u32> {
        match self.head.load(Ordering::Relaxed) {
            STUB => self.stub.load(Ordering::Relaxed),
            head => head,
        }
        .checked_sub(1)
        .filter(|place| places.get(*place).is_some())
    }

    /// Takes the first off, if `wanted`. `None`, too, if another is at it, or in the middle of entering it.
    #[inline(always)]
    pub(super) fn take_if<'a>(&self, places: &'a Places, wanted: impl Fn(&Place) -> bool) -> Option<&'a Place> {
        if self.head.load(Ordering::Relaxed) == STUB && self.stub.load(Ordering::Relaxed) == 0 {
            return None;
        }
        if !self.begins() {
            return None;
        }
        let taken = self.take(places, wanted, Self::push);
        self.ends();
        taken
    }

    /// Becomes the consumer. `false`: another is.
    #[inline(always)]
    pub(super) fn begins(&self) -> bool {
        // Acquire: pairs with `ends`, so head and tail are as the consumer before has left them.
        self.taking.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(super) fn ends(&self) {
        // Release: pairs with `begins`.
        self.taking.store(0, Ordering::Release);
    }

    /// For the consumer, who pushes like this.
    #[inline(always)]
    pub(super) fn take<'a>(
        &self,
        places: &'a Places,
        wanted: impl Fn(&Place) -> bool,
        push: impl Fn(&Self, &Places, Link),
    ) -> Option<&'a Place> {
        let mut head = self.head.load(Ordering::Relaxed);
        if head == STUB {
            // Acquire: pairs with `push`.
            head = self.stub.load(Ordering::Acquire);
            if head == 0 {
                return None;
            }
            self.head.store(head, Ordering::Relaxed);
        }
        let place = places.at(head - 1);
        if !wanted(place) {
            return None;
        }
        // Acquire: as above.
        let mut next = place.link.load(Ordering::Acquire);
        if next == 0 {
            // It is the last, unless another is being entered behind it. The stub goes behind it, so that it can leave.
            if self.tail.load(Ordering::Acquire) != head {
                return None;
            }
            push(self, places, STUB);
            next = place.link.load(Ordering::Acquire);
            if next == 0 {
                return None;
            }
        }
        self.head.store(next, Ordering::Relaxed);
        Some(place)
    }
}
