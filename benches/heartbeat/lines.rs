//! The floor of a heartbeat by handle: stores to the line of a node, that may be anywhere in memory, with no regard to
//! whether the node still is who it was, or was offline.

use std::sync::atomic::{AtomicU64, Ordering};

/// As many lines as nodes.
pub(crate) struct Lines(Box<[Line]>);

#[derive(Default)]
#[repr(align(64))]
struct Line {
    last_seen: AtomicU64,
    usage: AtomicU64,
    report: AtomicU64,
}

impl Lines {
    pub(crate) fn new(lines: usize) -> Self {
        Self((0..lines).map(|_| Line::default()).collect())
    }

    /// When the node was seen.
    #[inline(always)]
    pub(crate) fn store(&self, number: u32) {
        self.0[number as usize].last_seen.store(u64::from(number), Ordering::Relaxed);
    }

    /// And what it says of itself.
    #[inline(always)]
    pub(crate) fn store_all(&self, number: u32) {
        let line = &self.0[number as usize];
        for word in [&line.last_seen, &line.usage, &line.report] {
            word.store(u64::from(number), Ordering::Relaxed);
        }
    }
}
