//! The coarse clock: milliseconds since the scheduler was built, moved on by maintenance. Reading it is one load.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// See the module's documentation. Only ever moves forward.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The time now, in ms.
    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        // Relaxed: nothing is published by it.
        self.0.load(Ordering::Relaxed)
    }

    /// Moves on to `now`; an earlier time changes nothing.
    pub(crate) fn advance(&self, now: u64) -> u64 {
        self.0.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

/// In ms, at most some 292 million years.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
