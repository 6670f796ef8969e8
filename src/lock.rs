//! Writer locks of the management path, which time how long they were waited for and held.
//!
//! Reading a clock twice and counting in two histograms takes longer than many a change that a lock is held for. So a lock
//! that was not waited for is measured the first time, and then every sixty-fourth, for all that were not since; one that was
//! waited for is measured each time.
//!
//! No call on the path of a job takes one. Their order is shard, then topology, then pool; a thread holds at most one
//! of each kind.

use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::stats::LockStats;
use crate::sync::{Mutex, MutexGuard};

const WARN: Duration = Duration::from_millis(100);
const ERROR: Duration = Duration::from_millis(500);

/// One in so many locks that were not waited for is measured.
const MEASURED: u32 = 64;

/// A mutex that tells [`LockStats`] how it fares.
#[derive(Debug)]
pub(crate) struct WriterLock<T> {
    name: &'static str,
    value: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    value: T,
    /// Times that it was taken without waiting.
    turns: u32,
}

/// Access to what the lock guards; letting go records how long it was held, if that is measured.
pub(crate) struct WriterGuard<'a, T> {
    // An `Option` so that the lock is let go before the hold is recorded.
    guard: Option<MutexGuard<'a, Kept<T>>>,
    /// Since when it has been held, and how many times that stands for, if this one is measured.
    measured: Option<(Instant, u32)>,
    stats: &'a LockStats,
}

impl<T> WriterLock<T> {
    pub(crate) fn new(name: &'static str, value: T) -> Self {
        Self { name, value: Mutex::new(Kept { value, turns: 0 }) }
    }

    #[inline]
    pub(crate) fn lock<'a>(&'a self, stats: &'a LockStats) -> WriterGuard<'a, T> {
        // A writer that panicked left its change half done at worst in counters; refusing all later changes for it
        // would turn one bug into an outage.
        let mut guard = match self.value.try_lock() {
            // Most often.
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(broken)) => broken.into_inner(),
            Err(TryLockError::WouldBlock) => return self.wait(stats),
        };
        let turn = guard.turns;
        guard.turns = turn.wrapping_add(1);
        let measured = turn.is_multiple_of(MEASURED).then(|| {
            let times = if turn == 0 { 1 } else { MEASURED };
            // It was not waited for, so no clock has to say how long.
            stats.waited(Duration::ZERO, times);
            (Instant::now(), times)
        });
        WriterGuard { guard: Some(guard), measured, stats }
    }

    #[cold]
    #[inline(never)]
    fn wait<'a>(&'a self, stats: &'a LockStats) -> WriterGuard<'a, T> {
        let asked = Instant::now();
        let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let since = Instant::now();
        let waited = since - asked;
        stats.waited(waited, 1);
        if waited >= ERROR {
            tracing::error!(lock = self.name, ?waited, "waited very long for a writer lock");
        } else if waited >= WARN {
            tracing::warn!(lock = self.name, ?waited, "waited long for a writer lock");
        }
        WriterGuard { guard: Some(guard), measured: Some((since, 1)), stats }
    }
}

impl<T> Deref for WriterGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard.as_ref().expect("held until dropped").value
    }
}

impl<T> DerefMut for WriterGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard.as_mut().expect("held until dropped").value
    }
}

impl<T> Drop for WriterGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.guard = None;
        if let Some((since, times)) = self.measured {
            self.stats.held(since.elapsed(), times);
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::stats::{Gauges, Meters};

    #[test]
    fn of_locks_that_were_not_waited_for_the_first_is_measured_and_one_in_64_for_all() {
        let (lock, meters) = (WriterLock::new("a", ()), Meters::new());
        let counted = |turns: u32| {
            (0..turns).for_each(|_| drop(lock.lock(&meters.locks)));
            let stats = meters.read(Gauges::default());
            (stats.writer_lock_wait.count, stats.writer_lock_hold.count)
        };
        assert_eq!(counted(1), (1, 1));
        assert_eq!(counted(MEASURED - 1), (1, 1));
        assert_eq!(counted(1), (65, 65));
        assert_eq!(counted(MEASURED), (129, 129));
    }
}
