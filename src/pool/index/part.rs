//! The part of a pool that a thread draws from: the stretch that is its home, laid on the pool's positions.
//!
//! A part begins where a cache line of leaves does, or at position 0: so threads that draw from parts side by side write
//! to no line in common. (Were it otherwise, a line of 128 positions with a boundary in it would cost both threads two
//! fetches whenever either fills or frees a node there.) What that moves a boundary by, half a line at most, is little
//! beside the home of a thread, but for the smallest pools that have homes at all.

use super::word::FANOUT;
use crate::random::{Random, Stretch};

/// In a pool of fewer positions, threads have no homes: these would be lines that several share, and few nodes to choose
/// from.
const WITH_HOMES: u32 = 512;

/// Positions whose leaves are on one cache line.
const LINE: u64 = FANOUT as u64 * 4;

/// Positions in a row, going round. See the module's documentation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    first: u32,
    len: u32,
    /// Positions of the pool.
    all: u32,
}

impl Part {
    #[inline(always)]
    pub(super) fn whole(all: u32) -> Self {
        Self { first: 0, len: all, all }
    }

    #[inline(always)]
    pub(super) fn of(all: u32, home: Stretch) -> Self {
        let whole = Self::whole(all);
        if home.is_whole() || all < WITH_HOMES {
            return whole;
        }
        let (first, end) = home.ends();
        let (first, end) = (line_near(first, all), line_near(end, all));
        // A home of less than half a line may have none.
        if first == end { whole } else { Self { first: first as u32, len: (end - first) as u32, all } }
    }

    /// A position in it, all alike; and the fraction by which the number drawn is past it: what that has not said yet.
    #[inline(always)]
    pub(super) fn draw(self, random: &mut Random) -> (u32, u64) {
        let drawn = u128::from(random.next()) * u128::from(self.len);
        let position = self.first + (drawn >> 64) as u32;
        let past_the_end = self.first != 0 && position >= self.all;
        let position = if past_the_end { position - self.all } else { position };
        (position, drawn as u64)
    }
}

/// The beginning of a line that is nearest to a place on the circle, which is 2^32 once around; further rounds count on.
#[inline(always)]
fn line_near(place: u64, all: u32) -> u64 {
    let (rounds, place) = (place >> 32, place & u64::from(u32::MAX));
    let position = (place * u64::from(all)) >> 32;
    let line = (position + LINE / 2) / LINE * LINE;
    rounds * u64::from(all) + line.min(all.into())
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    proptest! {
        /// Parts of homes that lie side by side all around lie side by side all around, lines apart; and draws stay within.
        #[test]
        fn parts_cover_all_once(
            all in WITH_HOMES..2_000_000,
            origin in any::<u32>(),
            widths in proptest::collection::vec(1u32 << 26..1 << 28, 1..8),
            seed in any::<u64>(),
        ) {
            let mut homes: Vec<(u32, u32)> = Vec::new();
            let mut next = origin;
            for width in &widths {
                homes.push((next, *width));
                next = next.wrapping_add(*width);
            }
            homes.push((next, origin.wrapping_sub(next)));
            let mut random = Random::new(seed);
            let mut covered = 0;
            for (origin, width) in homes {
                let home = Stretch::new(origin, NonZeroU32::new(width).unwrap());
                let (first, end) = home.ends();
                if line_near(first, all) == line_near(end, all) {
                    prop_assert_eq!(Part::of(all, home).len, all);
                    continue;
                }
                let part = Part::of(all, home);
                prop_assert!(u64::from(part.first) % LINE == 0 || part.first == all);
                prop_assert!((f64::from(part.len) - f64::from(width) / 2f64.powi(32) * f64::from(all)).abs() <= LINE as f64);
                covered += u64::from(part.len);
                for _ in 0..10 {
                    let (position, _) = part.draw(&mut random);
                    prop_assert!(position < all && (position + all - part.first) % all < part.len);
                }
            }
            prop_assert_eq!(covered, u64::from(all));
        }
    }

    #[test]
    fn small_pools_have_no_parts() {
        let home = Stretch::new(1 << 31, NonZeroU32::new(1 << 30).unwrap());
        assert_eq!(Part::of(WITH_HOMES - 1, home).len, WITH_HOMES - 1);
        assert_eq!((Part::of(1024, home).first, Part::of(1024, home).len), (512, 256));
    }
}
