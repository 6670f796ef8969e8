//! **The slot word**, several nodes and more threads: see `loom-tests/slot_word.rs`. Never more slots held than a node has;
//! none taken between a drain and the undrain that follows; a release never takes the count below zero, nor touches a later
//! generation; of all changes just one retires the cell of a node that is gone.
//!
//! What is held is counted beside the words, in the same step. Three cells; four threads take and give; one drains, undrains,
//! changes capacities, and replaces nodes, whose cells are used again at once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::node::cell::{Cell, Change, ReleaseError};
use crate::node::word::{Flags, SlotWord};

const ITERATIONS: usize = 30_000;
const NODES: usize = 3;

/// A cell, and what is held of it by generation, as it should be.
#[derive(Debug, Default)]
struct Node {
    cell: Cell,
    ledger: Mutex<Ledger>,
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Ledger {
    held: std::collections::BTreeMap<u32, u64>,
    capacity: u64,
    drained: bool,
}

impl Node {
    fn new() -> Self {
        let node = Self::default();
        node.move_in();
        node
    }

    fn move_in(&self) {
        // Before it may be taken.
        self.ledger().capacity = 2;
        self.ledger().drained = false;
        let generation = self.cell.occupy(2, 100, Flags::NONE);
        self.generation.store(generation.into(), Ordering::SeqCst);
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Takes a slot as a selection does.
    fn take(&self) -> Option<u32> {
        let mut word = self.cell.word();
        while word.selectable() {
            match self.cell.reserve(word) {
                Err(found) => word = found,
                Ok((_, left)) => {
                    let (mut ledger, generation) = (self.ledger(), left.generation());
                    assert!(!ledger.drained, "a slot was taken of a drained node");
                    let held = ledger.held.entry(generation).or_default();
                    *held += 1;
                    let held = *held;
                    assert!(held <= ledger.capacity, "more slots are held than there are");
                    return Some(generation);
                }
            }
        }
        None
    }

    fn give(&self, generation: u32) -> bool {
        let change = self.cell.release(generation).expect("a slot is held");
        let left = {
            let mut ledger = self.ledger();
            let held = ledger.held.get_mut(&generation).expect("it was taken");
            *held -= 1;
            *held
        };
        let retired = self.retire(&change);
        assert!(!retired || left == 0, "a cell was retired of which a slot is held");
        retired
    }

    /// Whoever leaves the node idle gives its cell to the next one.
    fn retire(&self, change: &Change) -> bool {
        if change.leaves_idle() {
            let gone = change.after.generation();
            assert_eq!(self.ledger().held.remove(&gone).unwrap_or(0), 0, "a cell was retired of which a slot is held");
            self.cell.vacate();
            self.move_in();
        }
        change.leaves_idle()
    }

    /// What a writer does. Only one thread is it, but whoever gives the last slot back may replace the node meanwhile.
    fn write(&self, seen: &Seen) {
        let generation = self.generation.load(Ordering::SeqCst) as u32;
        let flag = |flag, set| move |word: SlotWord| word.with_flags(word.flags().with(flag, set));
        match draw(0..4) {
            0 => {
                let Some(change) = self.cell.change(generation, flag(Flags::DRAINING, true)) else { return };
                self.ledger().drained = true;
                if change.before.in_flight() > 0 {
                    seen.note("a node was drained while slots were held");
                }
                self.cell.change(generation, |word| {
                    self.ledger().drained = false;
                    word.with_flags(word.flags().with(Flags::DRAINING, false))
                });
            }
            1 => {
                let less = self.cell.change(generation, |word| word.with_capacity(1));
                if less.is_some() {
                    self.ledger().capacity = 1;
                }
            }
            2 => {
                // First, since more may be taken from the next step on.
                self.ledger().capacity = 2;
                self.cell.change(generation, |word| word.with_capacity(2));
            }
            _ => {
                if let Some(change) = self.cell.change(generation, flag(Flags::GONE, true)) {
                    let retired = self.retire(&change);
                    seen.note(if retired { "the writer retired it" } else { "a node went of which slots were held" });
                }
            }
        }
    }
}

#[test]
fn slots_against_drains_capacities_and_replacement() {
    let outcomes = [
        "a node was drained while slots were held",
        "the writer retired it",
        "a node went of which slots were held",
        "the last release retired it",
    ];
    explore(ITERATIONS, &outcomes, |seen| {
        let world = Arc::new((std::array::from_fn::<_, NODES, _>(|_| Node::new()), seen.clone()));
        together(&world, 5, |world, number| {
            let (nodes, seen) = &**world;
            let mut held = Vec::new();
            for _ in 0..6 {
                if number == 0 {
                    nodes[draw(0..NODES)].write(seen);
                    continue;
                }
                let node = draw(0..NODES);
                held.extend(nodes[node].take().map(|generation| (node, generation)));
                if held.len() > draw(0..3) {
                    let (node, generation) = held.swap_remove(draw(0..held.len()));
                    if nodes[node].give(generation) {
                        seen.note("the last release retired it");
                    }
                }
            }
            for (node, generation) in held {
                nodes[node].give(generation);
            }
        });
        for node in &world.0 {
            let word = node.cell.word();
            assert_eq!(word.in_flight(), 0, "a slot is still held");
            assert_eq!(node.cell.release(word.generation()).unwrap_err(), ReleaseError::NothingHeld);
        }
    });
}
