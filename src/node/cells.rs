//! All cells, and which of them are vacant.
//!
//! Cells come in blocks. A block is either loose: its cells go to whoever needs one; or it belongs to a place in a pool's
//! index for good (see `pool::index::leaf`): then each of its cells is vacant or not by itself, and is given out by its
//! number only.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::cell::{Cell, Vacancy};
use crate::arena::Arena;
use crate::pool::FANOUT;
use crate::sync::{Ordering, SegQueue, Sequence, sized};

/// The cells of a scheduler. A cell keeps its number; vacant ones are used again.
#[derive(Debug)]
pub(crate) struct Cells {
    arena: Arena<Cell, { sized(10, 1) }>,
    /// Vacant loose cells.
    vacant: SegQueue<u32>,
    /// Blocks made.
    blocks: Sequence,
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self { arena: Arena::new(), vacant: SegQueue::new(), blocks: Sequence::new(0) }
    }

    #[inline(always)]
    pub(crate) fn get(&self, cell: u32) -> Option<&Cell> {
        self.arena.get(cell)
    }

    #[inline(always)]
    pub(crate) fn at(&self, cell: u32) -> &Cell {
        self.arena.at(cell)
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
