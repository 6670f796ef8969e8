//! What the models run on: loom's atomics and locks, or shuttle's, and stand-ins for structures that neither can look into.
//!
//! A stand-in holds the real structure and an atomic of the model's beside it, which it touches before each call. All
//! threads of a model are run by one thread of the system, and change places only where they touch something of the
//! model's. So to a model each call of the structure is one atomic step; loom knows that the steps of one structure
//! conflict, and tries their orders; and each sees what was done before the earlier ones. That is a little more than the
//! real structures promise, where a call that finds nothing synchronizes with nobody: what hangs on that, no model finds.
//!
//! Pins are those of crossbeam's real epoch. Loom's models look into it, since it knows loom. To shuttle's a pin is one step,
//! of a participant that each thread of the model has for itself; what comes before and after are others.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::ptr::NonNull;

use papaya::{HashMapRef, LocalGuard};

use super::{Ordering, Zeroed};

#[cfg(slotyard_loom)]
mod switched {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
    /// Not loom's: to it all threads of a model are one in what they have for themselves.
    pub(crate) use std::thread_local;

    /// Not modelled: events, which nothing waits for. Crossbeam's channel does not build under its loom cfg.
    pub(crate) mod channel {
        pub(crate) use std::sync::mpsc::{Receiver, SyncSender as Sender, TrySendError, sync_channel as bounded};
    }
}

#[cfg(slotyard_shuttle)]
mod switched {
    use crossbeam_epoch::{Guard, LocalHandle};

    use super::super::{Flag, Ordering};

    /// Not modelled: events, which nothing waits for.
    pub(crate) use crossbeam_channel as channel;
    pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
    pub(crate) use shuttle::thread_local;

    shuttle::thread_local! {
        static PARTICIPANT: LocalHandle = execution::collector().register();
    }

    /// Not `crossbeam_epoch::pin`: to that all threads of a model were one, and what an earlier execution has left decided
    /// when the next one collects, so that none could be repeated.
    pub(crate) fn pin() -> Guard {
        // A step of its own, so that the others have a turn between it and what was done before.
        AtomicU32::new(0).load(Ordering::SeqCst);
        // A thread that is ending has none any more; the guard keeps the one that is made for it.
        PARTICIPANT.try_with(LocalHandle::pin).unwrap_or_else(|_| execution::collector().register().pin())
    }

    /// What is of one execution of a model.
    #[cfg_attr(not(test), expect(dead_code, reason = "nothing begins one but the models"))]
    pub(crate) mod execution {
        use std::cell::RefCell;

        use crossbeam_epoch::Collector;

        std::thread_local! {
            static COLLECTOR: RefCell<Collector> = RefCell::default();
        }

        pub(super) fn collector() -> Collector {
            COLLECTOR.with_borrow(Clone::clone)
        }

        /// Runs the model with an epoch of its own. What it retires is reclaimed before it ends, if all that it has made is gone
        /// and all its other threads have ended.
        pub(crate) fn run(model: impl FnOnce()) {
            COLLECTOR.set(Collector::new());
            // Before all else that a thread has for itself, so that it goes first.
            drop(super::pin());
            model();
            super::settle();
        }
    }

    /// Waits until all that was retired is reclaimed, by the one thread that is left; what that retires, too.
    pub(crate) fn settle() {
        use std::sync::Arc;

        for _ in 0..4 {
            let done = Arc::new(Flag::new(false));
            let mark = done.clone();
            // What was retired before comes before.
            pin().defer(move || mark.store(true, Ordering::Relaxed));
            for turn in 0.. {
                assert!(turn < 1000, "what was retired is not reclaimed: somebody is still pinned");
                pin().flush();
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
}

pub(crate) use switched::*;

/// The models' atomics cannot be zeroed memory; they start from their default, which is zero.
pub(crate) fn zeroed_slice<T: Zeroed>(len: usize) -> Box<[T]> {
    (0..len).map(|_| T::default()).collect()
}

/// As many items, to be given back with [`free`].
pub(crate) fn allocate<T: Zeroed>(len: usize) -> NonNull<T> {
    NonNull::from(Box::leak(zeroed_slice::<T>(len))).cast()
}

/// Drops the items, and gives their memory back.
///
/// # Safety
/// As many items as were [`allocate`]d there, which nobody has any more.
pub(crate) unsafe fn free<T>(items: NonNull<T>, len: usize) {
    // SAFETY: leaked from such a box.
    drop(unsafe { Box::from_raw(NonNull::slice_from_raw_parts(items, len).as_ptr()) });
}

/// The pointer, from whoever has it for himself. Often that is the last of several that shared an `Arc`, which loom
/// does not see, so to loom he might not know the latest value; a read-modify-write always does.
pub(crate) fn owned<T>(pointer: &mut AtomicPtr<T>) -> *mut T {
    pointer.swap(std::ptr::null_mut(), Ordering::AcqRel)
}

/// The atomic beside a structure.
#[derive(Debug, Default)]
struct Steps(AtomicU64);

impl Steps {
    /// For a call that may change the structure.
    fn write(&self) {
        self.0.fetch_add(0, Ordering::AcqRel);
    }

    /// For a call that only looks.
    fn read(&self) {
        self.0.fetch_add(0, Ordering::Acquire);
    }
}

/// Stands in for papaya's map: each call on a pinned map is a step.
pub(crate) struct Map<K, V, S> {
    map: papaya::HashMap<K, V, S>,
    steps: Steps,
}

/// A pinned map.
pub(crate) struct Pinned<'a, K, V, S> {
    map: HashMapRef<'a, K, V, S, LocalGuard<'a>>,
    steps: &'a Steps,
}

impl<K: Hash + Eq, V, S: BuildHasher> Map<K, V, S> {
    pub(crate) fn with_hasher(hasher: S) -> Self {
        Self { map: papaya::HashMap::with_hasher(hasher), steps: Steps::default() }
    }

    pub(crate) fn pin(&self) -> Pinned<'_, K, V, S> {
        Pinned { map: self.map.pin(), steps: &self.steps }
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.read();
        self.map.len()
    }
}

impl<'a, K, V, S> Deref for Pinned<'a, K, V, S> {
    type Target = HashMapRef<'a, K, V, S, LocalGuard<'a>>;

    fn deref(&self) -> &Self::Target {
        self.steps.write();
        &self.map
    }
}

impl<K, V, S> fmt::Debug for Map<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").finish_non_exhaustive()
    }
}

/// Stands in for crossbeam's queue.
#[derive(Debug)]
pub(crate) struct SegQueue<T> {
    queue: crossbeam_queue::SegQueue<T>,
    steps: Steps,
}

impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self { queue: crossbeam_queue::SegQueue::new(), steps: Steps::default() }
    }

    pub(crate) fn push(&self, value: T) {
        self.steps.write();
        self.queue.push(value);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.steps.write();
        self.queue.pop()
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.read();
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.read();
        self.queue.is_empty()
    }
}

/// Stands in for the standard library's.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    steps: Steps,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { value: std::sync::OnceLock::new(), steps: Steps::default() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.steps.read();
        self.value.get()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.steps.write();
        self.value.get_or_init(make)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}
