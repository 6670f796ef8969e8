//! Vacant places, and those whose jobs were withdrawn but which may still be looked at.
//!
//! A thread takes from the list of its stripe, and puts away into another one there. When enough are put away, they are a
//! *lot*, which goes to whoever runs out of places. He sees to it that it is cleared when all pins have ended that are
//! there then; a lot that is cleared goes again to whoever runs out. So a place costs no allocation, a wait for pins is
//! paid for once a lot, and threads meet once a lot; also if some of them only create and others only complete.
//!
//! # Orderings
//! The first threads have a stripe each, which nobody else touches, so they need no read-modify-write there. Other lists are pushed to with Release and popped from with Acquire: whoever takes a place sees what was done to it. Heads
//! that are popped from have a count of changes in their upper half, so one that was popped and came back is another.

use crossbeam_utils::CachePadded;

use super::place::{Link, Places};
use super::requests::MOST_PLACES;
use crate::sync::{AtomicU32, AtomicU64, Ordering, sized};

/// The first threads have a stripe each, the others share the last one. In the models all do: their threads are one to
/// whoever numbers threads, and what a thread has for itself needs no model.
pub(super) const STRIPES: usize = sized(32, 1) as usize;
/// Places in a lot.
const LOT: u32 = sized(64, 1);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Vacant {
    // Padded: neighbours are other threads'.
    stripes: Box<[CachePadded<Stripe>]>,
    /// Lots put away: the first place of the first, linked by `ended` of their first places (`next` is still followed by
    /// readers). Upper half: changes.
    ripe: CachePadded<AtomicU64>,
    /// Lots that are cleared, linked by `next` of their first places. Upper half: changes.
    lots: CachePadded<AtomicU64>,
    /// The first place never used.
    unused: AtomicU32,
    limit: u32,
}

#[derive(Debug)]
struct Stripe {
    /// Linked by `link`. Upper half, if it is shared: changes.
    free: AtomicU64,
    /// Linked by `link`. Upper half: how many.
    away: AtomicU64,
}

/// A list of places put away, which nobody pushes to any more.
#[derive(Debug)]
pub(super) struct Lot(Link);

/// A vacant place. Who has this has the place for himself.
#[derive(Debug)]
pub(super) struct VacantPlace(u32);

impl VacantPlace {
    pub(super) fn number(&self) -> u32 {
        self.0
    }
}

pub(super) fn pack(upper: u32, link: Link) -> u64 {
    u64::from(upper) << 32 | u64::from(link)
}

pub(super) fn unpack(word: u64) -> (u32, Link) {
    ((word >> 32) as u32, word as u32)
}

impl Vacant {
    /// For so many jobs at once.
    pub(super) fn new(jobs: u32) -> Self {
        let stripe = || CachePadded::new(Stripe { free: AtomicU64::new(0), away: AtomicU64::new(0) });
        // Some are on their way to be vacant, and some in the lists of other stripes.
        let spare = (jobs / 2).max(sized(1 << 14, 8));
        Self {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            ripe: CachePadded::new(AtomicU64::new(0)),
            lots: CachePadded::new(AtomicU64::new(0)),
            unused: AtomicU32::new(0),
            limit: jobs.saturating_add(spare).min(MOST_PLACES),
        }
    }

    /// A place that was used before.
    #[inline]
    pub(super) fn take(&self, places: &Places, thread: u32) -> Option<VacantPlace> {
        let (stripe, own) = stripe_of(thread);
        let free = &self.stripes[stripe].free;
        let below = |place| places.at(place).link.load(Ordering::Relaxed);
        if !own {
            return pop(free, below).or_else(|| self.open_lot(places, free, own)).map(VacantPlace);
        }
        // Relaxed: this thread's alone.
        match unpack(free.load(Ordering::Relaxed)).1.checked_sub(1) {
            Some(place) => {
                free.store(pack(0, below(place)), Ordering::Relaxed);
                Some(VacantPlace(place))
            }
            None => self.open_lot(places, free, own).map(VacantPlace),
        }
    }

    /// The first place of a lot; the others go to the list.
    #[cold]
    fn open_lot(&self, places: &Places, free: &AtomicU64, own: bool) -> Option<u32> {
        let first = pop(&self.lots, |place| places.at(place).next.load(Ordering::Relaxed))?;
        let mut rest = places.at(first).link.load(Ordering::Relaxed);
        if own {
            free.store(pack(0, rest), Ordering::Relaxed);
            return Some(first);
        }
        while let Some(place) = rest.checked_sub(1) {
            rest = places.at(place).link.load(Ordering::Relaxed);
            push(free, place, |below| places.at(place).link.store(below, Ordering::Relaxed));
        }
        Some(first)
    }

    /// A place that was never used.
    pub(super) fn take_unused(&self, places: &Places) -> Option<VacantPlace> {
        // Relaxed: only distinctness matters; the arena publishes the place.
        let more = |unused| (unused < self.limit).then_some(unused + 1);
        let place = self.unused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        places.ensure(place);
        Some(VacantPlace(place))
    }

    /// Puts a place away, whose job cannot be found by its request any more. For the one who took it from there, once.
    #[inline]
    pub(super) fn put_away(&self, places: &Places, number: u32, thread: u32) {
        let place = places.at(number);
        place.record.put_away();
        let (stripe, own) = stripe_of(thread);
        let away = &self.stripes[stripe].away;
        let mut found = away.load(Ordering::Relaxed);
        loop {
            let (count, below) = unpack(found);
            place.link.store(below, Ordering::Relaxed);
            // With this one it is a lot.
            let full = count + 1 == LOT;
            let left = if full { 0 } else { pack(count + 1, number + 1) };
            if own {
                // Relaxed: this thread's alone.
                away.store(left, Ordering::Relaxed);
            } else if let Err(newer) = away.compare_exchange(found, left, Ordering::AcqRel, Ordering::Relaxed) {
                // AcqRel: who makes the lot sees what others have put into it.
                found = newer;
                continue;
            }
            if full {
                push(&self.ripe, number, |below| place.ended.store(below.into(), Ordering::Relaxed));
            }
            return;
        }
    }

    /// A lot put away, to be cleared when all pins have ended that are there now.
    pub(super) fn ripe_lot(&self, places: &Places) -> Option<Lot> {
        // `ended` holds a link here, which is half as long.
        let below = |place| places.at(place).ended.load(Ordering::Relaxed) as Link;
        pop(&self.ripe, below).map(|first| Lot(first + 1))
    }

    /// Makes a lot vacant. For when all pins have ended that were there when it was made.
    pub(super) fn clear(&self, places: &Places, lot: Lot) {
        let (first, mut rest) = (lot.0 - 1, lot.0);
        while let Some(place) = rest.checked_sub(1) {
            rest = places.at(place).link.load(Ordering::Relaxed);
            places.at(place).clear(&lot);
        }
        push(&self.lots, first, |below| places.at(first).next.store(below, Ordering::Relaxed));
    }
}

/// The stripe of the thread known under this number, and whether it is that one's alone.
pub(super) fn stripe_of(thread: u32) -> (usize, bool) {
    const LAST: usize = STRIPES - 1;
    ((thread as usize).min(LAST), (thread as usize) < LAST)
}

pub(super) fn push(head: &AtomicU64, place: u32, link: impl Fn(Link)) {
    let mut found = head.load(Ordering::Relaxed);
    loop {
        let (changes, below) = unpack(found);
        link(below);
        let pushed = pack(changes.wrapping_add(1), place + 1);
        // Release: pairs with `pop`.
        match head.compare_exchange(found, pushed, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(newer) => found = newer,
        }
    }
}

pub(super) fn pop(head: &AtomicU64, below: impl Fn(u32) -> Link) -> Option<u32> {
    // Acquire: pairs with `push`.
    let mut found = head.load(Ordering::Acquire);
    loop {
        let (changes, first) = unpack(found);
        let place = first.checked_sub(1)?;
        // Popped by another meanwhile, this may be anything; then the exchange fails.
        let popped = pack(changes.wrapping_add(1), below(place));
        // AcqRel: what was pushed before stays published to whoever pops next.
        match head.compare_exchange(found, popped, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(place),
            Err(newer) => found = newer,
        }
    }
}
