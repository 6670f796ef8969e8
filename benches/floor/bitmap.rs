//! A bitmap with a summary bit for each word of 64, a summary of the summaries, and so on up to one word.
//!
//! The plain protocol: a bit is cleared and then looked at again. A find between the two may miss what was set, which
//! the library's own index rules out; that difference is part of what the floor is for.

use std::sync::atomic::{AtomicU64, Ordering};

const FANOUT: u32 = 64;

pub(super) struct Bitmap {
    /// From the bits themselves to the single word on top.
    levels: Vec<Box<[AtomicU64]>>,
    len: u32,
}

impl Bitmap {
    /// `len` bits, none set.
    pub(super) fn new(len: u32) -> Self {
        let mut levels: Vec<Box<[AtomicU64]>> = Vec::new();
        let mut words = len.div_ceil(FANOUT);
        loop {
            levels.push((0..words).map(|_| AtomicU64::new(0)).collect());
            if words == 1 {
                return Self { levels, len };
            }
            words = words.div_ceil(FANOUT);
        }
    }

    pub(super) fn set(&self, bit: u32) {
        let mut bit = bit;
        for level in &self.levels {
            let before = level[(bit / FANOUT) as usize].fetch_or(1 << (bit % FANOUT), Ordering::AcqRel);
            if before != 0 {
                return;
            }
            bit /= FANOUT;
        }
    }

    pub(super) fn clear(&self, bit: u32) {
        let mut bit = bit;
        for (number, level) in self.levels.iter().enumerate() {
            let word = &level[(bit / FANOUT) as usize];
            let mask = 1 << (bit % FANOUT);
            if word.fetch_and(!mask, Ordering::AcqRel) & !mask != 0 {
                return;
            }
            // The word is empty and its summary says otherwise, unless it was set in between.
            let below = number.checked_sub(1).map(|below| &self.levels[below][bit as usize]);
            if below.is_some_and(|below| below.load(Ordering::Acquire) != 0) {
                word.fetch_or(mask, Ordering::AcqRel);
                return;
            }
            bit /= FANOUT;
        }
    }

    /// A set bit: the first at or after a random one in its word, or else of a word near it. `None` if none is set.
    #[inline(always)]
    pub(super) fn draw(&self, random: u64) -> Option<u32> {
        let drawn = (((random >> 32) * u64::from(self.len)) >> 32) as u32;
        let index = drawn / FANOUT;
        let bits = self.levels[0][index as usize].load(Ordering::Acquire);
        if bits != 0 { Some(index * FANOUT + next(bits, drawn % FANOUT)) } else { self.draw_above(index, random) }
    }

    /// As `draw`, from an empty word: up to a summary with a set bit, and down again.
    fn draw_above(&self, index: u32, random: u64) -> Option<u32> {
        let (mut level, mut index) = (1, index / FANOUT);
        loop {
            let bits = self.levels.get(level)?[index as usize].load(Ordering::Acquire);
            if bits != 0 {
                let found = index * FANOUT + next(bits, random as u32 % FANOUT);
                if level == 0 {
                    return Some(found);
                }
                (level, index) = (level - 1, found);
            } else {
                // Also on the way down, when the word was emptied in between.
                (level, index) = (level + 1, index / FANOUT);
            }
        }
    }
}

/// The first set bit at or after `from`, going round. `bits` is not zero.
#[inline(always)]
fn next(bits: u64, from: u32) -> u32 {
    (bits.rotate_right(from).trailing_zeros() + from) % FANOUT
}
