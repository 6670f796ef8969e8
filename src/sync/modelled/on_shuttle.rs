//! What is shuttle's, and pins of the threads of a model.

use crossbeam_epoch::{Guard, LocalHandle};

use crate::sync::{Flag, Ordering};

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
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
