//! The directory: nodes by id, in shards. A shard has a writer lock, which whoever changes one of its nodes takes.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::cell::Cell;
use super::roll::{Roll, Tenancy};
use super::word::SlotWord;
use super::{Cells, Node};
use crate::capability::Service;
use crate::id::NodeKey;
use crate::lock::WriterLock;
use crate::publish::Shared;

/// A partition of the nodes, by the hash of their id.
#[derive(Debug)]
pub(crate) struct Shard {
    roll: Roll,
    cells: Arc<Cells>,
    pub(crate) writer: WriterLock<ShardState>,
}

/// What the shard's writer knows besides the nodes' records and cells.
#[derive(Debug)]
pub(crate) struct ShardState {
    tenancy: Tenancy,
    /// Of the next node, and how far it is to the one after that: those of the other shards' nodes are in between.
    incarnation: u64,
    step: u64,
    /// By cell. Most nodes have nothing special, and no entry.
    special: HashMap<u32, Special, ahash::RandomState>,
}

/// What is special about a node just now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Special {
    /// Services that are off, and until when, in ms.
    pub(crate) off: Vec<(Service, u64)>,
    /// When the first service that is off may be on again; there is a timer for it.
    pub(crate) restore_at: Option<u64>,
    pub(crate) offline_since: Option<u64>,
}

impl ShardState {
    fn new(number: usize, shards: usize) -> Self {
        Self {
            tenancy: Tenancy::default(),
            incarnation: number as u64 + 1,
            step: shards as u64,
            special: HashMap::default(),
        }
    }

    /// No other node's, and larger than those of all that were in the shard before.
    pub(crate) fn next_incarnation(&mut self) -> u64 {
        let next = self.incarnation;
        self.incarnation += self.step;
        next
    }

    pub(crate) fn special(&self, node: &Node) -> Option<&Special> {
        self.special.get(&node.cell)
    }

    /// Changes what is special about a node.
    pub(crate) fn specially<R>(&mut self, node: &Node, change: impl FnOnce(&mut Special) -> R) -> R {
        let special = self.special.entry(node.cell).or_default();
        let result = change(special);
        if *special == Special::default() {
            self.special.remove(&node.cell);
        }
        result
    }

    /// What was special about a node that is gone.
    pub(crate) fn forget(&mut self, node: &Node) -> Option<Special> {
        // Most often there is nothing, and nothing to hash for.
        if self.special.is_empty() { None } else { self.special.remove(&node.cell) }
    }

    /// Services that are off, and until when.
    pub(crate) fn off(&self, node: &Node) -> &[(Service, u64)] {
        self.special(node).map_or(&[], |special| &special.off)
    }

    /// Whether a service that the node declared is on.
    pub(crate) fn is_on(&self, node: &Node, service: &Service, pin: &Guard) -> bool {
        node.says_is_ready(service, pin) && !self.off(node).iter().any(|(off, _)| off == service)
    }
}

impl Shard {
    /// Number so and so of so many.
    pub(crate) fn new(number: usize, shards: usize, cells: Arc<Cells>) -> Self {
        Self { roll: Roll::default(), cells, writer: WriterLock::new("shard", ShardState::new(number, shards)) }
    }

    /// See [`Roll::look`].
    #[inline(always)]
    pub(crate) fn look(&self, id: &NodeKey<'_>) -> Option<(&Cell, SlotWord)> {
        self.roll.look(id, &self.cells)
    }

    /// The node of this id.
    pub(crate) fn find<'g>(&self, id: &NodeKey<'_>, pin: &'g Guard) -> Option<Shared<'g, Node>> {
        self.roll.find(id, &self.cells, pin)
    }

    /// Calls `then` with the node of this id.
    pub(crate) fn with<R>(&self, id: &NodeKey<'_>, then: impl FnOnce(&Node) -> R) -> Option<R> {
        self.find(id, &crate::sync::pin()).map(|node| then(&node))
    }

    /// Enters a node that is in its cell, in place of `old`. For the shard's writer.
    pub(crate) fn insert(&self, state: &mut ShardState, node: &Node, old: Option<&Node>) {
        match old {
            Some(old) => self.roll.replace(node.hash, old.cell, node.cell),
            None => self.roll.enter(&mut state.tenancy, node.hash, node.cell),
        }
    }

    /// Removes a node. For the shard's writer.
    pub(crate) fn remove(&self, state: &mut ShardState, node: &Node) {
        self.roll.strike(&mut state.tenancy, node.hash, node.cell);
    }

    pub(crate) fn for_each<'g>(&self, pin: &'g Guard, visit: impl FnMut(Shared<'g, Node>)) {
        self.roll.for_each(&self.cells, pin, visit);
    }
}
