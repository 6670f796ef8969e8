//! The one place that names atomics, locks and threads, and switches them to loom's under `--cfg slotyard_loom`.
//!
//! What the models explore is imported from here. What they take as given stays the standard library's in both
//! builds and says so: chunk pointers of the arenas and counters that nothing depends on.

#[cfg(not(slotyard_loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
    pub(crate) use std::sync::{Mutex, MutexGuard};

    pub(crate) use crossbeam_channel as channel;

    /// A slice of zeroed values, without touching the memory: large ones are mapped when first used.
    pub(crate) fn zeroed_slice<T: super::Zeroed>(len: usize) -> Box<[T]> {
        let slice = Box::<[T]>::new_zeroed_slice(len);
        // SAFETY: `Zeroed` promises that all-zero bytes are a valid value.
        unsafe { slice.assume_init() }
    }
}

#[cfg(slotyard_loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    /// Not modelled: events, which nothing waits for. Crossbeam's channel does not build under its loom cfg.
    pub(crate) mod channel {
        pub(crate) use std::sync::mpsc::{Receiver, SyncSender as Sender, TrySendError, sync_channel as bounded};
    }

    /// Loom's atomics live in a model and cannot be zeroed memory; they start from their default, which is zero.
    pub(crate) fn zeroed_slice<T: super::Zeroed>(len: usize) -> Box<[T]> {
        (0..len).map(|_| T::default()).collect()
    }
}

pub(crate) use imp::{AtomicPtr, AtomicU32, AtomicU64, Mutex, MutexGuard, channel, fence, zeroed_slice};
pub(crate) use std::sync::atomic::Ordering;

/// Not modelled: chunk pointers of the arenas. They are written once, from null, and never again.
pub(crate) use std::sync::atomic::AtomicPtr as ChunkPtr;
/// Not modelled: numbers that are only ever read to be shown, or to guess by.
pub(crate) use std::sync::atomic::AtomicU64 as Statistic;
/// Not modelled: numbering of threads and schedulers.
pub(crate) use std::sync::atomic::AtomicU64 as Sequence;

/// Not modelled: a request to stop.
pub(crate) use std::sync::atomic::AtomicBool as Flag;

/// A size, or a smaller one for the models: so that few nodes fill a word, and a few more add a level.
pub(crate) const fn sized(shipped: u32, modelled: u32) -> u32 {
    if cfg!(slotyard_loom) { modelled } else { shipped }
}

/// Types for which all-zero bytes are a valid value, equal to their default.
///
/// # Safety
/// An implementer is made of integers, and of the standard library's atomics of integers and pointers, only (loom's
/// build does not rely on it).
pub(crate) unsafe trait Zeroed: Default {}

// SAFETY: an atomic integer.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl Zeroed for AtomicU64 {}
