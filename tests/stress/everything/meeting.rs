//! Where all threads wait for one another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{panic, thread};

/// A barrier that nobody waits at for ever when another has failed. Made of atomics, which a sanitizer sees.
pub(super) struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
    held: AtomicUsize,
    broken: AtomicBool,
}

impl Meeting {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0), held: AtomicUsize::new(0), broken: AtomicBool::new(false) }
    }

    /// Waits until all have come.
    pub(super) fn wait(&self) {
        let before = self.held.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.held.store(before + 1, Ordering::Release);
            return;
        }
        while self.held.load(Ordering::Acquire) == before {
            self.go_on();
            // Not a yield alone: whoever is checking meanwhile needs the processor more.
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Ends this thread, too, if another has failed, which has said why.
    pub(super) fn go_on(&self) {
        if self.is_broken() {
            panic::resume_unwind(Box::new("another thread has failed"));
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// A thread that takes part. Tells the others when it fails.
pub(super) struct Attending<'a>(pub(super) &'a Meeting);

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}
