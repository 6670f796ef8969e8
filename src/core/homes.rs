//! Homes: of each pool, the part from which a busy thread draws.
//!
//! Threads that all draw from a whole pool take the cells of its nodes from one another's caches: two of them then do
//! little more than one. So threads that draw much have a home each, a stretch of every pool's positions, and leave it
//! only where they find nobody in it.
//!
//! What that must not cost is balance. So the homes are shared out by maintenance, in proportion to what each thread
//! drew since the last tick: every position is drawn as often as any other, however unevenly the threads are busy. With
//! one busy thread there are none. And they wander, so that no node stays with one thread, whose jobs may be longer
//! than another's.
//!
//! Every store and load is Relaxed: a thread that takes the origin of one home with the width of another draws from a
//! part of the pool that is nobody's home, or somebody else's, once.

use crossbeam_utils::CachePadded;

use super::Core;
use crate::random::Stretch;
use crate::stats::{Count, OWN_STRIPES};
use crate::sync::{Ordering, Statistic};

/// A thread that has drawn less than this since the last tick has no home: it does not disturb the others much.
const BUSY: u64 = 512;
/// Ticks after which the homes move on.
const STAY: u64 = 64;
/// How far they move, in parts of 2^64: by the golden ratio, so that they come everywhere before they come back.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// See the module's documentation. Threads are known by their numbers; those past the first few share the last home, which
/// is always the whole.
#[derive(Debug)]
pub(super) struct Homes(Box<[CachePadded<Home>; OWN_STRIPES + 1]>);

#[derive(Debug)]
struct Home {
    origin: Statistic,
    width: Statistic,
}

/// What maintenance remembers from one tick to the next.
#[derive(Debug, Default)]
pub(super) struct Census {
    drawn: [u64; OWN_STRIPES],
    ticks: u64,
    /// Whether there are homes.
    given: bool,
}

impl Homes {
    pub(super) fn new() -> Self {
        let whole = |_| {
            let Stretch { origin, width } = Stretch::WHOLE;
            CachePadded::new(Home { origin: Statistic::new(origin), width: Statistic::new(width) })
        };
        Self(Box::new(std::array::from_fn(whole)))
    }

    /// The home of a thread.
    #[inline(always)]
    pub(super) fn of(&self, thread: u32) -> Stretch {
        let home = &self.0[(thread as usize).min(OWN_STRIPES)];
        Stretch { origin: home.origin.load(Ordering::Relaxed), width: home.width.load(Ordering::Relaxed) }
    }

    fn set(&self, thread: usize, stretch: Stretch) {
        self.0[thread].origin.store(stretch.origin, Ordering::Relaxed);
        self.0[thread].width.store(stretch.width, Ordering::Relaxed);
    }

    /// Shares the homes out anew, given what each thread has drawn so far.
    fn share_out(&self, census: &mut Census, drawn: [u64; OWN_STRIPES]) {
        let lately: [u64; OWN_STRIPES] = std::array::from_fn(|thread| drawn[thread].wrapping_sub(census.drawn[thread]));
        census.drawn = drawn;
        census.ticks += 1;
        let busy = |drawn: u64| drawn >= BUSY;
        let total: u64 = lately.iter().filter(|drawn| busy(**drawn)).sum();
        let several = lately.iter().filter(|drawn| busy(**drawn)).count() > 1;
        if !several && !census.given {
            return;
        }
        census.given = several;
        let mut origin = (census.ticks / STAY).wrapping_mul(STEP);
        for (thread, drawn) in lately.into_iter().enumerate() {
            if several && busy(drawn) {
                let width = ((u128::from(drawn) << 64) / u128::from(total)) as u64;
                self.set(thread, Stretch { origin, width });
                origin = origin.wrapping_add(width);
            } else {
                self.set(thread, Stretch::WHOLE);
            }
        }
    }
}

impl Core {
    /// Shares the homes out, if threads are to have any.
    pub(super) fn share_out_homes(&self, census: &mut Census) {
        if self.config.homes {
            let counts = &self.meters.counts;
            let drawn = |thread| counts.of(thread, Count::selected) + counts.of(thread, Count::reserved);
            self.homes.share_out(census, std::array::from_fn(drawn));
        }
    }
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shared_out(drawn: &[u64]) -> (Homes, Vec<Stretch>) {
        let (homes, mut census) = (Homes::new(), Census::default());
        homes.share_out(&mut census, std::array::from_fn(|thread| drawn.get(thread).copied().unwrap_or(0)));
        let given = (0..drawn.len()).map(|thread| homes.of(thread as u32)).collect();
        (homes, given)
    }

    proptest! {
        /// Homes lie side by side all around, each as wide as its thread is busy.
        #[test]
        fn homes_are_in_proportion_and_cover_all(drawn in proptest::collection::vec(0u64..1_000_000, 2..OWN_STRIPES)) {
            let busy: Vec<usize> = (0..drawn.len()).filter(|thread| drawn[*thread] >= BUSY).collect();
            let (_, given) = shared_out(&drawn);
            for thread in (0..drawn.len()).filter(|thread| busy.len() < 2 || !busy.contains(thread)) {
                prop_assert_eq!(given[thread], Stretch::WHOLE);
            }
            if busy.len() > 1 {
                let total: u64 = busy.iter().map(|thread| drawn[*thread]).sum();
                for pair in busy.windows(2) {
                    prop_assert_eq!(given[pair[0]].origin.wrapping_add(given[pair[0]].width), given[pair[1]].origin);
                }
                for thread in busy {
                    let share = given[thread].width as f64 / 2f64.powi(64);
                    prop_assert!((share - drawn[thread] as f64 / total as f64).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn who_is_busy_alone_draws_from_the_whole_again() {
        let (homes, mut census) = (Homes::new(), Census::default());
        let mut drawn = [0; OWN_STRIPES];
        let mut tick = |more: [u64; 2]| {
            drawn[0] += more[0];
            drawn[1] += more[1];
            homes.share_out(&mut census, drawn);
            [homes.of(0), homes.of(1)]
        };
        assert_eq!(tick([BUSY, 0]), [Stretch::WHOLE; 2]);
        let [first, second] = tick([3 * BUSY, BUSY]);
        assert_eq!((first.width, second.width), (3 << 62, 1 << 62));
        assert_eq!(tick([BUSY, BUSY - 1]), [Stretch::WHOLE; 2]);
        assert_eq!(homes.of(OWN_STRIPES as u32), Stretch::WHOLE);
        assert_eq!(homes.of(u32::MAX), Stretch::WHOLE);
    }

    #[test]
    fn homes_move_on() {
        let (homes, mut census) = (Homes::new(), Census::default());
        let origins: Vec<u64> = (1..=3 * STAY)
            .map(|tick| {
                homes.share_out(&mut census, [tick * BUSY; OWN_STRIPES]);
                homes.of(0).origin
            })
            .collect();
        let moves = origins.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(moves, 3);
    }
}
