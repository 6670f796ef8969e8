//! An append-only array that grows by chunks and never moves what it holds.
//!
//! Invariant: a chunk pointer goes from null to an allocation once and stays; so a reference to an item is good for
//! as long as the arena is. Chunk 0 holds the first 2^`FIRST` items, each further chunk as many as all before it.
//!
//! # Orderings
//! A chunk is published with Release and found with Acquire, so its zeroed items are seen by whoever finds it.

use crate::sync::{AtomicPtr, Ordering, Zeroed, owned, sized, zeroed_slice};

/// Chunks of an arena: with this many even `FIRST = 1` goes to 2^27 items.
const CHUNKS: usize = sized(27, 4) as usize;

/// See the module's documentation. `FIRST` is at least 1.
pub(crate) struct Arena<T, const FIRST: u32> {
    chunks: [AtomicPtr<T>; CHUNKS],
}

// SAFETY: it owns its items, as a `Box<[T]>` would.
unsafe impl<T: Send, const FIRST: u32> Send for Arena<T, FIRST> {}
// SAFETY: it hands out shared references only; chunks are added under a compare-and-swap.
unsafe impl<T: Send + Sync, const FIRST: u32> Sync for Arena<T, FIRST> {}

impl<T: Zeroed, const FIRST: u32> Arena<T, FIRST> {
    const MASK: u32 = (1 << FIRST) - 1;

    pub(crate) fn new() -> Self {
        Self { chunks: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())) }
    }

    /// The chunk of item `index`, and the index of that chunk's first item.
    #[inline(always)]
    fn place(index: u32) -> (usize, u32) {
        let log = (index | Self::MASK).ilog2();
        ((log + 1 - FIRST) as usize, (1 << log) & !Self::MASK)
    }

    #[inline(always)]
    fn chunk_len(chunk: usize) -> usize {
        1 << (FIRST as usize + chunk.saturating_sub(1))
    }

    /// Item `index`, if it was ever [`ensure`](Self::ensure)d.
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, base) = Self::place(index);
        // Acquire: pairs with the Release in `ensure`.
        let items = self.chunks.get(chunk)?.load(Ordering::Acquire);
        if items.is_null() {
            return None;
        }
        // SAFETY: the chunk holds the items from `base` on up to twice as far (chunk 0: to 2^FIRST), `index` among
        // them by `place`; it is never freed or moved while the arena lives, and `self` is borrowed.
        Some(unsafe { &*items.add((index - base) as usize) })
    }

    /// Item `index`, which the caller knows to exist.
    ///
    /// # Panics
    /// When it was never ensured.
    #[inline(always)]
    pub(crate) fn at(&self, index: u32) -> &T {
        match self.get(index) {
            Some(item) => item,
            None => missing(index),
        }
    }

    /// Makes sure that item `index` exists; every caller may race.
    pub(crate) fn ensure(&self, index: u32) -> &T {
        let (chunk, _) = Self::place(index);
        let slot = &self.chunks[chunk];
        if slot.load(Ordering::Acquire).is_null() {
            let items = Box::into_raw(zeroed_slice::<T>(Self::chunk_len(chunk))).cast::<T>();
            // Release: publishes the zeroed items to the Acquire in `get`.
            let won = slot.compare_exchange(std::ptr::null_mut(), items, Ordering::Release, Ordering::Relaxed);
            if won.is_err() {
                // SAFETY: `items` came from `Box::into_raw` just above, with this length, and nobody else saw it.
                drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(items, Self::chunk_len(chunk))) });
            }
        }
        self.at(index)
    }
}

#[cold]
fn missing(index: u32) -> ! {
    panic!("item {index} of an arena was never made; this is a bug in slotyard")
}

impl<T, const FIRST: u32> Drop for Arena<T, FIRST> {
    fn drop(&mut self) {
        for (chunk, slot) in self.chunks.iter_mut().enumerate() {
            let items = owned(slot);
            if !items.is_null() {
                let len = 1 << (FIRST as usize + chunk.saturating_sub(1));
                // SAFETY: a chunk pointer that is not null came from `Box::into_raw` of a slice of this length.
                drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(items, len)) });
            }
        }
    }
}

impl<T, const FIRST: u32> std::fmt::Debug for Arena<T, FIRST> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use crate::sync::AtomicU64;
    use proptest::prelude::*;

    #[test]
    fn chunks_tile_the_indices() {
        let mut next = 0;
        for chunk in 0..10 {
            for _ in 0..Arena::<AtomicU64, 3>::chunk_len(chunk) {
                let (found, base) = Arena::<AtomicU64, 3>::place(next);
                assert_eq!(found, chunk);
                assert!(base <= next);
                next += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn items_keep_their_place_and_value(indices in proptest::collection::vec(0u32..100_000, 1..50)) {
            let arena = Arena::<AtomicU64, 1>::new();
            let first: Vec<*const AtomicU64> = indices.iter().map(|&i| std::ptr::from_ref(arena.ensure(i))).collect();
            for &i in &indices {
                arena.at(i).store(u64::from(i) + 1, Ordering::Relaxed);
            }
            for (&i, &at) in indices.iter().zip(&first) {
                prop_assert_eq!(std::ptr::from_ref(arena.at(i)), at);
                prop_assert_eq!(arena.at(i).load(Ordering::Relaxed), u64::from(i) + 1);
            }
        }
    }

    #[test]
    fn what_was_never_made_is_not_found() {
        let arena = Arena::<AtomicU64, 4>::new();
        assert!(arena.get(0).is_none());
        arena.ensure(40);
        assert!(arena.get(63).is_some() && arena.get(64).is_none() && arena.get(u32::MAX).is_none());
    }
}
