//! An append-only array that grows by chunks and never moves what it holds.
//!
//! Invariant: a chunk pointer goes from null to an allocation once and stays; so a reference to an item is good for
//! as long as the arena is. Chunk 0 holds the first 2^`FIRST` items, each further chunk as many as all before it.
//!
//! # Orderings
//! A chunk is published with Release and found with Acquire, so its zeroed items are seen by whoever finds it.

use std::ptr::NonNull;

use crate::sync::{AtomicPtr, Ordering, Trail, Zeroed, allocate, free, owned, sized_by_model};

/// Chunks of an arena: with this many even `FIRST = 1` goes to 2^27 items.
const CHUNKS: usize = sized_by_model(27, 4, 12) as usize;

/// See the module's documentation. `FIRST` is at least 1.
pub(crate) struct Arena<T, const FIRST: u32> {
    /// Of each chunk, where item 0 would be if the chunk went back that far: so that item `index` is `index` items on,
    /// with nothing to subtract. Null: not made yet.
    origins: [AtomicPtr<T>; CHUNKS],
    /// Leads to the chunks themselves.
    trail: Trail,
}

// SAFETY: it owns its items, as a `Box<[T]>` would.
unsafe impl<T: Send, const FIRST: u32> Send for Arena<T, FIRST> {}
// SAFETY: it hands out shared references only; chunks are added under a compare-and-swap.
unsafe impl<T: Send + Sync, const FIRST: u32> Sync for Arena<T, FIRST> {}

impl<T: Zeroed, const FIRST: u32> Arena<T, FIRST> {
    const MASK: u32 = (1 << FIRST) - 1;

    pub(crate) fn new() -> Self {
        Self { origins: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())), trail: Trail::default() }
    }

    /// The chunk of item `index`.
    #[inline(always)]
    fn chunk_of(index: u32) -> usize {
        ((index | Self::MASK).ilog2() + 1 - FIRST) as usize
    }

    /// Item `index`, if it was ever [`ensure`](Self::ensure)d.
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: an item of an allocation that is never freed or moved while the arena lives, and `self` is borrowed.
        self.pointer(index).map(|item| unsafe { item.as_ref() })
    }

    /// The `row`th `N` items, if one of them was ever [`ensure`](Self::ensure)d. `N` is a power of two, and no more than
    /// the first chunk holds.
    #[inline(always)]
    pub(crate) fn row<const N: usize>(&self, row: u32) -> Option<&[T; N]> {
        const { assert!(N.is_power_of_two() && N <= 1 << FIRST) };
        let first = self.pointer(row.wrapping_mul(N as u32))?;
        // SAFETY: a chunk begins at a multiple of its length, which is one of `N`, as the index of the row's first item is;
        // so the chunk has them all, in one allocation, of which the pointer is; they are shared for as long as `self` is.
        Some(unsafe { first.cast().as_ref() })
    }

    /// Where item `index` is, if it was ever ensured: good for its whole chunk.
    #[inline(always)]
    fn pointer(&self, index: u32) -> Option<NonNull<T>> {
        // Acquire: pairs with the Release in `ensure`.
        let origin = NonNull::new(self.origins.get(Self::chunk_of(index))?.load(Ordering::Acquire))?;
        // SAFETY: the chunk has `index` among its items, by `chunk_of`, so this leads back into its allocation, from which
        // the origin was made; and no item is at the null address.
        Some(unsafe { NonNull::new_unchecked(origin.as_ptr().wrapping_add(index as usize)) })
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
        let chunk = Self::chunk_of(index);
        let slot = &self.origins[chunk];
        if slot.load(Ordering::Acquire).is_null() {
            let items = allocate::<T>(chunk_len(FIRST, chunk));
            let origin = items.as_ptr().wrapping_sub(first_of(FIRST, chunk));
            assert!(!origin.is_null(), "memory is nowhere so low that the origin could be null");
            // Release: publishes the zeroed items to the Acquire in `get`.
            let won = slot.compare_exchange(std::ptr::null_mut(), origin, Ordering::Release, Ordering::Relaxed);
            match won {
                // SAFETY: allocated just above; `drop` frees them.
                Ok(_) => unsafe { self.trail.keep(items) },
                // SAFETY: allocated just above, as many, and nobody else saw them.
                Err(_) => unsafe { free(items, chunk_len(FIRST, chunk)) },
            }
        }
        self.at(index)
    }
}

/// Items of a chunk.
const fn chunk_len(first: u32, chunk: usize) -> usize {
    1 << (first as usize + chunk.saturating_sub(1))
}

/// The index of a chunk's first item: as many come before as it has, but none before chunk 0.
const fn first_of(first: u32, chunk: usize) -> usize {
    if chunk == 0 { 0 } else { chunk_len(first, chunk) }
}

#[cold]
fn missing(index: u32) -> ! {
    panic!("item {index} of an arena was never made; this is a bug in slotyard")
}

impl<T, const FIRST: u32> Drop for Arena<T, FIRST> {
    fn drop(&mut self) {
        for (chunk, slot) in self.origins.iter_mut().enumerate() {
            let origin = owned(slot);
            if !origin.is_null() {
                let items = NonNull::new(origin.wrapping_add(first_of(FIRST, chunk))).expect("it was made from one");
                // SAFETY: an origin that is not null was made, by `ensure`, of as many items.
                unsafe { free(items, chunk_len(FIRST, chunk)) };
            }
        }
    }
}

impl<T, const FIRST: u32> std::fmt::Debug for Arena<T, FIRST> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::sync::AtomicU64;
    use proptest::prelude::*;

    #[test]
    fn chunks_tile_the_indices() {
        let mut next = 0;
        for chunk in 0..10 {
            assert_eq!(first_of(3, chunk), next);
            for _ in 0..chunk_len(3, chunk) {
                assert_eq!(Arena::<AtomicU64, 3>::chunk_of(next as u32), chunk);
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
    fn rows_are_the_items_side_by_side() {
        let arena = Arena::<AtomicU64, 3>::new();
        for row in 0..100u32 {
            assert!(row.is_power_of_two() == arena.row::<8>(row).is_none() || row == 0);
            arena.ensure(row * 8 + 5);
            let items = arena.row::<8>(row).unwrap();
            assert!((0..8).all(|place| std::ptr::eq(&items[place as usize], arena.at(row * 8 + place))));
        }
        assert!(arena.row::<8>(u32::MAX).is_none());
    }

    #[test]
    fn what_was_never_made_is_not_found() {
        let arena = Arena::<AtomicU64, 4>::new();
        assert!(arena.get(0).is_none());
        arena.ensure(40);
        assert!(arena.get(63).is_some() && arena.get(64).is_none() && arena.get(u32::MAX).is_none());
    }
}
