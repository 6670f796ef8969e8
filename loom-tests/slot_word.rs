//! **The slot word**: never more slots held than the node has; none taken between a drain and the undrain that follows;
//! a release never takes the count below zero, nor touches a later generation; and of all changes just one retires the
//! cell of a node that is gone.
//!
//! What is held is counted a second time, beside the word, by atomics that loom does not see: the count changes in the
//! same step as the word, since threads change places only at loom's atomics.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | two threads take and give, the writer drains, undrains, and lowers the capacity | 3 | 3 |
//! | capacity from two sides at once: the operator's and a heartbeat's | 3 | 3 |
//! | the node goes, its cell is used again at once, a late reserve and a second release come in | 3 | 3 |
//!
//! The real scheduler uses a cell again only after all pins have ended; here it does so at once, which is more than it
//! has to stand.
//!
//! Seen to fail by `cargo xtask mutants-loom slot_word`.

use loom::thread;

use super::*;
use crate::node::cell::{Basis, Cell, Change, Edge, ReleaseError};
use crate::node::word::Flags;

/// What is held, as it should be.
#[derive(Debug, Default)]
struct Ledger {
    held: AtomicU64,
    capacity: AtomicU64,
    drained: AtomicU64,
}

impl Ledger {
    fn took(&self) {
        let held = self.held.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(held <= self.capacity.load(Ordering::SeqCst), "more slots are held than there are");
        assert_eq!(self.drained.load(Ordering::SeqCst), 0, "a slot was taken of a drained node");
    }

    fn gave(&self) {
        assert!(self.held.fetch_sub(1, Ordering::SeqCst) > 0, "a slot was given back that was not held");
    }
}

/// Takes a slot as a selection does: from the word that it sees, and on from the one that it finds.
fn take(cell: &Cell, generation: u32) -> Option<SlotWord> {
    let mut word = cell.word();
    while word.generation() == generation && word.selectable() {
        match cell.reserve(word) {
            Ok((_, word)) => return Some(word),
            Err(found) => word = found,
        }
    }
    None
}

#[test]
fn reservations_against_drain_and_capacity() {
    explore(3, &["a slot was taken before the drain", "nothing could be taken"], |seen| {
        let (cell, ledger) = (Arc::new(Cell::default()), Arc::new(Ledger::default()));
        let generation = cell.occupy(2, 100, Flags::NONE);
        ledger.capacity.store(2, Ordering::SeqCst);
        let workers = [(); 2].map(|()| {
            let (cell, ledger) = (cell.clone(), ledger.clone());
            thread::spawn(move || {
                if take(&cell, generation).is_none() {
                    return false;
                }
                ledger.took();
                let given = cell.release(generation).expect("a slot is held");
                ledger.gave();
                assert!(!given.leaves_idle());
                true
            })
        });
        let drain = |set| move |word: SlotWord| word.with_flags(Flags::NONE.with(Flags::DRAINING, set));
        let drained = cell.change(generation, drain(true)).unwrap();
        ledger.drained.store(1, Ordering::SeqCst);
        if drained.before.in_flight() > 0 {
            seen.note("a slot was taken before the drain");
        }
        let undrained = cell.change(generation, drain(false)).unwrap();
        ledger.drained.store(0, Ordering::SeqCst);
        assert!(undrained.before.in_flight() <= drained.after.in_flight());
        cell.change(generation, |word| word.with_capacity(1)).unwrap();
        ledger.capacity.store(1, Ordering::SeqCst);
        if workers.map(|worker| worker.join().unwrap()).contains(&false) {
            seen.note("nothing could be taken");
        }
        assert_eq!((cell.word().in_flight(), ledger.held.load(Ordering::SeqCst)), (0, 0));
    });
}

#[test]
fn the_capacity_ends_at_the_latest_basis() {
    explore(3, &["it ended at 2", "it ended selectable and was told so last"], |seen| {
        let cell = Arc::new(Cell::default());
        let generation = cell.occupy(1, 100, Flags::NONE);
        take(&cell, generation).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let change = |to: fn(Basis) -> Basis| {
            let (cell, told) = (cell.clone(), told.clone());
            move || {
                let note = |change: &Change| told.lock().unwrap().push(change.edge);
                cell.change_basis(generation, to, note).expect("the generation is right");
            }
        };
        let others = [
            thread::spawn(change(|basis| Basis { external: 2, ..basis })),
            thread::spawn(change(|basis| Basis { external: 1, ..basis })),
        ];
        change(|basis| Basis { capacity: 3, ..basis })();
        for other in others {
            other.join().unwrap();
        }
        let (basis, word) = (cell.basis(), cell.word());
        assert_eq!(basis.capacity, 3);
        assert_eq!(
            word.capacity(),
            u32::from(basis.effective_capacity()),
            "the word has another capacity than its basis"
        );
        // One slot is held, so with two it is selectable, and somebody has been told of the last rise.
        if word.capacity() == 2 {
            seen.note("it ended at 2");
            let edges = told.lock().unwrap();
            assert!(edges.iter().any(|edge| matches!(edge, Edge::Risen | Edge::Pending(_))));
            if matches!(edges.last(), Some(Edge::Risen | Edge::Pending(_))) {
                seen.note("it ended selectable and was told so last");
            }
        }
    });
}

#[test]
fn a_cell_is_retired_once_and_left_alone_by_the_past() {
    let outcomes =
        ["the late reserve was in time", "the last release retired", "the removal retired", "it hit the zero"];
    explore(3, &outcomes, |seen| {
        let (cell, retired) = (Arc::new(Cell::default()), Arc::new(AtomicU64::new(0)));
        let old = cell.occupy(2, 100, Flags::NONE);
        take(&cell, old).unwrap();
        // Seen while the node was there, used at any time.
        let seen_before = cell.word();

        // Whoever leaves the node idle gives its cell to the next one, which has a job at once.
        let retire = {
            let (cell, retired) = (cell.clone(), retired.clone());
            move |change: &Change| {
                if !change.leaves_idle() {
                    return false;
                }
                assert_eq!(retired.fetch_add(1, Ordering::SeqCst), 0, "a cell was retired twice");
                cell.vacate();
                let new = cell.occupy(2, 100, Flags::NONE);
                take(&cell, new).expect("it is new");
                true
            }
        };
        let holder = thread::spawn({
            let (cell, retire) = (cell.clone(), retire.clone());
            move || retire(&cell.release(old).expect("a slot is held"))
        });
        let late = thread::spawn({
            let (cell, retire, seen) = (cell.clone(), retire.clone(), seen.clone());
            move || {
                if cell.reserve(seen_before).is_ok() {
                    seen.note("the late reserve was in time");
                    retire(&cell.release(old).expect("a slot is held"));
                }
            }
        });
        let gone = |word: SlotWord| word.with_flags(word.flags().with(Flags::GONE, true));
        let removed = retire(&cell.change(old, gone).expect("nobody else removes it"));
        let released = holder.join().unwrap();
        seen.note(if removed { "the removal retired" } else { "the last release retired" });
        late.join().unwrap();
        assert!(!(removed && released));
        assert_eq!(retired.load(Ordering::SeqCst), 1, "the cell was not retired");

        // The new node has its slot; the past changes nothing of it.
        let word = cell.word();
        assert_eq!((word.in_flight(), word.flags()), (1, Flags::NONE));
        assert_ne!(word.generation(), old);
        assert_eq!(cell.release(old).unwrap_err(), ReleaseError::OtherGeneration);
        assert!(cell.change(old, gone).is_none());
        assert!(cell.reserve(seen_before).is_err());
        assert_eq!(cell.word(), word);
        cell.release(word.generation()).expect("the new node's slot");
        if cell.release(word.generation()).unwrap_err() == ReleaseError::NothingHeld {
            seen.note("it hit the zero");
        }
    });
}
