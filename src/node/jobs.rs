//! The jobs that hold slots of one node, so that orphaning them costs what the node has and not what all have.
//!
//! A table of about as many entries as the node has slots; an entry names the number of a job's id, or is free. Who holds a
//! slot finds a free entry, because there are at most as many jobs as slots; if not (the capacity has grown), the
//! table gets another segment. Entries never move.
//!
//! With them the node keeps what its jobs need of the pools that they found it in: of the first few such pools, which
//! are all there are, as long as the node moves little. So a job has a reference of its node and none of its pool.
//!
//! # Orderings
//! Adding is a compare-and-swap with Release, sweeping reads with Acquire. That an added job is either seen by the
//! sweep or sees that the node is out of use follows from the fences on both sides, see `node::cell`.

use std::sync::Arc;

use crate::pool::Lent;
use crate::sync::{AtomicU32, OnceLock, Ordering, zeroed_slice};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct NodeJobs {
    first: OnceLock<Box<Segment>>,
}

#[derive(Debug)]
struct Segment {
    /// Number of a job plus one; 0: free.
    entries: Box<[AtomicU32]>,
    /// Not modelled: made on first use, never changed, and whoever finds none does without.
    lent: [std::sync::OnceLock<(u64, Arc<Lent>)>; Self::LENT],
    next: OnceLock<Box<Segment>>,
}

/// Which of the pools that its node keeps a job has, from 1 on; 0: one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lodging(u32);

impl Lodging {
    pub(crate) const OWN: Self = Self(0);
    /// So many bits has a lodging.
    pub(crate) const BITS: u32 = 2;

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn of(bits: u32) -> Self {
        Self(bits)
    }
}

impl Segment {
    /// Pools that a node keeps.
    const LENT: usize = 2;

    fn new(entries: usize) -> Box<Self> {
        Box::new(Self { entries: zeroed_slice(entries), lent: Default::default(), next: OnceLock::new() })
    }

    /// An entry for the job of this number.
    #[inline(always)]
    fn add(&self, number: u32) -> Option<usize> {
        let len = self.entries.len();
        // Numbers that are near one another begin far apart.
        let start = ((u64::from(number.wrapping_mul(0x9e37_79b1)) * len as u64) >> 32) as usize;
        let (before, after) = self.entries.split_at(start);
        let free = |entry: &&AtomicU32| {
            // Relaxed: a hint; the compare-and-swap decides. Release: publishes the job to `numbers`.
            entry.load(Ordering::Relaxed) == 0
                && entry.compare_exchange(0, number + 1, Ordering::Release, Ordering::Relaxed).is_ok()
        };
        match after.iter().position(|entry| free(&entry)) {
            Some(at) => Some(start + at),
            None => before.iter().position(|entry| free(&entry)),
        }
    }
}

impl NodeJobs {
    /// Enters the job of this number; returns the entry to be removed later. `capacity` is the node's, for the size of a
    /// table that there is not yet.
    #[inline(always)]
    pub(crate) fn add(&self, number: u32, capacity: u32) -> u32 {
        match self.first(capacity).add(number) {
            Some(at) => at as u32,
            None => self.add_further(number, capacity),
        }
    }

    #[inline(always)]
    fn first(&self, capacity: u32) -> &Segment {
        // Some room to spare, so that a free entry is near where the search starts.
        let slots = (capacity as usize).clamp(1, 1 << 16);
        self.first.get_or_init(|| Segment::new(slots + slots / 2))
    }

    #[cold]
    fn add_further(&self, number: u32, capacity: u32) -> u32 {
        let mut segment = self.first(capacity);
        let mut base = 0;
        loop {
            base += segment.entries.len();
            segment = segment.next.get_or_init(|| Segment::new(base));
            if let Some(at) = segment.add(number) {
                return (base + at) as u32;
            }
        }
    }

    /// Where the pool of this key is kept, if it is.
    #[inline(always)]
    pub(crate) fn lodging(&self, pool: u64) -> Option<Lodging> {
        for (at, kept) in self.first.get()?.lent.iter().enumerate() {
            if kept.get()?.0 == pool {
                return Some(Lodging(at as u32 + 1));
            }
        }
        None
    }

    /// Keeps a pool, if it is one of the first. `capacity` as in `add`.
    #[cold]
    pub(crate) fn keep(&self, pool: &Arc<Lent>, capacity: u32) -> Lodging {
        let mut lent = self.first(capacity).lent.iter();
        let at = lent.position(|kept| kept.get_or_init(|| (pool.key, pool.clone())).0 == pool.key);
        at.map_or(Lodging::OWN, |at| Lodging(at as u32 + 1))
    }

    /// The pool that is kept there.
    #[inline(always)]
    pub(crate) fn lent(&self, lodging: Lodging) -> Option<&Lent> {
        let kept = self.first.get()?.lent.get((lodging.0 as usize).checked_sub(1)?)?;
        kept.get().map(|(_, lent)| &**lent)
    }

    /// Frees the entry that `add` returned for `number`.
    #[inline(always)]
    pub(crate) fn remove(&self, entry: u32, number: u32) {
        let mut at = entry as usize;
        let mut segment = self.first.get();
        while let Some(found) = segment {
            if let Some(entry) = found.entries.get(at) {
                debug_assert_eq!(
                    entry.load(Ordering::Relaxed),
                    number + 1,
                    "an entry belongs to the job that added it"
                );
                // Nobody else changes it. Release: orders the job's end before reuse.
                return entry.store(0, Ordering::Release);
            }
            at -= found.entries.len();
            segment = found.next.get();
        }
    }

    /// Calls `visit` with the number of every job that is entered.
    pub(crate) fn numbers(&self, mut visit: impl FnMut(u32)) {
        let mut segment = self.first.get();
        while let Some(found) = segment {
            for entry in &found.entries {
                // Acquire: pairs with `add`.
                let number = entry.load(Ordering::Acquire);
                if number != 0 {
                    visit(number - 1);
                }
            }
            segment = found.next.get();
        }
    }
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn jobs_beyond_the_first_capacity_are_kept_apart() {
        let jobs = NodeJobs::default();
        let entries: Vec<u32> = (0..100).map(|place| jobs.add(place * 7, 3)).collect();
        assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), 100);
        for (place, entry) in (0..100).zip(&entries).filter(|(place, _)| place % 2 == 0) {
            jobs.remove(*entry, place * 7);
        }
        let mut left = BTreeSet::new();
        jobs.numbers(|place| assert!(left.insert(place)));
        assert_eq!(left, (0..100).filter(|place| place % 2 == 1).map(|place| place * 7).collect());
    }

    #[test]
    fn of_the_pools_the_first_are_kept_and_found_and_further_ones_are_not() {
        let jobs = NodeJobs::default();
        let pool = |key| Arc::new(Lent { key, name: "pool".into(), tally: Arc::default() });
        assert!(jobs.lodging(7).is_none());
        let kept: Vec<Lodging> = [7, 8, 7, 9].map(|key| jobs.keep(&pool(key), 3)).into();
        assert_eq!(kept, [Lodging(1), Lodging(2), Lodging(1), Lodging::OWN]);
        assert_eq!([7, 8, 9].map(|key| jobs.lodging(key)), [Some(Lodging(1)), Some(Lodging(2)), None]);
        assert_eq!(kept.iter().filter_map(|kept| Some(jobs.lent(*kept)?.key)).collect::<Vec<_>>(), [7, 8, 7]);
        assert!(kept.iter().all(|kept| kept.bits() < 1 << Lodging::BITS && Lodging::of(kept.bits()) == *kept));
    }
}
