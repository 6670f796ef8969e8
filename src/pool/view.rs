//! Pools as they are shown.

use super::Pool;
use crate::node::NodeState;

/// How a pool came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolKind {
    /// Of nodes with equal capabilities; made when the first arrived.
    Automatic,
    /// Named by the configuration.
    Configured,
    /// One of those that nodes without capabilities are spread over.
    Hash,
    /// Of the nodes that came when there were too many pools; its members are checked one by one.
    Mixed,
}

/// A pool, as it was when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// How it came to be.
    pub kind: PoolKind,
    /// Its members, whatever their state.
    pub nodes: usize,
    /// Members that take jobs, those with all slots held included.
    pub ready: usize,
    /// Slots of all members.
    pub capacity: u64,
    /// Free slots of its ready members at the last sweep.
    pub free: u64,
    /// Whether a member could be selected.
    pub available: bool,
    /// The tenant whose demands alone it serves.
    pub tenant: Option<String>,
}

impl PoolView {
    pub(crate) fn of(pool: &Pool) -> Self {
        Self {
            name: pool.name.to_string(),
            kind: pool.kind,
            nodes: pool.members() as usize,
            ready: pool.tally.count(NodeState::Ready) as usize,
            capacity: pool.tally.capacity(),
            free: pool.tally.free(),
            available: pool.tally.count(NodeState::Ready) > 0 && !pool.index.is_empty(),
            tenant: pool.tenant.as_deref().map(str::to_owned),
        }
    }
}
