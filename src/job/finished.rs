//! Jobs that have ended, in the order of their ends: a [queue](super::queue) a desk, linked through the places.
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
use super::place::{Place, Places};
use super::queue::Queue;
use crate::clock::END;
use crate::id::JobId;
use crate::sync::{Ordering, SegQueue, Statistic};

/// What is `listed` of a place whose job has never ended, or that is vacant.
const NEVER: u64 = 0;
/// What is `listed` of a place that was taken off, and whose job went on.
const OFF: u64 = u64::MAX;

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
        if let Some(again) = self.take_again(oldest.map_or(u64::MAX, |(at, _)| at)) {
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
    use crate::job::desk::DESKS;

    /// What some threads have ended.
    struct Ended {
        places: Places,
        desks: Desks,
        finished: Finished,
        number: u32,
    }

    impl Ended {
        fn new() -> Self {
            Self { places: Places::new(), desks: Desks::new(), finished: Finished::new(), number: 0 }
        }

        /// Its next job ends; when the one had ended that is forgotten for it at once, if one is to be `forgotten`.
        fn end(&mut self, thread: u32, at: u64, forgotten: bool) -> Option<u64> {
            let number = self.number;
            self.number += 1;
            self.places.ensure(number);
            let (place, desk) = (self.places.at(number), self.desks.at(thread));
            let oldest = self.finished.enter(&self.places, (place, number), Ending::new(1, at), desk, forgotten);
            oldest.map(Place::listed_at)
        }

        fn end_again(&self, place: u32, at: u64) {
            let again = Again { job: JobId::new(1, place, 1), ending: Ending::new(2, at) };
            self.finished.enter_again(&self.places, place, again, self.desks.at(0));
        }

        /// When the one had ended that a thread is to forget; and that it has ended again, if it has.
        fn oldest(&self, thread: u32, now: u64) -> Option<(u64, bool)> {
            Some(match self.finished.take_oldest(&self.places, &self.desks, self.desks.at(thread), now)? {
                Oldest::Place(place) => (place.listed_at(), false),
                Oldest::Again(again) => (again.ending.at(), true),
            })
        }
    }

    #[test]
    fn jobs_of_other_threads_go_first_if_they_are_older_by_more_than_an_eighth_of_their_age() {
        for (own, first) in [(90, 90), (100, 100), (180, 180), (200, 200), (201, 100), (900, 100)] {
            let mut ended = Ended::new();
            ended.end(0, own, false);
            ended.end(1, 100, false);
            let oldest: Vec<u64> = (0..2).filter_map(|_| Some(ended.oldest(0, 900)?.0)).collect();
            assert_eq!(oldest, [first, own + 100 - first]);
            assert_eq!(ended.oldest(0, 900), None);
        }
    }

    #[test]
    fn the_oldest_of_all_is_looked_for_at_every_64th_call() {
        let mut ended = Ended::new();
        for at in [[10, 20]].into_iter().chain([[500, 20]; 127]) {
            (0..).zip(at).for_each(|(thread, at)| _ = ended.end(thread, at, false));
        }
        let oldest: Vec<u64> = (0..192).filter_map(|_| Some(ended.oldest(0, 520)?.0)).collect();
        assert_eq!(oldest, [vec![10], vec![500; 63], vec![20; 128]].concat());
    }

    #[test]
    fn a_thread_that_takes_from_its_own_takes_one_off_where_it_enters_one() {
        let mut ended = Ended::new();
        assert_eq!(ended.end(0, 1, true), None, "it is to look at all");
        assert_eq!(ended.oldest(0, 1), Some((1, false)));
        assert_eq!(ended.end(0, 2, false), None, "none is to be forgotten");
        for at in 3..66 {
            assert_eq!(ended.end(0, at, true), Some(at - 1));
        }
        assert_eq!(ended.end(0, 66, true), None, "it is to look at all again");
        ended.end(1, 50, false);
        assert_eq!(ended.oldest(0, 66), Some((50, false)));
        assert_eq!(ended.end(0, 67, true), None, "it takes from another's");
    }

    #[test]
    fn threads_with_one_desk_or_with_jobs_that_ended_again_take_none_off_where_they_enter_one() {
        let mut ended = Ended::new();
        let last = DESKS as u32 - 1;
        for (thread, alone) in [(0, true), (last - 1, true), (last, false), (last + 1, false)] {
            ended.end(thread, 1, false);
            assert_eq!(ended.oldest(thread, 1), Some((1, false)));
            assert_eq!(ended.end(thread, 1, true).is_some(), alone, "thread {thread}");
            _ = ended.oldest(thread, 1);
        }
        let mut ended = Ended::new();
        ended.end(0, 1, false);
        ended.end(0, 2, false);
        assert_eq!(ended.oldest(0, 2), Some((1, false)));
        ended.end_again(1, 3);
        assert_eq!(ended.end(0, 4, true), None);
        assert_eq!([(); 4].map(|()| ended.oldest(0, 5)), [Some((2, false)), Some((3, true)), Some((4, false)), None]);
    }

    #[test]
    fn what_ends_again_is_listed_if_it_was_off_and_else_goes_after_what_ended_at_the_same_time() {
        let mut ended = Ended::new();
        ended.end(0, 1, false);
        ended.end_again(0, 5);
        ended.end(1, 5, false);
        assert_eq!([(); 4].map(|()| ended.oldest(0, 9)), [Some((1, false)), Some((5, false)), Some((5, true)), None]);
        ended.places.at(0).set_off();
        ended.end_again(0, 6);
        assert_eq!([(); 2].map(|()| ended.oldest(0, 9)), [Some((6, false)), None]);
    }

    #[test]
    fn what_is_put_back_comes_first_again() {
        let ended = Ended::new();
        ended.places.ensure(1);
        ended.end_again(0, 1);
        ended.end_again(1, 2);
        let first = ended.finished.take_again(9).unwrap();
        ended.finished.put_back(first);
        assert!(ended.finished.take_again(1).is_none());
        assert_eq!([(); 3].map(|()| ended.oldest(0, 9)), [Some((1, true)), Some((2, true)), None]);
    }

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
