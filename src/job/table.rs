//! The jobs in memory: by id (a place, no hashing) and by request id.
//!
//! # Invariants
//! 1. A request id names at most one job, of which a slot is held when it is entered; of any number of creates one
//!    enters it, and the others find it, then or before.
//! 2. A place belongs to one job from [`Vacancy::fill`] until the job is withdrawn, see `place`. Only its owner knows of the
//!    job until it is entered, or said to be: nobody ends a job that its owner may have to take back.
//! 3. At most `max_jobs` jobs are in memory, and about `max_finished_jobs` of them have ended; when there is no room, the
//!    job that ended first, or about first, is forgotten. Both are counted on desks that tell the common count by and by, so
//!    where limits are above 256 it may be 1/256 more for each thread, and an eighth at most.

use std::sync::Arc;

use crossbeam_epoch::Guard;
use crossbeam_utils::CachePadded;

use super::attempt::{Attempt, Held};
use super::desk::{At, DESKS, Desks};
use super::finished::{Again, Ending, Finished, Oldest};
use super::ids::Ids;
use super::place::{Place, Places};
use super::requests::{Requests, Spot, order_of};
use super::reused::{InUse, Kept};
use super::vacant::{Lot, Vacant, VacantPlace};
use super::{Here, JobRecord, Wish};
use crate::arena::Arena;
use crate::id::{JobId, Prehashed};
use crate::sync::{Ordering, Statistic, sized};

/// How often a create at the bound looks for a finished job that another thread has in hand.
const LOOKS: u32 = sized(1 << 16, 1);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Jobs {
    places: Places,
    desks: Desks,
    ids: Ids,
    requests: Requests,
    vacant: Vacant,
    finished: Finished,
    /// Jobs in memory.
    all: Count,
    max_jobs: i64,
    /// Of them, those that have ended and are remembered. The queues may be longer: a retry leaves its job there.
    ended: Count,
    max_finished: i64,
    /// High half of every id.
    scheduler: u64,
}

/// A number that many threads change, and seldom at the same place.
#[derive(Debug)]
struct Count {
    sum: CachePadded<Statistic>,
    /// A desk tells its part when it is more than this.
    untold: u64,
}

/// A place for a job to come, and a number for its id. Given back if no job comes.
pub(crate) struct Vacancy<'g> {
    jobs: &'g Jobs,
    at: At<'g>,
    place: Option<VacantPlace<'g>>,
    number: u32,
    uses: u32,
}

/// Why there is no place for a further job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// There are as many jobs as there may be, and none that has ended.
    TooManyJobs,
    /// There are fewer, but all places that are vacant wait for pins to end.
    Pinned,
}

/// What became of an ending that was taken off the finished.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Forgotten,
    /// The job was retried since.
    Elsewhere,
}

impl Count {
    /// A number that is held against this limit.
    fn new(limit: usize) -> Self {
        Self { sum: CachePadded::new(Statistic::new(0)), untold: (limit / DESKS / 8).min(64) as u64 }
    }

    /// Changes it by `by`, on a desk which has this part of it; says what it is then, about.
    #[inline(always)]
    fn add(&self, part: &Statistic, alone: bool, by: i64) -> i64 {
        let own = if alone {
            // Only this thread writes it, so nothing is lost between the two.
            let own = part.load(Ordering::Relaxed).wrapping_add(by as u64);
            part.store(own, Ordering::Relaxed);
            own as i64
        } else {
            part.fetch_add(by as u64, Ordering::Relaxed).wrapping_add(by as u64) as i64
        };
        if own.unsigned_abs() <= self.untold {
            return (self.sum.load(Ordering::Relaxed) as i64).wrapping_add(own);
        }
        self.tell(part, own)
    }

    #[cold]
    fn tell(&self, part: &Statistic, own: i64) -> i64 {
        part.fetch_sub(own as u64, Ordering::Relaxed);
        (self.sum.fetch_add(own as u64, Ordering::Relaxed) as i64).wrapping_add(own)
    }

    fn get<'a>(&self, parts: impl Iterator<Item = &'a Statistic>) -> usize {
        let parts = parts.map(|part| part.load(Ordering::Relaxed));
        let sum = parts.fold(self.sum.load(Ordering::Relaxed), u64::wrapping_add);
        // It may be read between the two steps of a change, and then be off, below zero even.
        (sum as i64).max(0) as usize
    }
}

impl Vacancy<'_> {
    /// The number that the id of the job will name.
    #[inline(always)]
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The job, to be [entered](Jobs::enter) or [withdrawn](Jobs::withdraw): its place, and itself for its owner, and to keep.
    #[inline(always)]
    pub(crate) fn fill<'g>(
        mut self,
        wish: Wish<'_>,
        held: Held,
        pin: &'g Guard,
    ) -> (&'g Place, InUse<'g, JobRecord>, Kept<JobRecord>)
    where
        Self: 'g,
    {
        let vacant = self.place.take().expect("it is there until it is filled or given back");
        let place = vacant.place();
        let id = JobId::new(self.jobs.scheduler, self.number, self.uses);
        let (record, kept) = Place::fill(vacant, pin, (id, wish), held);
        (place, record, kept)
    }
}

impl Drop for Vacancy<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.jobs.give_back(place, self.number, self.at);
        }
    }
}

impl Jobs {
    pub(crate) fn new(scheduler: u64, max_jobs: usize, max_finished: usize) -> Self {
        Self {
            places: Arena::new(),
            desks: Desks::new(),
            ids: Ids::new(),
            requests: Requests::new(),
            vacant: Vacant::new(max_jobs as u32),
            finished: Finished::new(),
            all: Count::new(max_jobs),
            max_jobs: max_jobs as i64,
            ended: Count::new(max_finished),
            max_finished: max_finished as i64,
            scheduler,
        }
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// The job of a request id, for as long as the pin; if there is none, where it would be entered.
    #[inline(always)]
    pub(crate) fn find<'g>(&'g self, key: &Prehashed<&str>, pin: &'g Guard) -> Result<InUse<'g, JobRecord>, Spot<'g>> {
        let order = order_of(key.hash);
        loop {
            let place = self.requests.find(&self.places, order, |place| self.is_of(place, key, pin))?;
            if let Some(record) = self.places.record(place, pin).filter(|record| record.is_of(key)) {
                // Its owner may be about to say so.
                if !record.is_entered() {
                    record.set_entered();
                }
                return Ok(record);
            }
        }
    }

    fn is_of(&self, place: u32, key: &Prehashed<&str>, pin: &Guard) -> bool {
        // Without one it is just being withdrawn.
        self.places.record(place, pin).is_some_and(|record| record.is_of(key))
    }

    /// The job of an id, for as long as the pin.
    pub(crate) fn get<'g>(&self, id: JobId, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        self.numbered(id.number(), pin).filter(|record| record.id == id)
    }

    /// The job that has this number now, whichever it is.
    #[inline(always)]
    pub(crate) fn numbered<'g>(&self, number: u32, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        self.at(self.ids.place(number)?, pin)
    }

    /// The job at this place now.
    #[inline(always)]
    pub(crate) fn at<'g>(&self, place: u32, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        self.places.record(place, pin).filter(|record| record.is_entered())
    }

    /// As [`at`](Self::at), for whoever has changed what the owner of a job looks at after he has entered it, and has passed
    /// a fence since: of the two, one sees what the other has done. But the owner may not have said yet that it is entered.
    pub(crate) fn settled<'g>(&self, place: u32, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        let record = self.places.record(place, pin)?;
        if !record.is_entered() {
            // Relaxed: written before it was entered, and if it was, it is found here.
            let order = self.places.at(place).order.load(Ordering::Relaxed);
            self.requests.find(&self.places, order, |found| found == place).ok()?;
            record.set_entered();
        }
        Some(record)
    }

    /// The same of the job that has this number now.
    pub(crate) fn settled_number<'g>(&self, number: u32, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        self.settled(self.ids.place(number)?, pin)
    }

    /// Room for a job.
    pub(crate) fn vacancy<'g>(self: &'g Arc<Self>, here: Here, pin: &Guard) -> Result<Vacancy<'g>, NoPlace> {
        let at = self.desks.at(here.thread);
        let place = match self.place_at_hand(at) {
            Some(place) => place,
            None => self.make_place((at, here.now), pin)?,
        };
        Ok(self.vacancy_at(place, at))
    }

    /// The same if there is some at hand.
    #[inline(always)]
    pub(crate) fn vacancy_at_hand<'g>(self: &'g Arc<Self>, here: Here) -> Option<Vacancy<'g>> {
        let at = self.desks.at(here.thread);
        match self.place_at_hand(at) {
            Some(place) => Some(self.vacancy_at(place, at)),
            None => {
                self.count_all(at, -1);
                None
            }
        }
    }

    /// Counts a job, and has a place for it if one is at hand.
    #[inline(always)]
    fn place_at_hand<'g>(&'g self, at: At<'_>) -> Option<VacantPlace<'g>> {
        (self.count_all(at, 1) <= self.max_jobs).then(|| self.vacant.take(&self.places, at)).flatten()
    }

    #[inline(always)]
    fn vacancy_at<'g>(&'g self, place: VacantPlace<'g>, at: At<'g>) -> Vacancy<'g> {
        let (number, uses) = self.ids.take(at, place.number);
        Vacancy { jobs: self, at, place: Some(place), number, uses }
    }

    /// Enters the job of a place under its request id, which was not found there; its owner has to say so. `false`: another
    /// was entered since.
    #[inline(always)]
    pub(crate) fn enter<'g>(
        &'g self,
        (place, number): (&Place, u32),
        key: &Prehashed<&str>,
        mut spot: Spot<'g>,
        pin: &'g Guard,
    ) -> bool {
        // Relaxed: whoever enters the place publishes it.
        place.order.store(order_of(key.hash), Ordering::Relaxed);
        while !self.requests.enter((place, number), spot) {
            match self.find_again(key, pin) {
                Ok(_) => return false,
                Err(changed) => spot = changed,
            }
        }
        true
    }

    /// As [`find`](Self::find), where that is no part of the caller.
    #[inline(never)]
    pub(crate) fn find_again<'g>(
        &'g self,
        key: &Prehashed<&str>,
        pin: &'g Guard,
    ) -> Result<InUse<'g, JobRecord>, Spot<'g>> {
        self.find(key, pin)
    }

    /// The same where none is at hand, or there are too many jobs. The job is counted already, and not any more if there
    /// is no place for it.
    #[cold]
    fn make_place<'g>(self: &'g Arc<Self>, (at, now): (At<'_>, u64), pin: &Guard) -> Result<VacantPlace<'g>, NoPlace> {
        let mut looks = 0;
        loop {
            if self.count_all(at, 0) <= self.max_jobs {
                if let Some(vacant) = self.vacant_place(at, pin) {
                    return Ok(vacant);
                }
                // All that are vacant wait for pins to end. What other threads were about to free comes by one more turn if
                // at all: the caller's pin is one of those that are waited for, so it is for him to end that and come again.
                self.count_all(at, -1);
                if looks > 0 {
                    return Err(NoPlace::Pinned);
                }
                pin.flush();
            } else {
                self.count_all(at, -1);
                // Each turn forgets a finished job, or finds that there is none. The only one there is may be in the hands
                // of another thread, between being taken off the list and put back, or forgotten.
                if self.forget_one((at, now), pin).is_some() {
                    self.count_all(at, 1);
                    continue;
                }
                if self.finished_len() == 0 {
                    return Err(NoPlace::TooManyJobs);
                }
            }
            if looks == LOOKS {
                return Err(NoPlace::TooManyJobs);
            }
            looks += 1;
            std::thread::yield_now();
            self.count_all(at, 1);
        }
    }

    /// No job has begun there.
    #[cold]
    fn give_back(&self, place: VacantPlace<'_>, number: u32, at: At<'_>) {
        self.vacant.give_back(place, at);
        self.ids.give_back(number, at);
        self.count_all(at, -1);
    }

    #[inline(always)]
    fn count_all(&self, at: At<'_>, by: i64) -> i64 {
        self.all.add(&at.desk.all, at.alone, by)
    }

    #[inline(always)]
    fn count_ended(&self, at: At<'_>, by: i64) -> i64 {
        self.ended.add(&at.desk.ended, at.alone, by)
    }

    fn vacant_place<'g>(self: &'g Arc<Self>, at: At<'_>, pin: &Guard) -> Option<VacantPlace<'g>> {
        let used = self.vacant.take(&self.places, at).or_else(|| {
            // Here and not where jobs end: those who end them are to allocate nothing.
            self.clear_later(self.vacant.ripe_lot(&self.places)?, pin);
            pin.flush();
            self.vacant.take(&self.places, at)
        });
        used.or_else(|| {
            let unused = self.vacant.take_unused(&self.places)?;
            self.requests.grow(unused.number + 1);
            Some(unused)
        })
    }

    fn clear_later(self: &Arc<Self>, lot: Lot, pin: &Guard) {
        let jobs = self.clone();
        pin.defer(move || jobs.vacant.clear(&jobs.places, lot));
    }

    /// Takes a job out of memory that was not entered. For its owner.
    #[cold]
    pub(crate) fn withdraw(&self, record: &JobRecord, thread: u32) {
        self.vacate(record, self.places.at(record.place), self.desks.at(thread));
    }

    #[inline(always)]
    fn vacate(&self, record: &JobRecord, place: &Place, at: At<'_>) {
        self.vacant.put_away(place, record.place, at);
        self.ids.give_back(record.id.number(), at);
        self.count_all(at, -1);
    }

    /// Frees the request id of a job that is on its way out, for a create that does not want to wait.
    pub(crate) fn unlist(&self, record: &JobRecord) {
        self.requests.leave(&self.places, self.places.at(record.place));
    }

    /// Remembers a job that has just ended with this attempt, and forgets the oldest when too many are remembered.
    #[inline(always)]
    pub(crate) fn finished(&self, record: &JobRecord, attempt: &Attempt, here: Here, pin: &Guard) {
        let (at, now) = (self.desks.at(here.thread), here.now);
        let ending = Ending::new(attempt.number, now);
        let ended = self.count_ended(at, 1);
        let too_many = ended > self.max_finished;
        let oldest = if attempt.ends_again() {
            let again = Again { job: record.id, ending };
            self.finished.enter_again(&self.places, record.place, again, at);
            None
        } else {
            self.finished.enter(&self.places, (self.places.at(record.place), record.place), ending, at, too_many)
        };
        if too_many {
            self.forget_beyond(ended, oldest, (at, now), pin);
        }
    }

    #[inline(never)]
    fn forget_beyond(&self, mut ended: i64, oldest: Option<&Place>, (at, now): (At<'_>, u64), pin: &Guard) {
        if let Some(oldest) = oldest
            && self.forget_listed(oldest, at, pin) == Seen::Forgotten
        {
            ended -= 1;
        }
        while ended > self.max_finished {
            match self.forget_one((at, now), pin) {
                Some(Seen::Forgotten) => ended -= 1,
                Some(Seen::Elsewhere) => {}
                // The next who ends one forgets what is too much by then.
                None => return,
            }
        }
    }

    /// Forgets the jobs that ended at `deadline` or before.
    pub(crate) fn forget_until(&self, deadline: Option<u64>, thread: u32, pin: &Guard) {
        let Some(deadline) = deadline else { return };
        let at = self.desks.at(thread);
        self.finished.take_until(&self.places, &self.desks, deadline, |place| {
            self.forget_listed(place, at, pin);
        });
        while let Some(again) = self.finished.take_again(deadline.saturating_add(1)) {
            if self.forget_again(again, at, pin).is_none() {
                return;
            }
        }
    }

    /// Lets no lot that was put away wait for somebody to run out of places.
    pub(crate) fn clear_all_later(self: &Arc<Self>, pin: &Guard) {
        while let Some(lot) = self.vacant.ripe_lot(&self.places) {
            self.clear_later(lot, pin);
        }
        // Or it would wait on this thread until that has deferred much more, which maintenance may never do.
        pin.flush();
    }

    /// A job that had ended goes on with a further attempt.
    pub(crate) fn revived(&self, thread: u32) {
        self.count_ended(self.desks.at(thread), -1);
    }

    /// Forgets the job that has ended first; or one that is the first of some desk's, if another thread has that in hand: so
    /// that each turn takes something off, whoever is in the middle of what. `None`: there is nothing to be taken.
    #[inline(always)]
    fn forget_one(&self, (at, now): (At<'_>, u64), pin: &Guard) -> Option<Seen> {
        let seen = match self.finished.take_oldest(&self.places, &self.desks, at, now) {
            Some(Oldest::Place(place)) => Some(self.forget_listed(place, at, pin)),
            Some(Oldest::Again(again)) => self.forget_again(again, at, pin),
            None => None,
        };
        seen.or_else(|| self.forget_any(at, pin))
    }

    #[cold]
    fn forget_any(&self, at: At<'_>, pin: &Guard) -> Option<Seen> {
        self.finished.take_any(&self.places, &self.desks).map(|place| self.forget_listed(place, at, pin))
    }

    /// Forgets a job that was taken off the list, unless it was retried since it ended like this.
    #[inline(always)]
    fn forget_listed(&self, place: &Place, at: At<'_>, pin: &Guard) -> Seen {
        let forgotten = place.record.load(pin).is_some_and(|record| self.forget(&record, place, place.listed(), at));
        if forgotten {
            return Seen::Forgotten;
        }
        place.set_off();
        Seen::Elsewhere
    }

    #[cold]
    fn forget_again(&self, again: Again, at: At<'_>, pin: &Guard) -> Option<Seen> {
        let Some(record) = self.get(again.job, pin) else { return Some(Seen::Elsewhere) };
        if !again.ending.is_of(record.binding.load().attempt().number) {
            // The job has gone on since, and may be listed with a later end, which is entered by itself.
            return Some(Seen::Elsewhere);
        }
        let place = self.places.at(record.place);
        if !place.is_off() {
            // It is listed with an earlier end; or who enters it, or takes it off, is not done yet.
            self.finished.put_back(again);
            return None;
        }
        Some(if self.forget(&record, place, again.ending, at) { Seen::Forgotten } else { Seen::Elsewhere })
    }

    /// Forgets a job that has ended like this, unless it was retried since. For the one who has taken that ending off.
    #[inline(always)]
    fn forget(&self, record: &JobRecord, place: &Place, ending: Ending, at: At<'_>) -> bool {
        let bound = record.binding.load();
        let forgotten = ending.is_of(bound.attempt().number) && record.binding.forget(bound);
        if forgotten {
            place.unlist();
            self.count_ended(at, -1);
            self.requests.leave(&self.places, place);
            self.vacate(record, place, at);
        }
        forgotten
    }

    /// Runs `body` while another is about to forget the job that has ended first.
    #[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
    pub(crate) fn with_the_oldest_in_hand<R>(&self, body: impl FnOnce() -> R) -> R {
        self.finished.with_the_oldest_in_hand(&self.places, &self.desks, body)
    }

    /// Jobs in memory.
    pub(crate) fn len(&self) -> usize {
        self.all.get(self.desks.iter().map(|desk| &desk.all))
    }

    pub(crate) fn finished_len(&self) -> usize {
        self.ended.get(self.desks.iter().map(|desk| &desk.ended))
    }
}
