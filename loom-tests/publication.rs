//! **Publication**: what a reader has found under its pin is whole when it is found, and is not dropped before the pin
//! ends; what it has taken a reference of lives as long as that. Every value is dropped in the end, once.
//!
//! These models pin with the real epoch of crossbeam, built with loom's atomics. Dropping a value writes to a cell in
//! which reading it reads: loom fails a model in which the two are not ordered, even if the read happens to come first.
//! The memory itself is kept (by a weak reference), so that a value that was dropped too early can be read and seen.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a reader looks twice under one pin, a writer replaces the value and has the epochs collected | 2 | 2 |
//! | two threads that look and replace | 2 | 2 |
//! | a reader takes a reference with it | 2 | 2 |
//! | a reader without a pin (nothing is collected): is what it finds whole? | 2 | 5 |
//!
//! Seen to fail by `cargo xtask mutants-loom publication`.

use std::sync::Weak;
use std::sync::atomic::AtomicBool;

use loom::cell::UnsafeCell;
use loom::thread;

use super::*;
use crate::publish::Published;

const ALIVE: u32 = 0xa11e;
const DROPPED: u32 = 0xdead;

/// A value that tells when it is looked at too late.
#[derive(Debug)]
struct Canary {
    number: u32,
    state: UnsafeCell<u32>,
    dropped: Arc<AtomicU64>,
}

// SAFETY: the cell is written only by `drop`; loom checks that nobody reads it meanwhile.
unsafe impl Sync for Canary {}

impl Canary {
    fn look(&self) -> u32 {
        // SAFETY: see above. Should the value have been dropped, the memory is still there, see the module.
        self.state.with(|state| assert_eq!(unsafe { *state }, ALIVE, "a value was dropped while it was read"));
        self.number
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: as in `look`; dropped once.
        self.state.with_mut(|state| unsafe { *state = DROPPED });
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Makes values, counts those dropped, and keeps the memory of all of them.
#[derive(Debug, Default, Clone)]
struct Nest {
    dropped: Arc<AtomicU64>,
    memory: Arc<Mutex<Vec<Weak<Canary>>>>,
}

impl Nest {
    fn value(&self, number: u32) -> Arc<Canary> {
        let value = Canary { number, state: UnsafeCell::new(ALIVE), dropped: self.dropped.clone() };
        let value = Arc::new(value);
        self.memory.lock().unwrap().push(Arc::downgrade(&value));
        value
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// Ends the pins of this thread for a moment, so often that what it has replaced is dropped if no other pin is in the way.
fn collect() {
    for _ in 0..2 {
        crossbeam_epoch::pin().flush();
    }
}

#[test]
fn a_value_outlives_the_pins_that_found_it() {
    let outcomes = ["the old value was found", "the new value was found", "the old one was dropped under a later pin"];
    explore(2, &outcomes, |seen| {
        let nest = Nest::default();
        let published = Arc::new(Published::new(nest.value(1)));
        let reader = thread::spawn({
            let (published, nest, seen) = (published.clone(), nest.clone(), seen.clone());
            move || {
                let pin = crossbeam_epoch::pin();
                let found = published.load(&pin).unwrap();
                let number = found.look();
                seen.note(if number == 1 { "the old value was found" } else { "the new value was found" });
                // The writer may collect here.
                let again = published.load(&pin).unwrap();
                assert!(again.look() >= number, "a reader went back to an older value");
                assert_eq!(found.look(), number);
                if nest.dropped() == 1 {
                    seen.note("the old one was dropped under a later pin");
                }
            }
        });
        published.swap(Some(nest.value(2)), &crossbeam_epoch::pin());
        collect();
        reader.join().unwrap();
        // Under all of this a second time there is no reader any more.
        collect();
        assert!(nest.dropped() <= 1, "the value that is published was dropped");
        drop(published);
    });
}

#[test]
fn values_of_two_writers_are_dropped_once_each() {
    explore(2, &["the other's value was replaced", "the other's value was found"], |seen| {
        let nest = Nest::default();
        let published = Arc::new(Published::new(nest.value(1)));
        let replace = |number| {
            let (published, nest) = (published.clone(), nest.clone());
            move || {
                let pin = crossbeam_epoch::pin();
                let found = published.load(&pin).unwrap();
                published.swap(Some(nest.value(number)), &pin);
                // By now it may have been replaced by either.
                found.look()
            }
        };
        let other = thread::spawn(replace(2));
        let found = [replace(3)(), {
            collect();
            other.join().unwrap()
        }];
        if found != [1, 1] {
            seen.note("the other's value was found");
        }
        let last = published.load(&crossbeam_epoch::pin()).unwrap().look();
        assert!(last > 1);
        if last == 3 {
            seen.note("the other's value was replaced");
        }
        assert!(nest.dropped() <= 2, "the value that is published was dropped");
    });
}

/// As [`Canary`], for values whose last reference any thread may hold: loom does not see the counts of an `Arc`, by which
/// its users are ordered, so only the order of what happens is looked at.
#[derive(Debug)]
struct Counted(Arc<AtomicBool>);

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(!self.0.swap(true, Ordering::SeqCst), "a value was dropped twice");
    }
}

#[test]
fn a_reference_outlives_the_pin_under_which_it_was_taken() {
    explore(2, &["the last reference was the reader's"], |seen| {
        let dropped = Arc::new(AtomicBool::new(false));
        let published = Arc::new(Published::new(Arc::new(Counted(dropped.clone()))));
        let reader = thread::spawn({
            let (published, seen) = (published.clone(), seen.clone());
            move || {
                let taken = published.load_arc(&crossbeam_epoch::pin());
                let Some(taken) = taken else { return };
                // A step of this thread that the other can come before.
                drop(crossbeam_epoch::pin());
                assert!(!taken.0.load(Ordering::SeqCst), "a value was dropped while there was a reference");
                if Arc::strong_count(&taken) == 1 {
                    seen.note("the last reference was the reader's");
                }
            }
        });
        published.swap(None, &crossbeam_epoch::pin());
        collect();
        reader.join().unwrap();
    });
}

#[test]
fn a_value_is_whole_when_it_is_found() {
    explore(5, &["the first value was found", "the second value was found", "nothing was found"], |seen| {
        let nest = Nest::default();
        let published = Arc::new(Published::default());
        let reader = thread::spawn({
            let (published, seen) = (published.clone(), seen.clone());
            move || {
                // Two looks, so that both values can be seen by one reader.
                for _ in 0..2 {
                    let found: Option<&Canary> = published.load(unpinned());
                    seen.note(match found.map(Canary::look) {
                        None => "nothing was found",
                        Some(1) => "the first value was found",
                        _ => "the second value was found",
                    });
                }
            }
        });
        // The pin lasts, so the value that is replaced does.
        let pin = crossbeam_epoch::pin();
        published.swap(Some(nest.value(1)), &pin);
        published.swap(Some(nest.value(2)), &pin);
        reader.join().unwrap();
        assert_eq!(nest.dropped(), 0);
    });
}
