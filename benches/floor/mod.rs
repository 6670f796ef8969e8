//! The floor: what it costs to choose a node, take a slot and give it back, with nothing around that: one pool, no
//! names, no states, no generations, nodes that neither come nor go.
//!
//! It is what the library's own structure would be if that were all it had to do, and is written to be fast rather
//! than complete, so that the ratio to it is what names, pools, states and exactness cost.

#![allow(dead_code, reason = "each suite is a program of its own and uses what it needs of this")]

mod bitmap;

use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicU64, Ordering};

use bitmap::Bitmap;
use fastrand::Rng;

/// Nodes and their slots.
pub(crate) struct Floor {
    cells: Box<[Cell]>,
    free: Bitmap,
}

/// A node on its own cache line. Its word has slots held in the low half, slots there are in the high half.
#[repr(align(64))]
struct Cell(AtomicU64);

const HELD: u64 = u32::MAX as u64;

#[inline(always)]
fn has_room(word: u64) -> bool {
    word & HELD < word >> 32
}

impl Floor {
    /// Nodes with every slot held.
    pub(crate) fn full(nodes: u32, capacity: u32) -> Self {
        let word = u64::from(capacity) << 32 | u64::from(capacity);
        Self { cells: (0..nodes).map(|_| Cell(AtomicU64::new(word))).collect(), free: Bitmap::new(nodes) }
    }

    /// Nodes with every slot free.
    pub(crate) fn idle(nodes: u32, capacity: u32) -> Self {
        let floor = Self::full(nodes, capacity);
        (0..nodes).for_each(|node| (0..capacity).for_each(|_| floor.release(node)));
        floor
    }

    /// Takes a slot of the less loaded of two nodes drawn at random. `None`: none is free.
    #[inline(always)]
    pub(crate) fn reserve(&self, random: &mut Rng) -> Option<u32> {
        // Nothing here needs it; it stands for the one that guards every structure that can be replaced while read.
        let _pin = crossbeam_epoch::pin();
        loop {
            let (first, word_of_first) = self.draw(random)?;
            let (second, word_of_second) = self.draw(random).unwrap_or((first, word_of_first));
            // Held over capacity, without a division; either of two equals.
            let left = (word_of_first & HELD) * (word_of_second >> 32);
            let right = (word_of_second & HELD) * (word_of_first >> 32);
            let take_first = left + (random.u64(..) >> 63) <= right;
            // A guess would be wrong half of the time.
            let node = select_unpredictable(take_first, first, second);
            let word = select_unpredictable(take_first, word_of_first, word_of_second);
            let cell = &self.cells[node as usize].0;
            if cell.compare_exchange(word, word + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                if !has_room(word + 1) {
                    self.clear(node);
                }
                return Some(node);
            }
        }
    }

    /// Gives a slot of this node back.
    #[inline(always)]
    pub(crate) fn release(&self, node: u32) {
        let cell = &self.cells[node as usize].0;
        let mut word = cell.load(Ordering::Relaxed);
        while let Err(newer) = cell.compare_exchange(word, word - 1, Ordering::AcqRel, Ordering::Relaxed) {
            word = newer;
        }
        if !has_room(word) {
            self.free.set(node);
        }
    }

    /// A node with room, and the word that said so.
    #[inline(always)]
    fn draw(&self, random: &mut Rng) -> Option<(u32, u64)> {
        loop {
            let node = self.free.draw(random.u64(..))?;
            let word = self.cells[node as usize].0.load(Ordering::Acquire);
            if has_room(word) {
                return Some((node, word));
            }
            self.clear(node);
        }
    }

    /// Clears the bit of a node that is full, then looks again: a slot may have come free in between.
    fn clear(&self, node: u32) {
        self.free.clear(node);
        if has_room(self.cells[node as usize].0.load(Ordering::Acquire)) {
            self.free.set(node);
        }
    }
}
