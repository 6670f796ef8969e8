//! What a job keeps of its pool.
//!
//! A pool has all its jobs, so a count of its references would be written by every create and every end. So each node
//! keeps what its jobs need of the pools that they found it in, see `node::jobs`, and a job has only its node.

use std::sync::Arc;

use super::{Pool, Tally};
use crate::sync::PlainOnceLock;

/// What is kept of a pool, also when it is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) key: u64,
    pub(crate) name: Arc<str>,
    pub(crate) tally: Arc<Tally>,
}

/// Not modelled: made on first use, and the same whoever makes it.
#[derive(Debug, Default)]
pub(super) struct Lending(PlainOnceLock<Arc<Lent>>);

impl Pool {
    pub(crate) fn lend(&self) -> &Arc<Lent> {
        let lent = || Arc::new(Lent { key: self.key, name: self.name.clone(), tally: self.tally.clone() });
        self.lending.0.get_or_init(lent)
    }
}
