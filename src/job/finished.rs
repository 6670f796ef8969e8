//! Jobs that have ended, in the order of their ends: a queue a desk, linked through the places.
//!
//! Each is Vyukov's queue of many producers and one consumer (2010). Whoever takes from it becomes the one consumer by
//! setting a flag; if another is at it, he is not waited for. A thread that enters a job on its own desk and takes the oldest
//! off for it does both as the consumer.
//!
//! # Invariant
//! A place is in one queue at most, and once. `listed` is the ending with which it was entered; or [`NEVER`], until the
//! job ends for the first time; or [`OFF`], when it was taken off and the job went on. Whoever ends the job for the first
//! time enters it: it is known which attempt that ends, since each attempt ends once, and a later one says that
//! another has ended before ([`Attempt::ends_again`](super::attempt::Attempt::ends_again)). So he need not ask. Of those
//! who end it again, who sets `listed` from `OFF` enters it; while it is listed still, or not yet, the ending is told
//! apart, in a queue of its own; there are as many as retries. Only who took a place off sets it to `OFF`.
//!
//! The place is withdrawn only by who has taken off the ending of the job's last attempt, when the place itself is off,
//! too: then whoever ended the job has entered it, and is done with the place.

use super::desk::{At, Desk, Desks};
use super::place::{Link, Place, Places};
use crate::clock::END;
use crate::id::JobId;
use crate::sync::{AtomicU32, Ordering, SegQueue, Statistic};

/// What is `listed` of a place whose job has never ended, or that is vacant.
const NEVER: u64 = 0;
/// What is `listed` of a place that was taken off, and whose job went on.
const OFF: u64 = u64::MAX;
/// The link to a queue's stub, which is in it when nothing else is.
const STUB: Link = Link::MAX;
/// How often the queues of all desks are looked at for the one whose jobs are the oldest.
const LOOK_AROUND: u64 = 64;

/// When and with which attempt a job has ended: the time, in ms, in the upper 44 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending(u64);

impl Ending {
    const ATTEMPT_BITS: u32 = 20;

    pub(super) fn new(attempt: u32, at: u64) -> Self {
        const { assert!(END <= u64::MAX >> Self::ATTEMPT_BITS, "every time has room") };
        // Attempts are fewer, and from 1 on, so it is neither `NEVER` nor `OFF`.
        let attempt = u64::from(attempt) & ((1 << Self::ATTEMPT_BITS) - 1);
        Self(at << Self::ATTEMPT_BITS | attempt)
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
    /// For whoever has taken it off: the job has gone on.
    pub(super) fn set_off(&self) {
        // Release: pairs with `enter_again` and `is_off`.
        self.listed.store(OFF, Ordering::Release);
    }

    /// For whoever has taken it off: the job is forgotten.
    #[inline(always)]
    pub(super) fn unlist(&self) {
        // Relaxed: the place is handed on to its next job.
        self.listed.store(NEVER, Ordering::Relaxed);
    }

    pub(super) fn is_off(&self) -> bool {
        // Acquire: pairs with `set_off`, for who finds this may withdraw the place that another has taken off.
        self.listed.load(Ordering::Acquire) == OFF
    }

    /// As it has to be where no job is.
    #[cfg(all(test, any(slotyard_loom, slotyard_shuttle)))]
    pub(crate) fn is_unlisted(&self) -> bool {
        self.listed.load(Ordering::Relaxed) == NEVER
    }

    /// With which ending it is listed. For whoever has taken it off.
    #[inline(always)]
    pub(super) fn listed(&self) -> Ending {
        Ending(self.listed.load(Ordering::Relaxed))
    }

    fn listed_at(&self) -> u64 {
        self.listed().at()
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
pub(super) enum Oldest<'a> {
    Place(&'a Place),
    Again(Again),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Finished {
    again: SegQueue<Again>,
    /// The first of them, when it was looked at and was not the one; at most one.
    first_again: SegQueue<Again>,
    /// How many of them there are.
    agains: Statistic,
}

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
    calls: Statistic,
    from: Statistic,
    /// Of the desk.
    number: usize,
}

impl Finished {
    pub(super) fn new() -> Self {
        Self { again: SegQueue::new(), first_again: SegQueue::new(), agains: Statistic::new(0) }
    }

    /// Enters the job of a place last that has just ended, for the first time. If one is to be `forgotten` for it, that may
    /// be taken off at once.
    #[inline(always)]
    pub(super) fn enter<'a>(
        &self,
        places: &'a Places,
        (place, number): (&Place, u32),
        ending: Ending,
        at: At<'_>,
        forgotten: bool,
    ) -> Option<&'a Place> {
        // Relaxed: the queue publishes it.
        place.listed.store(ending.0, Ordering::Relaxed);
        let queue = &at.desk.queue;
        if forgotten && at.alone && self.agains.load(Ordering::Relaxed) == 0 && queue.is_own_turn() && queue.begins() {
            queue.push_alone(places, number + 1);
            let oldest = queue.take(places, |_| true, Queue::push_alone);
            queue.ends();
            return oldest;
        }
        queue.push(places, number + 1);
        None
    }

    /// The same of one that has ended before.
    #[cold]
    pub(super) fn enter_again(&self, places: &Places, place: u32, again: Again, at: At<'_>) {
        let listed = &places.at(place).listed;
        // AcqRel: who lists a place sees what was done by the one who took it off. Relaxed: the failure says only that it is
        // listed, or will be, and then nothing is done to the place.
        if listed.compare_exchange(OFF, again.ending.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            at.desk.queue.push(places, place + 1);
        } else {
            self.agains.fetch_add(1, Ordering::Relaxed);
            self.again.push(again);
        }
    }

    pub(super) fn put_back(&self, again: Again) {
        self.agains.fetch_add(1, Ordering::Relaxed);
        self.first_again.push(again);
    }

    /// Of those that have ended again the first, if that was before `time`. Not at the same: its place may be listed still
    /// with an earlier end, and then that is to be taken off first.
    pub(super) fn take_again(&self, time: u64) -> Option<Again> {
        if self.agains.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let first = self.first_again.pop().or_else(|| self.again.pop())?;
        if first.ending.at() >= time {
            self.first_again.push(first);
            return None;
        }
        self.agains.fetch_sub(1, Ordering::Relaxed);
        Some(first)
    }

    /// Takes off the one that has ended first, or about first.
    #[inline(always)]
    pub(super) fn take_oldest<'a>(
        &self,
        places: &'a Places,
        desks: &Desks,
        at: At<'_>,
        now: u64,
    ) -> Option<Oldest<'a>> {
        if self.agains.load(Ordering::Relaxed) == 0 && at.desk.queue.counts_a_call() {
            let from = &desks.number(at.desk.queue.from.load(Ordering::Relaxed) as usize).queue;
            if let Some(place) = from.take_if(places, |_| true) {
                return Some(Oldest::Place(place));
            }
        }
        self.look_for_oldest(places, desks, at, now)
    }

    #[cold]
    fn look_for_oldest<'a>(&self, places: &'a Places, desks: &Desks, at: At<'_>, now: u64) -> Option<Oldest<'a>> {
        let first = |desk: &Desk| desk.queue.first(places).map(|place| places.at(place).listed_at());
        let oldest = desks.iter().enumerate().filter_map(|(number, desk)| Some((first(desk)?, number))).min();
        if self.agains.load(Ordering::Relaxed) > 0
            && let Some(again) = self.take_again(oldest.map_or(u64::MAX, |(at, _)| at))
        {
            return Some(Oldest::Again(again));
        }
        let (since, mut number) = oldest?;
        // A thread keeps to its own jobs, as long as that makes no great difference: jobs that others have ended since an
        // eighth of the time that has passed since may be older.
        let near = since.saturating_add(now.saturating_sub(since) / 8);
        if first(at.desk).is_some_and(|own| own <= near) {
            number = at.desk.queue.number;
        }
        at.desk.queue.from.store(number as u64, Ordering::Relaxed);
        desks.number(number).queue.take_if(places, |_| true).map(Oldest::Place)
    }

    /// Takes one off that is the first of some desk's. For whoever needs one while the oldest cannot be had, because another
    /// thread is in the middle of entering it, or of taking it off.
    #[cold]
    pub(super) fn take_any<'a>(&self, places: &'a Places, desks: &Desks) -> Option<&'a Place> {
        desks.iter().find_map(|desk| desk.queue.take_if(places, |_| true))
    }

    /// Runs `body` while another is at the queue of the one that has ended first.
    #[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
    pub(super) fn with_the_oldest_in_hand<R>(&self, places: &Places, desks: &Desks, body: impl FnOnce() -> R) -> R {
        let first = |desk: &&Desk| desk.queue.first(places).map(|place| places.at(place).listed_at());
        let oldest = desks.iter().filter(|desk| first(desk).is_some()).min_by_key(first).expect("one has ended");
        assert!(oldest.queue.begins());
        let result = body();
        oldest.queue.ends();
        result
    }

    /// Hands those to `see_to` that have ended by `deadline`.
    pub(super) fn take_until(&self, places: &Places, desks: &Desks, deadline: u64, mut see_to: impl FnMut(&Place)) {
        for desk in desks.iter() {
            let due = |place: &Place| place.listed_at() <= deadline;
            while let Some(place) = desk.queue.take_if(places, due) {
                see_to(place);
            }
        }
    }
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
    fn counts_a_call(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        self.calls.store(calls.wrapping_add(1), Ordering::Relaxed);
        !calls.is_multiple_of(LOOK_AROUND)
    }

    /// Whether the next call takes from this queue itself, which it then counts.
    #[inline(always)]
    fn is_own_turn(&self) -> bool {
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
    fn push(&self, places: &Places, item: Link) {
        self.link(places, item).store(0, Ordering::Relaxed);
        // AcqRel: the item before is linked by whoever entered it, and only then handed out.
        let before = self.tail.swap(item, Ordering::AcqRel);
        // Release: pairs with `take`.
        self.link(places, before).store(item, Ordering::Release);
    }

    /// As [`push`](Self::push), for the consumer, if nobody else pushes meanwhile: on the desk that a thread has alone, that
    /// thread and the consumer are all who push, and it is both.
    #[inline(always)]
    fn push_alone(&self, places: &Places, item: Link) {
        self.link(places, item).store(0, Ordering::Relaxed);
        // Relaxed: who pushes next is this thread, or has become the consumer after it.
        let before = self.tail.load(Ordering::Relaxed);
        self.tail.store(item, Ordering::Relaxed);
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
    #[inline(always)]
    fn take_if<'a>(&self, places: &'a Places, wanted: impl Fn(&Place) -> bool) -> Option<&'a Place> {
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
    fn begins(&self) -> bool {
        // Acquire: pairs with `ends`, so head and tail are as the consumer before has left them.
        self.taking.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    fn ends(&self) {
        // Release: pairs with `begins`.
        self.taking.store(0, Ordering::Release);
    }

    /// For the consumer, who pushes like this.
    #[inline(always)]
    fn take<'a>(
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

/// The desk of one thread, for the model of it.
#[cfg(all(test, slotyard_loom))]
#[derive(Debug)]
pub(crate) struct OwnDesk {
    places: Places,
    finished: Finished,
    desks: Desks,
}

#[cfg(all(test, slotyard_loom))]
impl OwnDesk {
    pub(crate) fn new(places: u32) -> Self {
        let desk = Self { places: Places::new(), finished: Finished::new(), desks: Desks::new() };
        (0..places).for_each(|place| _ = desk.places.ensure(place));
        // Not the call with which all desks are looked at.
        desk.desks.number(0).queue.calls.store(1, Ordering::Relaxed);
        desk
    }

    /// What its thread does when the job of a place ends and one is to be forgotten for it. Whether one was taken off.
    pub(crate) fn end(&self, place: u32) -> bool {
        let at = At { desk: self.desks.number(0), alone: true };
        let ended = (self.places.at(place), place);
        let oldest = self.finished.enter(&self.places, ended, Ending::new(1, 0), at, true);
        oldest.is_some_and(|oldest| {
            oldest.order.fetch_add(1, Ordering::Relaxed);
            true
        })
    }

    /// What maintenance does.
    pub(crate) fn forget_all(&self) {
        self.finished.take_until(&self.places, &self.desks, u64::MAX, |place| {
            place.order.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// How often the place was taken off.
    pub(crate) fn taken(&self, place: u32) -> u64 {
        self.places.at(place).order.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn endings_up_to_the_end_of_time_come_back_as_they_went_in() {
        for at in [0, 1, (1 << 32) - 1, 1 << 32, END] {
            for attempt in [1, 2, 1 << 16] {
                let ending = Ending::new(attempt, at);
                assert_eq!((ending.at(), ending.is_of(attempt), ending.is_of(attempt + 1)), (at, true, false));
                assert!(ending.0 != NEVER && ending.0 != OFF);
            }
        }
    }
}
