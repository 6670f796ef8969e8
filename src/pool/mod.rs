//! Pools: nodes that are interchangeable for some demands.

mod config;
pub(crate) mod index;
mod indexes;
mod layout;
mod lent;
mod occupancy;
mod profile;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;

pub use config::PoolConfig;
pub(crate) use index::word::FANOUT;
pub(crate) use index::{Found, Index};
pub(crate) use indexes::Indexes;
pub(crate) use layout::{Layout, Seat, automatic_name};
pub(crate) use lent::Lent;
pub(crate) use occupancy::Occupancy;
#[cfg(all(test, not(slotyard_loom)))]
pub(crate) use profile::Seating;
pub(crate) use profile::{Automatic, Profile, Profiles};
pub use view::{PoolKind, PoolView};

use crate::capability::Capabilities;
use crate::id::stable_hash;
use crate::lock::WriterLock;
use crate::node::{Cells, NodeState};
use crate::stats::LockStats;
use crate::sync::{Ordering, Statistic};

/// Round-robin positions of a pool; threads share them by their number.
const ROTORS: usize = 16;

/// A pool: what its members can do, where they are, and which of them may be selected.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Its place in the snapshot's table; used again after the pool is dropped.
    pub(crate) number: u32,
    /// Never used again; its low half is the number.
    pub(crate) key: u64,
    pub(crate) name: Arc<str>,
    /// What routing keys are held against.
    pub(crate) name_hash: u64,
    pub(crate) kind: PoolKind,
    /// Every member can do at least this.
    pub(crate) guarantee: Arc<Capabilities>,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) index: Arc<Index>,
    pub(crate) tally: Arc<Tally>,
    /// What its jobs keep of it.
    lending: lent::Lending,
    /// The largest weight of a member.
    max_weight: Statistic,
    /// Positions of round robin, made when first used.
    rotors: OnceLock<Box<[CachePadded<Statistic>]>>,
    writer: WriterLock<Roster>,
}

/// Where a member was taken in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seated {
    pub(crate) position: u32,
    pub(crate) cell: u32,
}

/// Which positions are taken. Under the pool's writer lock.
#[derive(Debug, Default)]
struct Roster {
    /// Freed positions, to be used again: the one that was freed first is, for its cell is likeliest to be vacant.
    free: VecDeque<u32>,
    /// The first position never used.
    next: u32,
    members: u32,
    /// No member joins any more: the pool is being dropped.
    closed: bool,
    weights: Weights,
}

/// How many members have which weight.
#[derive(Debug, Default)]
struct Weights {
    /// That of most, likely: of the first, when there was none before.
    usual: u16,
    of_usual: u32,
    others: BTreeMap<u16, u32>,
}

impl Weights {
    fn add(&mut self, weight: u16) {
        if self.of_usual == 0 {
            self.usual = weight;
        }
        if weight == self.usual {
            self.of_usual += 1;
        } else {
            *self.others.entry(weight).or_default() += 1;
        }
    }

    fn remove(&mut self, weight: u16) {
        // It makes no difference which of equal ones goes.
        if weight == self.usual && self.of_usual > 0 {
            self.of_usual -= 1;
        } else if let Some(count) = self.others.get_mut(&weight) {
            *count -= 1;
            if *count == 0 {
                self.others.remove(&weight);
            }
        }
    }

    fn largest(&self) -> u16 {
        let usual = if self.of_usual > 0 { self.usual } else { 0 };
        self.others.last_key_value().map_or(0, |(weight, _)| *weight).max(usual)
    }
}

/// What is known of a pool without looking at its members. Written on the management path, read to guess and to show.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    states: [Statistic; NodeState::COUNT],
    /// Slots of all members.
    capacity: Statistic,
    /// Free slots of ready members at the last sweep.
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

impl Tally {
    pub(crate) fn add(&self, share: Share) {
        self.states[share.state as usize].fetch_add(1, Ordering::Relaxed);
        self.capacity.fetch_add(u64::from(share.capacity), Ordering::Relaxed);
        self.guess_free(0, share.offered());
    }

    pub(crate) fn remove(&self, share: Share) {
        self.states[share.state as usize].fetch_sub(1, Ordering::Relaxed);
        self.capacity.fetch_sub(u64::from(share.capacity), Ordering::Relaxed);
        self.guess_free(share.offered(), 0);
    }

    /// One node's share has changed.
    pub(crate) fn replace(&self, before: Share, after: Share) {
        if after.state != before.state {
            self.states[after.state as usize].fetch_add(1, Ordering::Relaxed);
            self.states[before.state as usize].fetch_sub(1, Ordering::Relaxed);
        }
        if after.capacity != before.capacity {
            self.capacity.fetch_add(u64::from(after.capacity), Ordering::Relaxed);
            self.capacity.fetch_sub(u64::from(before.capacity), Ordering::Relaxed);
        }
        self.guess_free(before.offered(), after.offered());
    }

    /// Until the next sweep counts them, the slots of a node are taken to be free, as far as that can be.
    fn guess_free(&self, less: u64, more: u64) {
        if less != more {
            let guess = |free: u64| Some((free + more).saturating_sub(less));
            let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, guess);
        }
    }

    pub(crate) fn count(&self, state: NodeState) -> u64 {
        self.states[state as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    pub(crate) fn set_free(&self, slots: u64) {
        self.free.store(slots, Ordering::Relaxed);
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

impl Pool {
    pub(crate) fn new(
        (number, birth): (u32, u32),
        name: Arc<str>,
        kind: PoolKind,
        guarantee: Arc<Capabilities>,
        tenant: Option<Arc<str>>,
        index: Arc<Index>,
    ) -> Self {
        let key = u64::from(birth) << 32 | u64::from(number);
        index.serve(key);
        Self {
            number,
            key,
            name_hash: stable_hash(&*name),
            name,
            kind,
            guarantee,
            tenant,
            index,
            tally: Arc::default(),
            lending: lent::Lending::default(),
            max_weight: Statistic::new(0),
            rotors: OnceLock::new(),
            writer: WriterLock::new("pool", Roster::default()),
        }
    }

    /// Takes a member in, which is not marked: the node in `cell`, or one that is to come into a cell of `cells` that this
    /// finds for it, the one that belongs to its position if that can be. Says where and in which; `None` when the
    /// pool is being dropped.
    pub(crate) fn join(&self, cell: Option<u32>, cells: &Cells, weight: u16, locks: &LockStats) -> Option<Seated> {
        let mut roster = self.writer.lock(locks);
        if roster.closed {
            return None;
        }
        let position = roster.free.pop_front().unwrap_or_else(|| {
            roster.next += 1;
            roster.next - 1
        });
        let cell = cell.unwrap_or_else(|| {
            let own = self.index.own_cell(position, cells);
            if cells.take_this(own) { own } else { cells.take() }
        });
        self.index.set_member(position, Some(cell));
        roster.members += 1;
        roster.weights.add(weight);
        self.publish_weight(&roster);
        Some(Seated { position, cell })
    }

    /// Lets a member go; says whether it was the last.
    pub(crate) fn leave(&self, position: u32, weight: u16, locks: &LockStats) -> bool {
        let mut roster = self.writer.lock(locks);
        self.index.set_member(position, None);
        self.index.clear(position, || true);
        roster.free.push_back(position);
        roster.members -= 1;
        roster.weights.remove(weight);
        self.publish_weight(&roster);
        roster.members == 0
    }

    pub(crate) fn change_weight(&self, from: u16, to: u16, locks: &LockStats) {
        let mut roster = self.writer.lock(locks);
        roster.weights.remove(from);
        roster.weights.add(to);
        self.publish_weight(&roster);
    }

    /// Closes the pool if it has no member; says whether it did.
    pub(crate) fn close_if_empty(&self, locks: &LockStats) -> bool {
        let mut roster = self.writer.lock(locks);
        let close = roster.members == 0 && !roster.closed;
        roster.closed |= close;
        close
    }

    fn publish_weight(&self, roster: &Roster) {
        self.max_weight.store(roster.weights.largest().into(), Ordering::Relaxed);
    }

    pub(crate) fn max_weight(&self) -> u16 {
        self.max_weight.load(Ordering::Relaxed) as u16
    }

    pub(crate) fn rotor(&self, thread: u32) -> &Statistic {
        let rotors = || (0..ROTORS).map(|_| CachePadded::new(Statistic::new(0))).collect();
        &self.rotors.get_or_init(rotors)[thread as usize % ROTORS]
    }

    /// Members, whatever their state.
    pub(crate) fn members(&self) -> u64 {
        NodeState::ALL.iter().map(|state| self.tally.count(*state)).sum()
    }
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_largest_weight_is_that_of_a_member(steps in proptest::collection::vec((0u16..6, any::<bool>()), 1..200)) {
            let (mut weights, mut members) = (Weights::default(), Vec::new());
            for (weight, joins) in steps {
                if joins {
                    weights.add(weight);
                    members.push(weight);
                } else if let Some(at) = members.iter().position(|member| *member == weight) {
                    members.swap_remove(at);
                    weights.remove(weight);
                }
                prop_assert_eq!(weights.largest(), members.iter().copied().max().unwrap_or(0));
            }
        }
    }
}
