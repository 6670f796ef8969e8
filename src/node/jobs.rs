//! The jobs that hold slots of one node, so that orphaning them costs what the node has and not what all have.
//!
//! An entry names the number of a job's id, or is free. Beside the cells, under the same numbers, are rows of entries, a
//! cache line each: where a job of a small node is entered is known with the cell, and waits for no other line of memory.
//! A node of more slots has a table of about as many entries. Who holds a slot finds a free entry, because there are at
//! most as many jobs as slots; if not (the capacity has grown), there is a table, or a further one. Entries never move.
//!
//! Invariant: a job's entry is freed before its slot is given back. So a row is free when its cell is given to another node.
//!
//! The node itself keeps what its jobs need of the pools that they found it in: of the first few such pools, which are all
//! there are, as long as the node moves little. So a job has a reference of its node and none of its pool.
//!
//! # Orderings
//! Adding is a compare-and-swap with Release, sweeping reads with Acquire. That an added job is either seen by the
//! sweep or sees that the node is out of use follows from the fences on both sides, see `node::cell`.

use std::sync::Arc;

use super::Node;
use crate::arena::Arena;
use crate::pool::Lent;
use crate::prefetch::fetch_ahead;
use crate::publish::Lasting;
use crate::sync::{AtomicU32, Ordering, Zeroed, sized, zeroed_slice};

/// Entries of a row.
const ROW: u32 = sized(16, 1);

/// Number of a job plus one; 0: free.
type Entry = AtomicU32;

/// The rows beside all cells. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Rows(Arena<Row, { sized(10, 1) }>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Row([Entry; ROW as usize]);

// SAFETY: atomic integers.
unsafe impl Zeroed for Row {}

/// What a node has beside its row.
#[derive(Debug, Default)]
pub(crate) struct NodeJobs {
    lent: [Lasting<Lent>; Self::LENT],
    tables: Lasting<Table>,
}

#[derive(Debug)]
struct Table {
    entries: Box<[Entry]>,
    next: Lasting<Table>,
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

/// Enters a job where an entry is free.
#[inline(always)]
fn add(entries: &[Entry], number: u32) -> Option<u32> {
    let len = entries.len();
    // Numbers that are near one another begin far apart.
    let start = ((u64::from(number.wrapping_mul(0x9e37_79b1)) * len as u64) >> 32) as usize;
    let (before, after) = entries.split_at(start);
    let free = |entry: &Entry| {
        // Relaxed: a hint; the compare-and-swap decides. Release: publishes the job to `numbers`.
        entry.load(Ordering::Relaxed) == 0
            && entry.compare_exchange(0, number + 1, Ordering::Release, Ordering::Relaxed).is_ok()
    };
    let at = after.iter().position(free).map(|at| start + at).or_else(|| before.iter().position(free));
    at.map(|at| at as u32)
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self(Arena::new())
    }

    /// Has fetched what entering a job with the node in this cell, and keeping a reference of it, will need.
    #[inline(always)]
    pub(crate) fn fetch_ahead(&self, cell: u32, node: &Node) {
        if let Some(row) = self.0.get(cell) {
            fetch_ahead(row);
        }
        fetch_ahead(node);
        fetch_ahead(&node.jobs);
    }

    /// Enters the job of this number with the node; returns the entry to be removed later. `capacity` is the node's.
    #[inline(always)]
    pub(crate) fn add(&self, node: &Node, number: u32, capacity: u32) -> u32 {
        if capacity <= ROW
            && let Some(row) = self.0.get(node.cell)
            && let Some(entry) = add(&row.0, number)
        {
            return entry;
        }
        self.add_elsewhere(node, number, capacity)
    }

    #[inline(never)]
    fn add_elsewhere(&self, node: &Node, number: u32, capacity: u32) -> u32 {
        if capacity <= ROW
            && let Some(entry) = add(&self.0.ensure(node.cell).0, number)
        {
            return entry;
        }
        // Some room to spare, so that a free entry is near where the search starts.
        let (mut entries, mut before) = (capacity as usize + capacity as usize / 2, ROW);
        let mut table = &node.jobs.tables;
        loop {
            let found = table.get_or_fill(|| Table { entries: zeroed_slice(entries), next: Lasting::default() });
            if let Some(entry) = add(&found.entries, number) {
                return before + entry;
            }
            before += found.entries.len() as u32;
            (table, entries) = (&found.next, before as usize);
        }
    }

    /// Frees the entry that `add` returned for `number`.
    #[inline(always)]
    pub(crate) fn remove(&self, node: &Node, entry: u32, number: u32) {
        if entry < ROW {
            return free(&self.0.at(node.cell).0[entry as usize], number);
        }
        let (mut at, mut table) = ((entry - ROW) as usize, node.jobs.tables.get());
        while let Some(found) = table {
            if let Some(entry) = found.entries.get(at) {
                return free(entry, number);
            }
            (at, table) = (at - found.entries.len(), found.next.get());
        }
    }

    /// Calls `visit` with the number of every job that is entered with the node, or with the one that has its cell now.
    pub(crate) fn numbers(&self, node: &Node, mut visit: impl FnMut(u32)) {
        let mut visit_all = |entries: &[Entry]| {
            for entry in entries {
                // Acquire: pairs with `add`.
                if let Some(number) = entry.load(Ordering::Acquire).checked_sub(1) {
                    visit(number);
                }
            }
        };
        self.0.get(node.cell).into_iter().for_each(|row| visit_all(&row.0));
        let mut table = node.jobs.tables.get();
        while let Some(found) = table {
            visit_all(&found.entries);
            table = found.next.get();
        }
    }
}

#[inline(always)]
fn free(entry: &Entry, number: u32) {
    debug_assert_eq!(entry.load(Ordering::Relaxed), number + 1, "an entry belongs to the job that added it");
    // Nobody else changes it. Release: orders the job's end before reuse.
    entry.store(0, Ordering::Release);
}

impl NodeJobs {
    /// Pools that a node keeps.
    const LENT: usize = 2;

    /// Where the pool of this key is kept, if it is.
    #[inline(always)]
    pub(crate) fn lodging(&self, pool: u64) -> Option<Lodging> {
        for (at, kept) in self.lent.iter().enumerate() {
            if kept.get()?.key == pool {
                return Some(Lodging(at as u32 + 1));
            }
        }
        None
    }

    /// Keeps a pool, if it is one of the first.
    #[cold]
    pub(crate) fn keep(&self, pool: &Arc<Lent>) -> Lodging {
        let at = self.lent.iter().position(|kept| kept.get_or_share(pool).key == pool.key);
        at.map_or(Lodging::OWN, |at| Lodging(at as u32 + 1))
    }

    /// The pool that is kept there.
    #[inline(always)]
    pub(crate) fn lent(&self, lodging: Lodging) -> Option<&Lent> {
        self.lent.get((lodging.0 as usize).checked_sub(1)?)?.get()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::{NodeSpec, Scheduler};
    use std::collections::BTreeSet;

    fn node() -> Arc<Node> {
        let scheduler = Scheduler::builder().manual_maintenance().build().unwrap();
        scheduler.register(NodeSpec::new("node")).unwrap().node
    }

    fn entered(rows: &Rows, node: &Node) -> BTreeSet<u32> {
        let mut entered = BTreeSet::new();
        rows.numbers(node, |number| assert!(entered.insert(number)));
        entered
    }

    #[test]
    fn jobs_beyond_the_row_and_the_first_table_are_kept_apart() {
        for capacity in [3, ROW, ROW + 1] {
            let (rows, node) = (Rows::new(), node());
            let entries: Vec<u32> = (0..100).map(|number| rows.add(&node, number * 7, capacity)).collect();
            assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), 100);
            assert_eq!(
                entries.iter().filter(|entry| **entry < ROW).count() as u32,
                if capacity > ROW { 0 } else { ROW }
            );
            for (number, entry) in (0..100).zip(&entries).filter(|(number, _)| number % 2 == 0) {
                rows.remove(&node, *entry, number * 7);
            }
            let left = (0..100).filter(|number| number % 2 == 1).map(|number| number * 7).collect();
            assert_eq!(entered(&rows, &node), left);
        }
    }

    #[test]
    fn a_table_has_room_to_spare_but_not_much() {
        for capacity in [100, 1_000, 10_000] {
            let (rows, node) = (Rows::new(), node());
            rows.add(&node, 7, capacity);
            let table = node.jobs.tables.get().expect("it is no row");
            let spare = table.entries.len() - capacity as usize;
            assert!((capacity / 4..=capacity).contains(&(spare as u32)), "{spare} more entries than {capacity} slots");
        }
    }

    #[test]
    fn of_the_pools_the_first_are_kept_and_found_and_further_ones_are_not() {
        let jobs = NodeJobs::default();
        let pool = |key| Arc::new(Lent { key, name: "pool".into(), tally: Arc::default() });
        assert!(jobs.lodging(7).is_none());
        let kept: Vec<Lodging> = [7, 8, 7, 9].map(|key| jobs.keep(&pool(key))).into();
        assert_eq!(kept, [Lodging(1), Lodging(2), Lodging(1), Lodging::OWN]);
        assert_eq!([7, 8, 9].map(|key| jobs.lodging(key)), [Some(Lodging(1)), Some(Lodging(2)), None]);
        assert_eq!(kept.iter().filter_map(|kept| Some(jobs.lent(*kept)?.key)).collect::<Vec<_>>(), [7, 8, 7]);
        assert!(kept.iter().all(|kept| kept.bits() < 1 << Lodging::BITS && Lodging::of(kept.bits()) == *kept));
    }
}
