//! Leases by the time at which they run out: a hashed timing wheel (Varghese and Lauck, Hashed and Hierarchical Timing
//! Wheels, 1987) of lock-free buckets.
//!
//! Invariant: a lease that was entered is looked at by the first turn that begins after its deadline. An entry is a
//! note, not the lease: whoever looks at it holds it against the job, so one too many does no harm.
//!
//! # Protocol
//! A turn first publishes how far it goes, then empties the buckets up to there. An entry is first put in its bucket,
//! then looks how far turns have gone; if past its bucket, it is entered once more among the late ones, which every
//! turn looks at. One of the two is seen by the other, for there is a SeqCst fence between the two steps on both sides.

use crate::id::JobId;
use crate::sync::{AtomicU64, Ordering, SegQueue, fence, sized};

/// Buckets; a lease further off than a turn of the wheel is looked at once in each.
const BUCKETS: u64 = sized(4096, 4) as u64;

/// A lease to be looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) job: JobId,
    pub(crate) attempt: u32,
    /// In ms.
    pub(crate) deadline: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Box<[SegQueue<Lease>]>,
    late: SegQueue<Lease>,
    /// Width of a bucket, in ms.
    grain: u64,
    /// The first bucket, counted from the beginning of time, that no turn has gone past.
    cursor: AtomicU64,
}

impl Wheel {
    pub(crate) fn new(grain: u64) -> Self {
        let buckets = (0..BUCKETS).map(|_| SegQueue::new()).collect();
        Self { buckets, late: SegQueue::new(), grain: grain.max(1), cursor: AtomicU64::new(0) }
    }

    pub(crate) fn insert(&self, lease: Lease) {
        let bucket = lease.deadline / self.grain;
        self.buckets[(bucket % BUCKETS) as usize].push(lease);
        // SeqCst: pairs with the fence in `turn`.
        fence(Ordering::SeqCst);
        if self.cursor.load(Ordering::Relaxed) > bucket {
            self.late.push(lease);
        }
    }

    /// Hands every lease whose deadline is at or before `now` to `due`. For one thread at a time.
    pub(crate) fn turn(&self, now: u64, mut due: impl FnMut(Lease)) {
        let (from, to) = (self.cursor.load(Ordering::Relaxed), now / self.grain);
        // The bucket of now itself is not past: more may come into it.
        self.cursor.store(to.max(from), Ordering::Relaxed);
        // SeqCst: pairs with the fence in `insert`.
        fence(Ordering::SeqCst);
        let late = (0..self.late.len()).map_while(|_| self.late.pop());
        late.for_each(&mut due);
        for bucket in from..=to.min(from + BUCKETS - 1) {
            let bucket = &self.buckets[(bucket % BUCKETS) as usize];
            // Only what is there now: what is not due goes back.
            for lease in (0..bucket.len()).map_while(|_| bucket.pop()) {
                if lease.deadline <= now { due(lease) } else { bucket.push(lease) }
            }
        }
    }
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the steps of the clock: each lease comes once, in the first turn at or after its deadline.
        #[test]
        fn each_lease_comes_in_the_first_turn_after_its_deadline(
            leases in proptest::collection::vec((0u64..100, 1u64..200_000), 1..50),
            steps in proptest::collection::vec(0u64..120_000, 1..40),
        ) {
            let wheel = Wheel::new(10);
            let (mut now, mut open) = (0, Vec::new());
            let mut leases = leases.into_iter();
            for step in steps {
                if let Some((_, length)) = leases.next() {
                    let lease = Lease { job: JobId::from_u128(open.len() as u128), attempt: 1, deadline: now + length };
                    wheel.insert(lease);
                    open.push(Some(lease.deadline));
                }
                now += step;
                wheel.turn(now, |lease| {
                    let deadline = open[lease.job.to_u128() as usize].take();
                    assert_eq!(deadline, Some(lease.deadline), "a lease came twice");
                });
                prop_assert!(open.iter().flatten().all(|deadline| *deadline > now), "a lease is overdue");
            }
        }
    }

    #[test]
    fn a_lease_entered_behind_the_cursor_is_not_lost() {
        let wheel = Wheel::new(10);
        wheel.turn(100_000, |_| unreachable!());
        wheel.insert(Lease { job: JobId::from_u128(1), attempt: 1, deadline: 50_000 });
        let mut seen = 0;
        wheel.turn(100_000, |_| seen += 1);
        assert!(seen >= 1);
    }
}
