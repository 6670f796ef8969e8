//! The part of a pool that a thread draws from: the stretch that is its home, laid on the pool's positions.
//!
//! A part is whole cache lines of leaves: so threads that draw from parts side by side write to no line in common. (Were
//! it otherwise, a line of 128 positions with a boundary in it would cost both threads two fetches whenever either fills
//! or frees a node there.) So a part may be half a line longer or shorter than the home, which is little beside it but in
//! the smallest pools; there, a thread may find its home too full and leave it.

use super::leaf;
use super::word::FANOUT;
use crate::random::{Random, Stretch};

/// In a pool of fewer positions, threads have no homes: these would be lines that several share, and few nodes to choose
/// from.
const WITH_HOMES: u32 = 512;

/// Positions whose leaves are on one cache line.
const LINE: u32 = FANOUT * leaf::LINE as u32;

/// Positions in a row, going round. See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    first: u32,
    len: u32,
    /// Positions of the pool.
    all: u32,
}

impl Part {
    #[inline(always)]
    pub(crate) fn whole(all: u32) -> Self {
        Self { first: 0, len: all, all }
    }

    /// Parts of homes that lie side by side all around lie side by side all around, in whole lines of the pool.
    pub(crate) fn of(all: u32, home: Stretch) -> Self {
        if home.is_whole() || all < WITH_HOMES {
            return Self::whole(all);
        }
        // The last line has up to half a line more, or less.
        let lines = (all + LINE / 2) / LINE;
        let near = |point: u32| {
            let half = 1 << (Stretch::BITS - 1);
            ((u64::from(point) * u64::from(lines) + half) >> Stretch::BITS) as u32
        };
        let (begin, end) = (near(home.begin()), near(home.end()));
        // Where the last line ends the first begins.
        let first = if begin == lines { 0 } else { begin * LINE };
        let end = if end == lines || end == 0 { all } else { end * LINE };
        // A home of less than half a line may have none, and is the whole.
        Self { first, len: if first < end { end - first } else { end + (all - first) }, all }
    }

    #[inline(always)]
    pub(super) fn all(self) -> u32 {
        self.all
    }

    /// As a word to be kept, for whoever knows of how many positions it is a part.
    #[inline(always)]
    pub(crate) fn word(self) -> u64 {
        u64::from(self.first) << 32 | u64::from(self.len)
    }

    #[inline(always)]
    pub(crate) fn of_word(all: u32, word: u64) -> Self {
        Self { first: (word >> 32) as u32, len: word as u32, all }
    }

    pub(crate) fn is_whole(self) -> bool {
        self.len == self.all
    }

    /// A position in it, all alike; and the fraction by which the number drawn is past it: what that has not said yet.
    #[inline(always)]
    pub(super) fn draw(self, random: &mut Random) -> (u32, u64) {
        let drawn = u128::from(random.next()) * u128::from(self.len);
        let position = self.first + (drawn >> 64) as u32;
        // Past the end it goes on from 0: the smaller of the two, for less than nothing is much. Without a branch, which in a
        // part that goes round could not be foreseen.
        let position = if self.first == 0 { position } else { position.min(position.wrapping_sub(self.all)) };
        (position, drawn as u64)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Homes that lie side by side all around have every position in one part, and each as much as its home is wide, but
        /// for a line; and draws stay within.
        #[test]
        fn parts_cover_all_once(
            all in WITH_HOMES..2_000_000,
            turn in any::<u32>(),
            ends in proptest::collection::btree_set(1u64..1 << Stretch::BITS, 1..16),
            seed in any::<u64>(),
        ) {
            let (mut start, mut covered, mut random) = (0, Vec::new(), Random::new(seed));
            for end in ends.into_iter().chain([1 << Stretch::BITS]) {
                let wanted = (end - start) as f64 / 2f64.powi(32) * f64::from(all);
                let part = Part::of(all, Stretch::new(u64::from(turn) + start, u64::from(turn) + end));
                start = end;
                prop_assert_eq!(Part::of_word(all, part.word()), part);
                if part.len == all {
                    prop_assert!(wanted <= 1.5 * f64::from(LINE) || wanted >= f64::from(all) - 1.5 * f64::from(LINE));
                    covered.push(None);
                    continue;
                }
                prop_assert!(part.first.is_multiple_of(LINE) && part.first < all);
                prop_assert!(part.len >= LINE / 2 && (f64::from(part.len) - wanted).abs() <= 1.5 * f64::from(LINE));
                covered.push(Some(part));
                for _ in 0..10 {
                    let (position, _) = part.draw(&mut random);
                    prop_assert!(position < all && (position + all - part.first) % all < part.len);
                }
            }
            let parts: Vec<Part> = covered.into_iter().flatten().collect();
            if !parts.is_empty() {
                prop_assert_eq!(parts.iter().map(|part| u64::from(part.len)).sum::<u64>(), u64::from(all));
                for (before, after) in parts.iter().zip(parts.iter().cycle().skip(1)) {
                    prop_assert_eq!((before.first + before.len) % all, after.first);
                }
            }
        }
    }

    #[test]
    fn equal_homes_have_equal_parts() {
        let half = 1 << (Stretch::BITS - 1);
        for turn in (0..1000).map(|turn| turn << 22) {
            let parts = [0, half].map(|start| Part::of(1000, Stretch::new(turn + start, turn + start + half)));
            assert!(parts.iter().all(|part| (488..=512).contains(&part.len)), "{parts:?}");
        }
    }

    #[test]
    fn small_pools_have_no_parts() {
        let home = Stretch::new(1 << 31, 3 << 30);
        assert_eq!(Part::of(WITH_HOMES - 1, home).len, WITH_HOMES - 1);
        assert_eq!(Part::of(WITH_HOMES, home).len, WITH_HOMES / 4);
        assert_eq!((Part::of(1024, home).first, Part::of(1024, home).len), (512, 256));
    }

    #[test]
    fn a_part_ends_at_the_line_that_is_nearest() {
        let of = |hundredths: u64| Part::of(1280, Stretch::new(0, (hundredths << Stretch::BITS) / 100));
        assert_eq!([24, 26, 34, 36].map(|end| of(end).len), [256, 384, 384, 512]);
        assert!(!of(26).is_whole() && of(100).is_whole() && of(26).all() == 1280);
    }
}
