//! What a scheduler counts of itself.
//!
//! Counters are striped: the first threads have a stripe each and count without a read-modify-write, the others share
//! the last one. Reading sums. No line is written by more than one of the first threads.

use std::time::Duration;

use crossbeam_utils::CachePadded;
use histogram::AtomicHistogram;

use crate::sync::{Ordering, Statistic};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What is counted, and the stripe's slot for it.
        #[derive(Debug, Clone, Copy)]
        #[allow(non_camel_case_types, reason = "one list serves as slots and as the fields of `Counters`")]
        pub(crate) enum Count { $($name),* }

        const COUNTS: usize = [$(Count::$name),*].len();

        /// How often things have happened since the scheduler was built.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters { $($(#[$doc])* pub $name: u64),* }

        impl Striped {
            fn sums(&self) -> Counters {
                let mut sums = Counters { $($name: self.sum(Count::$name)),* };
                // Counted once, where a slot is taken.
                sums.selected += sums.reserved;
                sums
            }
        }
    };
}

counters! {
    /// Nodes chosen, by `select` or to reserve.
    selected,
    /// Refusals because nobody can do it.
    refused_unsupported,
    /// Refusals because all who could were busy.
    refused_busy,
    /// Refusals because all who could were gone.
    refused_gone,
    /// Slots reserved.
    reserved,
    /// Slots released.
    released,
    /// Releases refused because no slot was held: never, unless there is a bug.
    double_released,
    /// Jobs created.
    created,
    /// Creates that found the job of their request id.
    repeated,
    /// Further attempts.
    retried,
    /// Jobs completed.
    completed,
    /// Jobs failed.
    failed,
    /// Jobs cancelled.
    cancelled,
    /// Jobs whose lease ran out.
    expired,
    /// Jobs whose node went away.
    orphaned,
    /// Heartbeats taken.
    heartbeats,
    /// Routes computed.
    routes_computed,
    /// Routes computed and not kept, because `max_routes` are.
    routes_not_kept,
}

/// Threads with a stripe of their own.
pub(crate) const OWN_STRIPES: usize = 32;

#[derive(Debug)]
pub(crate) struct Striped {
    // Padded: neighbours are other threads' counters.
    stripes: Box<[CachePadded<[Statistic; COUNTS]>; OWN_STRIPES + 1]>,
}

impl Striped {
    pub(crate) fn new() -> Self {
        let stripe = || CachePadded::new(std::array::from_fn(|_| Statistic::new(0)));
        Self { stripes: Box::new(std::array::from_fn(|_| stripe())) }
    }

    /// One more of `count`, by the thread known under this number.
    #[inline(always)]
    pub(crate) fn add(&self, thread: u32, count: Count) {
        let thread = thread as usize;
        if thread < OWN_STRIPES {
            // Only this thread writes the stripe, so nothing is lost between the two.
            let counter = &self.stripes[thread][count as usize];
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        } else {
            self.stripes[OWN_STRIPES][count as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a thread with a stripe of its own has counted.
    pub(crate) fn of(&self, thread: usize, count: Count) -> u64 {
        self.stripes[thread][count as usize].load(Ordering::Relaxed)
    }

    fn sum(&self, count: Count) -> u64 {
        self.stripes.iter().map(|stripe| stripe[count as usize].load(Ordering::Relaxed)).sum()
    }
}

/// Times in a histogram that any thread may add to: values to 3 %, from 1 ns to 13 days.
pub(crate) struct Times(AtomicHistogram);

impl Times {
    pub(crate) fn new() -> Self {
        Self(AtomicHistogram::new(5, 50).expect("a grouping power below the value power"))
    }

    pub(crate) fn record(&self, time: Duration) {
        self.record_times(time, 1);
    }

    /// The same time so many times.
    fn record_times(&self, time: Duration, times: u32) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min((1 << 50) - 1);
        // Cannot fail: the value is within the range.
        let _ = self.0.add(nanos, times.into());
    }

    pub(crate) fn summary(&self) -> TimeSummary {
        let histogram = self.0.load();
        let at = |quantile: f64| {
            let bucket = histogram.quantile_bucket(quantile).ok().flatten();
            bucket.map_or(Duration::ZERO, |bucket| Duration::from_nanos(bucket.end()))
        };
        TimeSummary {
            count: histogram.as_slice().iter().sum(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

impl std::fmt::Debug for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.summary().fmt(f)
    }
}

/// A histogram of times, in short; each figure is the upper end of its bucket, at most 3 % above the true one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeSummary {
    /// How many were recorded.
    pub count: u64,
    /// Half were no longer.
    pub p50: Duration,
    /// 99 % were no longer.
    pub p99: Duration,
    /// 99.9 % were no longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

/// How the writer locks of the management path fare.
#[derive(Debug)]
pub(crate) struct LockStats {
    wait: Times,
    hold: Times,
}

impl LockStats {
    pub(crate) fn new() -> Self {
        Self { wait: Times::new(), hold: Times::new() }
    }

    pub(crate) fn waited(&self, time: Duration, times: u32) {
        self.wait.record_times(time, times);
    }

    pub(crate) fn held(&self, time: Duration, times: u32) {
        self.hold.record_times(time, times);
    }
}

/// Everything that is counted on behalf of [`Stats`].
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) counts: Striped,
    pub(crate) dispatch: Times,
    pub(crate) locks: LockStats,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self { counts: Striped::new(), dispatch: Times::new(), locks: LockStats::new() }
    }

    pub(crate) fn read(&self, now: Gauges) -> Stats {
        Stats {
            counters: self.counts.sums(),
            now,
            dispatch_latency: self.dispatch.summary(),
            writer_lock_wait: self.locks.wait.summary(),
            writer_lock_hold: self.locks.hold.summary(),
        }
    }
}

/// What there is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Nodes registered, offline ones included.
    pub nodes: usize,
    /// Pools, configured ones without nodes included.
    pub pools: usize,
    /// Jobs in memory, finished ones included.
    pub jobs: usize,
    /// Of these, finished ones.
    pub finished_jobs: usize,
    /// Sessions.
    pub sessions: usize,
    /// Routes kept for the present snapshot.
    pub routes: usize,
    /// Version of the snapshot.
    pub snapshot_version: u64,
    /// Events that subscribers missed because their queue was full.
    pub events_dropped: u64,
}

/// What a scheduler counts of itself. The numbers are read one after the other, not at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How often things have happened.
    pub counters: Counters,
    /// What there is now.
    pub now: Gauges,
    /// From the creation of an attempt to the call that said it was dispatched; as fine as the tick.
    pub dispatch_latency: TimeSummary,
    /// How long writers of the management path waited for their locks. Those that did not wait are counted by sixty-fours.
    pub writer_lock_wait: TimeSummary,
    /// How long they held them: those that waited, and of the others every sixty-fourth at each lock, counted so many times.
    pub writer_lock_hold: TimeSummary,
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn every_thread_is_counted_and_those_with_a_stripe_each_for_itself() {
        let counts = Striped::new();
        let threads = [0, 1, 1, 31, 32, 32, 33, 1_000];
        threads.iter().for_each(|thread| counts.add(*thread, Count::created));
        assert_eq!((counts.sum(Count::created), counts.sum(Count::reserved)), (8, 0));
        assert_eq!([0, 1, 2, 31].map(|thread| counts.of(thread, Count::created)), [1, 2, 0, 1]);
        assert_eq!(counts.of(1, Count::reserved), 0);
    }

    #[test]
    fn threads_that_share_a_stripe_lose_nothing() {
        let counts = Striped::new();
        std::thread::scope(|scope| {
            for thread in 32..36 {
                let counts = &counts;
                scope.spawn(move || (0..1_000_000).for_each(|_| counts.add(thread, Count::created)));
            }
        });
        assert_eq!(counts.sum(Count::created), 4_000_000);
    }

    #[test]
    fn every_time_is_recorded_the_longest_as_13_days() {
        let times = Times::new();
        for time in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            times.record(time);
        }
        let summary = times.summary();
        assert_eq!((summary.count, summary.max), (3, Duration::from_nanos((1 << 50) - 1)));
        let error = summary.p50.as_secs_f64() / 0.001 - 1.0;
        assert!((0.0..=0.03125).contains(&error), "{summary:?}");
        assert!(format!("{times:?}").contains("count: 3"), "{times:?}");
    }
}
