//! The cell: the atomics of one node, on one cache line.
//!
//! Invariant: a slot is taken only from a word that was selectable under the generation that the taker names, and is
//! given back under that same generation; so a reservation cannot land on a node that was drained, went offline or
//! was replaced in between, and a release cannot reach another node.
//!
//! A cell whose node is gone is given to another node only when no slot of it is held: whoever holds a slot may
//! therefore follow the cell to its node's record without counting references.
//!
//! # Orderings
//! Every change of the slot word is a compare-and-swap with AcqRel. All of them being read-modify-writes of one word,
//! each sees what was done before the ones that came before it. A protocol leans on that:
//! - *Move* (`pool::membership`): the mover stores the new `home`, then touches the word ([`Cell::announce`]). A
//!   release that comes before the touch is seen by the mover; one that comes after it sees the new `home`.
//!
//! And one does not:
//! - *Orphaning* (`node::jobs`): the one who takes the node out of use changes the word, passes a SeqCst fence, then reads
//!   the node's jobs; the one who binds a job enters it there and binds it, passes such a fence, then reads the word.

use crate::node::Node;
pub(crate) use crate::node::fields::{Basis, Home, Report};
use crate::node::fields::{Heard, Usage};
use crate::node::word::{Flags, SlotWord};
use crate::publish::Published;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Zeroed};

/// See the module's documentation. 64 bytes, all of them in use by one node.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Cell {
    slot: AtomicU64,
    /// [`Basis`]: what load is held against.
    basis: AtomicU64,
    /// [`Home`]: where the node stands in its pool's index.
    home: AtomicU64,
    /// [`Heard`]: the last heartbeat.
    heard: AtomicU64,
    /// [`Usage`]: resource use, but for some of its last bits.
    usage: AtomicU64,
    /// [`Report`]: the node's own count of jobs.
    pub(crate) report: AtomicU64,
    /// Who lives here.
    pub(crate) node: Published<Node>,
    /// [`Vacancy`].
    vacancy: AtomicU32,
    /// The bits that [`Usage`] lacks.
    usage_rest: AtomicU32,
}

/// Whether a cell may be taken, see [`Cells`](super::Cells).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vacancy {
    /// Vacant loose cells are in a queue.
    Loose = 0,
    /// It belongs to a block, and may be taken.
    Vacant,
    /// It belongs to a block, and is taken.
    Taken,
}

// SAFETY: integers, and a `Published`, which is one atomic pointer, null by default.
unsafe impl Zeroed for Cell {}

/// What became of a word by a change that has to be told to the availability index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Nothing that the index wants to know.
    None,
    /// It has become selectable: mark it. That the index knows then is left for the next one to note: most often that is
    /// a reserve that makes the node full, with nothing to note any more.
    Risen,
    /// It can be selected, and the index may not know yet: mark it, then [`Cell::settle`] this word.
    Pending(SlotWord),
    /// It cannot be selected any more.
    Fallen,
}

/// What became of a release in one step, see [`Cell::release_at_once`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtOnce {
    /// Done, and the index has nothing to be told.
    Quiet,
    /// Done, as [`Edge::Risen`].
    Risen,
    /// Not done.
    No,
}

/// A word before and after a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) before: SlotWord,
    pub(crate) after: SlotWord,
    pub(crate) edge: Edge,
}

impl Change {
    /// Whether it has left a node that is gone without a held slot. It is the only change of this node that did: the
    /// one that made it retires the cell.
    pub(crate) fn leaves_idle(&self) -> bool {
        let is_idle = |word: SlotWord| word.in_flight() == 0 && word.flags().has(Flags::GONE);
        is_idle(self.after) && !is_idle(self.before)
    }
}

/// A release that was refused; it changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReleaseError {
    /// No slot is held.
    NothingHeld,
    /// The cell belongs to another incarnation.
    OtherGeneration,
}

impl Cell {
    /// The word now.
    #[inline(always)]
    pub(crate) fn word(&self) -> SlotWord {
        // Acquire: pairs with the AcqRel of every change.
        SlotWord(self.slot.load(Ordering::Acquire))
    }

    /// Takes a slot, if the word is still as `seen`, which is selectable. Says what that means to the index, and what the
    /// word is now; if it was not done, what it was.
    #[inline(always)]
    pub(crate) fn reserve(&self, seen: SlotWord) -> Result<(Edge, SlotWord), SlotWord> {
        debug_assert!(seen.selectable());
        let after = seen.reserved();
        if after.is_settled_with_room() {
            return self.exchange(seen, after).map(|()| (Edge::None, after));
        }
        if after.selectable() {
            return self.exchange(seen, after).map(|()| (Edge::Pending(after), after));
        }
        // Nothing is free, so the index has nothing to be told; the next release starts afresh.
        let after = after.with_pending(false);
        self.exchange(seen, after).map(|()| (Edge::Fallen, after))
    }

    /// Gives a slot of `generation` back, if nothing stands in the way of doing it with one step, as most often: the node
    /// is in use, its slots are no more than it has, and nobody changes the word meanwhile.
    #[inline(always)]
    pub(crate) fn release_at_once(&self, generation: u32) -> AtOnce {
        let before = self.word();
        if !before.is_settled_and_ready(generation) {
            return AtOnce::No;
        }
        let (held, full) = (before.in_flight(), before.in_flight() == before.capacity());
        match before.released() {
            Some(after) if held < before.capacity() && self.exchange(before, after).is_ok() => AtOnce::Quiet,
            Some(after) if full => {
                let after = after.risen(after.capacity() > 1);
                if self.exchange(before, after).is_ok() { AtOnce::Risen } else { AtOnce::No }
            }
            _ => AtOnce::No,
        }
    }

    /// Gives a slot of `generation` back.
    pub(crate) fn release(&self, generation: u32) -> Result<Change, ReleaseError> {
        let mut before = self.word();
        loop {
            if before.generation() != generation {
                return Err(ReleaseError::OtherGeneration);
            }
            let after = before.released().ok_or(ReleaseError::NothingHeld)?;
            match self.step(before, after) {
                Ok(change) => return Ok(change),
                Err(found) => before = found,
            }
        }
    }

    /// Changes flags or capacity as `to` says. For the writer of the node's shard. `None` under another generation.
    pub(crate) fn change(&self, generation: u32, to: impl Fn(SlotWord) -> SlotWord) -> Option<Change> {
        let mut before = self.word();
        loop {
            if before.generation() != generation {
                return None;
            }
            match self.step(before, to(before)) {
                Ok(change) => return Some(change),
                Err(found) => before = found,
            }
        }
    }

    /// One change of the word, with what the index has to be told of it.
    fn step(&self, before: SlotWord, after: SlotWord) -> Result<Change, SlotWord> {
        let (was, is) = (before.selectable(), after.selectable());
        let rises = is && (!was || after.capacity() > before.capacity());
        // A single slot needs no help: whoever takes it makes the node full, and whoever gives it back makes it rise.
        let after = if rises { after.risen(after.capacity() > 1) } else { after };
        self.exchange(before, after)?;
        let edge = match (was, is) {
            (_, true) if rises => Edge::Risen,
            (_, true) if before.pending() => Edge::Pending(after),
            (true, false) => Edge::Fallen,
            _ => Edge::None,
        };
        Ok(Change { before, after, edge })
    }

    /// The index was told of `risen`, as it was found pending, so a later release need not help, unless the word has changed since. (A word that
    /// has become full and not full again is another one, by its rises.)
    pub(crate) fn settle(&self, risen: SlotWord) {
        if risen.pending() {
            // A failure leaves the flag set, which costs the next release one needless mark.
            let _ = self.exchange(risen, risen.with_pending(false));
        }
    }

    /// After a new `home` was stored: asks every later release to tell the index, and says what came before.
    pub(crate) fn announce(&self) -> SlotWord {
        let mut before = self.word();
        loop {
            // Counted as a rise, so that who has told the old home only does not settle this.
            let after = before.risen(true);
            // A release before the exchange is seen here, one after it sees the `home` stored before.
            match self.exchange(before, after) {
                Ok(()) => return after,
                Err(found) => before = found,
            }
        }
    }

    #[inline(always)]
    fn exchange(&self, from: SlotWord, to: SlotWord) -> Result<(), SlotWord> {
        // AcqRel: each change publishes what was done before it and sees what was done before the earlier ones.
        match self.slot.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(found) => Err(SlotWord(found)),
        }
    }

    /// Makes the cell ready for a node; returns the generation of that node's word, which [`open`](Self::open) publishes.
    ///
    /// For the one who took the cell from the free list: nobody else changes a vacant cell.
    pub(crate) fn prepare(&self, capacity: u16, weight: u16) -> u32 {
        let generation = SlotWord::next_generation(self.word().generation());
        self.basis.store(Basis { capacity, weight, external: 0 }.pack(), Ordering::Relaxed);
        self.home.store(Home::None.pack(), Ordering::Relaxed);
        self.put_usage(generation, 0);
        self.report.store(0, Ordering::Relaxed);
        generation
    }

    /// Gives the cell to the node that it was prepared for, and that is in it; what the index has to be told of that.
    pub(crate) fn open(&self, generation: u32, capacity: u16, flags: Flags) -> Edge {
        let word = SlotWord::new(generation, capacity, flags).after(self.word());
        let rises = word.selectable();
        let word = if rises { word.risen(capacity > 1) } else { word };
        // Release: publishes what was written since `prepare` to whoever finds the new generation.
        self.slot.store(word.0, Ordering::Release);
        if rises { Edge::Risen } else { Edge::None }
    }

    /// Both at once, as if the index had been told.
    #[cfg(test)]
    pub(crate) fn occupy(&self, capacity: u16, weight: u16, flags: Flags) -> u32 {
        let generation = self.prepare(capacity, weight);
        self.slot.store(SlotWord::new(generation, capacity, flags).after(self.word()).0, Ordering::Release);
        generation
    }

    /// Takes the cell back from a node that is gone and of which no slot is held.
    pub(crate) fn vacate(&self) {
        let word = self.word();
        debug_assert!(word.flags().has(Flags::GONE) && word.in_flight() == 0);
        let vacant = SlotWord::new(SlotWord::next_generation(word.generation()), 0, Flags::GONE).after(word);
        // Release: whoever takes the cell next sees it vacant.
        self.slot.store(vacant.0, Ordering::Release);
    }

    /// Takes a cell of a block, if it is vacant. For the one who alone may take it: whoever vacates it comes after that.
    pub(super) fn take_vacant(&self) -> bool {
        // Acquire: pairs with `set_vacancy`, so that the taker sees the cell vacated.
        let is_vacant = self.vacancy.load(Ordering::Acquire) == Vacancy::Vacant as u32;
        if is_vacant {
            self.vacancy.store(Vacancy::Taken as u32, Ordering::Relaxed);
        }
        is_vacant
    }

    /// Whether it is of no block. For whoever has the cell.
    pub(super) fn is_loose(&self) -> bool {
        // Relaxed: a cell stays loose, or of a block, as it was made.
        self.vacancy.load(Ordering::Relaxed) == Vacancy::Loose as u32
    }

    /// For whoever makes the block, or vacates the cell.
    pub(super) fn set_vacancy(&self, vacancy: Vacancy) {
        // Release: pairs with `take_vacant`.
        self.vacancy.store(vacancy as u32, Ordering::Release);
    }

    /// The node of this generation was heard of. Needs no pin: should the cell be another's by now, that one's last time is
    /// lost, which is seen.
    #[inline(always)]
    pub(crate) fn hear(&self, generation: u32, at: u64) {
        self.heard.store(Heard { at, generation }.pack(), Ordering::Relaxed);
    }

    /// When the node of this generation was last heard of; `None` when somebody who was late has overwritten that.
    #[inline(always)]
    pub(crate) fn heard(&self, generation: u32) -> Option<u64> {
        let heard = Heard::unpack(self.heard.load(Ordering::Relaxed));
        (heard.generation == generation).then_some(heard.at)
    }

    /// What the node of this generation uses, packed. Needs no pin: should the cell be another's by now, what that one
    /// has said is lost, which is seen, until it says so again.
    #[inline(always)]
    pub(crate) fn put_usage(&self, generation: u32, usage: u64) {
        let (tagged, rest) = Usage::split(usage, generation);
        self.usage_rest.store(rest, Ordering::Relaxed);
        self.usage.store(tagged, Ordering::Relaxed);
    }

    /// What the node of this generation has last said that it uses; `None` when somebody who was late has overwritten that.
    pub(crate) fn usage(&self, generation: u32) -> Option<u64> {
        Usage::join(self.usage.load(Ordering::Relaxed), self.usage_rest.load(Ordering::Relaxed), generation)
    }

    #[inline(always)]
    pub(crate) fn basis(&self) -> Basis {
        // Relaxed: a load is a guess, whatever its age.
        Basis::unpack(self.basis.load(Ordering::Relaxed))
    }

    /// Changes the basis as `to` says and the capacity in the word with it, and hands every change of the word to
    /// `tell`. The word at the end; `None` under another generation.
    ///
    /// Any number of threads may do so at once: each changes the basis first, then brings the word in line with the
    /// basis that it finds. Changes of the word come one after the other, and each sees the basis of those before, so
    /// the last one brings it in line with the last basis; one that was overtaken sees that and does it once more.
    pub(crate) fn change_basis(
        &self,
        generation: u32,
        to: impl Fn(Basis) -> Basis,
        mut tell: impl FnMut(&Change),
    ) -> Option<SlotWord> {
        let changed = |bits| Some(Basis::next_revision(bits) | to(Basis::unpack(bits)).pack());
        // AcqRel: ordered before the change of the word that follows, and after those of the word seen so far.
        let _ = self.basis.fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
        // Acquire: pairs with the update above by others.
        let mut basis = self.basis.load(Ordering::Acquire);
        loop {
            let capacity = Basis::unpack(basis).effective_capacity();
            let change = self.change(generation, |word| word.with_capacity(capacity))?;
            tell(&change);
            match self.basis.load(Ordering::Acquire) {
                same if same == basis => return Some(change.after),
                newer => basis = newer,
            }
        }
    }

    pub(crate) fn home(&self) -> Home {
        // Acquire: pairs with `set_home`; the pool named there is published.
        Home::unpack(self.home.load(Ordering::Acquire))
    }

    /// The node's position in this pool, if it stands in that and in no other.
    #[inline(always)]
    pub(crate) fn position_in(&self, pool: u32) -> Option<u32> {
        // Acquire: pairs with `set_home`.
        let home = self.home.load(Ordering::Acquire);
        ((home >> 32) as u32 == pool + 1).then_some(home as u32)
    }

    /// For the writer of the node's shard; to be followed by [`announce`](Self::announce).
    pub(crate) fn set_home(&self, home: Home) {
        // Release: pairs with `home`.
        self.home.store(home.pack(), Ordering::Release);
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").field("word", &self.word()).field("home", &self.home()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_cache_line() {
        assert_eq!((size_of::<Cell>(), align_of::<Cell>()), (64, 64));
    }

    #[test]
    fn release_stops_at_zero_and_at_another_generation() {
        let cell = Cell::default();
        let first = cell.occupy(1, 100, Flags::NONE);
        let held = cell.reserve(cell.word()).unwrap();
        assert_eq!(held.0, Edge::Fallen);
        assert_eq!(cell.release(first + 1).unwrap_err(), ReleaseError::OtherGeneration);
        assert_eq!(cell.release(first).unwrap().after.in_flight(), 0);
        assert_eq!(cell.release(first).unwrap_err(), ReleaseError::NothingHeld);
        cell.change(first, |word| word.with_flags(Flags::GONE)).unwrap();
        cell.vacate();
        let second = cell.occupy(1, 100, Flags::NONE);
        assert_ne!(first, second);
        assert_eq!(cell.release(first).unwrap_err(), ReleaseError::OtherGeneration);
    }

    #[test]
    fn only_full_and_pending_releases_rise() {
        let cell = Cell::default();
        let generation = cell.occupy(3, 100, Flags::NONE);
        for edge in [Edge::None, Edge::None, Edge::Fallen] {
            assert_eq!(cell.reserve(cell.word()).unwrap().0, edge);
        }
        let first = cell.release(generation).unwrap();
        assert_eq!(first.edge, Edge::Risen);
        // Nobody has told the index yet, so the second has to.
        let second = cell.release(generation).unwrap();
        assert_eq!(second.edge, Edge::Pending(second.after));
        cell.settle(second.after);
        assert_eq!(cell.release(generation).unwrap().edge, Edge::None);
    }

    #[test]
    fn a_time_heard_is_that_of_one_generation() {
        let cell = Cell::default();
        for (generation, at) in [(1, 0), (1023, 7), (5, (1 << 54) - 1)] {
            cell.hear(generation, at);
            assert_eq!((cell.heard(generation), cell.heard(generation ^ 1)), (Some(at), None));
        }
    }

    #[test]
    fn usage_is_that_of_one_generation() {
        let cell = Cell::default();
        for (generation, usage) in [(1, u64::MAX), (1023, 0), (32, 0x0123_4567_89ab_cdef)] {
            cell.put_usage(generation, usage);
            assert_eq!(cell.usage(generation), Some(usage));
            assert!((0..10).all(|bit| cell.usage(generation ^ 1 << bit).is_none()));
        }
    }

    #[test]
    fn a_release_in_one_step_does_what_any_release_does_or_nothing() {
        for (capacity, held) in (1..4u16).flat_map(|capacity| (0..=capacity).map(move |held| (capacity, held))) {
            for (now, flags, settled) in [
                (capacity, Flags::NONE, true),
                (capacity, Flags::NONE, false),
                (capacity, Flags::DRAINING, true),
                (1, Flags::NONE, true),
            ] {
                let cells = [Cell::default(), Cell::default()];
                let generations = cells.each_ref().map(|cell| {
                    let generation = cell.occupy(capacity, 100, Flags::NONE);
                    (0..held).for_each(|_| _ = cell.reserve(cell.word()).unwrap());
                    cell.change(generation, |word| word.with_capacity(now).with_flags(flags)).unwrap();
                    if settled {
                        cell.settle(cell.word());
                    } else {
                        cell.announce();
                    }
                    generation
                });
                let what = format!("{held} of {capacity}, then {now}, {flags:?}, {settled}");
                let (before, is_ready) = (cells[0].word(), cells[0].word().is_settled_and_ready(generations[0]));
                let at_once = cells[0].release_at_once(generations[0]);
                let released = cells[1].release(generations[1]);
                let expected = match released {
                    Ok(change) if is_ready && held <= now => {
                        assert_eq!(cells[0].word(), change.after, "{what}");
                        if change.edge == Edge::Risen { AtOnce::Risen } else { AtOnce::Quiet }
                    }
                    _ => {
                        assert_eq!(cells[0].word(), before, "{what}");
                        AtOnce::No
                    }
                };
                assert_eq!(at_once, expected, "{what}");
                assert_eq!(cells[0].release_at_once(generations[0] + 1), AtOnce::No, "{what}");
            }
        }
    }

    #[test]
    fn the_index_is_told_of_what_makes_a_node_selectable_or_gives_it_more_slots() {
        for capacity in [1, 2, 5] {
            let cell = Cell::default();
            let generation = cell.prepare(capacity, 100);
            let helped = capacity > 1;
            assert_eq!((cell.open(generation, capacity, Flags::NONE), cell.word().pending()), (Edge::Risen, helped));
            let change = |to: &dyn Fn(SlotWord) -> SlotWord| {
                cell.settle(cell.word());
                let Change { after, edge, .. } = cell.change(generation, to).unwrap();
                (edge, after.pending())
            };
            assert_eq!(change(&|word| word.with_flags(Flags::DRAINING)), (Edge::Fallen, false));
            assert_eq!(change(&|word| word.with_capacity(capacity + 1)), (Edge::None, false));
            assert_eq!(change(&|word| word.with_capacity(capacity)), (Edge::None, false));
            assert_eq!(change(&|word| word.with_flags(Flags::NONE)), (Edge::Risen, helped));
            assert_eq!(change(&|word| word), (Edge::None, false));
            assert_eq!(change(&|word| word.with_capacity(capacity + 1)), (Edge::Risen, true));
            let pending = cell.change(generation, |word| word.with_capacity(capacity)).unwrap();
            assert_eq!(pending.edge, Edge::Pending(pending.after), "nobody has told the index yet");
            assert_eq!(cell.open(generation, capacity, Flags::DRAINING), Edge::None);
        }
    }
}
