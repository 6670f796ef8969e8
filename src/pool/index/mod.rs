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
//! *Growth* adds a level on top. The writer starts it with its first bit set, publishes it to marks (`mark_depth`),
//! asks for help in the old topmost word ([`IndexWord::announce`]) and marks upward if that is not empty, then
//! publishes it to finds and clears (`depth`). A mark that does not see the new level came before the announcement,
//! so the writer sees it. Positions of the new part are given out after that. Words and positions never move.

mod leaf;
mod rank;
pub(crate) mod word;

use crate::arena::Arena;
use crate::node::Cells;
use crate::node::cell::Cell;
use crate::node::word::SlotWord;
use crate::pool::Occupancy;
use crate::random::{Random, Stretch};
use crate::sync::{AtomicU32, AtomicU64, Ordering, sized};
use leaf::{Leaf, Seats};
use rank::random_bit;
use std::hint::select_unpredictable;
use std::sync::Arc;
use word::{FANOUT, IndexWord, next_bit};

/// Levels of the largest index: 32^6 positions are more than positions there are.
const MAX_LEVELS: usize = 6;

/// In a pool of fewer positions, threads have no homes: these would be words that several share, and few nodes to choose
/// from.
const WITH_HOMES: u32 = 512;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Index {
    /// Level 0, and the members.
    leaves: Arena<Leaf, 1>,
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

    /// Whether this one's load is the smaller; the lowest bit of `coin` decides between equals.
    #[inline(always)]
    pub(crate) fn is_lighter(&self, other: &Self, coin: u64) -> bool {
        // jobs / strength < jobs / strength, without a division: 17 + 32 bits each.
        let ((jobs, strength), (other_jobs, other_strength)) = (self.load(), other.load());
        u64::from(jobs) * u64::from(other_strength) + (coin & 1) <= u64::from(other_jobs) * u64::from(strength)
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

impl Index {
    /// An empty index of pool number `pool`.
    pub(crate) fn new(pool: u32, occupancy: Arc<Occupancy>) -> Self {
        let index = Self {
            leaves: Arena::new(),
            strangers: Arena::new(),
            above: std::array::from_fn(|_| Arena::new()),
            depth: AtomicU32::new(1),
            mark_depth: AtomicU32::new(1),
            high_water: AtomicU32::new(0),
            occupancy,
            pool,
            key: AtomicU64::new(0),
        };
        index.leaves.ensure(0);
        index
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
    pub(super) fn own_cell(&self, position: u32, cells: &Cells) -> u32 {
        let leaf = self.leaves.ensure(position / FANOUT);
        let place = position % FANOUT;
        leaf.seats().cell(place).unwrap_or_else(|| {
            let first = cells.block();
            leaf.settle_on(first);
            first + place
        })
    }

    /// Puts a member, by its cell, at a position that the writer gave out, growing the index if need be. For the pool's
    /// writer; to be followed by a [`mark`](Self::mark) once the member can be selected.
    pub(crate) fn set_member(&self, position: u32, cell: Option<u32>) {
        let (leaf, place) = (self.leaves.ensure(position / FANOUT), position % FANOUT);
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
        // Relaxed: only the pool's writer, which the caller is, stores these.
        while u64::from(position) >= u64::from(FANOUT).pow(self.depth.load(Ordering::Relaxed)) {
            self.grow();
        }
        let (mut index, depth) = (position / FANOUT, self.depth.load(Ordering::Relaxed));
        for level in 1..depth {
            index /= FANOUT;
            self.above[level as usize - 1].ensure(index);
        }
        if position >= self.high_water.load(Ordering::Relaxed) {
            // Release: whoever draws a position below this finds the words made above.
            self.high_water.store(position + 1, Ordering::Release);
        }
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
        if self.word(depth as usize - 1, 0).announce() != 0 {
            self.mark_from(depth as usize, 0);
        }
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

    /// A member that can be selected, drawn at random; `None` when there was an instant with none.
    ///
    /// While all members are available every one of them is equally likely. When some are not, one is the likelier the
    /// fewer others are in its word, and the fewer words with any there are beside that; see the limitations.
    #[inline(always)]
    pub(crate) fn draw<'a>(&self, cells: &'a Cells, random: &mut Random) -> Option<Found<'a>> {
        self.find(cells, self.high_water(), Stretch::WHOLE, random).map(|(found, _)| found)
    }

    /// The less loaded of two members that are drawn as by [`draw`](Self::draw), from this part of a large pool as long as
    /// somebody is found there.
    #[inline(always)]
    pub(crate) fn draw_lighter<'a>(&self, cells: &'a Cells, home: Stretch, random: &mut Random) -> Option<Found<'a>> {
        let high_water = self.high_water();
        let home = if high_water < WITH_HOMES { Stretch::WHOLE } else { home };
        let (first, rest) = self.find(cells, high_water, home, random)?;
        if rest == ONLY {
            return Some(first);
        }
        // The second may be the same node again, or find the pool empty by now.
        match self.find(cells, high_water, home, random) {
            Some((second, coin)) => Some(first.lighter(second, coin)),
            None => Some(first),
        }
    }

    /// A member that can be selected, at a random position or near; and a random number that it does not hang on, or
    /// [`ONLY`].
    #[inline(always)]
    fn find<'a>(
        &self,
        cells: &'a Cells,
        high_water: u32,
        home: Stretch,
        random: &mut Random,
    ) -> Option<(Found<'a>, u64)> {
        // The position, and the fraction by which the number drawn is past it: what that has not said yet.
        let draw = u128::from(home.place(random.next())) * u128::from(high_water);
        let (position, fraction) = ((draw >> 64) as u32, draw as u64);
        let (leaf, place) = (self.leaves.at(position / FANOUT), position % FANOUT);
        let (bits, seats) = (leaf.word.bits(), leaf.seats());
        // Two cases, for a processor to foresee which: either all are available, or one of those that are is sought. (Not
        // by where the members' cells are: that hangs on when cells were vacated, which no seed repeats.)
        let all = || u32::MAX >> (u32::BITS - (high_water - (position - place)).clamp(1, FANOUT));
        let place = if bits == u32::MAX || bits == 0 || bits == all() { place } else { random_bit(bits, fraction) };
        if bits != 0
            && let Some(found) = look(cells, seats, place)
        {
            return Some((found, fraction));
        }
        // On a copy, so that the caller's can be in a register.
        let mut apart = random.clone();
        let found = match bits {
            0 => self.find_near(cells, position / FANOUT, &mut apart),
            _ => self.find_beside(cells, position / FANOUT * FANOUT + place, &mut apart),
        };
        *random = apart;
        let (found, only) = found?;
        Some((found, if only { ONLY } else { fraction }))
    }

    /// As [`find`](Self::find), where the bit at `met` is stale, or the member in a cell elsewhere.
    #[inline(never)]
    fn find_beside<'a>(&self, cells: &'a Cells, met: u32, random: &mut Random) -> Option<(Found<'a>, bool)> {
        match self.look(cells, met) {
            Some(found) => Some((found, false)),
            None => self.find_near(cells, met / FANOUT, random),
        }
    }

    /// As [`find`](Self::find), in this leaf if it has a set bit, or else near; and whether it is the only one in all.
    #[inline(never)]
    fn find_near<'a>(&self, cells: &'a Cells, leaf: u32, random: &mut Random) -> Option<(Found<'a>, bool)> {
        // Each turn mends a stale bit, or another thread got somewhere.
        loop {
            let Near { leaf, place, only } = self.draw_near(leaf, random)?;
            let found = look(cells, self.leaves.at(leaf).seats(), place);
            if let Some(found) = found.or_else(|| self.look(cells, leaf * FANOUT + place)) {
                return Some((found, only));
            }
        }
    }

    /// A set bit of this leaf if it has one; else up until a word has a set bit, then down at random. `None` when there was
    /// an instant with none.
    #[inline(always)]
    fn draw_near(&self, leaf: u32, random: &mut Random) -> Option<Near> {
        'again: loop {
            let depth = self.depth() as usize;
            let (mut level, mut index) = (0, leaf);
            let mut bits = self.leaves.at(leaf).word.bits();
            while bits == 0 {
                level += 1;
                if level >= depth {
                    // The topmost word was empty, if it still was the topmost then.
                    if self.depth() as usize == depth {
                        return None;
                    }
                    continue 'again;
                }
                index /= FANOUT;
                bits = self.above[level - 1].at(index).bits();
            }
            let mut only = level + 1 == depth;
            while level > 0 {
                only &= bits.is_power_of_two();
                index = index * FANOUT + random_bit(bits, random.next());
                level -= 1;
                bits = self.word(level, index).bits();
                if bits == 0 {
                    // A bit stood for an empty word.
                    self.clear_above(level, index);
                    continue 'again;
                }
            }
            only &= bits.is_power_of_two();
            return Some(Near { leaf: index, place: random_bit(bits, random.next()), only });
        }
    }

    /// The member at this position if it can be selected. If not, and the index says otherwise, the index is mended.
    pub(crate) fn look<'a>(&self, cells: &'a Cells, position: u32) -> Option<Found<'a>> {
        let (leaf, place) = (self.leaves.at(position / FANOUT), position % FANOUT);
        let found = look(cells, leaf.seats(), place).or_else(|| look_at(cells, self.stranger(position)?));
        if found.is_none() {
            self.mend(cells, position);
        }
        found
    }

    /// Clears the bit of a member that cannot be selected.
    #[cold]
    pub(crate) fn mend(&self, cells: &Cells, position: u32) {
        self.clear(position, || self.member(position).is_none_or(|cell| !cells.at(cell).word().selectable()));
    }

    /// The first position at or after `from`, going round, whose member may be selected; `None` when there was an
    /// instant with none.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let from = if from < self.high_water() { from } else { 0 };
        if self.high_water() == 0 {
            return None;
        }
        'again: loop {
            let depth = self.depth();
            let (mut level, mut index, mut least) = (0, from / FANOUT, from % FANOUT);
            let mut bits = loop {
                let bits = self.word(level, index).bits();
                // From bit `least` on; it is 32 when the word below was the last of this one.
                let ahead = bits & u32::MAX.checked_shl(least).unwrap_or(0);
                if ahead != 0 {
                    break ahead;
                }
                if level as u32 + 1 == depth {
                    if bits != 0 {
                        // Round to the beginning.
                        break bits;
                    }
                    if self.depth() == depth {
                        return None;
                    }
                    continue 'again;
                }
                least = index % FANOUT + 1;
                index /= FANOUT;
                level += 1;
            };
            loop {
                let first = next_bit(bits, 0);
                if level == 0 {
                    return Some(index * FANOUT + first);
                }
                (level, index) = (level - 1, index * FANOUT + first);
                bits = self.word(level, index).bits();
                if bits == 0 {
                    self.clear_above(level, index);
                    continue 'again;
                }
            }
        }
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

/// What [`Index::find`] says with a member that is the only one available: there is no need to draw another.
const ONLY: u64 = u64::MAX;

/// A set bit, and whether it is the only one.
struct Near {
    leaf: u32,
    place: u32,
    only: bool,
}

/// The member at this place of a leaf, if it is in one of the leaf's own cells and can be selected.
#[inline(always)]
fn look(cells: &Cells, seats: Seats, place: u32) -> Option<Found<'_>> {
    look_at(cells, seats.own(place)?)
}

/// The node in this cell, if it can be selected.
#[inline(always)]
fn look_at(cells: &Cells, number: u32) -> Option<Found<'_>> {
    let cell = cells.at(number);
    let word = cell.word();
    word.selectable().then_some(Found { number, cell, word })
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use crate::node::word::Flags;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// An index, and cells to which it is indifferent: each can always be selected. Members are in cells of the number
    /// of their position.
    fn index(positions: u32) -> (Index, Cells) {
        let (index, cells) = (Index::new(0, Arc::new(Occupancy::new(1))), Cells::new());
        (0..positions).for_each(|position| add(&index, &cells, position));
        (index, cells)
    }

    fn add(index: &Index, cells: &Cells, position: u32) {
        let cell = index.own_cell(position, cells);
        assert_eq!(cell, position);
        cells.at(cell).occupy(1, 100, Flags::NONE);
        index.set_member(position, Some(cell));
    }

    fn draw(index: &Index, cells: &Cells, random: &mut Random) -> Option<u32> {
        index.draw(cells, random).map(|found| found.number)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Marks, clears and growth in any order against a plain set: finds tell exactly what is in it.
        #[test]
        fn finds_agree_with_a_set(steps in proptest::collection::vec((any::<bool>(), 0u32..40_000), 1..200), seed in any::<u64>()) {
            let (index, cells) = index(1);
            let (mut set, mut size) = (BTreeSet::new(), 1);
            let mut random = Random::new(seed);
            for (mark, position) in steps {
                for new in size..=position {
                    add(&index, &cells, new);
                }
                size = size.max(position + 1);
                if mark {
                    set.insert(position);
                    index.mark(position);
                } else {
                    set.remove(&position);
                    index.clear(position, || true);
                }
                match draw(&index, &cells, &mut random) {
                    None => prop_assert!(set.is_empty()),
                    Some(found) => prop_assert!(set.contains(&found) && index.is_told(found)),
                }
                // Growth leaves a stale bit, which the draw has mended if it found nothing.
                prop_assert_eq!(index.is_empty(), set.is_empty());
                index.mend_occupancy();
                prop_assert_eq!(index.occupancy.is_marked(0), !set.is_empty());
                let after = set.range(position..).next().or_else(|| set.iter().next()).copied();
                prop_assert_eq!(index.next(position), after);
            }
        }
    }

    #[test]
    fn the_only_free_position_is_found_at_every_size() {
        for size in [1, 31, 32, 33, 1024, 1025, 32_768, 32_769, 100_000] {
            let (index, cells) = index(size);
            let mut random = Random::new(7);
            for position in [0, size / 2, size - 1] {
                index.mark(position);
                for _ in 0..20 {
                    assert_eq!(draw(&index, &cells, &mut random), Some(position));
                }
                index.clear(position, || true);
                assert_eq!(draw(&index, &cells, &mut random), None);
            }
        }
    }

    #[test]
    fn draws_are_uniform_while_most_are_free() {
        // 33 positions: the last word has a single one, which must not get half of the draws.
        let (index, cells) = index(33);
        (0..33).for_each(|position| index.mark(position));
        let mut random = Random::new(1);
        let mut drawn = [0u32; 33];
        for _ in 0..330_000 {
            drawn[draw(&index, &cells, &mut random).unwrap() as usize] += 1;
        }
        assert!(drawn.iter().all(|&n| (9_500..10_500).contains(&n)), "{drawn:?}");
    }
}
