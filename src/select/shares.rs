//! Drawing a pool in proportion to its free slots, in constant time: the alias method (Walker 1977, built after Vose
//! 1991).
//!
//! Invariant: every column names two places of the table, whenever it is read. A column is one word and a draw reads one
//! column, so the table is drawn up anew in place, while others draw from it: in between some draws follow the old
//! shares and some the new, both of which are guesses from the last sweep. Every store and load is Relaxed, for nothing
//! hangs on them.

use crate::random::Random;
use crate::sync::{Ordering, Statistic};

/// One column a place, each as high as an average share.
#[derive(Debug)]
pub(super) struct Shares {
    /// Bits 0-31: below this (of 2^32) the place itself is drawn, from it on its alias. Bits 32-63: the alias.
    columns: Box<[Statistic]>,
}

fn column(height: u32, alias: usize) -> u64 {
    u64::from(height) | (alias as u64) << 32
}

impl Shares {
    /// The same share for each of `count` places.
    pub(super) fn even(count: usize) -> Self {
        Self { columns: (0..count).map(|place| Statistic::new(column(u32::MAX, place))).collect() }
    }

    /// Takes over new weights, one a place. If all are 0, each place has the same share.
    pub(super) fn refresh(&self, weights: impl Iterator<Item = u64>) {
        let mut weights: Vec<u64> = weights.collect();
        debug_assert_eq!(weights.len(), self.columns.len());
        if weights.iter().all(|weight| *weight == 0) {
            weights.fill(1);
        }
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        // Scaled so that an average weight fills one column of 2^32.
        let scale = |weight: u64| u128::from(weight) * weights.len() as u128 * (1 << 32) / total;
        let mut heights: Vec<u128> = weights.iter().map(|weight| scale(*weight)).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&place| heights[place] < 1 << 32);
        let set = |place: usize, value| self.columns[place].store(value, Ordering::Relaxed);
        while let (Some(&small), Some(&large)) = (low.last(), high.last()) {
            low.pop();
            set(small, column(heights[small] as u32, large));
            heights[large] -= (1 << 32) - heights[small];
            if heights[large] < 1 << 32 {
                high.pop();
                low.push(large);
            }
        }
        // Full columns, and what rounding down has left.
        low.iter().chain(&high).for_each(|&place| set(place, column(u32::MAX, place)));
    }

    #[inline(always)]
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let bits = random.next();
        let place = (((bits >> 32) * self.columns.len() as u64) >> 32) as usize;
        let column = self.columns[place].load(Ordering::Relaxed);
        if (bits as u32) < column as u32 { place } else { (column >> 32) as usize }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn draws_are_in_proportion_to_the_last_weights(
            before in proptest::collection::vec(0u64..1000, 12),
            weights in proptest::collection::vec(0u64..1000, 1..12),
        ) {
            let shares = Shares::even(weights.len());
            shares.refresh(before[..weights.len()].iter().copied());
            shares.refresh(weights.iter().copied());
            let mut random = Random::new(3);
            let draws = 40_000;
            let mut drawn = vec![0u64; weights.len()];
            (0..draws).for_each(|_| drawn[shares.draw(&mut random)] += 1);
            let total: u64 = weights.iter().sum();
            for (weight, drawn) in weights.iter().zip(&drawn) {
                let share = if total == 0 { 1.0 / weights.len() as f64 } else { *weight as f64 / total as f64 };
                // Five standard deviations.
                let slack = 5.0 * (draws as f64 * share * (1.0 - share)).sqrt() + 1.0;
                prop_assert!((*drawn as f64 - draws as f64 * share).abs() <= slack, "{weights:?} {drawn:?}");
            }
        }
    }
}
