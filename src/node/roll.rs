//! The roll of a shard: which cell the node of an id lives in.
//!
//! An open table of words, each the low half of an id's hash and the number of a cell, probed one after the other. It
//! holds neither ids nor references: whoever finds a word follows it to the cell, and to the name beside the cell
//! ([`Cells::named`]) or on to the node's record, where the id is held against the one asked for. Cell and name are fetched
//! at the same time, so a look-up by name waits for two lines of memory, one after the other; and when the table grows no
//! id is read.
//!
//! Invariant: the word of a node that is registered throughout a look-up lies between the place of its hash and the next
//! empty place, in the table that the look-up began with, for as long as that is the present one. Words do not move within
//! a table; a place becomes empty again only when the next one is.
//!
//! # Tables are kept
//! A table is not freed while the roll is there, so that to look into one takes no pin. There are two for each size: the one
//! that is not in use is filled anew when the present one of that size has too many places that were left. `present` says
//! which is in use, and how often that has changed. Who reads on in a table that is filled anew finds nonsense; so one who
//! has not found an id looks whether `present` is still what it was, and if not begins again. Who has found the id, in a
//! cell whose node has it, has found it whatever the table is.
//!
//! # Orderings
//! Words are stored with Release, after the node was put into its cell, and read with Acquire, so the node is found
//! there. `present` is stored with Release when a table is full, and before the one that was in use until then can be filled
//! anew: so who has read a word of that filling finds `present` changed.
//!
//! When an id is given to another cell, or none, the word is stored while the writer is pinned, and the old cell is vacated
//! by what the writer deferred: so who is pinned and finds in the cell of a word not the node that the word was stored for
//! sees, looking again, that the word or the table is another one.

use crossbeam_epoch::Guard;

use super::cell::Cell;
use super::word::SlotWord;
use super::{Cells, Node};
use crate::id::NodeKey;
use crate::publish::Shared;
use crate::sync::{AtomicU64, OnceLock, Ordering, sized, sized_by_model, zeroed_slice};

/// Places of the smallest table.
const SMALLEST: usize = sized(16, 4) as usize;

const EMPTY: u64 = 0;
/// The node that was here is gone, and others may have been put further on because of it.
const LEFT: u64 = 1;
/// Added to the numbers of cells, to tell them from the two above.
const FIRST: u64 = 2;
/// Bits of a word that say which cell; the rest are the hash's.
const CELL: u32 = 32;

fn word(hash: u64, cell: u32) -> u64 {
    hash << CELL | (u64::from(cell) + FIRST)
}

fn cell_of(word: u64) -> Option<u32> {
    (word as u32).checked_sub(FIRST as u32)
}

/// Sizes of tables, each twice the one before.
const SIZES: usize = sized_by_model(28, 4, 10) as usize;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    /// [`Present`].
    present: AtomicU64,
    tables: [[OnceLock<Table>; 2]; SIZES],
}

/// Which table is in use: how often that has changed (58 bits from 6), its size (5 from 1), which of the two of that size (1
/// from 0). 0: none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Present(u64);

impl Present {
    fn size(self) -> usize {
        (self.0 >> 1) as usize & 31
    }

    fn twin(self) -> usize {
        self.0 as usize & 1
    }

    /// The next one, of this size: never the one that is in use.
    fn followed_by(self, size: usize) -> Self {
        let twin = if size == self.size() { 1 - self.twin() } else { 0 };
        Self(((self.0 >> 6) + 1) << 6 | (size << 1 | twin) as u64)
    }
}

/// What the writer knows of a roll.
#[derive(Debug, Default)]
pub(crate) struct Tenancy {
    /// Places with a node.
    nodes: usize,
    /// Places that are not empty.
    used: usize,
}

#[derive(Debug)]
struct Table {
    /// A power of two, a quarter of them empty.
    words: Box<[AtomicU64]>,
}

impl Table {
    fn new(places: usize) -> Self {
        Self { words: zeroed_slice(places) }
    }

    /// The places where a node of this hash may be, in the order of the search.
    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        // Only of the bits that words keep.
        let (first, last) = (hash as u32 as usize, self.words.len() - 1);
        (0..self.words.len()).map(move |step| first.wrapping_add(step) & last)
    }

    /// For the writer, who knows that the node is not there.
    fn put(&self, word: u64) -> u64 {
        for place in self.places(word >> CELL) {
            // Relaxed: the writer's own.
            let found = self.words[place].load(Ordering::Relaxed);
            if matches!(found, EMPTY | LEFT) {
                // Release: publishes the node in its cell to `find`.
                self.words[place].store(word, Ordering::Release);
                return found;
            }
        }
        unreachable!("a quarter of the places is empty")
    }

    /// The place of a word that is there.
    fn place_of(&self, word: u64) -> Option<usize> {
        self.places(word >> CELL).find(|place| self.words[*place].load(Ordering::Relaxed) == word)
    }
}

impl Roll {
    #[inline(always)]
    fn present(&self) -> Present {
        // Acquire: pairs with `renew`.
        Present(self.present.load(Ordering::Acquire))
    }

    /// Whether that is still the table in use: if so, what was read of it was not written for a later use of it.
    fn is_present(&self, present: Present) -> bool {
        // Relaxed: whoever has read what was written later sees what was done before that.
        self.present.load(Ordering::Relaxed) == present.0
    }

    #[inline(always)]
    fn table(&self, present: Present) -> Option<&Table> {
        self.tables[present.size() % SIZES][present.twin()].get()
    }

    /// The cell of the node of this id, and its word, if the id is short and its node was not gone. Takes no pin, so the cell
    /// may be another's at any time. `None`: it is not known whether there is one.
    #[inline(always)]
    pub(crate) fn look<'c>(&self, id: &NodeKey<'_>, cells: &'c Cells) -> Option<(&'c Cell, SlotWord)> {
        if !id.name.is_kept() {
            return None;
        }
        let table = self.table(self.present())?;
        for place in table.places(id.hash) {
            // Acquire: pairs with `put` and `replace`.
            let word = table.words[place].load(Ordering::Acquire);
            if word == EMPTY {
                return None;
            }
            if let Some(cell) = cell_of(word).filter(|_| word >> CELL == id.hash & u64::from(u32::MAX)) {
                return cells.named(cell, id.name);
            }
        }
        None
    }

    /// The node of this id.
    pub(crate) fn find<'g>(&self, id: &NodeKey<'_>, cells: &Cells, pin: &'g Guard) -> Option<Shared<'g, Node>> {
        'again: loop {
            let present = self.present();
            let table = self.table(present)?;
            for place in table.places(id.hash) {
                // Acquire: pairs with `put` and `replace`.
                let word = table.words[place].load(Ordering::Acquire);
                if word == EMPTY {
                    break;
                }
                let Some(cell) = cell_of(word).filter(|_| word >> CELL == id.hash & u64::from(u32::MAX)) else {
                    continue;
                };
                match cells.get(cell).and_then(|cell| cell.node.load_shared(pin)) {
                    Some(node) if node.id == *id.text => return Some(node),
                    // Another id of this hash; unless the word has changed, which is another's step forward. Relaxed: who
                    // has found the cell changed sees what was done before.
                    _ if table.words[place].load(Ordering::Relaxed) == word && self.is_present(present) => {}
                    _ => continue 'again,
                }
            }
            if self.is_present(present) {
                return None;
            }
        }
    }

    /// How often another table was put in use.
    #[cfg(all(test, slotyard_loom))]
    pub(crate) fn turns(&self) -> u64 {
        self.present().0 >> 6
    }

    /// Puts the next table in use, as if the present one were full. For the writer.
    #[cfg(all(test, slotyard_loom))]
    pub(crate) fn turn(&self, tenancy: &mut Tenancy) {
        self.renew(tenancy, self.own_table());
    }

    /// The table in use, for the writer.
    fn own_table(&self) -> Option<&Table> {
        self.table(self.present())
    }

    /// Enters a node that is in its cell. For the writer, as all that follows; the id is not there.
    pub(crate) fn enter(&self, tenancy: &mut Tenancy, hash: u64, cell: u32) {
        let table = match self.own_table() {
            Some(table) if (tenancy.used + 1) * 4 <= table.words.len() * 3 => table,
            table => self.renew(tenancy, table),
        };
        tenancy.used += usize::from(table.put(word(hash, cell)) == EMPTY);
        tenancy.nodes += 1;
    }

    /// Puts a table in use that is half full at most, without the places that were left.
    #[cold]
    fn renew(&self, tenancy: &mut Tenancy, old: Option<&Table>) -> &Table {
        let places = (2 * (tenancy.nodes + 1)).next_power_of_two().max(SMALLEST);
        let next = self.present().followed_by((places / SMALLEST).ilog2() as usize);
        let place = &self.tables[next.size()][next.twin()];
        // Release, here and in `put`: who reads on in this table from its last use sees that it was not `present` meanwhile.
        place.get().into_iter().flat_map(|kept| &kept.words).for_each(|word| word.store(EMPTY, Ordering::Release));
        let new = place.get_or_init(|| Table::new(places));
        let words = old.into_iter().flat_map(|table| &table.words).map(|word| word.load(Ordering::Relaxed));
        for word in words.filter(|word| cell_of(*word).is_some()) {
            new.put(word);
        }
        tenancy.used = tenancy.nodes;
        // Release: publishes the words, pairs with `present`.
        self.present.store(next.0, Ordering::Release);
        new
    }

    /// The id of `hash` that was in the cell `from` is in `to` from now on.
    pub(crate) fn replace(&self, hash: u64, from: u32, to: u32) {
        let Some(table) = self.own_table() else { return };
        if let Some(place) = table.place_of(word(hash, from)) {
            // Release: publishes the node in its cell to `find`.
            table.words[place].store(word(hash, to), Ordering::Release);
        }
    }

    pub(crate) fn strike(&self, tenancy: &mut Tenancy, hash: u64, cell: u32) {
        let Some(table) = self.own_table() else { return };
        let Some(mut place) = table.place_of(word(hash, cell)) else { return };
        tenancy.nodes -= 1;
        let last = table.words.len() - 1;
        // Release: `find` may go by what it finds there.
        table.words[place].store(LEFT, Ordering::Release);
        if table.words[(place + 1) & last].load(Ordering::Relaxed) != EMPTY {
            return;
        }
        // No search goes on beyond these.
        while table.words[place].load(Ordering::Relaxed) == LEFT {
            table.words[place].store(EMPTY, Ordering::Release);
            tenancy.used -= 1;
            place = place.wrapping_sub(1) & last;
        }
    }

    pub(crate) fn for_each<'g>(&self, cells: &Cells, pin: &'g Guard, mut visit: impl FnMut(Shared<'g, Node>)) {
        let words = loop {
            let present = self.present();
            let Some(table) = self.table(present) else { return };
            // Acquire: pairs with `put` and `replace`.
            let words: Vec<u64> = table.words.iter().map(|word| word.load(Ordering::Acquire)).collect();
            if self.is_present(present) {
                break words;
            }
        };
        for word in words {
            let node = cell_of(word).and_then(|cell| cells.at(cell).node.load_shared(pin));
            // In a cell that is vacated meanwhile there may be another.
            if let Some(node) = node.filter(|node| node.hash as u32 == (word >> CELL) as u32) {
                visit(node);
            }
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::capability::Capabilities;
    use crate::id::Name;
    use crate::pool::{Profile, Seating};
    use crate::publish::Published;
    use proptest::prelude::*;

    /// A roll with its cells, beside what it should hold.
    #[derive(Default)]
    struct Fixture {
        roll: Roll,
        tenancy: Tenancy,
        cells: Option<Arc<Cells>>,
        kept: BTreeMap<String, u32>,
    }

    /// Few hashes, so that ids share them and their neighbours.
    fn hash(id: &str) -> u64 {
        (crate::id::stable_hash(id) % 8) | (7 << 40)
    }

    impl Fixture {
        fn find(&self, id: &str) -> Option<u32> {
            let cells = self.cells.as_deref()?;
            let key = NodeKey { hash: hash(id), name: Name::of(id), text: id };
            let found = self.roll.find(&key, cells, &crate::sync::pin()).map(|node| node.cell);
            // Only the first of a hash is looked at.
            if let Some((cell, _)) = self.roll.look(&key, cells) {
                assert!(found.is_some_and(|found| std::ptr::eq(cell, cells.at(found))), "{id} was seen elsewhere");
            }
            found
        }

        /// Registers the id, replacing the node that has it.
        fn put(&mut self, id: &str) {
            let pin = crate::sync::pin();
            let cells = self.cells.get_or_insert_with(|| Arc::new(Cells::new()));
            let cell = cells.take();
            cells.put_name(cell, Name::of(id));
            cells.at(cell).occupy(1, 100, crate::node::word::Flags::NONE);
            cells.at(cell).node.swap(Some(node(id, cell)), &pin);
            match self.kept.insert(id.to_owned(), cell) {
                Some(old) => {
                    self.roll.replace(hash(id), old, cell);
                    cells.at(old).node.swap(None, &pin);
                }
                None => self.roll.enter(&mut self.tenancy, hash(id), cell),
            }
        }

        fn remove(&mut self, id: &str) {
            let Some(cell) = self.kept.remove(id) else { return };
            self.roll.strike(&mut self.tenancy, hash(id), cell);
        }
    }

    fn node(id: &str, cell: u32) -> Arc<Node> {
        let capabilities = Arc::new(Capabilities::new());
        let profile = Profile { capabilities, seating: Seating::Hashed };
        Arc::new(Node {
            id: id.into(),
            cell,
            generation: 1,
            hash: hash(id),
            incarnation: 1,
            declared: Published::new(Arc::new(profile)),
            reduced: Published::default(),
            ready_services: Published::default(),
            memberships: Published::default(),
            jobs: Default::default(),
        })
    }

    proptest! {
        #[test]
        fn what_is_entered_is_found_until_it_is_struck(steps in proptest::collection::vec((0u32..40, 0u32..5), 1..300)) {
            let mut fixture = Fixture::default();
            for (id, step) in steps {
                let id = format!("n{id}");
                // More come than go, or the table would stay small.
                if step < 3 { fixture.put(&id) } else { fixture.remove(&id) }
                let words = fixture.roll.own_table().map_or(0, |table| table.words.len());
                prop_assert!(fixture.tenancy.nodes == fixture.kept.len() && fixture.tenancy.used * 4 <= words * 3);
                for id in 0..40 {
                    let id = format!("n{id}");
                    prop_assert_eq!(fixture.find(&id), fixture.kept.get(&id).copied());
                }
            }
            let (mut seen, pin) = (BTreeMap::new(), crate::sync::pin());
            if let Some(cells) = fixture.cells.as_deref() {
                fixture.roll.for_each(cells, &pin, |node| {
                    seen.insert(node.id.to_string(), node.cell);
                });
            }
            prop_assert_eq!(seen, fixture.kept);
        }
    }

    #[test]
    fn the_table_that_follows_is_another_one_each_time() {
        let mut present = Present(0);
        for (turns, size) in (1..).zip([0, 0, 0, 27, 27, 8, 16, 16, 0]) {
            let next = present.followed_by(size);
            assert_eq!((next.size(), next.0 >> 6), (size, turns));
            assert_ne!((next.size(), next.twin()), (present.size(), present.twin()));
            present = next;
        }
    }

    #[test]
    fn a_table_is_half_empty_when_it_comes_into_use_and_is_used_until_a_quarter_is() {
        let (roll, mut tenancy) = (Roll::default(), Tenancy::default());
        let mut sizes = Vec::new();
        for number in 0..10_000_u32 {
            let before = roll.present();
            roll.enter(&mut tenancy, crate::id::stable_hash(number.to_le_bytes()), number);
            let (present, places) = (roll.present(), roll.own_table().unwrap().words.len());
            if present != before {
                assert!(places >= 2 * tenancy.nodes, "{tenancy:?}");
                sizes.push((present.size(), places));
            }
        }
        assert_eq!(sizes, (0..11).map(|size| (size, SMALLEST << size)).collect::<Vec<_>>());
    }

    #[test]
    fn places_at_the_end_of_a_run_are_empty_again_when_they_are_left() {
        let (roll, mut tenancy) = (Roll::default(), Tenancy::default());
        (0..3).for_each(|cell| roll.enter(&mut tenancy, 5, cell));
        let mut strike = |cell| {
            roll.strike(&mut tenancy, 5, cell);
            (tenancy.nodes, tenancy.used)
        };
        assert_eq!([strike(1), strike(1), strike(2), strike(0)], [(2, 3), (2, 3), (1, 1), (0, 0)]);
    }

    #[test]
    fn a_fleet_that_comes_and_goes_leaves_a_small_table() {
        for (staying, places) in [(4, SMALLEST), (8, 2 * SMALLEST)] {
            let mut fixture = Fixture::default();
            for round in 0..1000 {
                fixture.put(&round.to_string());
                if round >= staying {
                    fixture.remove(&(round - staying).to_string());
                }
            }
            assert_eq!(fixture.roll.own_table().map(|table| table.words.len()), Some(places));
        }
    }
}
