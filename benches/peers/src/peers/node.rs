//! A node as one writes it by hand, for the peers that have none of their own.

use std::sync::atomic::{AtomicU32, Ordering};

use super::SLOTS;

/// Slots held, and what the node last said of itself, on a cache line of their own.
#[repr(align(64))]
pub(crate) struct Node {
    held: AtomicU32,
    reported: AtomicU32,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self { held: AtomicU32::new(0), reported: AtomicU32::new(0) }
    }

    /// The larger of what we know and what it said.
    pub(crate) fn load(&self) -> u32 {
        self.held.load(Ordering::Relaxed).max(self.reported.load(Ordering::Relaxed))
    }

    /// Takes a slot, if one is free.
    pub(crate) fn reserve(&self) -> bool {
        let one_more = |held| (held < SLOTS).then_some(held + 1);
        self.held.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    pub(crate) fn release(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn report(&self, load: u32) {
        self.reported.store(load, Ordering::Relaxed);
    }
}
