//! All cells, and which of them are vacant.
//!
//! Cells come in blocks. A block is either loose: its cells go to whoever needs one; or it belongs to a place in a pool's
//! index for good (see `pool::index::leaf`): then each of its cells is vacant or not by itself, and is given out by its
//! number only.
//!
//! # Names
//! Beside the cells, under the same numbers, are the ids of their nodes, as far as they are short enough ([`Name`]): so
//! whoever knows the number of a cell fetches both at the same time, and holds the name against the one he looks for without
//! a pin, which following the cell to the node's record would take.
//!
//! A name is written when the cell is taken, before the word that names the node's generation. Who looks for it reads the
//! word, then the name, then the word again. If the generation is the same (and not gone), the name is the node's of
//! that generation: it was written before the word that was read first; and who has read of a later one finds the word
//! changed, because the cell was vacated before that was written. (The generation has 10 bits; see `core::heartbeats`.)

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::cell::{Cell, Vacancy};
use super::word::{Flags, SlotWord};
use crate::arena::Arena;
use crate::id::Name;
use crate::pool::FANOUT;
use crate::sync::{AtomicU64, Ordering, SegQueue, Sequence, sized};

/// The cells of a scheduler. A cell keeps its number; vacant ones are used again.
#[derive(Debug)]
pub(crate) struct Cells {
    arena: Arena<Cell, { sized(10, 1) }>,
    names: Arena<[AtomicU64; 3], { sized(10, 1) }>,
    /// Vacant loose cells.
    vacant: SegQueue<u32>,
    /// Blocks made.
    blocks: Sequence,
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self { arena: Arena::new(), names: Arena::new(), vacant: SegQueue::new(), blocks: Sequence::new(0) }
    }

    #[inline(always)]
    pub(crate) fn get(&self, cell: u32) -> Option<&Cell> {
        self.arena.get(cell)
    }

    #[inline(always)]
    pub(crate) fn at(&self, cell: u32) -> &Cell {
        self.arena.at(cell)
    }

    /// Says what the node is called that is to come into a cell. For the one who took it, before it is occupied.
    pub(crate) fn put_name(&self, cell: u32, name: Name) {
        for (word, part) in self.names.at(cell).iter().zip(name.0) {
            // Release: who reads this sees that the cell was vacated. Pairs with `named`.
            word.store(part, Ordering::Release);
        }
    }

    /// The cell, and its word, if the node there is called this, which is a name, and is not gone.
    #[inline(always)]
    pub(crate) fn named(&self, cell: u32, name: Name) -> Option<(&Cell, SlotWord)> {
        let (cell, kept) = (self.get(cell)?, self.names.get(cell)?);
        let word = cell.word();
        // Acquire: pairs with `put_name`.
        let is_called_this = kept.iter().zip(name.0).all(|(word, part)| word.load(Ordering::Acquire) == part);
        let is_here = || word.generation() == cell.word().generation() && !word.flags().has(Flags::GONE);
        (is_called_this && is_here()).then_some((cell, word))
    }

    /// The cells of a block that was made.
    #[inline(always)]
    pub(crate) fn block(&self, block: u32) -> Option<&[Cell; FANOUT as usize]> {
        self.arena.row(block)
    }

    /// Makes a block of cells for a place in an index, all of them vacant; its number.
    pub(crate) fn vacant_block(&self) -> u32 {
        let block = self.make_block();
        self.block(block).into_iter().flatten().for_each(|cell| cell.set_vacancy(Vacancy::Vacant));
        block
    }

    fn make_block(&self) -> u32 {
        // Relaxed: only distinctness matters; the arena publishes the cells.
        let block = self.blocks.fetch_add(1, Ordering::Relaxed) as u32;
        self.arena.ensure(block * FANOUT);
        self.names.ensure(block * FANOUT);
        block
    }

    /// Takes this cell of a block, if it is vacant. Then it is the taker's alone.
    pub(crate) fn take_this(&self, cell: u32) -> bool {
        self.at(cell).take_vacant()
    }

    /// A vacant loose cell, for its finder alone.
    pub(crate) fn take(&self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            let first = self.make_block() * FANOUT;
            (first + 1..first + FANOUT).for_each(|cell| self.vacant.push(cell));
            first
        })
    }

    /// Vacates the cell of a node that is gone and of which no slot is held, once nobody is pinned who may have found
    /// the node there. To be called once for each node.
    pub(crate) fn retire(self: &Arc<Self>, cell: u32, pin: &Guard) {
        let cells = self.clone();
        pin.defer(move || {
            let vacated = cells.at(cell);
            vacated.node.swap(None, &crossbeam_epoch::pin());
            vacated.vacate();
            match vacated.vacancy() {
                Vacancy::Loose => cells.vacant.push(cell),
                Vacancy::Vacant | Vacancy::Taken => vacated.set_vacancy(Vacancy::Vacant),
            }
        });
    }

    /// Cells there are.
    pub(crate) fn high_water(&self) -> u32 {
        self.blocks.load(Ordering::Relaxed) as u32 * FANOUT
    }
}
