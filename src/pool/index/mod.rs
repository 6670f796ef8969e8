//! The availability index of a pool: which members may be selected now, found in constant time.
//!
//! Members have positions. Level 0 has a bit for each position, in words of 32; level `n + 1` has a bit for each word
//! of level `n`; the topmost level is one word; above it, one bit for the whole pool in [`Occupancy`].
//!
//! # Invariants
//! Call a member *available* when its slot word is selectable, and a position *told* when its bit, and at every level
//! above the bit of the word below, up to the pool's in the occupancy, are set.
//!
//! 1. **No lost slot.** A member that is available, and whose every operation that made it so has returned, is told.
//!    So a find that reads the topmost word as empty has found an instant at which no member was available, but for
//!    those of operations still under way, which may be taken to come later.
//! 2. **Stale bits only cost.** A bit may be set though its member is not available. Whoever meets one clears it.
//!
//! # Protocol
//! Two things would break 1. *A clear that hits a newer set*: "it is full" is seen, a slot comes free and is marked,
//! then the bit is cleared: looking again afterwards does repair it, but a find in between misses the slot. So a clear
//! ([`IndexWord::clear`]) reads the word, then looks whether the member is unavailable, and is a compare-and-swap that
//! fails if the word was marked since; a mark is always a write. *A mark that relies on another one's unfinished mark*:
//! a second release sees that its node has room already, or its word a set bit, and returns, while the first has yet
//! to tell the index, or the level above. So the slot word says as long as the index may not know (`pending`), and a word
//! of the index whether the level above knows (`told`), and whoever finds that it may not does the telling himself
//! before he returns. The idea is that of the half-count in SNZI (Ellen, Lev, Luchangco, Moir: SNZI: Scalable NonZero
//! Indicators, PODC 2007), with bits for counts.
//!
//! A word that becomes empty stays told, and the bit above that stands for it stays set: where the last free slot of a
//! word comes and goes, that costs one step each. A find that meets such a bit takes `told` away, then clears it, if
//! nothing has happened to the word since: whoever marks the word after that tells the level above again.
//!
//! ```text
//! available:  change the slot word (pending)  >  mark the bit; if the word is not told: mark above ..., then told
//! full:       change the slot word  >  clear the bit if still unavailable
//! found empty:  take told away  >  clear the bit above if still so
//! ```
//!
//! *Growth* adds a level on top. The writer starts it with its first bit set, which stands for all that was there before;
//! publishes it to marks (`mark_depth`); writes the old topmost word ([`IndexWord::announce`]), so that a mark of that
//! sees the new level if it comes after this; then publishes it to finds and clears (`depth`). A mark that comes before, and
//! goes by the old size, has told the pool's bit; and its member is seen by whoever looks, at the new size, whether the
//! word is empty. So nobody has to mark the new level for it. Without the writing of the old word a mark and such a look
//! could miss each other: for the look writes nothing when the word is not told. Positions of the new part are given out
//! after that. Words and positions never move.

mod finding;
mod found;
mod leaf;
mod part;
mod rank;
#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests;
pub(crate) mod word;

use crate::arena::Arena;
use crate::node::Cells;
use crate::pool::Occupancy;
use crate::sync::{AtomicU32, AtomicU64, Ordering, sized};
pub(crate) use found::Found;
use leaf::{Leaf, Leaves};
pub(crate) use part::Part;
use std::sync::Arc;
use word::{FANOUT, IndexWord};

/// Levels of the largest index: 32^6 positions are more than positions there are.
const MAX_LEVELS: usize = 6;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Index {
    /// Level 0, and the members.
    leaves: Leaves,
    /// Cells of members that are not in one of their leaf's own, plus one; 0: none. By position.
    strangers: Arena<AtomicU32, { sized(5, 1) }>,
    /// Level 1 and further up.
    above: [Arena<IndexWord, 1>; MAX_LEVELS - 1],
    /// Levels in use, to finds and clears.
    depth: AtomicU32,
    /// Levels in use, to marks; one ahead of `depth` while the index grows.
    mark_depth: AtomicU32,
    /// Positions given out so far, freed ones included: random draws go below it.
    high_water: AtomicU32,
    occupancy: Arc<Occupancy>,
    pool: u32,
    /// Of the pool that has the number now.
    key: AtomicU64,
}

impl Index {
    /// An empty index of pool number `pool`.
    pub(crate) fn new(pool: u32, occupancy: Arc<Occupancy>) -> Self {
        Self {
            leaves: Leaves::new(),
            strangers: Arena::new(),
            above: std::array::from_fn(|_| Arena::new()),
            depth: AtomicU32::new(1),
            mark_depth: AtomicU32::new(1),
            high_water: AtomicU32::new(0),
            occupancy,
            pool,
            key: AtomicU64::new(0),
        }
    }

    /// The key of the pool whose index it is.
    #[inline(always)]
    pub(crate) fn key(&self) -> u64 {
        // Acquire: pairs with `serve`.
        self.key.load(Ordering::Acquire)
    }

    /// It is this pool's from now on.
    pub(crate) fn serve(&self, key: u64) {
        // Release: who sees the new key sees that the pool before was dropped.
        self.key.store(key, Ordering::Release);
    }

    /// The word with the bits of these members (level 0), or of these words of the level below.
    #[inline(always)]
    fn word(&self, level: usize, index: u32) -> &IndexWord {
        match level.checked_sub(1) {
            None => &self.leaves.at(index).word,
            Some(above) => self.above[above].at(index),
        }
    }

    /// The cell of the member at a position.
    #[inline(always)]
    pub(crate) fn member(&self, position: u32) -> Option<u32> {
        let own = self.leaves.get(position / FANOUT)?.seats().own(position % FANOUT);
        if own.is_some() { own } else { self.stranger(position) }
    }

    #[cold]
    fn stranger(&self, position: u32) -> Option<u32> {
        // Acquire: pairs with `set_member`.
        self.strangers.get(position)?.load(Ordering::Acquire).checked_sub(1)
    }

    /// The cell that belongs to a position which the writer gave out, whoever is in it. For the pool's writer.
    pub(crate) fn own_cell(&self, position: u32, cells: &Cells) -> u32 {
        let (leaf, place) = (self.leaf(position), position % FANOUT);
        leaf.seats().cell(place).unwrap_or_else(|| {
            let block = cells.vacant_block();
            leaf.settle_on(block);
            block * FANOUT + place
        })
    }

    /// Puts a member, by its cell, at a position that the writer gave out, growing the index if need be. For the pool's
    /// writer; to be followed by a [`mark`](Self::mark) once the member can be selected.
    pub(crate) fn set_member(&self, position: u32, cell: Option<u32>) {
        // Relaxed, here and below: only the pool's writer, which the caller is, stores these.
        let is_new = position >= self.high_water.load(Ordering::Relaxed);
        let (leaf, place) = (self.leaf(position), position % FANOUT);
        let own = cell.is_some() && leaf.seats().cell(place) == cell;
        let stranger = cell.filter(|_| !own).map_or(0, |cell| cell + 1);
        if stranger != 0 {
            self.strangers.ensure(position);
        }
        if let Some(entry) = self.strangers.get(position) {
            // Release: pairs with `stranger`.
            entry.store(stranger, Ordering::Release);
        }
        leaf.seat(place, own);
        if is_new {
            self.extend_to(position);
        }
    }

    /// The leaf of a position, made if need be.
    fn leaf(&self, position: u32) -> &Leaf {
        self.leaves.get(position / FANOUT).unwrap_or_else(|| self.leaves.ensure(position / FANOUT))
    }

    /// Gives out a position that no member has had, growing the index if need be.
    fn extend_to(&self, position: u32) {
        while u64::from(position) >= u64::from(FANOUT).pow(self.depth.load(Ordering::Relaxed)) {
            self.grow();
        }
        let (mut index, depth) = (position / FANOUT, self.depth.load(Ordering::Relaxed));
        for level in 1..depth {
            index /= FANOUT;
            self.above[level as usize - 1].ensure(index);
        }
        // Release: whoever draws a position below this finds the words made above.
        self.high_water.store(position + 1, Ordering::Release);
    }

    /// Positions given out so far.
    pub(crate) fn high_water(&self) -> u32 {
        // Acquire: pairs with `set_member`.
        self.high_water.load(Ordering::Acquire)
    }

    fn grow(&self) {
        let depth = self.depth.load(Ordering::Relaxed);
        self.above[depth as usize - 1].ensure(0).start();
        // Release: a mark that sees the new level sees its word.
        self.mark_depth.store(depth + 1, Ordering::Release);
        self.word(depth as usize - 1, 0).announce();
        // Release: a find or clear that sees the new level sees that marks see it.
        self.depth.store(depth + 1, Ordering::Release);
    }

    /// The member at this position may be selected: tells the index, up to where it is known.
    ///
    /// A position that this index never gave out is passed over: it comes from a place that the member has left since.
    #[inline(always)]
    pub(crate) fn mark(&self, position: u32) {
        if position < self.high_water() {
            let word = &self.leaves.at(position / FANOUT).word;
            let marked = word.mark(position % FANOUT);
            if !marked.is_told() {
                self.mark_above(0, position / FANOUT);
                word.settle(marked);
            }
        }
    }

    fn mark_from(&self, level: usize, bit: u32) {
        let word = self.word(level, bit / FANOUT);
        let marked = word.mark(bit % FANOUT);
        if !marked.is_told() {
            self.mark_above(level, bit / FANOUT);
            word.settle(marked);
        }
    }

    /// The word at this place of this level has a set bit: tells the level above.
    #[inline(never)]
    fn mark_above(&self, level: usize, place: u32) {
        // Acquire: pairs with `grow`. Read after the mark below: one that growth does not see sees the new level.
        if level as u32 + 1 >= self.mark_depth.load(Ordering::Acquire) {
            self.occupancy.mark(self.pool);
        } else {
            self.mark_from(level + 1, place);
        }
    }

    /// The member at this position may not be selected any more: clears its bit if `unavailable` says so while nobody marks
    /// it. If it was the last one of its word, the bits above are left, until a find meets them.
    #[inline(always)]
    pub(crate) fn clear(&self, position: u32, unavailable: impl Fn() -> bool) {
        if position < self.high_water() {
            self.leaves.at(position / FANOUT).word.clear(position % FANOUT, unavailable);
        }
    }

    /// The word at this place of this level was found to be empty: clears the bit that stands for it, if it still is.
    #[inline(never)]
    fn clear_above(&self, level: usize, place: u32) {
        let child = self.word(level, place);
        let Some(empty) = child.disown() else { return };
        if level as u32 + 1 < self.depth() {
            self.word(level + 1, place / FANOUT).clear(place % FANOUT, || child.is_still(empty));
        } else {
            // Acquire: pairs with `grow`. While a level is being added there is no one topmost word to ask.
            let topmost = || self.mark_depth.load(Ordering::Acquire) == level as u32 + 1;
            self.occupancy.clear(self.pool, || child.is_still(empty) && topmost());
        }
    }

    /// The pool was found to have no available member: clears its bit in the occupancy if that is so.
    pub(crate) fn mend_occupancy(&self) {
        self.clear_above(self.depth() as usize - 1, 0);
    }

    /// Whether no member is available, as far as the bits tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.next(0).is_none()
    }

    #[inline(always)]
    fn depth(&self) -> u32 {
        // Acquire: pairs with `grow`.
        self.depth.load(Ordering::Acquire)
    }

    /// Whether the position is told: its bit is set, and every bit above. For checks.
    #[cfg(test)]
    pub(crate) fn is_told(&self, position: u32) -> bool {
        let mut bit = position;
        (0..self.depth() as usize).all(|level| {
            let set = self.word(level, bit / FANOUT).bits() >> (bit % FANOUT) & 1 == 1;
            bit /= FANOUT;
            set
        }) && self.occupancy.is_marked(self.pool)
    }
}
