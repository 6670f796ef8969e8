//! The directory: nodes by id, in shards. A shard has a writer lock, which whoever changes one of its nodes takes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Membership, Node};
use crate::capability::{Capabilities, Service};
use crate::id::{CarriedHash, Prehashed, PrehashedKey};
use crate::lock::WriterLock;
use crate::pool::Share;
use crate::sync::Map;

/// A partition of the nodes, by the hash of their id.
#[derive(Debug)]
pub(crate) struct Shard {
    nodes: Map<PrehashedKey, Arc<Node>, CarriedHash>,
    pub(crate) writer: WriterLock<ShardState>,
}

/// What the shard's writer knows of its nodes, by their cells.
#[derive(Debug, Default)]
pub(crate) struct ShardState {
    pub(crate) managed: HashMap<u32, Managed, ahash::RandomState>,
}

/// What the writer knows of one node.
#[derive(Debug)]
pub(crate) struct Managed {
    pub(crate) node: Arc<Node>,
    pub(crate) declared: Arc<Capabilities>,
    /// Services that a heartbeat said are ready; `None`: all.
    pub(crate) ready: Option<BTreeSet<Service>>,
    /// Services that are off, and until when, in ms.
    pub(crate) off: Vec<(Service, u64)>,
    pub(crate) memberships: Vec<Membership>,
    /// What it adds to the tallies of its pools.
    pub(crate) share: Share,
    pub(crate) weight: u16,
    pub(crate) offline_since: Option<u64>,
    /// When the first service that is off may be on again; there is a timer for it.
    pub(crate) restore_at: Option<u64>,
}

impl Managed {
    pub(crate) fn is_on(&self, service: &Service) -> bool {
        self.ready.as_ref().is_none_or(|ready| ready.contains(service))
            && !self.off.iter().any(|(off, _)| off == service)
    }

    /// What it can do now.
    pub(crate) fn effective(&self) -> Arc<Capabilities> {
        if self.ready.is_none() && self.off.is_empty() {
            self.declared.clone()
        } else {
            Arc::new(self.declared.retain(|service| self.is_on(service)))
        }
    }
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Map::with_hasher(CarriedHash::default()),
            writer: WriterLock::new("shard", ShardState::default()),
        }
    }

    pub(crate) fn find(&self, id: &Prehashed<&str>) -> Option<Arc<Node>> {
        self.nodes.pin().get(id).cloned()
    }

    /// Calls `then` with the node of this id, without counting a reference.
    #[inline]
    pub(crate) fn with<R>(&self, id: &Prehashed<&str>, then: impl FnOnce(&Arc<Node>) -> R) -> Option<R> {
        self.nodes.pin().get(id).map(then)
    }

    /// For the shard's writer.
    pub(crate) fn insert(&self, node: Arc<Node>) {
        self.nodes.pin().insert(node.key.clone(), node);
    }

    /// Removes this incarnation, and no other. For the shard's writer.
    pub(crate) fn remove(&self, node: &Arc<Node>) {
        let key = Prehashed { hash: node.key.hash, text: &*node.key.text };
        let _ = self.nodes.pin().remove_if(&key, |_, found| Arc::ptr_eq(found, node));
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Node>)) {
        self.nodes.pin().values().for_each(&mut visit);
    }
}
