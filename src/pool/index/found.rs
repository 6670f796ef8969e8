//! What a find finds, and which of two is to be preferred.

use std::cmp::Ordering;
use std::hint::select_unpredictable;

use crate::node::cell::Cell;
use crate::node::word::SlotWord;

/// A member that could be selected when it was looked at.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Of the cell.
    pub(crate) number: u32,
    pub(crate) cell: &'a Cell,
    /// The slot word that said so.
    pub(crate) word: SlotWord,
}

impl Found<'_> {
    /// Jobs, and what they are held against: capacity times weight.
    #[inline(always)]
    pub(crate) fn load(&self) -> (u32, u32) {
        let basis = self.cell.basis();
        (self.word.in_flight() + u32::from(basis.external), u32::from(basis.capacity) * u32::from(basis.weight))
    }

    /// The loads of both, each as often as the other's strength: so that they compare, without a division. 17 + 32 bits
    /// each.
    #[inline(always)]
    fn loads(&self, other: &Self) -> (u64, u64) {
        let ((jobs, strength), (other_jobs, other_strength)) = (self.load(), other.load());
        (u64::from(jobs) * u64::from(other_strength), u64::from(other_jobs) * u64::from(strength))
    }

    /// Whether this one's load is the smaller; the lowest bit of `coin` decides between equals.
    #[inline(always)]
    pub(crate) fn is_lighter(&self, other: &Self, coin: u64) -> bool {
        let coin = coin & 1;
        // Nodes of a pool are mostly alike, so a processor foresees it.
        if self.cell.basis() == other.cell.basis() {
            return u64::from(self.word.in_flight()) + coin <= u64::from(other.word.in_flight());
        }
        let (this, other) = self.loads(other);
        this + coin <= other
    }

    /// This one's load to the other's.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let (this, other) = self.loads(other);
        this.cmp(&other)
    }

    /// The one with the smaller load.
    #[inline(always)]
    pub(crate) fn lighter(self, other: Self, coin: u64) -> Self {
        let this = self.is_lighter(&other, coin);
        // A guess would be wrong half of the time.
        Self {
            number: select_unpredictable(this, self.number, other.number),
            cell: select_unpredictable(this, self.cell, other.cell),
            word: select_unpredictable(this, self.word, other.word),
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::node::cell::Basis;
    use crate::node::word::{Flags, MAX_SLOTS};
    use proptest::prelude::*;

    /// A node of this capacity and weight that has so many of our jobs, one at most less than it can, and so many others.
    fn found(cell: &Cell, (capacity, weight, held, external): (u16, u16, u16, u16)) -> (Found<'_>, u64, u64) {
        let (generation, held) = (cell.occupy(capacity, weight, Flags::NONE), held.min(capacity - 1));
        for _ in 0..held {
            cell.reserve(cell.word()).unwrap();
        }
        cell.change_basis(generation, |basis| Basis { external, ..basis }, |_| ());
        let found = Found { number: weight.into(), cell, word: cell.word() };
        (found, u64::from(held) + u64::from(external), u64::from(capacity) * u64::from(weight))
    }

    fn node() -> impl Strategy<Value = (u16, u16, u16, u16)> {
        let capacity = prop_oneof![1u16..4, Just(MAX_SLOTS as u16)];
        let weight = prop_oneof![1u16..3, Just(u16::MAX)];
        (capacity, weight, 0u16..4, prop_oneof![Just(0), 0u16..4, Just(u16::MAX)])
    }

    proptest! {
        #[test]
        fn the_lighter_one_has_fewer_jobs_for_its_strength(first in node(), second in node(), coin in any::<u64>()) {
            let cells = [Cell::default(), Cell::default()];
            let ((first, jobs, strength), (second, other_jobs, other_strength)) = (found(&cells[0], first), found(&cells[1], second));
            prop_assert_eq!(first.load(), (jobs as u32, strength as u32));
            let order = (jobs * other_strength).cmp(&(other_jobs * strength));
            prop_assert_eq!(first.compare(&second), order);
            let is_lighter = order.is_lt() || order.is_eq() && coin.is_multiple_of(2);
            prop_assert_eq!(first.is_lighter(&second, coin), is_lighter);
            let lighter = first.lighter(second, coin);
            let expected = if is_lighter { first } else { second };
            prop_assert!(std::ptr::eq(lighter.cell, expected.cell) && lighter.word == expected.word);
            prop_assert_eq!(lighter.number, expected.number);
        }
    }
}
