//! The jobs in memory: by id (a place, no hashing) and by request id.
//!
//! # Invariants
//! 1. A request id names at most one job; it is entered before a slot is reserved for it, so of any number of creates
//!    one is the owner and the others know of it.
//! 2. A place belongs to one job from [`Jobs::claim`] until the job is withdrawn, see `place`.
//! 3. At most `max_jobs` jobs are in memory, and about `max_finished_jobs` of them have ended; when there is no room, the
//!    job that ended first is forgotten. Both are counted by stripes that tell the common count by and by, so with
//!    many threads and large limits it may be a few percent more.

use std::sync::Arc;

use crossbeam_epoch::Guard;
use crossbeam_utils::CachePadded;

use super::JobRecord;
use super::finished::{Again, Ending, Finished, Oldest};
use super::ids::Ids;
use super::place::{Begun, Places};
use super::requests::{Requests, order_of};
use super::reused::InUse;
use super::vacant::{Lot, STRIPES, Vacant, VacantPlace, stripe_of};
use crate::arena::Arena;
use crate::id::{JobId, Prehashed};
use crate::sync::{Ordering, Statistic, sized};

/// How often a create at the bound looks for a finished job that another thread has in hand.
const LOOKS: u32 = sized(1 << 16, 1);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Jobs {
    places: Places,
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
    /// What stripes of threads have not told yet.
    stripes: Box<[CachePadded<Statistic>]>,
    /// A stripe tells its part when it is more than this.
    untold: u64,
}

/// What a create finds under its request id.
pub(crate) enum Claim<'g> {
    /// Nothing: the job is now entered, pending.
    New(Begun<'g>),
    /// The job that there is.
    Known(InUse<'g, JobRecord>),
}

/// What became of an ending that was taken off the finished.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Forgotten,
    /// The job was retried since.
    Elsewhere,
    /// It was put back, for the job's place is still listed with an earlier ending.
    Listed,
}

impl Count {
    /// A number that is held against this limit.
    fn new(limit: usize) -> Self {
        let stripes = (0..STRIPES).map(|_| CachePadded::new(Statistic::new(0))).collect();
        Self { sum: CachePadded::new(Statistic::new(0)), stripes, untold: (limit / STRIPES / 8).min(64) as u64 }
    }

    /// Changes it by `by`; says what it is then, about.
    fn add(&self, thread: u32, by: i64) -> i64 {
        let (stripe, alone) = stripe_of(thread);
        let stripe = &self.stripes[stripe];
        let own = if alone {
            // Only this thread writes the stripe, so nothing is lost between the two.
            let own = stripe.load(Ordering::Relaxed).wrapping_add(by as u64);
            stripe.store(own, Ordering::Relaxed);
            own as i64
        } else {
            stripe.fetch_add(by as u64, Ordering::Relaxed).wrapping_add(by as u64) as i64
        };
        if own.unsigned_abs() <= self.untold {
            return (self.sum.load(Ordering::Relaxed) as i64).wrapping_add(own);
        }
        self.tell(stripe, own)
    }

    #[cold]
    fn tell(&self, stripe: &Statistic, own: i64) -> i64 {
        stripe.fetch_sub(own as u64, Ordering::Relaxed);
        (self.sum.fetch_add(own as u64, Ordering::Relaxed) as i64).wrapping_add(own)
    }

    fn get(&self) -> usize {
        let stripes = self.stripes.iter().map(|stripe| stripe.load(Ordering::Relaxed));
        let sum = stripes.fold(self.sum.load(Ordering::Relaxed), u64::wrapping_add);
        // It may be read between the two steps of a change, and then be off, below zero even.
        (sum as i64).max(0) as usize
    }
}

impl Jobs {
    pub(crate) fn new(scheduler: u64, max_jobs: usize, max_finished: usize) -> Self {
        Self {
            places: Arena::new(),
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

    /// The job of a request id, for as long as the pin.
    pub(crate) fn by_request<'g>(&self, key: &Prehashed<&str>, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        let order = order_of(key.hash);
        let place = self.requests.find(&self.places, order, |place| self.is_of(place, key, pin)).ok()?;
        self.places.record(place, pin).filter(|record| record.is_of(key))
    }

    fn is_of(&self, place: u32, key: &Prehashed<&str>, pin: &Guard) -> bool {
        // Without one it is just being withdrawn.
        self.places.record(place, pin).is_some_and(|record| record.is_of(key))
    }

    /// The job of an id, for as long as the pin.
    pub(crate) fn get<'g>(&self, id: JobId, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        self.places.record(self.ids.place(id.number())?, pin).filter(|record| record.id == id)
    }

    /// The job that has this number now, whichever it is.
    pub(crate) fn numbered<'g>(&self, number: u32, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        self.places.record(self.ids.place(number)?, pin)
    }

    /// Enters a job under its request id, unless there is one. `None` when there is no place left.
    pub(crate) fn claim<'g>(
        self: &Arc<Self>,
        key: &Prehashed<&str>,
        (thread, now): (u32, u64),
        pin: &'g Guard,
        make: impl Fn(JobId, u32) -> JobRecord,
    ) -> Option<Claim<'g>> {
        let order = order_of(key.hash);
        let find = || self.requests.find(&self.places, order, |place| self.is_of(place, key, pin));
        let mut found = find();
        let mut own: Option<Begun<'g>> = None;
        loop {
            match found {
                Ok(place) => {
                    if let Some(known) = self.places.record(place, pin).filter(|record| record.is_of(key)) {
                        if let Some(own) = own {
                            self.vacate(&own.record, thread);
                        }
                        return Some(Claim::Known(known));
                    }
                }
                Err(spot) => {
                    let begun = match own.take() {
                        Some(own) => own,
                        None => self.take_place(order, (thread, now), pin, &make)?,
                    };
                    if self.requests.enter(&self.places, begun.record.place, spot) {
                        return Some(Claim::New(begun));
                    }
                    own = Some(begun);
                }
            }
            found = find();
        }
    }

    fn take_place<'g>(
        self: &Arc<Self>,
        order: u64,
        (thread, now): (u32, u64),
        pin: &'g Guard,
        make: impl Fn(JobId, u32) -> JobRecord,
    ) -> Option<Begun<'g>> {
        let mut looks = 0;
        let vacant = loop {
            if self.all.add(thread, 1) <= self.max_jobs {
                if let Some(vacant) = self.vacant_place(thread, pin) {
                    break vacant;
                }
                // All that are vacant wait for pins to end.
                self.all.add(thread, -1);
                pin.flush();
            } else {
                self.all.add(thread, -1);
                // Each turn forgets a finished job, or finds that there is none. The only one there is may be in the hands
                // of another thread, between being taken off the list and put back, or forgotten.
                match self.finished.take_oldest(&self.places, thread, now) {
                    Some(oldest) if self.forget_oldest(oldest, thread, pin) != Seen::Listed => continue,
                    Some(_) => {}
                    None if self.ended.get() > 0 => {}
                    None => return None,
                }
            }
            if looks == LOOKS {
                return None;
            }
            looks += 1;
            std::thread::yield_now();
        };
        let place = self.places.at(vacant.number());
        // Relaxed: whoever enters the place publishes it.
        place.order.store(order, Ordering::Relaxed);
        let number = vacant.number();
        let (id, uses) = self.ids.take(thread, number);
        Some(place.begin(vacant, pin, || make(JobId::new(self.scheduler, id, uses), number)))
    }

    fn vacant_place(self: &Arc<Self>, thread: u32, pin: &Guard) -> Option<VacantPlace> {
        let used = self.vacant.take(&self.places, thread).or_else(|| {
            // Here and not where jobs end: those who end them are to allocate nothing.
            self.clear_later(self.vacant.ripe_lot(&self.places)?, pin);
            pin.flush();
            self.vacant.take(&self.places, thread)
        });
        used.or_else(|| {
            let unused = self.vacant.take_unused(&self.places)?;
            self.requests.grow(unused.number() + 1);
            Some(unused)
        })
    }

    fn clear_later(self: &Arc<Self>, lot: Lot, pin: &Guard) {
        let jobs = self.clone();
        pin.defer(move || jobs.vacant.clear(&jobs.places, lot));
    }

    /// Takes a job that was refused or forgotten out of memory. For the one who made it so.
    pub(crate) fn withdraw(&self, record: &JobRecord, thread: u32) {
        self.unlist(record);
        self.vacate(record, thread);
    }

    fn vacate(&self, record: &JobRecord, thread: u32) {
        self.vacant.put_away(&self.places, record.place, thread);
        self.ids.give_back(record.id.number(), thread);
        self.all.add(thread, -1);
    }

    /// Frees the request id of a job that is on its way out, for a create that does not want to wait.
    pub(crate) fn unlist(&self, record: &JobRecord) {
        self.requests.leave(&self.places, record.place);
    }

    /// Remembers a job that has just ended with this attempt, and forgets the oldest when too many are remembered.
    pub(crate) fn finished(&self, record: &JobRecord, attempt: u32, (thread, now): (u32, u64), pin: &Guard) {
        let number = record.place;
        let place = self.places.at(number);
        let ending = Ending::new(attempt, now);
        place.set_ending(ending);
        let mut ended = self.ended.add(thread, 1);
        self.finished.enter(&self.places, number, Again { job: record.id, ending }, thread);
        while ended > self.max_finished {
            let Some(oldest) = self.finished.take_oldest(&self.places, thread, now) else { return };
            match self.forget_oldest(oldest, thread, pin) {
                Seen::Forgotten => ended -= 1,
                Seen::Elsewhere => {}
                Seen::Listed => return,
            }
        }
    }

    /// Forgets the jobs that ended at `deadline` or before.
    pub(crate) fn forget_until(&self, deadline: Option<u64>, thread: u32, pin: &Guard) {
        let Some(deadline) = deadline else { return };
        self.finished.take_until(&self.places, deadline, |place| {
            self.forget_listed(place, thread, pin);
        });
        while let Some(again) = self.finished.take_again(deadline) {
            if self.forget_again(again, thread, pin) == Seen::Listed {
                return;
            }
        }
    }

    /// Lets no lot that was put away wait for somebody to run out of places.
    pub(crate) fn clear_all_later(self: &Arc<Self>, pin: &Guard) {
        while let Some(lot) = self.vacant.ripe_lot(&self.places) {
            self.clear_later(lot, pin);
        }
    }

    /// A job that had ended goes on with a further attempt.
    pub(crate) fn revived(&self, thread: u32) {
        self.ended.add(thread, -1);
    }

    fn forget_oldest(&self, oldest: Oldest, thread: u32, pin: &Guard) -> Seen {
        match oldest {
            Oldest::Place(place) => self.forget_listed(place, thread, pin),
            Oldest::Again(again) => self.forget_again(again, thread, pin),
        }
    }

    /// Forgets a job that was taken off the list, unless it was retried since it ended like this.
    fn forget_listed(&self, number: u32, thread: u32, pin: &Guard) -> Seen {
        let place = self.places.at(number);
        let forgotten = match (self.places.record(number, pin), place.listed()) {
            (Some(record), Some(listed)) => self.forget(&record, listed, thread),
            _ => false,
        };
        if forgotten {
            return Seen::Forgotten;
        }
        place.unlist();
        Seen::Elsewhere
    }

    fn forget_again(&self, again: Again, thread: u32, pin: &Guard) -> Seen {
        let Some(record) = self.get(again.job, pin) else { return Seen::Elsewhere };
        if self.places.at(record.place).listed().is_some() {
            // Who takes it off is not done yet.
            self.finished.put_back(again);
            return Seen::Listed;
        }
        if self.forget(&record, again.ending, thread) { Seen::Forgotten } else { Seen::Elsewhere }
    }

    /// Forgets a job that has ended like this, unless it was retried since. For the one who has taken that ending off.
    fn forget(&self, record: &JobRecord, ending: Ending, thread: u32) -> bool {
        let place = self.places.at(record.place);
        let bound = record.binding.load();
        let of_this = bound.attempt().is_some_and(|attempt| ending.is_of(attempt.number));
        let forgotten = of_this && place.ending() == ending && record.binding.forget(bound);
        if forgotten {
            place.unlist();
            self.ended.add(thread, -1);
            self.withdraw(record, thread);
        }
        forgotten
    }

    /// Jobs in memory.
    pub(crate) fn len(&self) -> usize {
        self.all.get()
    }

    pub(crate) fn finished_len(&self) -> usize {
        self.ended.get()
    }
}
