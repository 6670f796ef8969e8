//! Which numbers job ids name, and the places of their jobs.
//!
//! A job's id names a number and how often that was used; the number leads to the place of the job. The two are kept
//! apart because a number may be given to the next job as soon as the last one is withdrawn, but a place only when all
//! pins have ended, which depends on what else runs: and with a seed, a run on one thread has the same ids every time.
//!
//! # Invariant
//! A number belongs to one job from [`Ids::take`] until [`Ids::give_back`]. What it leads to at other times is a hint:
//! whoever follows it compares the id of the job that he finds. No number is used twice with the same count of uses: one
//! whose count is at its end is not given back.
//!
//! # Orderings
//! As of the lists in `vacant`.

use crossbeam_utils::CachePadded;

use super::desk::At;
use super::vacant::{pack, pop, push, unpack};
use crate::arena::Arena;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Zeroed, sized, sized_by_model};

/// Numbers that go from one desk to another at once; a desk keeps up to twice as many.
const LOT: u32 = sized_by_model(64, 1, 2);

#[derive(Debug, Default)]
struct Number {
    /// The place of its job; while it is free, a link to the next free one.
    place: AtomicU32,
    uses: AtomicU32,
    /// A link from the first of a lot to that of the next.
    lot: AtomicU32,
}

// SAFETY: atomic integers.
unsafe impl Zeroed for Number {}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Ids {
    numbers: Arena<Number, { sized(8, 1) }>,
    /// Free ones for whoever has none. Upper half: changes.
    lots: CachePadded<AtomicU64>,
    unused: AtomicU32,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { numbers: Arena::new(), lots: CachePadded::new(AtomicU64::new(0)), unused: AtomicU32::new(0) }
    }

    fn link(&self, number: u32) -> &AtomicU32 {
        &self.numbers.at(number).place
    }

    /// The place of the job of a number, if it is in use.
    #[inline]
    pub(super) fn place(&self, number: u32) -> Option<u32> {
        // Acquire: pairs with `take`.
        self.numbers.get(number).map(|number| number.place.load(Ordering::Acquire))
    }

    /// A number for the job at this place, and how often it was used, this time included.
    #[inline(always)]
    pub(super) fn take(&self, at: At<'_>, place: u32) -> (u32, u32) {
        let free = &at.desk.ids;
        // Relaxed: this thread's alone.
        let (count, first) = unpack(free.load(Ordering::Relaxed));
        let (number, taken) = if at.alone
            && let Some(number) = first.checked_sub(1)
        {
            let taken = self.numbers.at(number);
            free.store(pack(count - 1, taken.place.load(Ordering::Relaxed)), Ordering::Relaxed);
            (number, taken)
        } else {
            let number = self.take_shared(at);
            (number, self.numbers.at(number))
        };
        // Relaxed: it is this thread's alone.
        let uses = taken.uses.load(Ordering::Relaxed).wrapping_add(1);
        taken.uses.store(uses, Ordering::Relaxed);
        // Release: pairs with `place`.
        taken.place.store(place, Ordering::Release);
        (number, uses)
    }

    /// The first of a lot, or one that was never used.
    #[cold]
    fn take_shared(&self, at: At<'_>) -> u32 {
        self.open_lot(at).unwrap_or_else(|| {
            // Relaxed: only distinctness matters; the arena publishes it. There are few more of them than jobs at once: those
            // that are free are in lots, which are looked at first, but for some on each desk.
            let number = self.unused.fetch_add(1, Ordering::Relaxed);
            self.numbers.ensure(number);
            number
        })
    }

    fn open_lot(&self, at: At<'_>) -> Option<u32> {
        let next = |number| self.link(number).load(Ordering::Relaxed);
        let first = pop(&self.lots, |number| self.numbers.at(number).lot.load(Ordering::Relaxed))?;
        let mut rest = next(first);
        while let Some(number) = rest.checked_sub(1) {
            rest = next(number);
            self.give_back(number, at);
        }
        Some(first)
    }

    /// The job of this number is withdrawn. For the one who has withdrawn it.
    #[inline(always)]
    pub(super) fn give_back(&self, number: u32, at: At<'_>) {
        let given = self.numbers.at(number);
        // Relaxed: as in `take`; whoever gives it back has found the job of the last use.
        if given.uses.load(Ordering::Relaxed) == u32::MAX {
            return;
        }
        if !at.alone {
            // Kept on the shared desk it would be out of reach of those who have their own, and they make more and more of
            // them if others give back what they take. So it is a lot by itself.
            given.place.store(0, Ordering::Relaxed);
            return push(&self.lots, number, |below| given.lot.store(below, Ordering::Relaxed));
        }
        let free = &at.desk.ids;
        let (mut count, mut first) = unpack(free.load(Ordering::Relaxed));
        if count == 2 * LOT {
            (count, first) = (LOT, self.make_lot(first));
        }
        given.place.store(first, Ordering::Relaxed);
        free.store(pack(count + 1, number + 1), Ordering::Relaxed);
    }

    /// Lets others have the first of a list; what is left of it.
    #[cold]
    fn make_lot(&self, list: u32) -> u32 {
        let (first, mut last) = (list - 1, list - 1);
        for _ in 1..LOT {
            last = self.link(last).load(Ordering::Relaxed) - 1;
        }
        let rest = self.link(last).load(Ordering::Relaxed);
        self.link(last).store(0, Ordering::Relaxed);
        push(&self.lots, first, |below| self.numbers.at(first).lot.store(below, Ordering::Relaxed));
        rest
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::job::desk::{DESKS, Desks};
    use proptest::prelude::*;

    proptest! {
        /// Whoever takes and gives back: no number is used twice at once, and few more are made than are used at once.
        #[test]
        fn numbers_are_used_once_at_a_time(turns in proptest::collection::vec((0u32..40, any::<bool>()), 1..2000)) {
            let (ids, desks) = (Ids::new(), Desks::new());
            let mut used = std::collections::BTreeMap::new();
            let mut most = 0;
            for (turn, (thread, take)) in (0..).zip(turns) {
                if take {
                    let (number, uses) = ids.take(desks.at(thread), turn);
                    prop_assert_eq!(used.insert(number, (turn, uses)), None);
                    most = most.max(used.len());
                } else if let Some((number, (place, _))) = used.pop_first() {
                    prop_assert_eq!(ids.place(number), Some(place));
                    ids.give_back(number, desks.at(thread));
                }
            }
            let made = ids.unused.load(Ordering::Relaxed) as usize;
            prop_assert!(made <= most + DESKS * 2 * LOT as usize);
        }
    }

    #[test]
    fn numbers_that_a_thread_without_a_desk_gives_back_are_used_again_by_one_that_has_one() {
        let (ids, desks) = (Ids::new(), Desks::new());
        for (taker, giver) in [(0, 40), (40, 0), (41, 42)] {
            for place in 0..10_000 {
                let (number, _) = ids.take(desks.at(taker), place);
                ids.give_back(number, desks.at(giver));
            }
            let made = ids.unused.load(Ordering::Relaxed);
            assert!(made <= 4 * LOT, "{made} numbers for one job at a time, taken by {taker}, given back by {giver}");
        }
    }

    #[test]
    fn a_number_is_not_used_again_when_its_uses_cannot_be_counted_any_more() {
        for thread in [0, 40] {
            let (ids, desks) = (Ids::new(), Desks::new());
            let at = desks.at(thread);
            let (number, _) = ids.take(at, 0);
            ids.give_back(number, at);
            // It has been used as often as this.
            ids.numbers.at(number).uses.store(u32::MAX - 3, Ordering::Relaxed);
            let mut used = std::collections::BTreeSet::new();
            for place in 0..10 {
                let (number, uses) = ids.take(at, place);
                assert!(used.insert((number, uses)), "number {number} is used for the {uses}th time once more");
                ids.give_back(number, at);
            }
            assert!(used.contains(&(number, u32::MAX)) && used.contains(&(number + 1, 1)));
        }
    }
}
