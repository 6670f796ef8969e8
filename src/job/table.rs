//! The jobs in memory: by id (a place in an arena, no hashing) and by request id (a map).
//!
//! # Invariants
//! 1. A request id names at most one record; it is entered before a slot is reserved for it, so of any number of
//!    creates one is the owner and the others know of it.
//! 2. A place belongs to one record from [`Jobs::claim`] until the record is withdrawn; its number of uses is part of
//!    the job's id, so an id of an earlier use finds nothing.
//! 3. At most `max_jobs` places are in use and about `max_finished_jobs` of them by jobs that have ended; when there is
//!    no room, the job that ended first is forgotten.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::JobRecord;
use crate::arena::Arena;
use crate::id::{CarriedHash, JobId, Prehashed, PrehashedKey};
use crate::publish::Published;
use crate::sync::{AtomicU32, Map, Ordering, SegQueue, Statistic, Zeroed, sized};

type Requests = Map<PrehashedKey, Arc<JobRecord>, CarriedHash>;

/// How often a create at the bound looks for a finished job that another thread has in hand.
const LOOKS: u32 = sized(1 << 16, 1);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Jobs {
    places: Arena<Place, { sized(8, 1) }>,
    vacant: SegQueue<u32>,
    next: AtomicU32,
    limit: u32,
    requests: Box<[Requests]>,
    finished: SegQueue<Finished>,
    /// The job that ended first, when it was looked at and found too young to be forgotten; at most one.
    oldest: SegQueue<Finished>,
    /// Jobs that have ended and are remembered. The queue may be longer: a retry leaves its entry there.
    ended: Statistic,
    max_finished: usize,
    /// High half of every id.
    scheduler: u64,
}

#[derive(Debug, Default)]
struct Place {
    record: Published<JobRecord>,
    uses: AtomicU32,
}

// SAFETY: a `Published`, which is one atomic pointer, null by default, and an atomic integer.
unsafe impl Zeroed for Place {}

/// A job that has ended, in the order of ending.
#[derive(Debug, Clone, Copy)]
struct Finished {
    job: JobId,
    attempt: u32,
    ended_at: u64,
}

/// What a create finds under its request id.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nothing: the record is now entered, pending.
    New(Arc<JobRecord>),
    /// The job that there is.
    Known(Arc<JobRecord>),
}

impl Jobs {
    pub(crate) fn new(scheduler: u64, limit: usize, max_finished: usize, shards: usize) -> Self {
        Self {
            places: Arena::new(),
            vacant: SegQueue::new(),
            next: AtomicU32::new(0),
            limit: limit as u32,
            requests: (0..shards).map(|_| Map::with_hasher(CarriedHash::default())).collect(),
            finished: SegQueue::new(),
            oldest: SegQueue::new(),
            ended: Statistic::new(0),
            max_finished,
            scheduler,
        }
    }

    fn requests(&self, hash: u64) -> &Requests {
        // The high bits: the map itself uses the low ones.
        &self.requests[(hash >> 40) as usize % self.requests.len()]
    }

    /// The job of a request id.
    pub(crate) fn by_request(&self, key: &Prehashed<&str>) -> Option<Arc<JobRecord>> {
        self.requests(key.hash).pin().get(key).cloned()
    }

    /// The job of an id, for as long as the pin.
    pub(crate) fn get<'g>(&self, id: JobId, pin: &'g Guard) -> Option<&'g JobRecord> {
        self.places.get(id.place())?.record.load(pin).filter(|record| record.id == id)
    }

    pub(crate) fn get_arc(&self, id: JobId, pin: &Guard) -> Option<Arc<JobRecord>> {
        self.places.get(id.place())?.record.load_arc(pin).filter(|record| record.id == id)
    }

    /// The job at a place, whichever it is.
    pub(crate) fn at<'g>(&self, place: u32, pin: &'g Guard) -> Option<&'g JobRecord> {
        self.places.get(place)?.record.load(pin)
    }

    /// Enters a record under its request id, unless there is one. `None` when there is no place left.
    pub(crate) fn claim(
        &self,
        key: &Prehashed<&str>,
        pin: &Guard,
        make: impl FnOnce(JobId, PrehashedKey) -> JobRecord,
    ) -> Option<Claim> {
        let requests = self.requests(key.hash).pin();
        if let Some(known) = requests.get(key) {
            return Some(Claim::Known(known.clone()));
        }
        let number = self.take_place(pin)?;
        let place = self.places.ensure(number);
        // Relaxed: the place is this thread's alone.
        let uses = place.uses.load(Ordering::Relaxed).wrapping_add(1);
        place.uses.store(uses, Ordering::Relaxed);
        let record = Arc::new(make(JobId::new(self.scheduler, number, uses), key.owned()));
        place.record.swap(Some(record.clone()), pin);
        match requests.try_insert(record.key.clone(), record.clone()) {
            Ok(_) => Some(Claim::New(record)),
            Err(taken) => {
                let known = taken.current.clone();
                self.vacate(number, pin);
                Some(Claim::Known(known))
            }
        }
    }

    fn take_place(&self, pin: &Guard) -> Option<u32> {
        let mut looks = 0;
        loop {
            if let Some(place) = self.vacant.pop() {
                return Some(place);
            }
            // Relaxed: only distinctness matters; the arena publishes the place.
            let more = |next| (next < self.limit).then_some(next + 1);
            if let Ok(place) = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
                return Some(place);
            }
            // Each turn forgets a finished job, or finds that there is none. The only one there is may be in the hands of
            // another thread, between being taken off the list and put back, or forgotten.
            match self.pop_finished() {
                Some(oldest) => self.forget(oldest, pin),
                None if self.finished_len() > 0 && looks < LOOKS => {
                    looks += 1;
                    std::thread::yield_now();
                }
                None => return None,
            }
        }
    }

    fn vacate(&self, place: u32, pin: &Guard) {
        self.places.at(place).record.swap(None, pin);
        self.vacant.push(place);
    }

    /// Takes a record that was refused or forgotten out of memory. For the one who made it so.
    pub(crate) fn withdraw(&self, record: &JobRecord, pin: &Guard) {
        self.unlist(record);
        self.vacate(record.id.place(), pin);
    }

    /// Frees the request id of a record that is on its way out, for a create that does not want to wait.
    pub(crate) fn unlist(&self, record: &JobRecord) {
        let key = Prehashed { hash: record.key.hash, text: &*record.key.text };
        let _ = self.requests(key.hash).pin().remove_if(&key, |_, found| found.id == record.id);
    }

    /// Remembers a job that has just ended with this attempt, and forgets the oldest when too many are remembered.
    pub(crate) fn finished(&self, record: &JobRecord, attempt: u32, now: u64, pin: &Guard) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.finished.push(Finished { job: record.id, attempt, ended_at: now });
        while self.finished_len() > self.max_finished {
            match self.pop_finished() {
                Some(oldest) => self.forget(oldest, pin),
                None => break,
            }
        }
    }

    /// The job that ended first, taken off the list.
    fn pop_finished(&self) -> Option<Finished> {
        self.oldest.pop().or_else(|| self.finished.pop())
    }

    /// Forgets the jobs that ended at `deadline` or before. For one thread at a time.
    pub(crate) fn forget_until(&self, deadline: Option<u64>, pin: &Guard) {
        let Some(deadline) = deadline else { return };
        while let Some(finished) = self.pop_finished() {
            if finished.ended_at > deadline {
                return self.oldest.push(finished);
            }
            self.forget(finished, pin);
        }
    }

    /// A job that had ended goes on with a further attempt.
    pub(crate) fn revived(&self) {
        self.ended.fetch_sub(1, Ordering::Relaxed);
    }

    /// Forgets a job, unless it was retried since it ended like this.
    fn forget(&self, finished: Finished, pin: &Guard) {
        let Some(record) = self.get(finished.job, pin) else { return };
        let bound = record.binding.load();
        let ended = bound.phase().state().is_some_and(|state| state.has_ended());
        let still = bound.attempt().is_some_and(|attempt| attempt.number == finished.attempt);
        if ended && still && record.binding.forget(bound) {
            self.ended.fetch_sub(1, Ordering::Relaxed);
            self.withdraw(record, pin);
        }
    }

    /// Records in memory.
    pub(crate) fn len(&self) -> usize {
        (self.next.load(Ordering::Relaxed) as usize).saturating_sub(self.vacant.len())
    }

    pub(crate) fn finished_len(&self) -> usize {
        // It may be read between the two steps of a job's end, and then be one off, below zero even.
        (self.ended.load(Ordering::Relaxed) as i64).max(0) as usize
    }
}
