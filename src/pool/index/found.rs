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
