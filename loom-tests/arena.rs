//! **The arena**: an item that one thread has made is found by another that knows of it, zero or as it was last written,
//! and of two threads that make the same chunk one wins, with nothing lost of what was written to it.
//!
//! Two threads, no bound on preemptions worth naming (5).
//!
//! Seen to fail by `cargo xtask mutants-loom arena`.

use loom::thread;

use super::*;
use crate::arena::Arena;
use crate::sync::AtomicU64 as Item;

#[test]
fn a_chunk_is_made_once_and_found_whole() {
    explore(5, &["the other was found", "the other was not there yet"], |seen| {
        let arena = Arc::new(Arena::<Item, 1>::new());
        let add = |arena: &Arena<Item, 1>| arena.ensure(2).fetch_add(1, Ordering::Relaxed);
        let other = thread::spawn({
            let arena = arena.clone();
            move || add(&arena)
        });
        // Items 2 and 3 are in one chunk.
        match arena.get(3) {
            Some(item) => {
                assert_eq!(item.load(Ordering::Relaxed), 0);
                seen.note("the other was found");
            }
            None => seen.note("the other was not there yet"),
        }
        let mine = add(&arena);
        assert_eq!(mine + other.join().unwrap(), 1, "an item was made twice");
        assert_eq!(arena.at(2).load(Ordering::Relaxed), 2);
    });
}
