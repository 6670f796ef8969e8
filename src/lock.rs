//! Writer locks of the management path, which time how long they were waited for and held.
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

/// A mutex that tells [`LockStats`] how it fares.
#[derive(Debug)]
pub(crate) struct WriterLock<T> {
    name: &'static str,
    value: Mutex<T>,
}

/// Access to what the lock guards; letting go records how long it was held.
pub(crate) struct WriterGuard<'a, T> {
    // An `Option` so that the lock is let go before the hold is recorded.
    guard: Option<MutexGuard<'a, T>>,
    since: Instant,
    stats: &'a LockStats,
}

impl<T> WriterLock<T> {
    pub(crate) fn new(name: &'static str, value: T) -> Self {
        Self { name, value: Mutex::new(value) }
    }

    pub(crate) fn lock<'a>(&'a self, stats: &'a LockStats) -> WriterGuard<'a, T> {
        // A writer that panicked left its change half done at worst in counters; refusing all later changes for it
        // would turn one bug into an outage.
        let (guard, since, waited) = match self.value.try_lock() {
            // Most often. It was not waited for, so no clock has to say how long.
            Ok(guard) => (guard, Instant::now(), Duration::ZERO),
            Err(TryLockError::Poisoned(broken)) => (broken.into_inner(), Instant::now(), Duration::ZERO),
            Err(TryLockError::WouldBlock) => {
                let asked = Instant::now();
                let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
                let since = Instant::now();
                (guard, since, since - asked)
            }
        };
        stats.waited(waited);
        if waited >= ERROR {
            tracing::error!(lock = self.name, ?waited, "waited very long for a writer lock");
        } else if waited >= WARN {
            tracing::warn!(lock = self.name, ?waited, "waited long for a writer lock");
        }
        WriterGuard { guard: Some(guard), since, stats }
    }
}

impl<T> Deref for WriterGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("held until dropped")
    }
}

impl<T> DerefMut for WriterGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("held until dropped")
    }
}

impl<T> Drop for WriterGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        self.stats.held(self.since.elapsed());
    }
}
