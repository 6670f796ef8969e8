//! One word of the availability index: 32 bits, and what it takes to clear one without losing a set.
//!
//! ```text
//!  63        33    32     31      0
//! |  version   | pending |  bits   |
//! ```
//! - `bits` (32): bit `i` set: member (or child word) `i` may be available.
//! - `pending` (1): the word has a set bit of which the level above may not know yet. Set by the mark that finds the
//!   word empty; a mark that finds it set tells the level above, too, before it returns. Cleared by one that told it,
//!   if the word has not changed meanwhile.
//! - `version` (31): marks. It wraps after 2^31 marks of one word; a clear would have to be held up for exactly a
//!   multiple of that many marks to take a new mark for the old one.

use crate::sync::{AtomicU64, Ordering, Zeroed, sized};

/// Bits of a word.
pub(crate) const FANOUT: u32 = sized(32, 2);

const PENDING: u64 = 1 << 32;
const VERSION: u64 = 1 << 33;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct IndexWord(AtomicU64);

// SAFETY: an atomic integer.
unsafe impl Zeroed for IndexWord {}

/// A word as [`IndexWord::mark`] wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marked {
    written: u64,
    was_empty: bool,
}

impl Marked {
    /// Whether the level above has to be told before the mark may return.
    pub(crate) fn pending(self) -> bool {
        self.written & PENDING != 0
    }
}

/// What [`IndexWord::clear`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleared {
    /// Nothing: the bit is not set, or there is reason to leave it.
    Left,
    /// The bit is cleared, others are set.
    Bit,
    /// The bit is cleared, and it was the last.
    Last,
}

impl IndexWord {
    /// The bits now.
    #[inline(always)]
    pub(crate) fn bits(&self) -> u32 {
        // Acquire: pairs with `mark`, so the member or child that was marked is seen as it was then.
        self.0.load(Ordering::Acquire) as u32
    }

    /// Sets a bit. It is a write even when the bit is set: that is what makes a clear under way fail.
    #[inline(always)]
    pub(crate) fn mark(&self, bit: u32) -> Marked {
        // Relaxed: the compare-and-swap decides.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let was_empty = word as u32 == 0;
            let mut written = (word | 1 << bit).wrapping_add(VERSION);
            if was_empty {
                written |= PENDING;
            }
            // Release: publishes why the bit is set. Acquire: sees what an earlier clear or growth left.
            match self.0.compare_exchange_weak(word, written, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Marked { written, was_empty },
                Err(found) => word = found,
            }
        }
    }

    /// The level above was told of `marked`, so a later mark need not do so, unless the word has changed since.
    pub(crate) fn settle(&self, marked: Marked) {
        // The mark that found the word empty leaves this to the next one: where the word goes back and forth between
        // empty and not, which is when this is hot, there is nothing to be gained.
        if !marked.was_empty {
            // Release: whoever finds the flag clear finds the level above told.
            let settled = marked.written & !PENDING;
            let _ = self.0.compare_exchange(marked.written, settled, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Clears a bit, provided that `unavailable` holds after the word was read and nothing marks it until then.
    #[inline(always)]
    pub(crate) fn clear(&self, bit: u32, unavailable: impl Fn() -> bool) -> Cleared {
        loop {
            // Acquire: `unavailable` then sees what was done before the marks that this read sees.
            let word = self.0.load(Ordering::Acquire);
            if word & 1 << bit == 0 || !unavailable() {
                return Cleared::Left;
            }
            let written = word & !(1 << bit);
            // AcqRel: pairs with `mark` on either side.
            if self.0.compare_exchange(word, written, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return if written as u32 == 0 { Cleared::Last } else { Cleared::Bit };
            }
        }
    }

    /// Makes every later mark tell the level above, and says which bits were set before. For growth.
    pub(crate) fn announce(&self) -> u32 {
        // AcqRel: a mark before this is seen here; one after it sees the level that was added before.
        self.0.fetch_or(PENDING, Ordering::AcqRel) as u32
    }

    /// Starts a level above with its first bit set and nobody told. For growth, before it is published.
    pub(crate) fn start(&self) {
        // Relaxed: published with the depth.
        self.0.store(PENDING | 1, Ordering::Relaxed);
    }
}

/// The first set bit of `bits` at or after `from`, going round. `bits` is not zero.
pub(crate) fn next_bit(bits: u32, from: u32) -> u32 {
    debug_assert!(bits != 0);
    (bits.rotate_right(from).trailing_zeros() + from) % FANOUT
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_found_are_set(bits in 1u32.., from in 0u32..32) {
            let next = next_bit(bits, from);
            prop_assert_eq!(bits >> next & 1, 1);
            let between = (0..(next + FANOUT - from) % FANOUT).all(|step| bits >> ((from + step) % FANOUT) & 1 == 0);
            prop_assert!(between, "a set bit between {} and {} was passed over", from, next);
        }
    }

    #[test]
    fn a_mark_makes_a_clear_under_way_fail() {
        let word = IndexWord::default();
        word.mark(3);
        let marked_once = std::cell::Cell::new(false);
        let cleared = word.clear(3, || {
            // While the clear is under way the member comes free, once.
            if !marked_once.replace(true) {
                word.mark(3);
                return true;
            }
            false
        });
        assert_eq!((cleared, word.bits()), (Cleared::Left, 1 << 3));
    }
}
