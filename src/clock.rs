//! The coarse clock: milliseconds since the scheduler was built, moved on by maintenance. Reading it is one load.

use std::time::Duration;

use crate::sync::{Ordering, Statistic};

/// The last time there is: what has a time beside something else in one word has at least 44 bits for it.
pub(crate) const END: u64 = (1 << 44) - 1;

/// See the module's documentation. Only ever moves forward, to [`END`].
#[derive(Debug)]
pub(crate) struct Clock(Statistic);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Statistic::new(0))
    }

    /// The time now, in ms.
    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        // Relaxed: nothing is published by it.
        self.0.load(Ordering::Relaxed)
    }

    /// Moves on to `now`; an earlier time changes nothing, and one after the end is the end.
    pub(crate) fn advance(&self, now: u64) -> u64 {
        let now = now.min(END);
        self.0.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

/// In ms, at most some 292 million years.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
