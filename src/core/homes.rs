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
//! Between two ticks threads fall idle, and others begin. So a thread holds its home against the whole: before some choices
//! it looks at a node of each, and which of the two is less loaded is added up as in Page's cumulative sum test (Continuous
//! inspection schemes, Biometrika 1954). A thread whose home is clearly fuller leaves it for a tick, or for longer if that
//! has been so before. Looking at others' nodes is what homes are there to avoid, so it is done rarely, until the sum says
//! that it may be worth it.
//!
//! A home is the thread's in every pool. Where two threads draw from different pools, each would leave a part of its own
//! to nobody: that is one of the cases which the test ends.
//!
//! Every store and load is Relaxed: a home is one word, and one that is a tick old is still a part of the pool.

use std::cmp::Ordering::{Equal, Greater, Less};

use crossbeam_utils::CachePadded;

use super::Core;
use crate::pool::{Found, Index, Part};
use crate::random::{Random, Stretch};
use crate::stats::{Count, OWN_STRIPES};
use crate::sync::{Ordering, Statistic};

/// A thread that has drawn less than this since the last tick has no home: it does not disturb the others much.
const BUSY: u64 = 512;
/// Ticks after which the homes move on.
const STAY: u64 = 64;
/// How far they move, in parts of 2^32: by the golden ratio, so that they come everywhere before they come back.
const STEP: u64 = 0x9e37_79b9;

/// What the sum rises by when the home's node was the fuller one; what it falls by when it was the less full, and when
/// both were alike. So it keeps falling as long as the home's is the fuller by less than a quarter of the choices more
/// often than the other.
const FULLER: u64 = 3;
const LESS_FULL: u64 = 5;
const ALIKE: u64 = 1;
/// The sum at which the home is left. In a home that is as full as the rest it comes to that about once in three million
/// tests, and less often where nodes are as full as one another.
const TOO_FULL: u64 = 96;
/// The sum from which on tests are frequent: of one choice in 2^`OFTEN`, before of one in 2^`RARELY`. A home that is
/// fuller in every test is left after some 1,300 choices.
const SUSPICIOUS: u64 = 3;
const OFTEN: u32 = 3;
const RARELY: u32 = 10;

/// See the module's documentation. Threads are known by their numbers; those past the first few share the last home, which
/// is always the whole.
#[derive(Debug)]
pub(super) struct Homes(Box<[CachePadded<Home>; OWN_STRIPES + 1]>);

#[derive(Debug, Default)]
struct Home {
    /// A [`Stretch`].
    stretch: Statistic,
    /// By how much it seemed to be fuller than the rest. Only its thread writes it, and what follows.
    fuller: Statistic,
    /// The part that it was last laid on, see [`Homes::part`]: of so many positions,
    all: Statistic,
    /// as this stretch,
    laid: Statistic,
    /// a [`Part`].
    part: Statistic,
}

/// What maintenance remembers from one tick to the next.
#[derive(Debug, Default)]
pub(super) struct Census {
    drawn: [u64; OWN_STRIPES],
    ticks: u64,
    /// Whether there are homes.
    given: bool,
    stays: [Stay; OWN_STRIPES],
}

/// What maintenance knows of a thread and its home.
#[derive(Debug, Clone, Copy, Default)]
struct Stay {
    /// It was given one at the last tick.
    given: bool,
    /// The tick from which on it is given one again.
    from: u64,
    /// How many ticks it was last left without.
    absent: u64,
}

impl Stay {
    /// Whether the thread is given a home at this tick. Not soon again if it has left the last one, and the later the more
    /// often it has: so a thread whose home is too full whenever it has one seldom has one.
    fn renew(&mut self, tick: u64, at_home: bool) -> bool {
        match (self.given, at_home) {
            (true, false) => {
                self.absent = (2 * self.absent).clamp(1, STAY);
                self.from = tick + self.absent;
            }
            (true, true) => self.absent /= 2,
            (false, _) => {}
        }
        self.given = tick >= self.from;
        self.given
    }
}

impl Home {
    /// For its thread.
    #[inline(never)]
    fn lay(&self, stretch: Stretch, all: u32) -> Part {
        let part = Part::of(all, stretch);
        self.all.store(u64::from(all), Ordering::Relaxed);
        self.laid.store(stretch.0, Ordering::Relaxed);
        self.part.store(part.word(), Ordering::Relaxed);
        part
    }
}

impl Homes {
    pub(super) fn new() -> Self {
        Self(Box::new(std::array::from_fn(|_| CachePadded::default())))
    }

    #[inline(always)]
    fn at(&self, thread: u32) -> &Home {
        &self.0[(thread as usize).min(OWN_STRIPES)]
    }

    /// The home of a thread.
    fn of(&self, thread: u32) -> Stretch {
        Stretch(self.at(thread).stretch.load(Ordering::Relaxed))
    }

    /// The part of so many positions of a pool that is the thread's home there. Most often it was asked for the same one
    /// before, and then that is known: to work it out takes longer than all else until a position is drawn.
    #[inline(always)]
    pub(super) fn part(&self, thread: u32, all: u32) -> Part {
        let home = self.at(thread);
        let stretch = home.stretch.load(Ordering::Relaxed);
        if stretch == Stretch::WHOLE.0 {
            return Part::whole(all);
        }
        if home.laid.load(Ordering::Relaxed) == stretch && home.all.load(Ordering::Relaxed) == u64::from(all) {
            return Part::of_word(all, home.part.load(Ordering::Relaxed));
        }
        home.lay(Stretch(stretch), all)
    }

    /// How rarely the thread's home is held against the whole now.
    #[inline(always)]
    fn rarity(&self, thread: u32) -> u32 {
        if self.at(thread).fuller.load(Ordering::Relaxed) < SUSPICIOUS { RARELY } else { OFTEN }
    }

    fn give(&self, thread: usize, stretch: Stretch) {
        self.0[thread].stretch.store(stretch.0, Ordering::Relaxed);
    }

    /// The thread saw how a node of its home compares to one of the whole; it may leave its home because of that.
    fn note(&self, thread: u32, load: std::cmp::Ordering) {
        let home = self.at(thread);
        let sum = home.fuller.load(Ordering::Relaxed);
        let sum = match load {
            Greater => sum + FULLER,
            Less => sum.saturating_sub(LESS_FULL),
            Equal => sum.saturating_sub(ALIKE),
        };
        let leaves = sum >= TOO_FULL;
        home.fuller.store(if leaves { 0 } else { sum }, Ordering::Relaxed);
        if leaves {
            home.stretch.store(Stretch::WHOLE.0, Ordering::Relaxed);
        }
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
        let turn = (census.ticks / STAY).wrapping_mul(STEP);
        let (mut before, mut start) = (0, 0);
        for (thread, drawn) in lately.into_iter().enumerate() {
            let home = if several && busy(drawn) {
                before += drawn;
                let end = (u128::from(before) << Stretch::BITS) / u128::from(total);
                let end = end as u64;
                // One too small to be told has none, and the next begins where it would have.
                let home = Stretch::new(turn.wrapping_add(start), turn.wrapping_add(end));
                start = end;
                let at_home = !self.of(thread as u32).is_whole();
                if census.stays[thread].renew(census.ticks, at_home) { home } else { Stretch::WHOLE }
            } else {
                census.stays[thread].given = false;
                Stretch::WHOLE
            };
            self.give(thread, home);
        }
    }
}

impl Core {
    /// The less loaded of two members of the pool of this index, for a thread.
    #[inline(always)]
    pub(super) fn draw_lighter<'a>(&'a self, index: &Index, thread: u32, random: &mut Random) -> Option<Found<'a>> {
        let all = index.high_water();
        let part = self.homes.part(thread, all);
        // Twice, so that most often there is no part to reckon with.
        if part.is_whole() {
            return index.draw_lighter(&self.cells, Part::whole(all), random);
        }
        if random.is_turn(self.homes.rarity(thread)) {
            self.test_home(index, thread, part, random);
        }
        index.draw_lighter(&self.cells, part, random)
    }

    /// Draws from the home and from the whole, to see how they compare. Neither is chosen: a node of another's home that is
    /// only looked at stays in the caches of both.
    #[inline(never)]
    fn test_home(&self, index: &Index, thread: u32, home: Part, random: &mut Random) {
        let here = index.draw_in(home, &self.cells, random);
        let there = index.draw(&self.cells, random);
        if let (Some(here), Some(there)) = (here, there) {
            self.homes.note(thread, here.compare(&there));
        }
    }

    /// Shares the homes out, if threads are to have any.
    pub(super) fn share_out_homes(&self, census: &mut Census) {
        if self.config.homes {
            let counts = &self.meters.counts;
            let drawn = |thread| counts.of(thread, Count::selected) + counts.of(thread, Count::reserved);
            self.homes.share_out(census, std::array::from_fn(drawn));
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
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
                    prop_assert_eq!(given[pair[0]].end(), given[pair[1]].begin());
                }
                for thread in busy {
                    let share = f64::from(given[thread].width()) / 2f64.powi(32);
                    prop_assert!((share - drawn[thread] as f64 / total as f64).abs() < 1e-6);
                }
            }
        }
    }

    proptest! {
        /// The part is that of the home that the thread has now, whichever it had, and of the pool that is asked about.
        #[test]
        fn a_part_is_of_this_home_and_of_this_pool(asked in proptest::collection::vec((0u64..4, 0usize..3), 1..50)) {
            let homes = Homes::new();
            for (home, pool) in asked {
                let (stretch, all) = (Stretch::new(home << 30, 3 << 30), [700, 1000, 40_000][pool]);
                homes.give(1, stretch);
                prop_assert_eq!(homes.part(1, all), Part::of(all, stretch));
                prop_assert_eq!(homes.part(0, all), Part::whole(all));
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
        assert_eq!((first.width(), second.width()), (3 << 30, 1 << 30));
        assert_eq!(tick([BUSY, BUSY - 1]), [Stretch::WHOLE; 2]);
        assert_eq!(homes.of(OWN_STRIPES as u32), Stretch::WHOLE);
        assert_eq!(homes.of(u32::MAX), Stretch::WHOLE);
    }

    #[test]
    fn who_has_left_a_home_is_given_none_for_a_while() {
        let (homes, mut census) = (Homes::new(), Census::default());
        let mut drawn = [0; OWN_STRIPES];
        let mut absences = Vec::new();
        let mut absent = 0;
        for _ in 0..200 {
            drawn[..2].iter_mut().for_each(|drawn| *drawn += BUSY);
            homes.share_out(&mut census, drawn);
            assert!(!homes.of(1).is_whole());
            if homes.of(0).is_whole() {
                absent += 1;
            } else {
                absences.push(absent);
                absent = 0;
                // It leaves at once.
                while !homes.of(0).is_whole() {
                    homes.note(0, Greater);
                }
            }
        }
        assert_eq!(absences, [0, 1, 2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn who_stays_at_home_is_sooner_given_another_after_leaving_it() {
        let absence = |stayed: u64| {
            let mut stay = Stay { absent: 16, given: true, from: 0 };
            (0..stayed).for_each(|_| assert!(stay.renew(100, true)));
            assert!(!stay.renew(100, false));
            stay.from - 100
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(absence), [32, 16, 8, 4, 2, 1, 1]);
    }

    #[test]
    fn tests_are_frequent_while_a_home_seems_fuller() {
        let (homes, _) = shared_out(&[BUSY, BUSY]);
        assert_eq!([homes.rarity(0), homes.rarity(1)], [RARELY; 2]);
        homes.note(0, Greater);
        assert_eq!([homes.rarity(0), homes.rarity(1)], [OFTEN, RARELY]);
        homes.note(0, Equal);
        assert_eq!(homes.rarity(0), RARELY);
    }

    #[test]
    fn homes_are_shared_out_by_what_was_selected_and_reserved() {
        for homes in [true, false] {
            let core = Core::new(crate::SchedulerBuilder::default().manual_maintenance().homes(homes).check().unwrap());
            let mut census = Census::default();
            for (thread, count) in [(0, Count::selected), (1, Count::reserved)] {
                (0..BUSY).for_each(|_| core.meters.counts.add(thread, count));
            }
            core.share_out_homes(&mut census);
            assert_eq!([0, 1, 2].map(|thread| !core.homes.of(thread).is_whole()), [homes, homes, false]);
        }
    }

    #[test]
    fn homes_move_on() {
        let (homes, mut census) = (Homes::new(), Census::default());
        let origins: Vec<u32> = (1..=3 * STAY)
            .map(|tick| {
                homes.share_out(&mut census, [tick * BUSY; OWN_STRIPES]);
                homes.of(0).begin()
            })
            .collect();
        let moves = origins.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(moves, 3);
    }
    /// Two busy threads' homes, and how often the first has to see its home compared until it leaves; `None`: it stays.
    fn leaves_after(tests: u32, mut load: impl FnMut() -> std::cmp::Ordering) -> Option<u32> {
        let (homes, _) = shared_out(&[BUSY, BUSY]);
        let left = (1..=tests).find(|_| {
            homes.note(0, load());
            homes.of(0).is_whole()
        });
        assert!(!homes.of(1).is_whole());
        left
    }

    #[test]
    fn a_fuller_home_is_left_and_an_equal_one_is_not() {
        assert_eq!(leaves_after(100, || Greater), Some(32));
        let mut random = fastrand::Rng::with_seed(1);
        let mut chance = |fuller: f64, less: f64| {
            let drawn = random.f64();
            if drawn < fuller {
                Greater
            } else if drawn < fuller + less {
                Less
            } else {
                Equal
            }
        };
        // Half of the tests on nodes as full as one another, or none: many a tick's.
        assert_eq!(leaves_after(1 << 20, || chance(0.25, 0.25)), None);
        assert_eq!(leaves_after(1 << 20, || chance(0.5, 0.5)), None);
        assert!(leaves_after(1 << 20, || chance(0.6, 0.2)).is_some_and(|tests| tests < 1000));
    }
}
