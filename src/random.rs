//! Random numbers, one stream a thread and scheduler; and the number by which a thread is known to a scheduler.
//!
//! With a seed, the first thread that uses a scheduler draws the same numbers in every run.

use std::cell::{Cell, RefCell};

use crate::sync::{Ordering, Sequence};

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

    /// A number below `n`, which is not 0. Off uniform by less than `n` in 2^32.
    #[inline(always)]
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }
}

/// What a thread keeps for one scheduler.
#[derive(Debug, Clone, Copy)]
struct Local {
    scheduler: u64,
    /// State of the random stream.
    state: u64,
    /// The thread's number with this scheduler, from 0 in order of first use.
    ordinal: u32,
}

/// The threads that use a scheduler.
#[derive(Debug)]
pub(crate) struct Threads {
    scheduler: u64,
    seed: u64,
    next: Sequence,
}

/// Far off in the stream, which the state runs through by adding another odd number.
const ELSEWHERE: u64 = 0x9e37_79b9_7f4a_7c15;

/// A thread remembers its streams for this many schedulers besides the one used last.
const REMEMBERED: usize = 32;

thread_local! {
    // What is kept for the scheduler used last; 0: none. Each field by itself, so that a use reads and writes just what
    // it needs.
    static SCHEDULER: Cell<u64> = const { Cell::new(0) };
    static STATE: Cell<u64> = const { Cell::new(0) };
    static ORDINAL: Cell<u32> = const { Cell::new(0) };
    static OTHERS: RefCell<Vec<Local>> = const { RefCell::new(Vec::new()) };
}

impl Threads {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        static SCHEDULERS: Sequence = Sequence::new(1);
        // Relaxed: only distinctness matters.
        let scheduler = SCHEDULERS.fetch_add(1, Ordering::Relaxed);
        Self { scheduler, seed: seed.unwrap_or_else(|| fastrand::u64(..)), next: Sequence::new(0) }
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
        let state = STATE.with(|kept| kept.replace(kept.get().wrapping_add(ELSEWHERE)));
        let mut random = Random::new(state);
        let result = f(&mut random, ORDINAL.get());
        self.take_over();
        STATE.with(|state| state.replace(random.0.get_seed()));
        result
    }

    /// This thread's stream and number, for use until the stream is [kept](Self::keep) again, by whoever uses no scheduler
    /// and calls nothing of the embedder's meanwhile: the stream is not put aside, so the same numbers would come twice.
    #[inline(always)]
    pub(crate) fn stream(&self) -> (Random, u32) {
        self.take_over();
        (Random::new(STATE.get()), ORDINAL.get())
    }

    /// Takes the stream back.
    #[inline(always)]
    pub(crate) fn keep(&self, stream: Random) {
        // By `replace`, since `set` is not inlined for a thread-local.
        STATE.with(|state| state.replace(stream.0.get_seed()));
    }

    /// This thread's number.
    #[inline(always)]
    pub(crate) fn ordinal(&self) -> u32 {
        self.take_over();
        ORDINAL.get()
    }

    /// Makes this the scheduler used last.
    #[inline(always)]
    fn take_over(&self) {
        if SCHEDULER.get() != self.scheduler {
            self.switch();
        }
    }

    #[cold]
    #[inline(never)]
    fn switch(&self) {
        OTHERS.with_borrow_mut(|others| {
            let last = Local { scheduler: SCHEDULER.get(), state: STATE.get(), ordinal: ORDINAL.get() };
            if last.scheduler != 0 {
                if others.len() == REMEMBERED {
                    others.remove(0);
                }
                others.push(last);
            }
            let local = match others.iter().position(|other| other.scheduler == self.scheduler) {
                Some(at) => others.remove(at),
                None => {
                    // Relaxed: only distinctness matters.
                    let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
                    let mut seeds = fastrand::Rng::with_seed(self.seed ^ ordinal.wrapping_mul(ELSEWHERE));
                    Local { scheduler: self.scheduler, state: seeds.u64(..), ordinal: ordinal as u32 }
                }
            };
            SCHEDULER.set(local.scheduler);
            STATE.set(local.state);
            ORDINAL.set(local.ordinal);
        });
    }
}

#[cfg(all(test, not(slotyard_loom)))]
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
        let threads = Threads::new(Some(7));
        let here = (draw(&threads), threads.ordinal());
        let there = std::thread::scope(|scope| scope.spawn(|| (draw(&threads), threads.ordinal())).join().unwrap());
        assert_ne!(here, there);
        assert_eq!((here.1, there.1), (0, 1));
    }
}
