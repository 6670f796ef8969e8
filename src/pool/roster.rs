//! Who comes into a pool and goes: under the pool's writer lock.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;

use super::tally::Share;
use super::{Index, Pool};
use crate::lock::WriterGuard;
use crate::node::{Cells, Left, Node, Room};
use crate::stats::LockStats;
use crate::sync::Ordering;

/// Where a member was taken in.
#[derive(Debug)]
pub(crate) struct Seated {
    pub(crate) position: u32,
    pub(crate) cell: u32,
    /// That of a node which is gone, to be used again.
    pub(crate) record: Option<Arc<Node>>,
}

/// A member that was let go.
#[derive(Debug)]
pub(crate) struct Unseated {
    /// It was the last.
    pub(crate) was_last: bool,
    /// What is to be retired.
    pub(crate) lot: Option<Left>,
}

/// So many freed positions a large pool keeps back: those of two lots, so that the cells of the others are vacant by now.
///
/// Or else each node that is replaced, where all are one after the other, would come to the position that was freed last,
/// and live in a cell elsewhere for as long as it is there. A small pool rather keeps its positions close together: some that
/// are empty, among few, make draws uneven; and what a cell elsewhere costs is little where the caches hold them all.
const KEPT_BACK: usize = 64;
/// Members of a large pool.
const LARGE: u32 = 512;

/// Which positions are taken.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Freed positions, to be used again: the one that was freed first is, for its cell is likeliest to be vacant.
    /// In a large pool some are always kept back: see [`KEPT_BACK`].
    free: VecDeque<u32>,
    /// The first position never used.
    next: u32,
    members: u32,
    /// No member joins any more: the pool is being dropped.
    closed: bool,
    weights: Weights,
    /// What members have left that are gone, until it is a lot.
    left: Left,
    /// For members that come.
    room: Room,
}

impl Roster {
    /// For a member that comes.
    fn position(&mut self) -> u32 {
        let kept = if self.members >= LARGE { KEPT_BACK } else { 0 };
        if self.free.len() > kept
            && let Some(freed) = self.free.pop_front()
        {
            return freed;
        }
        self.next += 1;
        self.next - 1
    }

    /// A cell for a node that is to come to this position, and a record if there is one to be used again.
    fn find_room(&mut self, index: &Index, position: u32, cells: &Cells) -> (u32, Option<Arc<Node>>) {
        let own = index.own_cell(position, cells);
        let cell = if cells.take_this(own) { own } else { self.room.cell(cells) };
        (cell, self.room.record(cells))
    }
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

impl Pool {
    /// Takes a member in, which is not marked: the node in `cell`, or one that is to come into a cell of `cells` that this
    /// finds for it, the one that belongs to its position if that can be. Says where and in which; `None` when the
    /// pool is being dropped.
    pub(crate) fn join(
        &self,
        cell: Option<u32>,
        cells: &Cells,
        weight: u16,
        share: Share,
        locks: &LockStats,
    ) -> Option<Seated> {
        let mut roster = self.writer.lock(locks);
        if roster.closed {
            return None;
        }
        let position = roster.position();
        let (cell, record) = match cell {
            Some(cell) => (cell, None),
            None => roster.find_room(&self.index, position, cells),
        };
        self.index.set_member(position, Some(cell));
        roster.members += 1;
        roster.weights.add(weight);
        self.tally.add(share);
        self.publish_weight(&roster);
        Some(Seated { position, cell, record })
    }

    /// Lets a member go: a node that is `gone`, by the cell that it has left, or one that stays elsewhere.
    pub(crate) fn leave(
        &self,
        position: u32,
        gone: Option<u32>,
        weight: u16,
        share: Share,
        locks: &LockStats,
    ) -> Unseated {
        let mut roster = self.writer.lock(locks);
        self.index.set_member(position, None);
        self.index.clear(position, || true);
        roster.free.push_back(position);
        roster.members -= 1;
        roster.weights.remove(weight);
        self.tally.remove(share);
        self.publish_weight(&roster);
        if let Some(cell) = gone {
            roster.left.put_away(cell);
        }
        let lot = roster.left.is_a_lot().then(|| mem::take(&mut roster.left));
        Unseated { was_last: roster.members == 0, lot }
    }

    pub(crate) fn change_weight(&self, from: u16, to: u16, locks: &LockStats) {
        let mut roster = self.writer.lock(locks);
        roster.weights.remove(from);
        roster.weights.add(to);
        self.publish_weight(&roster);
    }

    /// Closes the pool if it has no member; what was left there, and what room there was, if it did.
    pub(crate) fn close_if_empty(&self, locks: &LockStats) -> Option<(Left, Room)> {
        let mut roster = self.writer.lock(locks);
        if roster.members > 0 || mem::replace(&mut roster.closed, true) {
            return None;
        }
        let roster = &mut *roster;
        Some((mem::take(&mut roster.left), mem::take(&mut roster.room)))
    }

    /// Keeps no room for nodes that come.
    pub(crate) fn take_room(&self, locks: &LockStats) -> Room {
        mem::take(&mut self.writer.lock(locks).room)
    }

    /// What members have left that are gone, though it is not a lot yet.
    pub(crate) fn take_left(&self, locks: &LockStats) -> Left {
        mem::take(&mut self.writer.lock(locks).left)
    }

    /// Runs `body` while nobody comes or goes.
    #[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
    pub(crate) fn undisturbed<R>(&self, locks: &LockStats, body: impl FnOnce() -> R) -> R {
        let _roster = self.writer.lock(locks);
        body()
    }

    fn publish_weight(&self, roster: &WriterGuard<'_, Roster>) {
        self.max_weight.store(roster.weights.largest().into(), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
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

    #[test]
    fn freed_positions_come_again_in_their_order_and_in_a_large_pool_some_are_kept_back() {
        let mut roster = Roster::default();
        assert_eq!([0; 3].map(|_| roster.position()), [0, 1, 2]);
        roster.free.extend([1, 0]);
        assert_eq!([0; 3].map(|_| roster.position()), [1, 0, 3]);
        roster.members = LARGE - 1;
        roster.free.push_back(2);
        assert_eq!([0; 2].map(|_| roster.position()), [2, 4]);
        roster.members = LARGE;
        roster.free.extend(100..100 + KEPT_BACK as u32);
        assert_eq!(roster.position(), 5);
        roster.free.push_back(3);
        assert_eq!([0; 2].map(|_| roster.position()), [100, 6]);
    }
}
