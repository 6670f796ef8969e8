//! Finding a member that may be selected: at random, or the next from a position on.

use std::hint::select_unpredictable;

use super::leaf::Seats;
use super::part::Part;
use super::rank::{random_bit, random_bit_of_few};
use super::word::{FANOUT, IndexWord, next_bit};
use super::{Found, Index};
use crate::node::Cells;
use crate::prefetch::fetch_ahead;
use crate::random::Random;

/// The processor's caches hold the cells of a pool of fewer positions.
const LARGE: u32 = 1 << 14;
/// They do not hold the cells of a pool of so many positions either of which few are available.
const HUGE: u32 = 1 << 19;
/// Choices between the one that has cells fetched and the one that looks at them: memory takes longer than one.
const AHEAD: u32 = 3;

impl Index {
    /// A member that can be selected, drawn at random; `None` when there was an instant with none.
    ///
    /// While all members are available every one of them is equally likely. When some are not, one is the likelier the
    /// fewer others are in its word, and the fewer words with any there are beside that; see the limitations.
    #[inline(always)]
    pub(crate) fn draw<'a>(&self, cells: &'a Cells, random: &mut Random) -> Option<Found<'a>> {
        self.draw_in(Part::whole(self.high_water()), cells, random)
    }

    /// As [`draw`](Self::draw), from this part as long as somebody is found there.
    #[inline(always)]
    pub(crate) fn draw_in<'a>(&self, part: Part, cells: &'a Cells, random: &mut Random) -> Option<Found<'a>> {
        self.find(cells, &self.draw_place(part, random))
    }

    /// The less loaded of two members that are drawn as by [`draw`](Self::draw), from this part as long as somebody is found
    /// there.
    #[inline(always)]
    pub(crate) fn draw_lighter<'a>(&self, cells: &'a Cells, part: Part, random: &mut Random) -> Option<Found<'a>> {
        if part.all() > FANOUT {
            return self.draw_lighter_of(part, cells, random);
        }
        let few = self.draw_lighter_of_few(cells, random);
        if few.is_some() {
            return few;
        }
        // On a copy, so that the caller's can be in a register.
        let mut apart = random.clone();
        let found = self.draw_lighter_apart(part, cells, &mut apart);
        *random = apart;
        found
    }

    /// As [`draw_lighter`](Self::draw_lighter), where there is but one leaf. `None` also when somebody is not where its
    /// bits say.
    #[inline(always)]
    fn draw_lighter_of_few<'a>(&self, cells: &'a Cells, random: &mut Random) -> Option<Found<'a>> {
        let leaf = self.leaves.at(0);
        let (bits, seats) = (leaf.word.bits(), leaf.seats());
        if bits == 0 {
            return None;
        }
        // One number has enough for two ranks, and for a coin.
        let drawn = random.next();
        let first = look(cells, seats, random_bit_of_few(bits, drawn))?;
        if bits.is_power_of_two() {
            return Some(first);
        }
        let second = look(cells, seats, random_bit_of_few(bits, drawn << 32))?;
        Some(first.lighter(second, drawn))
    }

    #[inline(never)]
    fn draw_lighter_apart<'a>(&self, part: Part, cells: &'a Cells, random: &mut Random) -> Option<Found<'a>> {
        self.draw_lighter_of(part, cells, random)
    }

    #[inline(always)]
    fn draw_lighter_of<'a>(&self, part: Part, cells: &'a Cells, random: &mut Random) -> Option<Found<'a>> {
        let drawn = [self.draw_place(part, random), self.draw_place(part, random)];
        if (drawn[0].bits != 0) & (drawn[1].bits != 0) {
            // Before the cells are looked at, so as not to wait for what those wait for.
            if part.all() >= LARGE && (part.all() >= HUGE || are_dense(drawn[0].bits, drawn[1].bits)) {
                self.foresee(part, cells, random);
            }
            if let Some(first) = look(cells, drawn[0].seats, drawn[0].place)
                && let Some(second) = look(cells, drawn[1].seats, drawn[1].place)
            {
                return Some(first.lighter(second, drawn[1].fraction));
            }
        }
        self.find_lighter(cells, &drawn)
    }

    /// The less loaded of two members that these draws lead to, where one met an empty leaf, or somebody is not where the bits
    /// say.
    #[inline(never)]
    fn find_lighter<'a>(&self, cells: &'a Cells, drawn: &[Drawn; 2]) -> Option<Found<'a>> {
        let above = [self.above(drawn[0].leaf), self.above(drawn[1].leaf)];
        let near = |one: usize| self.nearby(&drawn[one], above[one]);
        // Where nobody is near, that is most often so of both.
        if (above[0] != 0) & (above[1] != 0)
            && let near = [near(0), near(1)]
            && (near[0].bits != 0) & (near[1].bits != 0)
            && let Some(first) = look(cells, near[0].seats, near[0].place)
            && let Some(second) = look(cells, near[1].seats, near[1].place)
        {
            return Some(first.lighter(second, drawn[1].fraction));
        }
        let (first, only) = self.find_otherwise(cells, &drawn[0])?;
        if only {
            return Some(first);
        }
        // The second may be the same node again, or find the pool empty by now.
        match self.find_otherwise(cells, &drawn[1]) {
            Some((second, _)) => Some(first.lighter(second, drawn[1].fraction)),
            None => Some(first),
        }
    }

    /// A member that can be selected, where the draw says or near.
    #[inline(always)]
    fn find<'a>(&self, cells: &'a Cells, drawn: &Drawn) -> Option<Found<'a>> {
        let near = self.nearby(drawn, self.above(drawn.leaf));
        let found = (near.bits != 0).then(|| look(cells, near.seats, near.place)).flatten();
        if found.is_some() { found } else { self.find_otherwise(cells, drawn).map(|(found, _)| found) }
    }

    /// As [`find`](Self::find), where a bit is stale, a member in a cell elsewhere, or there is nobody near; and whether
    /// the member is known to be the only one.
    #[inline(never)]
    fn find_otherwise<'a>(&self, cells: &'a Cells, drawn: &Drawn) -> Option<(Found<'a>, bool)> {
        if drawn.bits != 0
            && let Some(found) = self.look(cells, drawn.leaf * FANOUT + drawn.place)
        {
            return Some((found, false));
        }
        self.find_near(cells, drawn.leaf, &mut Random::new(drawn.fraction))
    }

    /// The bits of the word above this leaf; none if there is no level above.
    #[inline(always)]
    fn above(&self, leaf: u32) -> u32 {
        self.above[0].get(leaf / FANOUT).map_or(0, IndexWord::bits)
    }

    /// The same draw, or if its leaf is empty a place in one that has the word above in common with it. That may be empty,
    /// too, or its bit stale.
    ///
    /// With other random numbers than the thread's: so a choice takes two of those, whatever it meets; see
    /// [`foresee`](Self::foresee). Without a branch: where few members are available, which leaves are empty cannot be
    /// foreseen, and the processor is to look for both candidates at once.
    #[inline(always)]
    fn nearby(&self, drawn: &Drawn, above: u32) -> Nearby {
        let random = Random::new(drawn.fraction).next();
        let empty = drawn.bits == 0;
        let near = drawn.leaf / FANOUT * FANOUT + random_bit(above, random) % FANOUT;
        let leaf = self.leaves.get(select_unpredictable(empty, near, drawn.leaf));
        let (bits, seats) = leaf.map_or((0, drawn.seats), |leaf| (leaf.word.bits(), leaf.seats()));
        Nearby { bits, seats, place: select_unpredictable(empty, random_bit(bits, random << 32), drawn.place) }
    }

    /// A random position, and if that is not available but others of its leaf are, one of those.
    #[inline(always)]
    fn draw_place(&self, part: Part, random: &mut Random) -> Drawn {
        let (position, fraction) = part.draw(random);
        let (number, place) = (position / FANOUT, position % FANOUT);
        let leaf = self.leaves.at(number);
        let (bits, seats) = (leaf.word.bits(), leaf.seats());
        // Two cases, for a processor to foresee which: either the first few are available and no others, as where all are
        // (and this one is, or else each of those is as likely); or one of those that are is sought.
        // (Added up, or it would be made two branches, of which one cannot be foreseen.)
        let rest = || (bits & bits.wrapping_add(1)).wrapping_add(!bits >> place & 1);
        let place = if bits == u32::MAX || rest() == 0 { place } else { random_bit(bits, fraction) };
        Drawn { leaf: number, place, bits, seats, fraction }
    }

    /// Has the cells fetched that will be drawn with these random numbers after [`AHEAD`] choices more. If the thread chooses
    /// from another pool then, or the bits have changed, two lines were fetched in vain; so they are if the leaves are empty,
    /// but where many are, most choices do not come here.
    #[inline(always)]
    fn foresee(&self, part: Part, cells: &Cells, random: &Random) {
        let mut ahead = random.further_on(2 * AHEAD);
        for _ in 0..2 {
            let drawn = self.draw_place(part, &mut ahead);
            if let Some(block) = cells.block(drawn.seats.block()) {
                fetch_ahead(&block[(drawn.place % FANOUT) as usize]);
            }
        }
    }

    /// Who will be chosen next with these random numbers, as it looks now, in a pool whose nodes the caches do not hold: a
    /// guess, for what that choice will need of the node to be fetched.
    #[inline(always)]
    pub(crate) fn guess_next<'a>(&self, cells: &'a Cells, part: Part, random: &Random) -> Option<Found<'a>> {
        if part.all() < LARGE {
            return None;
        }
        let mut ahead = random.clone();
        let drawn = [self.draw_place(part, &mut ahead), self.draw_place(part, &mut ahead)];
        // Both cells were fetched for that choice, see `foresee`.
        let [first, second] = [&drawn[0], &drawn[1]].map(|drawn| look(cells, drawn.seats, drawn.place));
        Some(first?.lighter(second?, drawn[1].fraction))
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
}

/// Whether in two words as many bits are set as where a third of the members is available, or more: the likelier the more,
/// and hardly ever where it is a tenth. In three steps, where counting takes a dozen.
#[inline(always)]
fn are_dense(first: u32, second: u32) -> bool {
    first & second & first.rotate_right(7) != 0
}

/// A random position, as far as its leaf tells.
struct Drawn {
    leaf: u32,
    /// Of no bits, any.
    place: u32,
    bits: u32,
    seats: Seats,
    /// A random number that the position does not hang on.
    fraction: u64,
}

/// A place of a leaf; of no bits, any.
struct Nearby {
    bits: u32,
    seats: Seats,
    place: u32,
}

/// A set bit, and whether it is the only one.
struct Near {
    leaf: u32,
    place: u32,
    only: bool,
}

/// The member at this place of a leaf, if it is in one of the leaf's own cells and can be selected.
#[inline(always)]
fn look(cells: &Cells, seats: Seats, place: u32) -> Option<Found<'_>> {
    // Found by the block, which is known before the place is.
    let block = seats.block();
    let cell = &cells.block(block)?[(place % FANOUT) as usize];
    let word = cell.word();
    (seats.is_own(place) & word.selectable()).then_some(Found { number: block * FANOUT + place, cell, word })
}

/// The node in this cell, if it can be selected.
#[inline(always)]
fn look_at(cells: &Cells, number: u32) -> Option<Found<'_>> {
    let cell = cells.at(number);
    let word = cell.word();
    word.selectable().then_some(Found { number, cell, word })
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::super::tests::index;
    use super::*;

    #[test]
    fn the_next_choice_from_a_large_pool_is_guessed() {
        let (index, cells) = index(LARGE);
        (0..LARGE).filter(|position| position % 3 < 2).for_each(|position| index.mark(position));
        let part = Part::whole(index.high_water());
        let mut random = Random::new(1);
        for _ in 0..1_000 {
            let guess = index.guess_next(&cells, part, &random).unwrap().number;
            assert_eq!(index.draw_lighter(&cells, part, &mut random).unwrap().number, guess);
        }
    }

    #[test]
    fn no_choice_from_a_small_pool_is_guessed() {
        let (index, cells) = index(LARGE - 1);
        (0..LARGE - 1).for_each(|position| index.mark(position));
        assert!(index.guess_next(&cells, Part::whole(index.high_water()), &Random::new(1)).is_none());
    }

    #[test]
    fn words_are_dense_where_a_third_is_set_and_not_where_a_tenth_is() {
        let mut random = Random::new(1);
        let mut word =
            |of: u64| (0..FANOUT).fold(0, |word, bit| word | u32::from(random.next().is_multiple_of(of)) << bit);
        for (of, expected) in [(1, 1_000..=1_000), (3, 500..=999), (10, 0..=100), (u64::MAX, 0..=0)] {
            let dense = (0..1_000).filter(|_| are_dense(word(of), word(of))).count();
            assert!(expected.contains(&dense), "of {of}: {dense}");
        }
    }

    /// So what is foreseen is what will be drawn.
    #[test]
    fn a_choice_takes_two_random_numbers_whatever_it_meets() {
        let (index, cells) = index(LARGE);
        let part = Part::whole(index.high_water());
        let mut random = Random::new(1);
        for marked in [1, 128, 1_024, LARGE] {
            (0..marked).for_each(|one| index.mark(LARGE / marked * one));
            for _ in 0..100 {
                let mut after = random.further_on(2);
                let chosen = index.draw_lighter(&cells, part, &mut random).unwrap().number;
                assert!(chosen.is_multiple_of(LARGE / marked), "{chosen} is not available");
                assert_eq!(random.clone().next(), after.next(), "{marked} are available");
            }
        }
    }
}
