//! All cells, and which of them are vacant.
//!
//! Cells come in blocks. A block is either loose: its cells go to whoever needs one; or it belongs to a place in a pool's
//! index for good (see `pool::index::leaf`): then each of its cells is vacant or not by itself, and is given out by its
//! number only.
//!
//! # Leaving
//! A cell that a node has left may be looked at by somebody who is pinned. So it is put away, under a lock that whoever takes
//! the node out of the last of its pools has anyway, and when there are enough, a *lot*, it is seen to that they are vacated
//! when all pins have ended that are there then. The nodes' records are taken out of them at that, and go the same way once
//! more, for they could be found until then. Both come to pools that need room for nodes: so a wait for pins, and the few
//! allocations that it takes, are paid for once a lot.
//!
//! Where no such lock is held (a node's last slot was released by a job), a cell is a lot by itself.
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

use super::Node;
use super::cell::{Cell, Vacancy};
use super::word::{Flags, SlotWord};
use crate::arena::Arena;
use crate::id::Name;
use crate::pool::FANOUT;
use crate::publish::Withdrawn;
use crate::sync::{AtomicU64, Ordering, SegQueue, Sequence, sized, sized_by_model};

/// Cells in a lot.
const LOT: usize = sized_by_model(32, 1, 2) as usize;

/// Lots of records that are kept for those who come; those of others are freed.
const KEPT: usize = 4;

/// The cells of a scheduler. A cell keeps its number; vacant ones are used again.
#[derive(Debug)]
pub(crate) struct Cells {
    arena: Arena<Cell, { sized(10, 1) }>,
    names: Arena<[AtomicU64; 3], { sized(10, 1) }>,
    /// Vacant loose cells, one or several together.
    vacant: SegQueue<Vec<u32>>,
    /// Records that were in cells of a lot, and that nobody reads any more.
    records: SegQueue<Vec<Arc<Node>>>,
    /// Blocks made.
    blocks: Sequence,
}

/// Cells that nodes which are gone have left, and which are not to be touched yet.
#[derive(Debug, Default)]
pub(crate) struct Left(Vec<u32>);

impl Left {
    /// Puts away the cell of a node that is gone and of which no slot is held. To be called once for each node.
    pub(crate) fn put_away(&mut self, cell: u32) {
        if self.0.is_empty() {
            self.0.reserve_exact(LOT);
        }
        self.0.push(cell);
    }

    pub(crate) fn is_a_lot(&self) -> bool {
        self.0.len() >= LOT
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Room for nodes that come: loose cells that are vacant, and records that nobody reads any more.
#[derive(Debug, Default)]
pub(crate) struct Room {
    cells: Vec<u32>,
    records: Vec<Arc<Node>>,
}

impl Room {
    /// A vacant loose cell, for its finder alone.
    pub(crate) fn cell(&mut self, cells: &Cells) -> u32 {
        self.cells.pop().unwrap_or_else(|| {
            self.cells = cells.vacant_cells();
            self.cells.pop().expect("there is one at least")
        })
    }

    /// The record of a node that is gone, if there is one; somebody may have a reference of it.
    pub(crate) fn record(&mut self, cells: &Cells) -> Option<Arc<Node>> {
        if self.records.is_empty() && !cells.records.is_empty() {
            self.records = cells.records.pop()?;
        }
        self.records.pop()
    }
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self {
            arena: Arena::new(),
            names: Arena::new(),
            vacant: SegQueue::new(),
            records: SegQueue::new(),
            blocks: Sequence::new(0),
        }
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

    /// Takes this cell of a block, if it is vacant. Then it is the taker's alone. For the writer of the pool whose it is.
    pub(crate) fn take_this(&self, cell: u32) -> bool {
        self.at(cell).take_vacant()
    }

    /// A vacant loose cell, for its finder alone.
    pub(crate) fn take(&self) -> u32 {
        let mut room = Room::default();
        let cell = room.cell(self);
        self.give_out(room);
        cell
    }

    /// Vacant loose cells, at least one, for their finder alone.
    fn vacant_cells(&self) -> Vec<u32> {
        self.vacant.pop().unwrap_or_else(|| {
            let first = self.make_block() * FANOUT;
            (first..first + FANOUT).rev().collect()
        })
    }

    /// Makes the cells available to all, and frees the records.
    pub(crate) fn give_out(&self, room: Room) {
        if !room.cells.is_empty() {
            self.vacant.push(room.cells);
        }
    }

    /// Vacates the cells once nobody is pinned who may have found a node there.
    pub(crate) fn retire_all(self: &Arc<Self>, left: Left, pin: &Guard) {
        if !left.is_empty() {
            let cells = self.clone();
            pin.defer(move || cells.vacate(left.0));
            // Or it would wait for as much else as the epoch puts together.
            pin.flush();
        }
    }

    /// As a lot, one cell by itself, for which no lock is needed.
    ///
    /// Whoever takes the node out of its pools may not have done that yet, but has a pin from before: so that is waited for
    /// first, and only then those who may have found it there until then.
    pub(crate) fn retire(self: &Arc<Self>, cell: u32, pin: &Guard) {
        let cells = self.clone();
        pin.defer(move || {
            let again = cells.clone();
            crate::sync::pin().defer(move || again.vacate(vec![cell]));
        });
    }

    fn vacate(self: &Arc<Self>, mut numbers: Vec<u32>) {
        let mut records = Withdrawn::default();
        numbers.retain(|number| {
            let cell = self.at(*number);
            cell.node.withdraw(&mut records);
            cell.vacate();
            let is_loose = cell.is_loose();
            if !is_loose {
                cell.set_vacancy(Vacancy::Vacant);
            }
            is_loose
        });
        self.give_out(Room { cells: numbers, records: Vec::new() });
        let cells = self.clone();
        records.after_pins(&crate::sync::pin(), move |records| {
            if cells.records.len() < KEPT {
                cells.records.push(records);
            }
        });
    }

    /// Cells there are.
    pub(crate) fn high_water(&self) -> u32 {
        self.blocks.load(Ordering::Relaxed) as u32 * FANOUT
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn leave(cells: &Arc<Cells>, numbers: &[u32]) {
        for cell in numbers.iter().map(|number| cells.at(*number)) {
            let generation = cell.occupy(1, 100, Flags::NONE);
            cell.change(generation, |word| word.with_flags(Flags::GONE)).unwrap();
        }
        cells.vacate(numbers.to_vec());
    }

    #[test]
    fn a_node_is_found_by_its_name_until_it_is_gone() {
        let (cells, [name, other]) = (Cells::new(), ["a", "b"].map(Name::of));
        assert!(cells.named(0, name).is_none());
        let number = cells.take();
        cells.put_name(number, name);
        let cell = cells.at(number);
        let generation = cell.occupy(1, 100, Flags::NONE);
        let (found, word) = cells.named(number, name).unwrap();
        assert!(std::ptr::eq(found, cell) && word.generation() == generation);
        assert!(cells.named(number, other).is_none());
        cell.change(generation, |word| word.with_flags(Flags::GONE)).unwrap();
        assert!(cells.named(number, name).is_none());
    }

    #[test]
    fn loose_cells_that_were_left_are_given_out_again() {
        let cells = Arc::new(Cells::new());
        let take_all = || (0..FANOUT).map(|_| cells.take()).collect::<BTreeSet<u32>>();
        let first = take_all();
        assert_eq!((first.len() as u32, cells.high_water()), (FANOUT, FANOUT));
        leave(&cells, &first.iter().copied().collect::<Vec<_>>());
        assert_eq!((take_all(), cells.high_water()), (first, FANOUT));
        assert!(!take_all().is_empty() && cells.high_water() == 2 * FANOUT);
    }

    #[test]
    fn the_cells_of_a_block_are_given_out_by_their_numbers_only_and_one_by_one() {
        let cells = Arc::new(Cells::new());
        let first = cells.vacant_block() * FANOUT;
        let loose: Vec<u32> = (0..FANOUT).map(|_| cells.take()).collect();
        assert!(loose.iter().all(|number| !(first..first + FANOUT).contains(number)));
        assert_eq!([first, first, first + 1].map(|number| cells.take_this(number)), [true, false, true]);
        leave(&cells, &[first, loose[0]]);
        assert_eq!([first, first + 1].map(|number| cells.take_this(number)), [true, false]);
        assert_eq!(cells.take(), loose[0]);
    }
}
