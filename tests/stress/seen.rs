//! What ThreadSanitizer is told, beside `src/sync/seen.rs`, of what it cannot see.
//!
//! # The standard library's `Arc`
//!
//! `Arc` counts references down with Release, and whoever comes to zero passes an Acquire fence before he frees. The
//! sanitizer knows no fences, so it would take every read of what was shared for a race with its being freed. (The standard
//! library has a form for the sanitizer, in builds of itself with it only.) So the linker leads each count-down of a word
//! of 64 bits here, where the sanitizer is told that it acquires, too. Nothing need be suppressed then, and a value that is
//! freed while somebody may read it is still found.
//!
//! What it hides: an Acquire that is missing behind a count-down of one's own. Models look at that.
//!
//! # Numbers of threads
//!
//! papaya gives each thread a number, and with it what an earlier thread of that number has used. It does so behind a lock of
//! the standard library. Where all threads have theirs before the first of them ends, none is handed on but by a join.

/// As the sanitizer numbers orderings.
const ACQ_REL: i32 = 4;

unsafe extern "C" {
    fn __real___tsan_atomic64_fetch_sub(word: *mut u64, by: u64, ordering: i32) -> u64;
}

/// # Safety
/// As that of what it stands before: the word is valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___tsan_atomic64_fetch_sub(word: *mut u64, by: u64, _ordering: i32) -> u64 {
    // SAFETY: as the caller says.
    unsafe { __real___tsan_atomic64_fetch_sub(word, by, ACQ_REL) }
}

/// To be called by a thread before it waits for the others.
pub(crate) fn begin() {
    drop(papaya::HashMap::<u8, u8>::new().pin());
}
