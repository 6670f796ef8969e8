//! One bit a pool: does it have a member that may be selected? So that falling through hundreds of full pools is a few
//! word operations.
//!
//! It is the topmost level of every pool's index and follows the same invariants and protocol, see
//! [`index`](super::index).

use super::index::word::{FANOUT, IndexWord};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Occupancy {
    words: Box<[IndexWord]>,
}

impl Occupancy {
    /// For pool numbers below `pools`.
    pub(crate) fn new(pools: usize) -> Self {
        Self { words: (0..pools.div_ceil(FANOUT as usize)).map(|_| IndexWord::default()).collect() }
    }

    pub(crate) fn mark(&self, pool: u32) {
        self.words[(pool / FANOUT) as usize].mark(pool % FANOUT);
    }

    pub(crate) fn clear(&self, pool: u32, empty: impl Fn() -> bool) {
        self.words[(pool / FANOUT) as usize].clear(pool % FANOUT, empty);
    }

    /// The bits of pools `32 word ..`.
    pub(crate) fn bits(&self, word: u32) -> u32 {
        self.words[word as usize].bits()
    }

    #[cfg(test)]
    pub(crate) fn is_marked(&self, pool: u32) -> bool {
        self.bits(pool / FANOUT) >> (pool % FANOUT) & 1 == 1
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_pool_has_a_bit_of_its_own() {
        let occupancy = Occupancy::new(70);
        for pool in 0..70 {
            occupancy.mark(pool);
            assert!((0..70).all(|other| occupancy.is_marked(other) == (other <= pool)), "{pool} was marked");
        }
        assert_eq!([0, 1, 2].map(|word| occupancy.bits(word)), [u32::MAX, u32::MAX, 0b11_1111]);
        for pool in 0..70 {
            occupancy.clear(pool, || pool != 40);
            let left = |other| other > pool || other == 40;
            assert!((0..70).all(|other| occupancy.is_marked(other) == left(other)), "{pool} was cleared");
        }
    }
}
