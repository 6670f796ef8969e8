//! The snapshot: everything that selection reads and that does not change with every job, published as one.
//!
//! Invariant: a snapshot never changes, but for its route cache, which only ever gains routes that were computed from
//! this very snapshot. What changes with every job (slot words, index bits) lives beside it and is shared by successive
//! snapshots, so counts survive, and neither a reservation nor a heartbeat publishes anything. A node that joins a
//! pool that there is publishes nothing either.

use std::sync::Arc;

use crate::pool::{Pool, PoolView};
use crate::select::RouteCache;
use crate::sync::{Ordering, Sequence};

/// What selection reads: the pools, and the routes computed from them. See [`Scheduler::snapshot`].
///
/// [`Scheduler::snapshot`]: crate::Scheduler::snapshot
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
    /// Unlike that of any other snapshot in this process.
    stamp: u64,
    pools: PoolTable,
    routes: RouteCache,
}

impl Snapshot {
    pub(crate) fn new(version: u64, pools: PoolTable, max_routes: usize) -> Self {
        static STAMPS: Sequence = Sequence::new(1);
        // Relaxed: only distinctness matters.
        let stamp = STAMPS.fetch_add(1, Ordering::Relaxed);
        Self { version, stamp, pools, routes: RouteCache::new(max_routes) }
    }

    /// Its number; each change of the set of pools publishes the next.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its pools, by number. Their counts are those of now, not of when it was published.
    pub fn pools(&self) -> impl Iterator<Item = PoolView> + '_ {
        self.pools.iter().map(|pool| PoolView::of(pool))
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(crate) fn table(&self) -> &PoolTable {
        &self.pools
    }

    pub(crate) fn routes(&self) -> &RouteCache {
        &self.routes
    }
}

/// Pools by number, in pages, so that a copy with one pool changed costs one page and the list of pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolTable {
    pages: Vec<Arc<Page>>,
}

const PAGE: usize = 64;
type Page = [Option<Arc<Pool>>; PAGE];

impl PoolTable {
    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> Option<&Arc<Pool>> {
        self.pages.get(number as usize / PAGE)?[number as usize % PAGE].as_ref()
    }

    /// A copy with what is under `number` replaced.
    pub(crate) fn with(&self, number: u32, pool: Option<Arc<Pool>>) -> Self {
        let (page, place) = (number as usize / PAGE, number as usize % PAGE);
        let mut pages = self.pages.clone();
        while pages.len() <= page {
            pages.push(Arc::new([const { None }; PAGE]));
        }
        let mut changed = Page::clone(&pages[page]);
        changed[place] = pool;
        pages[page] = Arc::new(changed);
        Self { pages }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pages.iter().flat_map(|page| page.iter().flatten())
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::capability::Capabilities;
    use crate::pool::{Indexes, PoolKind};

    #[test]
    fn a_table_with_one_pool_changed_leaves_the_other_copy_alone() {
        let indexes = Indexes::new(200);
        let pool = |number: u32| {
            let guarantee = Arc::new(Capabilities::new());
            Some(Arc::new(Pool::new(
                (number, 1),
                "p".into(),
                PoolKind::Automatic,
                guarantee,
                None,
                indexes.make(number),
            )))
        };
        let first = PoolTable::default().with(3, pool(3)).with(130, pool(130));
        let second = first.with(3, None).with(64, pool(64));
        let numbers = |table: &PoolTable| table.iter().map(|pool| pool.number).collect::<Vec<_>>();
        assert_eq!((numbers(&first), numbers(&second)), (vec![3, 130], vec![64, 130]));
        assert!(second.get(3).is_none() && second.get(4_000).is_none() && first.get(3).is_some());
    }
}
