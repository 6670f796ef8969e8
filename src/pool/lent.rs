//! What a job keeps of its pool.
//!
//! A pool has all its jobs, so a count of its references is written by every create and every end. Here each of some
//! stripes of threads has a count of its own, in a line of its own.

use std::sync::Arc;

use super::{Pool, Tally};
use crate::sync::sized;

/// Stripes, by number of thread.
const STRIPES: usize = sized(32, 1) as usize;

/// What is kept of a pool, also when it is dropped. Aligned so that what is beside it is not written with its count.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Lent {
    pub(crate) key: u64,
    pub(crate) name: Arc<str>,
    pub(crate) tally: Arc<Tally>,
}

/// Not modelled: made on first use, and the same whoever makes it.
#[derive(Debug, Default)]
pub(super) struct Lending([std::sync::OnceLock<Arc<Lent>>; STRIPES]);

impl Pool {
    /// For the thread known under this number.
    pub(crate) fn lend(&self, thread: u32) -> Arc<Lent> {
        let lent = || Arc::new(Lent { key: self.key, name: self.name.clone(), tally: self.tally.clone() });
        self.lending.0[thread as usize % STRIPES].get_or_init(lent).clone()
    }
}
