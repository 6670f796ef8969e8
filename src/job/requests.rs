//! Jobs by their request ids: a hash table that grows without moving anything (Shalev and Shavit, Split-Ordered Lists,
//! 2006) over one sorted list of places (Harris 2001, Michael 2002).
//!
//! All jobs are in one list, in the order of their hashes. A bucket is a point of that list, from which the jobs follow
//! whose hashes begin with certain bits; when the number of buckets doubles, each is split by one more point in its
//! middle, and the numbers of those that there are stay. A bucket is opened when it is first used: until then, the one
//! that it was split from will do.
//!
//! Buckets are numbered as they come: bucket 0 begins where the list does, bucket 1 in its middle, 2 and 3 at its
//! quarters, 4 to 7 at its odd eighths, and so on. That is worked out with two shifts, where the bits of a hash read
//! backwards, which number them as well, take twenty instructions each time.
//!
//! # Invariants
//! 1. Of jobs that are in the list one has a request id: who enters one has seen the whole run of its order, and enters
//!    it at the end of that by an exchange of the link there, which fails if another was entered since.
//! 2. A job leaves by a mark on its own link, once; from then on nothing is entered behind it. Whoever passes by takes it
//!    out of the list, and whoever marks sees to it that it is out when he returns.
//! 3. A place that has left is used again only after every pin that was there then (see `place`), so who has found it may
//!    still follow its link.
//! 4. A bucket's link says `PRIVATE` until its point is in the list: nobody begins there before.
//!
//! # Orderings
//! A job is entered with Release and found with Acquire, so its record and order are seen by whoever finds it. Every
//! change of a link is a read-modify-write, so what was published by earlier ones stays published.

use super::place::{Link, Place, Places};
use crate::arena::Arena;
use crate::sync::{AtomicU32, Ordering, sized};

/// A link that is no place's and no bucket's: the end of the list.
const END: Link = (1 << 30) - 1;
/// In a link: to a bucket's point, not to a place.
const POINT: Link = 1 << 30;
/// In a place's own link: it has left.
const LEFT: Link = 1 << 31;
/// In a bucket's own link: its point is not known to be in the list.
const PRIVATE: Link = 1 << 31;

/// Places that there may be: their links are below [`END`].
pub(super) const MOST_PLACES: u32 = END - 1;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Requests {
    /// The link of each bucket's point; 0: not opened.
    buckets: Arena<AtomicU32, { sized(8, 1) }>,
    /// How many buckets are used: two to the power of this.
    bits: AtomicU32,
}

/// Where the search for an order has ended: the link to exchange, and what it said.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    link: &'a AtomicU32,
    found: Link,
}

/// Where a hash comes in the list: after the point of any bucket that it can be in.
pub(super) fn order_of(hash: u64) -> u64 {
    hash | 1
}

/// The number of the bucket of an order, where there are two to the power of `bits`.
#[inline(always)]
fn bucket_of(order: u64, bits: u32) -> u32 {
    // How many points of the finest division come before. A point of a coarser one has zeros at the end.
    let point = order >> 1 >> (63 - bits) | 1 << bits;
    (point >> point.trailing_zeros() >> 1) as u32
}

/// Of any bucket but the first, which begins at 0.
#[inline(always)]
fn order_of_point(bucket: u32) -> u64 {
    // The bits below its highest one, and a one behind them.
    let bits = u64::from(bucket) << 1 | 1;
    bits << u64::from(bucket).leading_zeros()
}

/// The bucket that it was split from.
fn before(bucket: u32) -> u32 {
    bucket >> (bucket.trailing_zeros() + 1)
}

impl Requests {
    pub(crate) fn new() -> Self {
        let buckets = Arena::new();
        // Relaxed: nobody else has it yet.
        AtomicU32::store(buckets.ensure(0), END, Ordering::Relaxed);
        Self { buckets, bits: AtomicU32::new(sized(6, 0)) }
    }

    /// Uses as many buckets as there are places.
    pub(crate) fn grow(&self, places: u32) {
        let bits = self.bits.load(Ordering::Relaxed);
        if places > 1 << bits && bits < 29 {
            // Here and not when they are first looked at, which may be where jobs end: that is to allocate nothing.
            self.buckets.ensure((2 << bits) - 1);
            // Relaxed: any number will do. A failure means that another has grown it.
            let _ = self.bits.compare_exchange(bits, bits + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The place of this order of which `is_it` says so; `Err` says where it would be entered.
    pub(crate) fn find<'a>(
        &'a self,
        places: &'a Places,
        order: u64,
        is_it: impl Fn(u32) -> bool,
    ) -> Result<u32, Spot<'a>> {
        let bucket = bucket_of(order, self.bits.load(Ordering::Relaxed));
        self.find_from(self.bucket(places, bucket), places, order, is_it)
    }

    /// Enters a place, which has its order, where its request was not found. `false`: that has changed since.
    #[inline(always)]
    pub(crate) fn enter(&self, (place, number): (&Place, u32), spot: Spot<'_>) -> bool {
        // Relaxed: the exchange publishes it.
        place.next.store(spot.found, Ordering::Relaxed);
        spot.exchange(number + 1)
    }

    /// Takes a place out; it may have left already.
    pub(crate) fn leave(&self, places: &Places, place: &Place) {
        let left = &place.next;
        let mut next = left.load(Ordering::Acquire);
        while next & LEFT == 0 {
            // AcqRel: see the module's documentation.
            match left.compare_exchange(next, next | LEFT, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(newer) => next = newer,
            }
        }
        // Takes all that has left out on its way over the whole run.
        let _ = self.find(places, place.order.load(Ordering::Relaxed), |_| false);
    }

    fn find_from<'a>(
        &'a self,
        start: &'a AtomicU32,
        places: &'a Places,
        order: u64,
        is_it: impl Fn(u32) -> bool,
    ) -> Result<u32, Spot<'a>> {
        'again: loop {
            let mut link = start;
            let mut found = link.load(Ordering::Acquire);
            loop {
                let spot = Spot { link, found };
                if found == END {
                    return Err(spot);
                }
                if found & POINT != 0 {
                    let bucket = found & !POINT;
                    if order_of_point(bucket) > order {
                        return Err(spot);
                    }
                    link = self.buckets.at(bucket);
                    found = known_to_be_in(link);
                    continue;
                }
                let place = places.at(found - 1);
                // Acquire: pairs with whoever entered what comes next.
                let next = place.next.load(Ordering::Acquire);
                if next & LEFT != 0 {
                    if !spot.exchange(next & !LEFT) {
                        continue 'again;
                    }
                    found = next & !LEFT;
                    continue;
                }
                // Relaxed: written before it was entered.
                let its = place.order.load(Ordering::Relaxed);
                if its > order {
                    return Err(spot);
                }
                if its == order && is_it(found - 1) {
                    return Ok(found - 1);
                }
                (link, found) = (&place.next, next);
            }
        }
    }

    /// The link of a bucket, or of one before it that will do.
    fn bucket<'a>(&'a self, places: &'a Places, bucket: u32) -> &'a AtomicU32 {
        match self.buckets.get(bucket) {
            // Acquire: pairs with whoever opened it.
            Some(link) if !matches!(link.load(Ordering::Acquire), 0 | PRIVATE..) => link,
            _ => self.open(places, bucket),
        }
    }

    /// Puts the point of a bucket into the list. If another is about to do that, he is not waited for.
    #[cold]
    fn open<'a>(&'a self, places: &'a Places, bucket: u32) -> &'a AtomicU32 {
        // Bucket 0 was open from the beginning.
        let before = self.bucket(places, before(bucket));
        let own = self.buckets.ensure(bucket);
        // Relaxed: from now on it is this thread's, until it is in the list.
        if own.compare_exchange(0, PRIVATE | END, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return before;
        }
        loop {
            let Err(spot) = self.find_from(before, places, order_of_point(bucket), |_| false) else { continue };
            own.store(PRIVATE | spot.found, Ordering::Relaxed);
            if spot.exchange(POINT | bucket) {
                known_to_be_in(own);
                return own;
            }
        }
    }
}

#[cfg(all(test, any(slotyard_loom, slotyard_shuttle)))]
impl Requests {
    /// Whether a place is in the list, with a mark or without. While nobody else enters or leaves behind it.
    pub(crate) fn links_to(&self, places: &Places, place: u32) -> bool {
        let mut link = self.buckets.at(0).load(Ordering::Acquire);
        while link != END && link != place + 1 {
            let next = if link & POINT != 0 { self.buckets.at(link & !POINT) } else { &places.at(link - 1).next };
            link = next.load(Ordering::Acquire) & !LEFT;
        }
        link == place + 1
    }
}

/// What the link of a point says that was found in the list.
fn known_to_be_in(link: &AtomicU32) -> Link {
    let found = link.load(Ordering::Acquire);
    if found & PRIVATE == 0 {
        return found;
    }
    // AcqRel: see the module's documentation. A failure means that another has done it, and more, perhaps.
    match link.compare_exchange(found, found & !PRIVATE, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => found & !PRIVATE,
        Err(newer) => newer,
    }
}

impl Spot<'_> {
    fn exchange(self, to: Link) -> bool {
        // AcqRel: see the module's documentation. A link that has a mark by now is another.
        self.link.compare_exchange(self.found, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_comes_before_its_jobs_and_after_those_of_the_one_it_was_split_from() {
        for bucket in 1..1000u32 {
            let bits = bucket.ilog2() + 1;
            let width = u64::MAX >> bits;
            let (first, parent) = (order_of_point(bucket), before(bucket));
            assert!(parent == 0 || order_of_point(parent) < first);
            for hash in [first, first + 1, first + width] {
                assert!(first < order_of(hash));
                assert_eq!(bucket_of(order_of(hash), bits), bucket);
                assert_eq!(bucket_of(order_of(hash), bits - 1), parent);
            }
            assert_eq!(bucket_of(order_of(first - 1), bits - 1), parent);
        }
        assert_eq!([0, 1 << 63].map(|hash| bucket_of(order_of(hash), 0)), [0, 0]);
    }

    #[test]
    fn there_are_as_many_buckets_as_places_up_to_a_power_of_two() {
        let requests = Requests::new();
        for places in 1..=5_000u32 {
            requests.grow(places);
            let buckets = 1 << requests.bits.load(Ordering::Relaxed);
            assert_eq!(buckets, places.next_power_of_two().max(64));
            assert!(requests.buckets.get(buckets - 1).is_some(), "{places}");
            assert!(buckets < 256 || requests.buckets.get(buckets).is_none(), "{places}");
        }
    }

    proptest! {
        /// Against a set: places come and go while the table grows; places that share a hash are kept apart.
        #[test]
        fn what_was_entered_is_found_until_it_leaves(turns in proptest::collection::vec((0u32..300, 0u64..64), 1..600)) {
            let (places, requests) = (Places::new(), Requests::new());
            let mut entered = std::collections::BTreeMap::new();
            for (place, spread) in turns {
                let order = order_of((u64::from(place) % 97).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ spread << 40);
                if let Some(order) = entered.remove(&place) {
                    prop_assert_eq!(requests.find(&places, order, |found| found == place).ok(), Some(place));
                    requests.leave(&places, places.at(place));
                    prop_assert!(requests.find(&places, order, |found| found == place).is_err());
                } else {
                    places.ensure(place).order.store(order, Ordering::Relaxed);
                    let Err(spot) = requests.find(&places, order, |found| found == place) else { unreachable!() };
                    prop_assert!(requests.enter((places.at(place), place), spot));
                    entered.insert(place, order);
                    requests.grow(4 * entered.len() as u32);
                }
            }
            for (place, order) in entered {
                prop_assert_eq!(requests.find(&places, order, |found| found == place).ok(), Some(place));
            }
        }
    }
}
