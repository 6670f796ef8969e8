//! The jobs that hold slots of one node, so that orphaning them costs what the node has and not what all have.
//!
//! A table of about as many entries as the node has slots; an entry names the number of a job's id, or is free. Who holds a
//! slot finds a free entry, because there are at most as many jobs as slots; if not (the capacity has grown), the
//! table gets another segment. Entries never move.
//!
//! # Orderings
//! Adding is a compare-and-swap with Release, sweeping reads with Acquire. That an added job is either seen by the
//! sweep or sees that the node is out of use follows from both touching the slot word, see `node::cell`.

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
    next: OnceLock<Box<Segment>>,
}

impl Segment {
    fn new(entries: usize) -> Box<Self> {
        Box::new(Self { entries: zeroed_slice(entries), next: OnceLock::new() })
    }
}

impl NodeJobs {
    /// Enters the job of this number; returns the entry to be removed later. `capacity` is the node's, for the size of a
    /// table that there is not yet.
    pub(crate) fn add(&self, number: u32, capacity: u32) -> u32 {
        // Some room to spare, so that a free entry is near where the search starts.
        let slots = (capacity as usize).clamp(1, 1 << 16);
        let mut segment = self.first.get_or_init(|| Segment::new(slots + slots / 2));
        let mut base = 0;
        loop {
            let len = segment.entries.len();
            let start = number as usize % len;
            for step in 0..len {
                let at = (start + step) % len;
                let entry = &segment.entries[at];
                // Relaxed: a hint; the compare-and-swap decides. Release: publishes the job to `numbers`.
                if entry.load(Ordering::Relaxed) == 0
                    && entry.compare_exchange(0, number + 1, Ordering::Release, Ordering::Relaxed).is_ok()
                {
                    return (base + at) as u32;
                }
            }
            base += len;
            segment = segment.next.get_or_init(|| Segment::new(base));
        }
    }

    /// Frees the entry that `add` returned for `number`.
    pub(crate) fn remove(&self, entry: u32, number: u32) {
        let mut at = entry as usize;
        let mut segment = self.first.get();
        while let Some(found) = segment {
            if let Some(entry) = found.entries.get(at) {
                let found = entry.load(Ordering::Relaxed);
                debug_assert_eq!(found, number + 1, "an entry belongs to the job that added it");
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
}
