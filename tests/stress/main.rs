//! Many threads at once, bounded by operations and not by time: what must hold at every moment, and what must be left at
//! the end.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../benches/counting/mod.rs"]
mod counting;

mod everything;
mod flaws;
mod holds;
mod left;
mod races;
#[cfg(slotyard_sanitize_thread)]
mod seen;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Runs `f` on as many threads, let go at once, each with its number; returns what they returned.
fn at_once<T: Send>(threads: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let run = |thread| {
            let (barrier, f) = (&barrier, &f);
            scope.spawn(move || {
                #[cfg(slotyard_sanitize_thread)]
                seen::begin();
                barrier.wait();
                f(thread)
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread's own assertions hold")).collect()
    })
}

/// Tells the other threads to stop when this one has done its part, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
