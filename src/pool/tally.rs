//! What is known of a pool without looking at its members.
//!
//! It is kept in two ledgers, for those who write it hold different locks: who comes and goes is entered under the pool's,
//! what changes while a node is there under that of the node's shard. So the first has one writer at a time, and needs no
//! read-modify-write. A figure is the sum of both.

use crate::node::NodeState;
use crate::sync::{Ordering, Statistic};

/// See the module's documentation. Written on the management path, read to guess and to show.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// What nodes brought when they came, less what they took away.
    seated: Ledger,
    /// How that has changed while they were there.
    changed: Ledger,
    /// What the last sweep found to be free beyond what the ledgers say is offered; below zero, most often.
    free: Statistic,
    /// How long a job takes, in ms; 0: none has ended yet.
    duration: Statistic,
}

/// What one node adds to a pool's tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) state: NodeState,
    pub(crate) capacity: u16,
}

impl Share {
    /// Slots that may be taken, if none is held.
    fn offered(self) -> u64 {
        if self.state == NodeState::Ready { self.capacity.into() } else { 0 }
    }
}

/// Sums, each for itself modulo 2^64: what is less than nothing in one ledger is made up for by the other.
#[derive(Debug, Default)]
struct Ledger {
    states: [Statistic; NodeState::COUNT],
    /// Slots of all members.
    capacity: Statistic,
    /// Of those that are ready.
    offered: Statistic,
}

impl Ledger {
    /// Brings each sum forward by what `enter` does to it, from `before` to `after`.
    #[inline(always)]
    fn enter(&self, before: Option<Share>, after: Option<Share>, enter: impl Fn(&Statistic, u64)) {
        let state = |share: Option<Share>| share.map(|share| share.state);
        if state(before) != state(after) {
            after.into_iter().for_each(|share| enter(&self.states[share.state as usize], 1));
            before.into_iter().for_each(|share| enter(&self.states[share.state as usize], 1u64.wrapping_neg()));
        }
        let figure = |sum: &Statistic, of: fn(Share) -> u64| {
            let (less, more) = (before.map_or(0, of), after.map_or(0, of));
            if more != less {
                enter(sum, more.wrapping_sub(less));
            }
        };
        figure(&self.capacity, |share| share.capacity.into());
        figure(&self.offered, Share::offered);
    }
}

/// For the one writer that a sum has.
#[inline(always)]
fn add_alone(sum: &Statistic, more: u64) {
    sum.store(sum.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Tally {
    /// A node has come. For the pool's writer.
    #[inline(always)]
    pub(super) fn add(&self, share: Share) {
        self.seated.enter(None, Some(share), add_alone);
    }

    /// A node has gone. For the pool's writer.
    #[inline(always)]
    pub(super) fn remove(&self, share: Share) {
        self.seated.enter(Some(share), None, add_alone);
    }

    /// One node's share has changed. For the writer of its shard.
    pub(crate) fn replace(&self, before: Share, after: Share) {
        self.changed.enter(Some(before), Some(after), |sum, more| {
            sum.fetch_add(more, Ordering::Relaxed);
        });
    }

    fn sum(&self, of: impl Fn(&Ledger) -> &Statistic) -> u64 {
        let [seated, changed] = [&self.seated, &self.changed].map(|ledger| of(ledger).load(Ordering::Relaxed));
        // Who came after the one was read may be in the other.
        (seated.wrapping_add(changed) as i64).max(0) as u64
    }

    pub(crate) fn count(&self, state: NodeState) -> u64 {
        self.sum(|ledger| &ledger.states[state as usize])
    }

    /// Slots of all members.
    pub(crate) fn capacity(&self) -> u64 {
        self.sum(|ledger| &ledger.capacity)
    }

    /// Free slots of ready members at the last sweep; those of nodes that came or became ready since are taken to be
    /// free, and those of nodes that went to have been.
    pub(crate) fn free(&self) -> u64 {
        let offered = self.sum(|ledger| &ledger.offered);
        (offered.wrapping_add(self.free.load(Ordering::Relaxed)) as i64).max(0) as u64
    }

    pub(crate) fn set_free(&self, slots: u64) {
        let offered = self.sum(|ledger| &ledger.offered);
        self.free.store(slots.wrapping_sub(offered), Ordering::Relaxed);
    }

    pub(crate) fn duration_ms(&self) -> u64 {
        self.duration.load(Ordering::Relaxed)
    }

    /// A job took `ms`. A moving average over some 16 of them; updates that race may be lost.
    pub(crate) fn note_duration(&self, ms: u64) {
        let old = self.duration_ms();
        let new = if old == 0 { ms } else { (old * 15 + ms) / 16 };
        if new.max(1) != old {
            self.duration.store(new.max(1), Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share() -> impl Strategy<Value = Share> {
        (0..NodeState::COUNT, 1u16..9).prop_map(|(state, capacity)| Share { state: NodeState::ALL[state], capacity })
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_the_shares_there_are(steps in proptest::collection::vec((share(), 0u32..4, any::<usize>()), 1..100)) {
            let (tally, mut there): (_, Vec<Share>) = (Tally::default(), Vec::new());
            for (share, step, which) in steps {
                match (step, which.checked_rem(there.len())) {
                    (0, Some(at)) => tally.remove(there.swap_remove(at)),
                    (1, Some(at)) => tally.replace(std::mem::replace(&mut there[at], share), share),
                    _ => {
                        tally.add(share);
                        there.push(share);
                    }
                }
                for state in NodeState::ALL {
                    prop_assert_eq!(tally.count(state), there.iter().filter(|share| share.state == state).count() as u64);
                }
                prop_assert_eq!(tally.capacity(), there.iter().map(|share| u64::from(share.capacity)).sum::<u64>());
                prop_assert_eq!(tally.free(), there.iter().map(|share| share.offered()).sum::<u64>());
            }
        }
    }

    #[test]
    fn what_a_sweep_found_free_is_gone_by_until_the_next() {
        let tally = Tally::default();
        let ready = |capacity| Share { state: NodeState::Ready, capacity };
        tally.add(ready(8));
        tally.set_free(3);
        tally.add(ready(4));
        assert_eq!(tally.free(), 7);
        tally.replace(ready(8), Share { state: NodeState::Draining, capacity: 8 });
        assert_eq!(tally.free(), 0, "as far as that can be");
        tally.set_free(4);
        assert_eq!(tally.free(), 4);
    }

    #[test]
    fn a_duration_is_an_average_that_begins_with_the_first() {
        let tally = Tally::default();
        assert_eq!(tally.duration_ms(), 0);
        for (ms, average) in [(160, 160), (320, 170), (10, 160), (160, 160), (0, 150)] {
            tally.note_duration(ms);
            assert_eq!(tally.duration_ms(), average);
        }
        let tally = Tally::default();
        tally.note_duration(0);
        assert_eq!(tally.duration_ms(), 1, "0 is none");
    }
}
