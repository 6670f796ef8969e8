//! All cells, and which of them are vacant.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::cell::Cell;
use crate::arena::Arena;
use crate::sync::{Ordering, SegQueue, Sequence, sized};

/// The cells of a scheduler. A cell keeps its number; vacant ones are used again.
#[derive(Debug)]
pub(crate) struct Cells {
    arena: Arena<Cell, { sized(10, 1) }>,
    vacant: SegQueue<u32>,
    next: Sequence,
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self { arena: Arena::new(), vacant: SegQueue::new(), next: Sequence::new(0) }
    }

    #[inline(always)]
    pub(crate) fn get(&self, cell: u32) -> Option<&Cell> {
        self.arena.get(cell)
    }

    #[inline(always)]
    pub(crate) fn at(&self, cell: u32) -> &Cell {
        self.arena.at(cell)
    }

    /// A vacant cell, for its finder alone.
    pub(crate) fn take(&self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            // Relaxed: only distinctness matters; the arena publishes the cell.
            let cell = self.next.fetch_add(1, Ordering::Relaxed) as u32;
            self.arena.ensure(cell);
            cell
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
            cells.vacant.push(cell);
        });
    }

    /// Cells ever taken.
    pub(crate) fn high_water(&self) -> u32 {
        self.next.load(Ordering::Relaxed) as u32
    }
}
