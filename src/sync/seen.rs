//! What stands in, under ThreadSanitizer, for what of the standard library it cannot see.
//!
//! The standard library comes compiled, and without the sanitizer's instructions. A lock that has to be waited for and a
//! value that is made on first use are handed from thread to thread in there; so the sanitizer would take every access to
//! what they guard for a race. These hand over the same, and where it is seen.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

pub(crate) use once_cell::sync::OnceCell as OnceLock;

/// The standard library's, and a word beside it by which each holder tells the next what it has done.
#[derive(Default)]
pub(crate) struct Mutex<T> {
    value: std::sync::Mutex<T>,
    handed_on: AtomicU32,
}

pub(crate) struct MutexGuard<'a, T> {
    // After `drop`, so that the word is written while the lock is still held.
    guard: std::sync::MutexGuard<'a, T>,
    handed_on: &'a AtomicU32,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: std::sync::Mutex::new(value), handed_on: AtomicU32::new(0) }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.value.lock() {
            Ok(guard) => Ok(self.taken(guard)),
            Err(poisoned) => Err(PoisonError::new(self.taken(poisoned.into_inner()))),
        }
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(guard) => Ok(self.taken(guard)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                Err(TryLockError::Poisoned(PoisonError::new(self.taken(poisoned.into_inner()))))
            }
        }
    }

    fn taken<'a>(&'a self, guard: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        // Acquire: pairs with the Release in `drop`.
        self.handed_on.load(Ordering::Acquire);
        MutexGuard { guard, handed_on: &self.handed_on }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `taken`.
        self.handed_on.store(0, Ordering::Release);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
