//! The indexes of all pools, by pool number.
//!
//! Invariant: an index is made for a number once and stays for as long as the scheduler; the pool that has the number
//! next goes on with it. So whoever knows a node's home may tell its index of it without a pin: if the pool was dropped
//! since, that costs its successor a stale bit at worst. A reader that has found a *pool* is pinned, and the number is
//! given to another pool only when that pin has ended.

use std::sync::Arc;

use super::index::Index;
use super::occupancy::Occupancy;
use crate::sync::OnceLock;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Indexes {
    table: Box<[OnceLock<Arc<Index>>]>,
    occupancy: Arc<Occupancy>,
}

impl Indexes {
    /// For pool numbers below `pools`.
    pub(crate) fn new(pools: usize) -> Self {
        Self { table: (0..pools).map(|_| OnceLock::new()).collect(), occupancy: Arc::new(Occupancy::new(pools)) }
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    /// The index for the pool that is being made under this number.
    pub(crate) fn make(&self, number: u32) -> Arc<Index> {
        let make = || Arc::new(Index::new(number, self.occupancy.clone()));
        self.table[number as usize].get_or_init(make).clone()
    }

    /// The index of a pool that was made some time.
    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> Option<&Index> {
        self.table.get(number as usize)?.get().map(|index| &**index)
    }
}
