//! The one place that names atomics, locks, threads and pins, and switches them to loom's under `--cfg slotyard_loom`, to
//! shuttle's under `--cfg slotyard_shuttle`.
//!
//! What the models explore is imported from here, maps, queues and values made on first use among it: neither can look
//! into those, so [`modelled`] has stand-ins for them. What the models leave out stays the standard library's in all
//! builds and says so: numbers that nothing depends on.

#[cfg(not(any(slotyard_loom, slotyard_shuttle)))]
mod items;
#[cfg(any(slotyard_loom, slotyard_shuttle))]
mod modelled;
#[cfg(slotyard_sanitize_thread)]
mod seen;

#[cfg(not(any(slotyard_loom, slotyard_shuttle)))]
mod shipped {
    #[cfg(slotyard_sanitize_thread)]
    pub(crate) use super::seen::{Mutex, MutexGuard, OnceLock};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
    #[cfg(not(slotyard_sanitize_thread))]
    pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};
    pub(crate) use std::thread_local;

    pub(crate) use super::items::{Trail, allocate, free, zeroed_slice};
    pub(crate) use arc_swap::ArcSwap;
    pub(crate) use crossbeam_channel as channel;
    pub(crate) use crossbeam_queue::SegQueue;
    pub(crate) use papaya::HashMap as Map;

    /// The pointer, from whoever has it for himself.
    pub(crate) fn owned<T>(pointer: &mut AtomicPtr<T>) -> *mut T {
        *pointer.get_mut()
    }
}

#[cfg(any(slotyard_loom, slotyard_shuttle))]
use modelled as imp;
#[cfg(not(any(slotyard_loom, slotyard_shuttle)))]
use shipped as imp;

#[cfg(not(slotyard_shuttle))]
pub(crate) use crossbeam_epoch::pin;
#[cfg(all(test, slotyard_shuttle))]
pub(crate) use imp::execution;
#[cfg(slotyard_shuttle)]
pub(crate) use imp::pin;
pub(crate) use imp::{
    ArcSwap, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Map, Mutex, MutexGuard, OnceLock, SegQueue, Trail, allocate,
    channel, fence, free, owned, thread_local, zeroed_slice,
};
pub(crate) use std::sync::atomic::Ordering;

/// Not modelled: numbering of threads and schedulers, and what is made on first use and is the same whoever makes it.
#[cfg(slotyard_sanitize_thread)]
pub(crate) use seen::{Mutex as PlainMutex, OnceLock as PlainOnceLock};
/// Not modelled: numbers that are only ever read to be shown, or to guess by.
pub(crate) use std::sync::atomic::AtomicU64 as Statistic;
/// Not modelled: numbering of threads and schedulers.
pub(crate) use std::sync::atomic::AtomicU64 as Sequence;
#[cfg(not(slotyard_sanitize_thread))]
pub(crate) use std::sync::{Mutex as PlainMutex, OnceLock as PlainOnceLock};

/// Not modelled: a request to stop, and that reclamation has come so far.
pub(crate) use std::sync::atomic::AtomicBool as Flag;

/// That a SeqCst fence was passed since. Of two threads that each write one word, pass a fence, and read the other's word,
/// one at least sees what the other has written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fenced(());

impl Fenced {
    #[inline(always)]
    pub(crate) fn here() -> Self {
        fence(Ordering::SeqCst);
        Self(())
    }

    /// The same right after a read-modify-write by which the first word was written, or before which it was. On x86 that
    /// is a fence itself, for no instruction with `lock` lets a later load come before an earlier store; another one
    /// would cost six ns more.
    #[inline(always)]
    pub(crate) fn after_exchange() -> Self {
        let modelled = cfg!(any(slotyard_loom, slotyard_shuttle, miri));
        if cfg!(any(target_arch = "x86_64", target_arch = "x86")) && !modelled {
            // Nor does the compiler.
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
            return Self(());
        }
        Self::here()
    }
}

/// A size, or a smaller one for the models: so that few nodes fill a word, and a few more add a level.
pub(crate) const fn sized(shipped: u32, modelled: u32) -> u32 {
    if cfg!(any(slotyard_loom, slotyard_shuttle)) { modelled } else { shipped }
}

/// The same, with another for shuttle's models: they are larger; and their threads are known apart, so that of what threads
/// have for themselves there may be some of one's own, and one that is shared.
pub(crate) const fn sized_by_model(shipped: u32, loom: u32, shuttle: u32) -> u32 {
    if cfg!(slotyard_shuttle) { shuttle } else { sized(shipped, loom) }
}

/// Types for which all-zero bytes are a valid value, equal to their default.
///
/// # Safety
/// An implementer is made of integers, and of the standard library's atomics of integers and pointers, only (the models'
/// builds do not rely on it).
pub(crate) unsafe trait Zeroed: Default {}

// SAFETY: an atomic integer.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl Zeroed for AtomicU64 {}
// SAFETY: atomic integers.
unsafe impl Zeroed for [AtomicU64; 3] {}

/// Has what was deferred done until it comes to that. Other tests may be pinned for a while.
#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
pub(crate) fn collect_until(done: impl Fn() -> bool) {
    let come_to_it = (0..100_000).any(|_| {
        let is_done = done();
        if !is_done {
            collect();
            std::thread::yield_now();
        }
        is_done
    });
    assert!(come_to_it, "it never came to that");
}

/// Has the epoch go on as far as pins let it.
#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
pub(crate) fn collect() {
    (0..200).for_each(|_| pin().flush());
}
