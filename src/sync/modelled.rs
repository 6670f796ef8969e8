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
mod on_loom;
#[cfg(slotyard_shuttle)]
mod on_shuttle;

#[cfg(slotyard_loom)]
pub(crate) use on_loom::*;
#[cfg(slotyard_shuttle)]
pub(crate) use on_shuttle::*;

/// Stands in for crossbeam's channel, which does not build under its loom cfg: the standard library's, of which each call
/// is a step, and the receiver's end is one, too.
pub(crate) mod channel {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::Steps;

    pub(crate) use std::sync::mpsc::TrySendError;

    #[derive(Debug)]
    pub(crate) struct Sender<T> {
        queue: mpsc::SyncSender<T>,
        steps: Arc<Steps>,
    }

    #[derive(Debug)]
    pub(crate) struct Receiver<T> {
        queue: mpsc::Receiver<T>,
        steps: Arc<Steps>,
    }

    pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let ((sender, receiver), steps) = (mpsc::sync_channel(capacity), Arc::<Steps>::default());
        (Sender { queue: sender, steps: steps.clone() }, Receiver { queue: receiver, steps })
    }

    impl<T> Sender<T> {
        pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
            self.steps.write();
            self.queue.try_send(value)
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, mpsc::TryRecvError> {
            self.steps.write();
            self.queue.try_recv()
        }

        pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, mpsc::RecvTimeoutError> {
            self.steps.write();
            self.queue.recv_timeout(timeout)
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            self.steps.write();
        }
    }
}

/// The models' atomics cannot be zeroed memory; they start from their default, which is zero.
pub(crate) fn zeroed_slice<T: Zeroed>(len: usize) -> Box<[T]> {
    (0..len).map(|_| T::default()).collect()
}

/// As many items, to be given back with [`free`].
pub(crate) fn allocate<T: Zeroed>(len: usize) -> NonNull<T> {
    NonNull::from(Box::leak(zeroed_slice::<T>(len))).cast()
}

/// Nobody looks for what is lost here.
#[derive(Debug, Default)]
pub(crate) struct Trail;

impl Trail {
    /// # Safety
    /// None is needed here.
    pub(crate) unsafe fn keep<T>(&self, _: NonNull<T>) {}
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

/// Stands in for arc-swap's.
#[derive(Debug, Default)]
pub(crate) struct ArcSwap<T> {
    value: arc_swap::ArcSwap<T>,
    steps: Steps,
}

impl<T> ArcSwap<T> {
    pub(crate) fn load(&self) -> arc_swap::Guard<std::sync::Arc<T>> {
        self.steps.read();
        self.value.load()
    }

    /// Which is tried until nobody else has come in between: so one step.
    pub(crate) fn rcu(&self, make: impl FnMut(&std::sync::Arc<T>) -> T) {
        self.steps.write();
        self.value.rcu(make);
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
