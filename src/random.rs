//! Random numbers, one stream a thread and scheduler; and the number by which a thread is known to a scheduler.
//!
//! With a seed, the first thread that uses a scheduler draws the same numbers in every run.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, PoisonError, Weak};

use crate::sync::{Ordering, PlainMutex, Sequence, thread_local};

/// A stream of random numbers (wyrand).
#[derive(Debug, Clone)]
pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Whether it is the turn of what is done once in 2^`rarity` times: by the next number's place in the stream, which comes
    /// round evenly.
    #[inline(always)]
    pub(crate) fn is_turn(&self, rarity: u32) -> bool {
        self.0.get_seed() >> (u64::BITS - rarity) == 0
    }

    /// This stream, so many numbers further on.
    #[inline(always)]
    pub(crate) fn further_on(&self, numbers: u32) -> Self {
        let mut further = self.clone();
        (0..numbers).for_each(|_| {
            further.next();
        });
        further
    }

    /// A number below `n`, which is not 0. Off uniform by less than `n` in 2^32.
    #[inline(always)]
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }
}

/// A part of the unit circle, from which positions are drawn: from a point on to another, going round.
///
/// ```text
///  63      32 31       0
/// |   begin  |    end   |
/// ```
/// - `end` (32): where it ends, in parts of 2^32.
/// - `begin` (32): where it begins. Both 0: it is the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch(pub(crate) u64);

impl Stretch {
    pub(crate) const WHOLE: Self = Self(0);
    /// Of a point.
    pub(crate) const BITS: u32 = 32;

    /// Points count from any number of rounds on. One that ends where it begins is the whole.
    pub(crate) fn new(begin: u64, end: u64) -> Self {
        let (begin, end) = (begin as u32, end as u32);
        if begin == end { Self::WHOLE } else { Self(u64::from(begin) << Self::BITS | u64::from(end)) }
    }

    #[inline(always)]
    pub(crate) fn is_whole(self) -> bool {
        self == Self::WHOLE
    }

    #[inline(always)]
    pub(crate) fn begin(self) -> u32 {
        (self.0 >> Self::BITS) as u32
    }

    #[inline(always)]
    pub(crate) fn end(self) -> u32 {
        self.0 as u32
    }

    /// How long it is; 0: it is the whole.
    #[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
    pub(crate) fn width(self) -> u32 {
        self.end().wrapping_sub(self.begin())
    }
}

/// What a thread keeps for one scheduler.
#[derive(Debug)]
struct Local {
    scheduler: u64,
    /// State of the random stream.
    state: u64,
    lease: Lease,
}

/// The threads that use a scheduler.
#[derive(Debug)]
pub(crate) struct Threads {
    scheduler: u64,
    seed: u64,
    /// Streams begun.
    streams: Sequence,
    numbers: Arc<Numbers>,
}

/// The numbers by which threads are known: from 0 on, and again when a thread has ended.
#[derive(Debug, Default)]
struct Numbers {
    returned: PlainMutex<Vec<u32>>,
    next: Sequence,
}

/// A thread's number, until it ends or the scheduler does: what is kept for each number is written without asking whether
/// somebody else does, by calls in which policies of the embedder's run that may use any number of other schedulers.
#[derive(Debug)]
struct Lease {
    ordinal: u32,
    numbers: Weak<Numbers>,
}

/// The number of all threads that have none of their own: of one that is ending.
const NOBODY: u32 = u32::MAX;

impl Numbers {
    fn lease(self: &Arc<Self>) -> Lease {
        let returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Relaxed: only distinctness matters.
        let ordinal = returned.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed) as u32);
        Lease { ordinal, numbers: Arc::downgrade(self) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(numbers) = self.numbers.upgrade() {
            numbers.returned.lock().unwrap_or_else(PoisonError::into_inner).push(self.ordinal);
        }
    }
}

/// What a thread keeps beside the stream in use.
#[derive(Debug, Default)]
struct Kept {
    /// For the scheduler used last.
    last: Option<Lease>,
    others: Vec<Local>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The thread ends, and its numbers become other threads'. Should it use a scheduler once more, it has none.
        let _ = IN_USE.try_with(|used| used.scheduler.set(0));
    }
}

/// Far off in the stream, which the state runs through by adding another odd number.
const ELSEWHERE: u64 = 0x9e37_79b9_7f4a_7c15;

/// With this many schedulers besides the one used last, a thread forgets those that are gone.
const REMEMBERED: usize = 32;

/// What a thread keeps of the scheduler used last. Each field by itself, so that a use reads and writes just what it needs.
struct InUse {
    /// 0: none.
    scheduler: Cell<u64>,
    state: Cell<u64>,
    ordinal: Cell<u32>,
}

thread_local! {
    static IN_USE: InUse = const { InUse { scheduler: Cell::new(0), state: Cell::new(0), ordinal: Cell::new(0) } };
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { last: None, others: Vec::new() }) };
}

impl Threads {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        static SCHEDULERS: Sequence = Sequence::new(1);
        // Relaxed: only distinctness matters.
        let scheduler = SCHEDULERS.fetch_add(1, Ordering::Relaxed);
        Self {
            scheduler,
            seed: seed.unwrap_or_else(|| fastrand::u64(..)),
            streams: Sequence::new(0),
            numbers: Arc::default(),
        }
    }

    /// The number of the scheduler, unlike that of any other in this process.
    pub(crate) fn scheduler(&self) -> u64 {
        self.scheduler
    }

    /// Runs `f` with this thread's stream and number.
    ///
    /// The stream is taken out and put back: so `f` is part of the caller and keeps it in a register, and may use this
    /// or another scheduler itself.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Random, u32) -> R) -> R {
        self.take_over();
        // Should `f` panic, or use this scheduler, the same numbers must not come again.
        let aside = |used: &InUse| (used.state.replace(used.state.get().wrapping_add(ELSEWHERE)), used.ordinal.get());
        let (state, ordinal) = IN_USE.with(aside);
        let mut random = Random::new(state);
        let result = f(&mut random, ordinal);
        self.take_over();
        self.keep(random);
        result
    }

    /// This thread's stream and number, for use until the stream is [kept](Self::keep) again, by whoever uses no scheduler
    /// and calls nothing of the embedder's meanwhile: the stream is not put aside, so the same numbers would come twice.
    #[inline(always)]
    pub(crate) fn stream(&self) -> (Random, u32) {
        self.take_over();
        IN_USE.with(|used| (Random::new(used.state.get()), used.ordinal.get()))
    }

    /// Takes the stream back.
    #[inline(always)]
    pub(crate) fn keep(&self, stream: Random) {
        IN_USE.with(|used| used.state.set(stream.0.get_seed()));
    }

    /// This thread's number.
    #[inline(always)]
    pub(crate) fn ordinal(&self) -> u32 {
        self.take_over();
        IN_USE.with(|used| used.ordinal.get())
    }

    /// Makes this the scheduler used last.
    #[inline(always)]
    fn take_over(&self) {
        if IN_USE.with(|used| used.scheduler.get()) != self.scheduler {
            self.switch();
        }
    }

    #[cold]
    #[inline(never)]
    fn switch(&self) {
        let (scheduler, state) = IN_USE.with(|used| (used.scheduler.get(), used.state.get()));
        let local = KEPT.try_with(|kept| {
            let Kept { last, others } = &mut *kept.borrow_mut();
            if let Some(lease) = last.take() {
                if others.len() >= REMEMBERED {
                    // Those that are gone. One that is there may be in the middle of a call, of which this is a part.
                    others.retain(|other| other.lease.numbers.strong_count() > 0);
                }
                others.push(Local { scheduler, state, lease });
            }
            let known = others.iter().position(|other| other.scheduler == self.scheduler);
            let local = known.map_or_else(|| self.begin(), |at| others.remove(at));
            let found = (local.state, local.lease.ordinal);
            *last = Some(local.lease);
            found
        });
        let (state, ordinal) = local.unwrap_or_else(|_| (self.begin().state, NOBODY));
        IN_USE.with(|used| {
            used.scheduler.set(self.scheduler);
            used.state.set(state);
            used.ordinal.set(ordinal);
        });
    }

    /// A new stream, for this thread.
    fn begin(&self) -> Local {
        // Relaxed: only distinctness matters.
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let mut seeds = fastrand::Rng::with_seed(self.seed ^ stream.wrapping_mul(ELSEWHERE));
        Local { scheduler: self.scheduler, state: seeds.u64(..), lease: self.numbers.lease() }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    fn draw(threads: &Threads) -> u64 {
        threads.with(|random, _| random.next())
    }

    #[test]
    fn a_seed_repeats_and_schedulers_do_not_disturb_one_another() {
        let (a, b) = (Threads::new(Some(7)), Threads::new(Some(7)));
        let alone: Vec<u64> = (0..10).map(|_| draw(&a)).collect();
        let other = Threads::new(Some(9));
        let mixed: Vec<u64> = (0..10)
            .map(|_| {
                draw(&other);
                draw(&b)
            })
            .collect();
        assert_eq!(alone, mixed);
    }

    #[test]
    fn a_scheduler_may_be_used_while_another_is() {
        let (a, b) = (Threads::new(Some(7)), Threads::new(Some(9)));
        let alone: Vec<u64> = (0..10).map(|_| draw(&a)).collect();
        let (outer, inner) = (Threads::new(Some(7)), Threads::new(Some(9)));
        let nested: Vec<(u64, u64)> = (0..10).map(|_| outer.with(|random, _| (random.next(), draw(&inner)))).collect();
        assert_eq!(nested, alone.into_iter().map(|number| (number, draw(&b))).collect::<Vec<_>>());
        assert_eq!((outer.ordinal(), inner.ordinal()), (0, 0), "a thread keeps its numbers");
    }

    #[test]
    fn numbers_do_not_come_again_after_a_panic_or_within() {
        let threads = Threads::new(Some(7));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let panics = std::panic::catch_unwind(|| threads.with(|random, _| -> u64 { panic!("{}", random.next()) }));
            assert!(seen.insert(*panics.unwrap_err().downcast::<String>().unwrap()));
            let (outer, inner) = threads.with(|random, _| (random.next(), draw(&threads)));
            assert!(seen.insert(outer.to_string()) && seen.insert(inner.to_string()));
        }
    }

    #[test]
    fn threads_draw_apart() {
        for seed in [0, 7, u64::MAX] {
            let threads = Threads::new(Some(seed));
            let here = (draw(&threads), threads.ordinal());
            let there = std::thread::scope(|scope| scope.spawn(|| (draw(&threads), threads.ordinal())).join().unwrap());
            assert_ne!(here.0, there.0);
            assert_eq!((here.1, there.1), (0, 1));
        }
    }

    #[test]
    fn schedulers_have_numbers_of_their_own() {
        assert_ne!(Threads::new(Some(7)).scheduler(), Threads::new(Some(7)).scheduler());
    }

    #[test]
    fn turns_come_round_as_rarely_as_is_asked() {
        for rarity in 1..8 {
            let mut random = Random::new(7);
            let draws = 1 << 16;
            let turns = (0..draws).filter(|_| (random.is_turn(rarity), random.next()).0).count();
            let expected = draws >> rarity;
            assert!(turns.abs_diff(expected) <= expected / 8, "{turns} in {draws}, not {expected}");
        }
    }

    #[test]
    fn numbers_are_used_again_when_a_thread_has_ended_and_streams_are_not() {
        let threads = Threads::new(Some(7));
        let (here, _) = (threads.ordinal(), draw(&threads));
        let elsewhere =
            || std::thread::scope(|scope| scope.spawn(|| (threads.ordinal(), draw(&threads))).join().unwrap());
        let (first, second) = (elsewhere(), elsewhere());
        assert_eq!((here, first.0, second.0), (0, 1, 1));
        assert_ne!(first.1, second.1);
    }

    #[test]
    fn a_thread_keeps_its_numbers_however_many_schedulers_it_uses() {
        let all: Vec<Threads> = (0..2 * REMEMBERED).map(|_| Threads::new(Some(7))).collect();
        for threads in all.iter().chain(&all) {
            assert_eq!(threads.ordinal(), 0);
        }
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| all[0].ordinal()).join().unwrap());
        assert_eq!((elsewhere, all[0].ordinal()), (1, 0));
    }

    #[test]
    fn a_thread_forgets_schedulers_that_are_gone() {
        for _ in 0..10 * REMEMBERED {
            assert_eq!(Threads::new(Some(7)).ordinal(), 0);
        }
        assert!(KEPT.with_borrow(|kept| kept.others.len()) <= REMEMBERED);
        // Nor do those hold it back that are there.
        let there: Vec<Threads> = (0..2 * REMEMBERED).map(|_| Threads::new(Some(7))).collect();
        for _ in 0..10 * REMEMBERED {
            there.iter().for_each(|threads| assert_eq!(threads.ordinal(), 0));
            assert_eq!(Threads::new(Some(7)).ordinal(), 0);
        }
        assert!(KEPT.with_borrow(|kept| kept.others.len()) <= there.len() + REMEMBERED);
    }

    #[test]
    fn a_thread_that_is_ending_may_use_a_scheduler() {
        struct Last(Arc<Threads>, std::sync::mpsc::Sender<u32>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.1.send(self.0.ordinal()).unwrap();
            }
        }
        thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });
        let threads = Arc::new(Threads::new(Some(7)));
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = threads.clone();
        // Thread-locals are dropped in an order that nobody promises: either it still has its number, or it has none.
        std::thread::spawn(move || {
            LAST.with_borrow_mut(|last| *last = Some(Last(other.clone(), sender)));
            assert_eq!(other.ordinal(), 0);
        })
        .join()
        .unwrap();
        assert!([0, NOBODY].contains(&receiver.recv().unwrap()));
        assert_eq!(threads.ordinal(), 0);
    }
}
