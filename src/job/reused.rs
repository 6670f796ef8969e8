//! A shared value that readers follow under a pin, in memory that is used again when it has been put away.
//!
//! # Invariant
//! Between [`Reused::fill`] and [`Reused::put_away`] readers find the value, and nobody changes it; what they found is
//! good until their pins end. From `put_away` on nobody finds it, and when all pins that were there have ended, nobody
//! has it but whoever keeps an [`Arc`] of his own. Only then, by [`Reused::clear`], it is replaced: in place if nobody
//! keeps it, else by leaving the memory to those who do.
//!
//! # Orderings
//! A value is published with Release by `fill` and found with Acquire, so what was written before is seen. The owner of
//! the place hands it on from `put_away` to `clear` to `fill` by what he keeps places in (see `place`).

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::publish::Shared;
use crate::sync::{AtomicPtr, Ordering, Zeroed, owned};

/// In the lowest bit of the address: put away.
const AWAY: usize = 1;

/// See the module's documentation.
pub(super) struct Reused<T> {
    word: AtomicPtr<T>,
    owns: PhantomData<Arc<T>>,
}

// SAFETY: it holds an `Arc<T>`, and hands out what an `Arc<T>` shared between threads would.
unsafe impl<T: Send + Sync> Send for Reused<T> {}
// SAFETY: as above; every access to the pointer itself is atomic.
unsafe impl<T: Send + Sync> Sync for Reused<T> {}
// SAFETY: one atomic pointer, null by default.
unsafe impl<T> Zeroed for Reused<T> {}

impl<T> Default for Reused<T> {
    fn default() -> Self {
        Self { word: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }
}

fn address<T>(word: *mut T) -> *mut T {
    word.map_addr(|addr| addr & !AWAY)
}

impl<T> Reused<T> {
    /// The value, if there is one now.
    #[inline(always)]
    pub(super) fn load<'g>(&self, _pin: &'g Guard) -> Option<Shared<'g, T>> {
        // Acquire: pairs with `fill`.
        let word = NonNull::new(self.word.load(Ordering::Acquire))?;
        // SAFETY: not put away, so from `Arc::into_raw`, and the reference that this owns is not given up before the pins
        // that were there when it was put away, this one among them, have ended.
        (word.as_ptr().addr() & AWAY == 0).then(|| unsafe { Shared::found(word) })
    }

    /// Lets nobody find it any more. For the owner of the place.
    pub(super) fn put_away(&self) {
        // Relaxed: the owner has filled it, or had it handed over.
        let word = self.word.load(Ordering::Relaxed);
        // Release: what was read of the value is before whatever its memory is used for next.
        self.word.store(word.map_addr(|addr| addr | AWAY), Ordering::Release);
    }

    /// Replaces what was put away by `empty`, which must not need to be dropped.
    ///
    /// # Safety
    /// The place is the caller's alone; it was put away, and all pins of that time have ended.
    pub(super) unsafe fn clear(&self, empty: impl FnOnce() -> T) {
        let value = address(self.word.load(Ordering::Relaxed));
        if value.is_null() {
            return;
        }
        // SAFETY: from `Arc::into_raw`; the reference is this one's, and no reader follows the pointer any more.
        let mut value = unsafe { Arc::from_raw(value) };
        match Arc::get_mut(&mut value) {
            Some(found) => {
                *found = empty();
                std::mem::forget(value);
            }
            None => self.word.store(std::ptr::null_mut(), Ordering::Relaxed),
        }
    }

    /// Puts a value in, and lets it be found; the value, for the caller.
    ///
    /// # Safety
    /// The place is the caller's alone, and was cleared if it was ever filled. What is returned is good until the place is
    /// put away, by the caller, and his pin has ended.
    #[inline(always)]
    pub(super) unsafe fn fill<'g>(&self, value: T, _pin: &'g Guard) -> Shared<'g, T> {
        let found = address(self.word.load(Ordering::Relaxed));
        let filled = if found.is_null() {
            Arc::into_raw(Arc::new(value)).cast_mut()
        } else {
            // SAFETY: from `Arc::into_raw`, kept by `clear` because nobody else had it; since then nobody could get it. What
            // is there is not dropped, see below.
            unsafe { found.write(value) };
            found
        };
        // Release: publishes the value to `load`.
        self.word.store(filled, Ordering::Release);
        // SAFETY: from `Arc::into_raw`, so not null; as the caller promises.
        unsafe { Shared::found(NonNull::new_unchecked(filled)) }
    }
}

impl<T> Drop for Reused<T> {
    fn drop(&mut self) {
        let value = address(owned(&mut self.word));
        if !value.is_null() {
            // SAFETY: from `Arc::into_raw`, with a reference that is this one's; who has `&mut` is the only one.
            drop(unsafe { Arc::from_raw(value) });
        }
    }
}

impl<T> std::fmt::Debug for Reused<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reused").finish_non_exhaustive()
    }
}
