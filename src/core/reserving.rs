//! Slots taken and given back.
//!
//! # The short way
//! Most demands are for any free node of the one pool of their route, and are asked for again and again. Their
//! requirements remember that pool, and under which stamp of the snapshot it was that (see [`Memo`]). Then a slot is
//! reserved without a pin, for nothing is followed that could be freed: indexes and cells stay for as long as the
//! scheduler. What may happen meanwhile is that the node in the cell moves to another pool, or is replaced by one, and
//! that the pool's number, and with it the index, is given to another pool. So between reading the slot word and the
//! compare-and-swap that takes the slot it is looked whether
//!
//! - the node is at home in that index: whoever moves a node writes its home before he announces the move in the slot
//!   word, and whoever takes a cell for a node writes its home before the word lets slots be taken. So either the home
//!   is the one that belongs to the word that was read, or the word is about to be changed, and the compare-and-swap
//!   fails, unless it comes first: then the slot was taken before the move;
//! - the stamp is still the same: the set of pools is published with a new one before a node joins a pool that is new, and
//!   a pool is dropped after its last node has left, which changes that node's word.
//!
//! If not, it is done again the long way, under a pin.
//!
//! [`Memo`]: crate::capability::Memo

use std::num::NonZeroU32;

use super::Core;
use super::selecting::{Asked, Extra};
use crate::error::NoNode;
use crate::node::cell::{AtOnce, Cell, Edge, Home};
use crate::node::word::SlotWord;
use crate::pool::{Found, Index};
use crate::select::Candidate;
use crate::stats::Count;
use crate::sync::Ordering;

/// A node chosen: its cell, and the generation under which it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen {
    pub(crate) cell: u32,
    generation: NonZeroU32,
    /// Number and key of the pool.
    pub(crate) pool: u64,
}

impl Chosen {
    #[inline(always)]
    pub(super) fn of(found: &Found<'_>, pool: u64) -> Self {
        // No word of a node has generation 0.
        let generation = NonZeroU32::new(found.word.generation()).unwrap_or(NonZeroU32::MIN);
        Self { cell: found.number, generation, pool }
    }

    /// One that was not found by its pool.
    #[cfg(feature = "redis")]
    pub(super) fn in_cell(cell: u32, generation: u32, pool: u64) -> Self {
        Self { cell, generation: NonZeroU32::new(generation).unwrap_or(NonZeroU32::MIN), pool }
    }

    #[inline(always)]
    pub(crate) fn generation(self) -> u32 {
        self.generation.get()
    }
}

/// A slot taken, to be [given back](Core::give_back), with its cell at hand.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'c> {
    pub(crate) cell: &'c Cell,
    pub(crate) chosen: Chosen,
}

/// What became of taking a slot that was found.
enum Taken {
    Yes,
    /// Others were faster.
    No,
    /// It was not to be found there.
    Elsewhere,
}

impl Core {
    #[inline(always)]
    pub(crate) fn reserve<'c>(&'c self, asked: Asked<'_>) -> Result<Slot<'c>, NoNode> {
        match self.reserve_shortly(asked) {
            Some(slot) => Ok(slot),
            None => self.reserve_at_large(asked).map(|chosen| Slot { cell: self.cells.at(chosen.cell), chosen }),
        }
    }

    /// See the module's documentation. `None`: the short way does not lead there.
    #[inline(always)]
    pub(super) fn reserve_shortly<'c>(&'c self, asked: Asked<'_>) -> Option<Slot<'c>> {
        // Acquire: pairs with `publish`.
        let stamp = self.stamp.load(Ordering::Acquire);
        let number = asked.demand().requirements.memo.known(stamp).filter(|_| asked.is_plain())?;
        let index = self.indexes.get(number)?;
        // Of the pool of that stamp, which is looked at again before a slot is taken.
        let key = index.key();
        let (mut random, thread) = self.threads.stream();
        let slot = loop {
            let Some(found) = self.draw_lighter(index, thread, &mut random) else { break None };
            match self.reserve_of(index, number, stamp, &found) {
                Taken::Yes => {
                    self.meters.counts.add(thread, Count::reserved);
                    break Some(Slot { cell: found.cell, chosen: Chosen::of(&found, key) });
                }
                Taken::No => {}
                Taken::Elsewhere => break None,
            }
        };
        self.threads.keep(random);
        slot
    }

    #[inline(always)]
    fn reserve_of(&self, index: &Index, number: u32, stamp: u64, found: &Found<'_>) -> Taken {
        let cell = found.cell;
        // A node of several pools goes the long way.
        let Some(position) = cell.position_in(number) else { return Taken::Elsewhere };
        // Acquire: pairs with `publish`.
        if self.stamp.load(Ordering::Acquire) != stamp {
            return Taken::Elsewhere;
        }
        match cell.reserve(found.word) {
            Err(_) => return Taken::No,
            Ok((Edge::None, _)) => {}
            Ok((Edge::Fallen, left)) => clear(index, position, cell, left),
            Ok((edge, _)) => self.reserved_elsewhere(cell, edge),
        }
        Taken::Yes
    }

    #[inline(never)]
    fn reserve_at_large(&self, asked: Asked<'_>) -> Result<Chosen, NoNode> {
        self.choose(asked, Extra::default(), &crate::sync::pin(), |candidate, thread| {
            self.reserve_on(candidate, thread).then(|| Chosen::of(&candidate.found, candidate.pool.key))
        })
    }

    /// Takes a slot of the candidate, which was found under a pin. `false`: others were faster.
    pub(super) fn reserve_on(&self, candidate: &Candidate<'_>, thread: u32) -> bool {
        let (found, pool) = (&candidate.found, candidate.pool);
        let Ok((edge, word)) = found.cell.reserve(found.word) else { return false };
        self.reserved(found.cell, edge, word, &pool.index, pool.number);
        self.meters.counts.add(thread, Count::reserved);
        true
    }

    /// Tells the indexes of a slot that was taken of a member found in this one, which has left the word as it is here.
    #[inline(always)]
    fn reserved(&self, cell: &Cell, edge: Edge, left: SlotWord, index: &Index, number: u32) {
        match (edge, cell.home()) {
            (Edge::None, _) => {}
            // Most nodes stand in the one pool in which they were just found.
            (Edge::Fallen, Home::At { pool, position }) if pool == number => clear(index, position, cell, left),
            _ => self.reserved_elsewhere(cell, edge),
        }
    }

    #[cold]
    fn reserved_elsewhere(&self, cell: &Cell, edge: Edge) {
        self.tell(cell, edge);
    }

    #[inline(always)]
    pub(crate) fn give_back(&self, slot: Slot<'_>) {
        self.release(slot.cell, slot.chosen.cell, slot.chosen.generation());
    }

    /// Gives a slot of the cell of this number back; to be called once for each slot that was reserved. Needs no pin.
    #[inline(always)]
    pub(super) fn release(&self, cell: &Cell, number: u32, generation: u32) {
        let done = match cell.release_at_once(generation) {
            AtOnce::Quiet => true,
            AtOnce::Risen => {
                self.tell(cell, Edge::Risen);
                true
            }
            AtOnce::No => self.release_step_by_step(number, cell, generation),
        };
        if done {
            self.count(Count::released);
        }
    }

    #[cold]
    fn release_step_by_step(&self, number: u32, cell: &Cell, generation: u32) -> bool {
        match cell.release(generation) {
            Ok(change) => {
                self.released(number, cell, &change);
                true
            }
            Err(error) => {
                self.count(Count::double_released);
                tracing::error!(number, generation, ?error, "a slot was released that was not held; this is a bug");
                false
            }
        }
    }
}

/// The member at this position has become full, by the change of its word that left this: clears its bit.
///
/// The position is the node's own while the word is as it was left: a node that moves announces that in its word before it
/// gives its position up.
#[inline(always)]
fn clear(index: &Index, position: u32, cell: &Cell, left: SlotWord) {
    index.clear(position, || cell.word() == left);
}
