//! What is asked of each contender.

use std::time::Duration;

/// An operation that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A node is chosen for a job; a peer that counts or reserves does that, too, and takes it back.
    Select,
    /// A node is added, and removed again.
    Change,
    /// The balancer is told how loaded a node is.
    Load,
}

impl Operation {
    pub(crate) const ALL: [Self; 3] = [Self::Select, Self::Change, Self::Load];
}

/// How much of a selection a contender does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// It names a node, and remembers nothing of that.
    Select,
    /// It also counts the job on the node until the job ends.
    Reserve,
}

/// A balancer with nodes, nothing held on any of them.
///
/// Each method runs its operation `count` times and says how long that took, without what a caller has at hand anyway:
/// the description of a new node, the id of a known one.
pub(crate) trait Peer {
    fn select(&mut self, count: u32) -> Duration;

    fn change(&mut self, count: u32) -> Duration;

    fn load(&mut self, count: u32) -> Duration;

    fn run(&mut self, operation: Operation, count: u32) -> Duration {
        match operation {
            Operation::Select => self.select(count),
            Operation::Change => self.change(count),
            Operation::Load => self.load(count),
        }
    }
}

/// Why a contender does not run at some size.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// For the cell of the table.
    pub(crate) word: &'static str,
    /// For the notes.
    pub(crate) reason: String,
}

/// A contender, before it has nodes.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) does: Does,
    /// What it has not got, beside slotyard.
    pub(crate) lacks: &'static str,
    /// Operations that it has, beside the selection.
    pub(crate) has: &'static [Operation],
    /// Larger fleets take too long to set up, for the reason given.
    pub(crate) most: (u32, &'static str),
    pub(crate) build: fn(nodes: u32) -> Result<Box<dyn Peer>, Refusal>,
}

/// No fleet is too large.
pub(crate) const ANY_SIZE: (u32, &str) = (u32::MAX, "");

impl Entry {
    pub(crate) fn has(&self, operation: Operation) -> bool {
        operation == Operation::Select || self.has.contains(&operation)
    }

    /// The contender with so many nodes.
    pub(crate) fn with_nodes(&self, nodes: u32) -> Result<Box<dyn Peer>, Refusal> {
        let (most, reason) = self.most;
        if nodes > most {
            return Err(Refusal { word: "not run", reason: reason.to_owned() });
        }
        (self.build)(nodes)
    }
}
