//! What a sanitizer must find, so that it is known to look: each of these is wrong on purpose, and run only by name.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

struct Unguarded(UnsafeCell<u64>);

// SAFETY: none. That is the flaw.
unsafe impl Sync for Unguarded {}

#[test]
#[ignore = "wrong on purpose, for ThreadSanitizer to find"]
fn two_threads_write_one_place() {
    static PLACE: Unguarded = Unguarded(UnsafeCell::new(0));
    // Both are there before either writes: of one that is gone already, ThreadSanitizer may give the other the identity.
    static BOTH: Barrier = Barrier::new(2);
    let write = |value: u64| {
        BOTH.wait();
        for step in 0..1000 {
            // SAFETY: none. That is the flaw.
            unsafe { PLACE.0.get().write_volatile(value + step) };
        }
    };
    thread::scope(|scope| {
        scope.spawn(move || write(1));
        scope.spawn(move || write(2));
    });
}

#[test]
#[ignore = "wrong on purpose, for AddressSanitizer and valgrind to find"]
fn freed_memory_is_read() {
    let kept = Box::into_raw(Box::new(7u64));
    // SAFETY: from `into_raw` just above.
    drop(unsafe { Box::from_raw(black_box(kept)) });
    // SAFETY: none. That is the flaw.
    black_box(unsafe { kept.read_volatile() });
}

#[test]
#[ignore = "wrong on purpose, for AddressSanitizer and valgrind to find"]
fn memory_is_lost() {
    // Many, and by a thread that is gone: the search for pointers begins at what happens to be in registers and on stacks.
    let lose = || (0..100).for_each(|_| _ = black_box(Box::into_raw(Box::new([7u64; 40]))));
    thread::spawn(lose).join().expect("it cannot fail");
}
