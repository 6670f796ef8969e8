//! One word of the availability index: 32 bits, and what it takes to clear one without losing a set.
//!
//! ```text
//!  63        33    32   31      0
//! |  version   | told |  bits   |
//! ```
//! - `bits` (32): bit `i` set: member (or child word) `i` may be available.
//! - `told` (1): the bit that stands for this word is set at the level above, and so on up. It stays when the word becomes
//!   empty, and so does that bit, which whoever meets it may then clear: having taken `told` away first.
//! - `version` (31): marks. It wraps after 2^31 marks of one word; a clear would have to be held up for exactly a
//!   multiple of that many marks to take a new mark for the old one.

use crate::sync::{AtomicU64, Ordering, Zeroed, sized};

/// Bits of a word.
pub(crate) const FANOUT: u32 = sized(32, 2);

const TOLD: u64 = 1 << 32;
const VERSION: u64 = 1 << 33;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct IndexWord(AtomicU64);

// SAFETY: an atomic integer.
unsafe impl Zeroed for IndexWord {}

/// A word as [`IndexWord::mark`] wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marked(u64);

impl Marked {
    /// Whether the level above knows. If not, it has to be told before the mark may return.
    #[inline(always)]
    pub(crate) fn is_told(self) -> bool {
        self.0 & TOLD != 0
    }
}

/// An empty word of which the level above is not told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disowned(u64);

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
            let written = (word | 1 << bit).wrapping_add(VERSION);
            // Release: publishes why the bit is set. Acquire: sees what an earlier clear or growth left.
            match self.0.compare_exchange_weak(word, written, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Marked(written),
                Err(found) => word = found,
            }
        }
    }

    /// The level above was told of `marked`, so that a later mark need not do so, unless the word has changed since.
    pub(crate) fn settle(&self, marked: Marked) {
        // Release: whoever finds the flag finds the level above told.
        let _ = self.0.compare_exchange(marked.0, marked.0 | TOLD, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Sees to it that the next mark tells the level above, if the word is empty: before the bit is cleared there.
    pub(crate) fn disown(&self) -> Option<Disowned> {
        // Acquire: sees what earlier marks and clears saw.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if word as u32 != 0 {
                return None;
            }
            if word & TOLD == 0 {
                return Some(Disowned(word));
            }
            // AcqRel: ordered before the clear above; a mark after this one tells the level above.
            match self.0.compare_exchange(word, word & !TOLD, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(Disowned(word & !TOLD)),
                Err(found) => word = found,
            }
        }
    }

    /// Whether nothing has happened to it since it was disowned.
    pub(crate) fn is_still(&self, disowned: Disowned) -> bool {
        // Acquire: as in `bits`.
        self.0.load(Ordering::Acquire) == disowned.0
    }

    /// Clears a bit, provided that `unavailable` holds after the word was read and nothing marks it until then.
    #[inline(always)]
    pub(crate) fn clear(&self, bit: u32, unavailable: impl Fn() -> bool) {
        loop {
            // Acquire: `unavailable` then sees what was done before the marks that this read sees.
            let word = self.0.load(Ordering::Acquire);
            if word & 1 << bit == 0 || !unavailable() {
                return;
            }
            let written = word & !(1 << bit);
            // AcqRel: pairs with `mark` on either side.
            if self.0.compare_exchange(word, written, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Makes every later mark see the level that was added above. For growth.
    pub(crate) fn announce(&self) {
        // AcqRel: a mark after this sees the level, and whoever sees the new depth sees what was marked before this. A version
        // wraps, as with a mark.
        self.0.fetch_add(VERSION, Ordering::AcqRel);
    }

    /// Starts a level above with its first bit set, and nobody told. For growth, before it is published.
    pub(crate) fn start(&self) {
        // Relaxed: published with the depth.
        self.0.store(1, Ordering::Relaxed);
    }
}

/// The first set bit of `bits` at or after `from`, going round. `bits` is not zero.
pub(crate) fn next_bit(bits: u32, from: u32) -> u32 {
    debug_assert!(bits != 0);
    (bits.rotate_right(from).trailing_zeros() + from) % FANOUT
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
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
    fn a_word_is_told_from_when_it_is_settled_until_it_is_disowned_empty() {
        let word = IndexWord::default();
        let first = word.mark(3);
        assert!(!first.is_told());
        assert!(!word.mark(4).is_told());
        // It has changed since.
        word.settle(first);
        let last = word.mark(5);
        assert!(!last.is_told());
        word.settle(last);
        assert!(word.mark(4).is_told() && word.mark(6).is_told());
        assert!(word.disown().is_none(), "it is not empty");
        (3..7).for_each(|bit| word.clear(bit, || true));
        assert!(word.mark(3).is_told(), "it stays told when it is empty");
        word.clear(3, || true);
        let disowned = word.disown().unwrap();
        assert!(word.is_still(disowned) && word.is_still(word.disown().unwrap()));
        assert!(!word.mark(3).is_told() && !word.is_still(disowned));
    }

    #[test]
    fn a_mark_makes_a_clear_under_way_fail() {
        let word = IndexWord::default();
        word.mark(3);
        let marked_once = std::cell::Cell::new(false);
        word.clear(3, || {
            // While the clear is under way the member comes free, once.
            if !marked_once.replace(true) {
                word.mark(3);
                return true;
            }
            false
        });
        assert_eq!(word.bits(), 1 << 3);
    }

    #[test]
    fn a_mark_with_which_the_version_comes_round_leaves_the_bits_and_makes_a_clear_under_way_fail() {
        let last = u64::MAX << 33;
        for told in [0, TOLD] {
            let word = IndexWord(AtomicU64::new(last | told | 1 << 7));
            let marked_once = std::cell::Cell::new(false);
            word.clear(7, || {
                if !marked_once.replace(true) {
                    assert_eq!((word.mark(7).0, word.mark(3).0), (told | 1 << 7, VERSION | told | 1 << 7 | 1 << 3));
                    return true;
                }
                false
            });
            assert_eq!((word.bits(), word.0.load(Ordering::Relaxed) & TOLD), (1 << 7 | 1 << 3, told));
            // Growth counts on, too.
            let word = IndexWord(AtomicU64::new(last | TOLD | 1 << 7));
            word.announce();
            assert_eq!(word.0.load(Ordering::Relaxed), TOLD | 1 << 7);
        }
    }
}
