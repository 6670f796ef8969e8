//! Jobs that have ended, in the order of their ends: a queue a stripe of threads, linked through the places.
//!
//! Each is Vyukov's queue of many producers and one consumer (2010). Whoever takes from it becomes the one consumer by
//! setting a flag; if another is at it, he is not waited for.
//!
//! # Invariant
//! A place is in one queue at most, and once: `listed` is the ending with which it was entered, or 0. Who sets it from 0
//! enters it, and only who took it off sets it back. A job that ends again, after a retry, while its place is still
//! listed, is told apart, in a queue of its own; there are as many as retries. The place is withdrawn only by who has taken
//! it off, and found it with the ending with which it was listed: then whoever ended the job has entered it, and is done
//! with the place.

use crossbeam_utils::CachePadded;

use super::place::{Link, Place, Places};
use super::vacant::{STRIPES, stripe_of};
use crate::id::JobId;
use crate::sync::{AtomicU32, Ordering, SegQueue, Statistic};

/// The link to a queue's stub, which is in it when nothing else is.
const STUB: Link = Link::MAX;
/// How often the queues of all stripes are looked at for the one whose jobs are the oldest.
const LOOK_AROUND: u64 = 64;

/// When and with which attempt a job has ended: the time, in ms, in the upper 44 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending(u64);

impl Ending {
    const ATTEMPT_BITS: u32 = 20;
    const NONE: u64 = 0;

    pub(super) fn new(attempt: u32, at: u64) -> Self {
        let attempt = u64::from(attempt) & ((1 << Self::ATTEMPT_BITS) - 1);
        Self((at << Self::ATTEMPT_BITS | attempt).max(1))
    }

    pub(super) fn at(self) -> u64 {
        self.0 >> Self::ATTEMPT_BITS
    }

    /// Whether it is of this attempt.
    pub(super) fn is_of(self, attempt: u32) -> bool {
        self == Self::new(attempt, self.at())
    }
}

impl Place {
    pub(super) fn ending(&self) -> Ending {
        // Relaxed: `listed` publishes it to whoever takes the place off; to others it is a hint.
        Ending(self.ended.load(Ordering::Relaxed))
    }

    pub(super) fn set_ending(&self, ending: Ending) {
        self.ended.store(ending.0, Ordering::Relaxed);
    }

    /// `true`: it is the caller who must enter it.
    fn list(&self, ending: Ending) -> bool {
        // AcqRel: who lists a place sees what was done by the one who took it off. Relaxed: the failure says only that it is
        // listed, and then nothing is done to the place.
        self.listed.compare_exchange(Ending::NONE, ending.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// For whoever has taken it off.
    pub(super) fn unlist(&self) {
        // Release: pairs with `list`.
        self.listed.store(Ending::NONE, Ordering::Release);
    }

    /// With which ending it is listed.
    pub(super) fn listed(&self) -> Option<Ending> {
        Some(self.listed.load(Ordering::Relaxed)).filter(|listed| *listed != Ending::NONE).map(Ending)
    }

    fn listed_at(&self) -> u64 {
        Ending(self.listed.load(Ordering::Relaxed)).at()
    }
}

/// A job that has ended again while its place was listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    pub(super) job: JobId,
    pub(super) ending: Ending,
}

/// What ended first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Oldest {
    Place(u32),
    Again(Again),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Finished {
    // Padded: neighbours are other threads'.
    queues: Box<[CachePadded<Queue>]>,
    again: SegQueue<Again>,
    /// The first of them, when it was looked at and was not the one; at most one.
    first_again: SegQueue<Again>,
    /// How many of them there are.
    agains: Statistic,
}

#[derive(Debug)]
struct Queue {
    /// The last.
    tail: AtomicU32,
    /// 1: somebody is taking off.
    taking: AtomicU32,
    /// The first. Changed by the consumer only.
    head: AtomicU32,
    /// The stub's link.
    stub: AtomicU32,
    /// Calls for the oldest by this stripe's threads; and the queue from which they take it.
    calls: Statistic,
    from: Statistic,
}

impl Finished {
    pub(super) fn new() -> Self {
        let queue = |number| {
            CachePadded::new(Queue {
                tail: AtomicU32::new(STUB),
                taking: AtomicU32::new(0),
                head: AtomicU32::new(STUB),
                stub: AtomicU32::new(0),
                calls: Statistic::new(0),
                from: Statistic::new(number as u64),
            })
        };
        Self {
            queues: (0..STRIPES).map(queue).collect(),
            again: SegQueue::new(),
            first_again: SegQueue::new(),
            agains: Statistic::new(0),
        }
    }

    /// Enters a job last that has just ended.
    pub(super) fn enter(&self, places: &Places, place: u32, again: Again, thread: u32) {
        if places.at(place).list(again.ending) {
            self.queues[stripe_of(thread).0].push(places, place + 1);
        } else {
            self.agains.fetch_add(1, Ordering::Relaxed);
            self.again.push(again);
        }
    }

    pub(super) fn put_back(&self, again: Again) {
        self.agains.fetch_add(1, Ordering::Relaxed);
        self.first_again.push(again);
    }

    /// Of those that have ended again the first, if that was by `until`.
    pub(super) fn take_again(&self, until: u64) -> Option<Again> {
        if self.agains.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let first = self.first_again.pop().or_else(|| self.again.pop())?;
        if first.ending.at() > until {
            self.first_again.push(first);
            return None;
        }
        self.agains.fetch_sub(1, Ordering::Relaxed);
        Some(first)
    }

    /// Takes off the one that has ended first, or about first.
    pub(super) fn take_oldest(&self, places: &Places, thread: u32, now: u64) -> Option<Oldest> {
        if self.agains.load(Ordering::Relaxed) > 0 {
            let first = |queue: &CachePadded<Queue>| queue.first(places).map(|place| places.at(place).listed_at());
            let listed = self.queues.iter().filter_map(first).min();
            if let Some(again) = self.take_again(listed.map_or(u64::MAX, |at| at.saturating_sub(1))) {
                return Some(Oldest::Again(again));
            }
        }
        self.take_oldest_place(places, thread, now).map(Oldest::Place)
    }

    /// Takes off the one that has ended first, or about first: jobs that others have ended since an eighth of the time
    /// that has passed since may be older.
    fn take_oldest_place(&self, places: &Places, thread: u32, now: u64) -> Option<u32> {
        let own = &self.queues[stripe_of(thread).0];
        let calls = own.calls.load(Ordering::Relaxed);
        own.calls.store(calls.wrapping_add(1), Ordering::Relaxed);
        if !calls.is_multiple_of(LOOK_AROUND) {
            let from = &self.queues[own.from.load(Ordering::Relaxed) as usize % STRIPES];
            if let Some(place) = from.take_if(places, |_| true) {
                return Some(place);
            }
        }
        let first = |queue: &Queue| queue.first(places).map(|place| places.at(place).listed_at());
        let oldest = self.queues.iter().enumerate().filter_map(|(number, queue)| Some((first(queue)?, number)));
        let (at, number) = oldest.min()?;
        // A thread keeps to its own jobs, as long as that makes no great difference.
        let near = at.saturating_add(now.saturating_sub(at) / 8);
        let number = if first(own).is_some_and(|own| own <= near) { stripe_of(thread).0 } else { number };
        own.from.store(number as u64, Ordering::Relaxed);
        self.queues[number].take_if(places, |_| true)
    }

    /// Hands those to `see_to` that have ended by `deadline`.
    pub(super) fn take_until(&self, places: &Places, deadline: u64, mut see_to: impl FnMut(u32)) {
        for queue in &self.queues {
            let due = |place: u32| places.at(place).listed_at() <= deadline;
            while let Some(place) = queue.take_if(places, due) {
                see_to(place);
            }
        }
    }
}

impl Queue {
    fn link<'a>(&'a self, places: &'a Places, item: Link) -> &'a AtomicU32 {
        if item == STUB { &self.stub } else { &places.at(item - 1).link }
    }

    fn push(&self, places: &Places, item: Link) {
        self.link(places, item).store(0, Ordering::Relaxed);
        // AcqRel: the item before is linked by whoever entered it, and only then handed out.
        let before = self.tail.swap(item, Ordering::AcqRel);
        // Release: pairs with `take`.
        self.link(places, before).store(item, Ordering::Release);
    }

    /// The place that would come first; it may be gone already.
    fn first(&self, places: &Places) -> Option<u32> {
        match self.head.load(Ordering::Relaxed) {
            STUB => self.stub.load(Ordering::Relaxed),
            head => head,
        }
        .checked_sub(1)
        .filter(|place| places.get(*place).is_some())
    }

    /// Takes the first off, if `wanted`. `None`, too, if another is at it, or in the middle of entering it.
    fn take_if(&self, places: &Places, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        if self.head.load(Ordering::Relaxed) == STUB && self.stub.load(Ordering::Relaxed) == 0 {
            return None;
        }
        // Acquire: pairs with the Release below, so the head is as the consumer before has left it.
        if self.taking.swap(1, Ordering::Acquire) != 0 {
            return None;
        }
        let taken = self.take(places, wanted);
        self.taking.store(0, Ordering::Release);
        taken
    }

    fn take(&self, places: &Places, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let mut head = self.head.load(Ordering::Relaxed);
        // Acquire: pairs with `push`.
        let mut next = self.link(places, head).load(Ordering::Acquire);
        if head == STUB {
            if next == 0 {
                return None;
            }
            self.head.store(next, Ordering::Relaxed);
            (head, next) = (next, self.link(places, next).load(Ordering::Acquire));
        }
        if !wanted(head - 1) {
            return None;
        }
        if next == 0 {
            // It is the last, unless another is being entered behind it. The stub goes behind it, so that it can leave.
            if self.tail.load(Ordering::Acquire) != head {
                return None;
            }
            self.push(places, STUB);
            next = self.link(places, head).load(Ordering::Acquire);
            if next == 0 {
                return None;
            }
        }
        self.head.store(next, Ordering::Relaxed);
        Some(head - 1)
    }
}
