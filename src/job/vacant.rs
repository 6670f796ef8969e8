//! Vacant places, and those whose jobs were withdrawn but which may still be looked at.
//!
//! A thread takes from the list on its desk, and puts away into another one there. When enough are put away, they are a
//! *lot*, which goes to whoever runs out of places. He sees to it that it is cleared when all pins have ended that are
//! there then; a lot that is cleared goes again to whoever runs out. So a place costs no allocation, a wait for pins is
//! paid for once a lot, and threads meet once a lot; also if some of them only create and others only complete.
//!
//! # Orderings
//! On a desk that a thread has alone nothing is read-modified-written. Other lists are pushed to with Release and popped
//! from with Acquire: whoever takes a place sees what was done to it. Heads that are popped from have a count of changes
//! in their upper half, so one that was popped and came back is another.

use crossbeam_utils::CachePadded;

use super::desk::At;
use super::place::{Link, Place, Places};
use super::requests::MOST_PLACES;
use crate::sync::{AtomicU32, AtomicU64, Ordering, sized, sized_by_model};

/// Places in a lot.
const LOT: u32 = sized_by_model(64, 1, 2);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Vacant {
    /// Lots put away: the first place of the first, linked by `lot` of their first places. Upper half: changes.
    ripe: CachePadded<AtomicU64>,
    /// Lots that are cleared, linked in the same way. Upper half: changes.
    lots: CachePadded<AtomicU64>,
    /// The first place never used.
    unused: AtomicU32,
    limit: u32,
}

/// Places on a desk.
#[derive(Debug, Default)]
pub(super) struct Stock {
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
pub(super) struct VacantPlace<'a> {
    pub(super) number: u32,
    place: &'a Place,
}

impl<'a> VacantPlace<'a> {
    #[inline(always)]
    fn of(places: &'a Places, number: u32) -> Self {
        Self { number, place: places.at(number) }
    }

    #[inline(always)]
    pub(super) fn place(&self) -> &'a Place {
        self.place
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
        // Some are on their way to be vacant, and some on other desks.
        let spare = (jobs / 2).max(sized(1 << 14, 8));
        Self {
            ripe: CachePadded::new(AtomicU64::new(0)),
            lots: CachePadded::new(AtomicU64::new(0)),
            unused: AtomicU32::new(0),
            limit: jobs.saturating_add(spare).min(MOST_PLACES),
        }
    }

    /// A place that was used before.
    #[inline(always)]
    pub(super) fn take<'a>(&self, places: &'a Places, at: At<'_>) -> Option<VacantPlace<'a>> {
        // Relaxed: this thread's alone.
        let free = &at.desk.stock.free;
        if at.alone
            && let Some(number) = unpack(free.load(Ordering::Relaxed)).1.checked_sub(1)
        {
            let vacant = VacantPlace::of(places, number);
            free.store(pack(0, vacant.place.link.load(Ordering::Relaxed)), Ordering::Relaxed);
            return Some(vacant);
        }
        self.take_shared(places, at)
    }

    /// Gives a place back that was taken and not filled.
    #[cold]
    pub(super) fn give_back(&self, vacant: VacantPlace<'_>, at: At<'_>) {
        let (free, number, link) = (&at.desk.stock.free, vacant.number, &vacant.place.link);
        if at.alone {
            link.store(unpack(free.load(Ordering::Relaxed)).1, Ordering::Relaxed);
            free.store(pack(0, number + 1), Ordering::Relaxed);
        } else {
            push(free, number, |below| link.store(below, Ordering::Relaxed));
        }
    }

    #[cold]
    fn take_shared<'a>(&self, places: &'a Places, at: At<'_>) -> Option<VacantPlace<'a>> {
        let free = &at.desk.stock.free;
        let below = |place| places.at(place).link.load(Ordering::Relaxed);
        let own = if at.alone { None } else { pop(free, below) };
        own.or_else(|| self.open_lot(places, free, at.alone)).map(|number| VacantPlace::of(places, number))
    }

    /// The first place of a lot; the others go to the list.
    fn open_lot(&self, places: &Places, free: &AtomicU64, alone: bool) -> Option<u32> {
        let first = pop(&self.lots, |place| places.at(place).lot.load(Ordering::Relaxed))?;
        let mut rest = places.at(first).link.load(Ordering::Relaxed);
        if alone {
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
    pub(super) fn take_unused<'a>(&self, places: &'a Places) -> Option<VacantPlace<'a>> {
        // Relaxed: only distinctness matters; the arena publishes the place.
        let more = |unused| (unused < self.limit).then_some(unused + 1);
        let number = self.unused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(VacantPlace { number, place: places.ensure(number) })
    }

    /// Puts a place away, whose job cannot be found by its request any more. For the one who took it from there, once.
    #[inline(always)]
    pub(super) fn put_away(&self, place: &Place, number: u32, at: At<'_>) {
        place.record.put_away();
        let away = &at.desk.stock.away;
        let mut found = away.load(Ordering::Relaxed);
        loop {
            let (count, below) = unpack(found);
            place.link.store(below, Ordering::Relaxed);
            // With this one it is a lot.
            let full = count + 1 == LOT;
            let left = if full { 0 } else { pack(count + 1, number + 1) };
            if at.alone {
                // Relaxed: this thread's alone.
                away.store(left, Ordering::Relaxed);
            } else if let Err(newer) = away.compare_exchange(found, left, Ordering::AcqRel, Ordering::Relaxed) {
                // AcqRel: who makes the lot sees what others have put into it.
                found = newer;
                continue;
            }
            if full {
                push(&self.ripe, number, |below| place.lot.store(below, Ordering::Relaxed));
            }
            return;
        }
    }

    /// A lot put away, to be cleared when all pins have ended that are there now.
    pub(super) fn ripe_lot(&self, places: &Places) -> Option<Lot> {
        pop(&self.ripe, |place| places.at(place).lot.load(Ordering::Relaxed)).map(|first| Lot(first + 1))
    }

    /// Makes a lot vacant. For when all pins have ended that were there when it was made.
    pub(super) fn clear(&self, places: &Places, lot: Lot) {
        let (first, mut rest) = (lot.0 - 1, lot.0);
        while let Some(place) = rest.checked_sub(1) {
            rest = places.at(place).link.load(Ordering::Relaxed);
            places.at(place).clear(&lot);
        }
        push(&self.lots, first, |below| places.at(first).lot.store(below, Ordering::Relaxed));
    }
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

/// A list of the kind that places and numbers are kept in, for the model of it.
#[cfg(all(test, slotyard_loom))]
#[derive(Debug)]
pub(crate) struct Shared<const N: usize> {
    head: AtomicU64,
    links: [AtomicU32; N],
}

#[cfg(all(test, slotyard_loom))]
impl<const N: usize> Shared<N> {
    /// With all of them in it.
    pub(crate) fn full() -> Self {
        let list = Self { head: AtomicU64::new(0), links: std::array::from_fn(|_| AtomicU32::new(0)) };
        (0..N as u32).for_each(|item| list.push(item));
        list
    }

    pub(crate) fn push(&self, item: u32) {
        push(&self.head, item, |below| self.links[item as usize].store(below, Ordering::Relaxed));
    }

    pub(crate) fn pop(&self) -> Option<u32> {
        pop(&self.head, |item| self.links[item as usize].load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::job::desk::Desks;
    use proptest::prelude::*;

    #[test]
    fn a_list_is_as_it_was_when_its_count_of_changes_comes_round() {
        for changes in [u32::MAX - 6, u32::MAX - 3, u32::MAX - 1, u32::MAX] {
            let head = AtomicU64::new(pack(changes, 0));
            let links: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
            let below = |place: u32| links[place as usize].load(Ordering::Relaxed);
            for place in [5, 0, 3] {
                push(&head, place, |below| links[place as usize].store(below, Ordering::Relaxed));
            }
            assert_eq!((pop(&head, below), pop(&head, below)), (Some(3), Some(0)));
            push(&head, 7, |below| links[7].store(below, Ordering::Relaxed));
            assert_eq!([(); 3].map(|()| pop(&head, below)), [Some(7), Some(5), None], "from {changes} on");
            assert_eq!(unpack(head.load(Ordering::Relaxed)), (changes.wrapping_add(8), 0));
        }
    }

    /// What the count is for.
    #[test]
    fn a_pop_fails_if_its_first_place_has_been_popped_and_pushed_again_also_when_the_count_comes_round() {
        for changes in [0, u32::MAX - 1, u32::MAX] {
            let head = AtomicU64::new(pack(changes, 0));
            let links: Vec<AtomicU32> = (0..3).map(|_| AtomicU32::new(0)).collect();
            let store = |place: u32| push(&head, place, |below| links[place as usize].store(below, Ordering::Relaxed));
            let below = |place: u32| links[place as usize].load(Ordering::Relaxed);
            (0..3).for_each(store);
            let disturbed = std::cell::Cell::new(false);
            let popped = pop(&head, |place| {
                let found = below(place);
                if !disturbed.replace(true) {
                    // Meanwhile 2 and 1 are taken, and 2 comes back: what was found below it is in use.
                    assert_eq!((pop(&head, below), pop(&head, below)), (Some(2), Some(1)));
                    store(2);
                }
                found
            });
            assert_eq!([popped, pop(&head, below), pop(&head, below)], [Some(2), Some(0), None], "from {changes} on");
        }
    }

    /// What a caller may do next with places that he has, of which the `which`th is meant.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take,
        GiveBack(prop::sample::Index),
        PutAway(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let which = any::<prop::sample::Index>;
        prop_oneof![
            2 => Just(Step::Take),
            1 => which().prop_map(Step::GiveBack),
            2 => which().prop_map(Step::PutAway),
        ]
    }

    proptest! {
        /// On a desk of one's own, and on one that is shared.
        #[test]
        fn no_place_is_had_by_two_nor_lost(steps in proptest::collection::vec(step(), 1..1_000), alone in any::<bool>()) {
            let (places, vacant, desks) = (Places::new(), Vacant::new(1_000), Desks::new());
            let at = At { desk: desks.number(0), alone };
            let (mut had, mut away) = (Vec::new(), 0);
            let used_before = |at| {
                vacant.take(&places, at).or_else(|| {
                    vacant.clear(&places, vacant.ripe_lot(&places)?);
                    vacant.take(&places, at)
                })
            };
            for step in steps {
                match step {
                    Step::GiveBack(which) if !had.is_empty() => {
                        let place: VacantPlace<'_> = had.swap_remove(which.index(had.len()));
                        vacant.give_back(place, at);
                    }
                    Step::PutAway(which) if !had.is_empty() => {
                        let place: VacantPlace<'_> = had.swap_remove(which.index(had.len()));
                        vacant.put_away(place.place, place.number, at);
                        away += 1;
                    }
                    _ => {
                        let place = used_before(at).or_else(|| vacant.take_unused(&places)).expect("there are as many");
                        prop_assert!(had.iter().all(|other| other.number != place.number), "two have {}", place.number);
                        had.push(place);
                    }
                }
            }
            for place in had.drain(..) {
                vacant.put_away(place.place, place.number, at);
                away += 1;
            }
            let mut numbers = std::collections::BTreeSet::new();
            while let Some(place) = used_before(at) {
                prop_assert!(numbers.insert(place.number), "{} twice", place.number);
            }
            let used = vacant.unused.load(Ordering::Relaxed);
            prop_assert_eq!(used - numbers.len() as u32, away % LOT, "all but those of a lot that is not full");
        }
    }

    #[test]
    fn so_many_places_are_had_and_no_more() {
        let (places, vacant) = (Places::new(), Vacant::new(10));
        let limit = 10 + (1 << 14);
        assert!((0..limit).all(|number| vacant.take_unused(&places).is_some_and(|place| place.number == number)));
        assert!((0..3).all(|_| vacant.take_unused(&places).is_none()));
        assert_eq!([100_000, u32::MAX].map(|jobs| Vacant::new(jobs).limit), [150_000, MOST_PLACES]);
    }
}
