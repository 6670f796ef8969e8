//! A leaf of the availability index: the bits of 32 members, and who they are.
//!
//! Most members of a pool are in cells of its own: a leaf has a block of 32 cells that stand in a row, and the member at
//! a place is the node in the cell of that place. So a reader comes from the bit to the cell without looking a member up,
//! which in a large pool would be one cache miss more. A node that came from another pool, or stands in several, keeps
//! its cell wherever that is; the index has those in a table.
//!
//! ```text
//!  63      32 31       0
//! |  own     |  block   |
//! ```
//! - `own` (32): bit `i` set: the member at place `i` is the node in cell `i` of the block.
//! - `block` (32): number of the leaf's block of cells, plus one; 0: it has none. Set once.
//!
//! Only the pool's writer changes the seats, with Release; readers use Acquire, so that a cell that is a member's is seen
//! as it was when it became that.

use super::word::{FANOUT, IndexWord};
use crate::arena::Arena;
use crate::sync::{AtomicU64, Ordering, Zeroed};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    pub(super) word: IndexWord,
    seats: AtomicU64,
}

/// Leaves on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Leaf; LINE]);

/// Leaves on a line.
pub(super) const LINE: usize = 4;

// SAFETY: atomic integers.
unsafe impl Zeroed for Line {}

/// The leaves of an index, in their order.
#[derive(Debug)]
pub(super) struct Leaves(Arena<Line, 1>);

impl Leaves {
    /// With the first of them.
    pub(super) fn new() -> Self {
        let lines = Arena::new();
        lines.ensure(0);
        Self(lines)
    }

    #[inline(always)]
    pub(super) fn get(&self, leaf: u32) -> Option<&Leaf> {
        self.0.get(leaf / LINE as u32).map(|line| &line.0[leaf as usize % LINE])
    }

    /// A leaf that the caller knows to exist.
    #[inline(always)]
    pub(super) fn at(&self, leaf: u32) -> &Leaf {
        &self.0.at(leaf / LINE as u32).0[leaf as usize % LINE]
    }

    /// Makes sure that it exists; every caller may race.
    pub(super) fn ensure(&self, leaf: u32) -> &Leaf {
        &self.0.ensure(leaf / LINE as u32).0[leaf as usize % LINE]
    }
}

/// The seats of a leaf, as they were read.
#[derive(Clone, Copy)]
pub(super) struct Seats(u64);

const OWN_SHIFT: u32 = 32;

impl Seats {
    /// The block of the leaf's own cells; when it has none, one that there is not.
    #[inline(always)]
    pub(super) fn block(self) -> u32 {
        (self.0 as u32).wrapping_sub(1)
    }

    /// Whether the member at this place is the node in the leaf's own cell there.
    #[inline(always)]
    pub(super) fn is_own(self, place: u32) -> bool {
        self.0 & 1 << (OWN_SHIFT | place) != 0
    }

    /// The cell of the member at this place, if it is one of the leaf's own.
    #[inline(always)]
    pub(super) fn own(self, place: u32) -> Option<u32> {
        self.is_own(place).then(|| self.block() * FANOUT + place)
    }

    /// The leaf's cell for this place, if it has cells.
    pub(super) fn cell(self, place: u32) -> Option<u32> {
        (self.0 as u32).checked_sub(1).map(|block| block * FANOUT + place)
    }

    fn with_own(self, place: u32, own: bool) -> Self {
        debug_assert!(place < FANOUT);
        let bit = 1 << (OWN_SHIFT + place);
        if own { Self(self.0 | bit) } else { Self(self.0 & !bit) }
    }
}

impl Leaf {
    #[inline(always)]
    pub(super) fn seats(&self) -> Seats {
        // Acquire: pairs with `seat` and `settle_on`.
        Seats(self.seats.load(Ordering::Acquire))
    }

    /// The member at this place is the node in the leaf's own cell, or is not. For the pool's writer.
    pub(super) fn seat(&self, place: u32, own: bool) {
        // Release: pairs with `seats`.
        self.seats.store(self.seats().with_own(place, own).0, Ordering::Release);
    }

    /// Gives the leaf this block of cells. For the pool's writer, once.
    pub(super) fn settle_on(&self, block: u32) {
        debug_assert!(self.seats().cell(0).is_none());
        // Release: pairs with `seats`.
        self.seats.store(self.seats().0 | u64::from(block + 1), Ordering::Release);
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn seats_are_told_apart(block in 0u32..u32::MAX / FANOUT, owns in any::<[bool; FANOUT as usize]>()) {
            let leaf = Leaf::default();
            prop_assert_eq!(leaf.seats().cell(3), None);
            leaf.settle_on(block);
            (0..FANOUT).for_each(|place| leaf.seat(place, true));
            (0..FANOUT).for_each(|place| leaf.seat(place, owns[place as usize]));
            for place in 0..FANOUT {
                prop_assert_eq!(leaf.seats().cell(place), Some(block * FANOUT + place));
                prop_assert_eq!(leaf.seats().own(place), owns[place as usize].then_some(block * FANOUT + place));
            }
        }
    }
}
