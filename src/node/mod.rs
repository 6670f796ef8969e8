//! Nodes: how they describe themselves, what is known of them, and the atomics that jobs contend for.

pub(crate) mod cell;
mod cells;
mod directory;
mod fields;
mod jobs;
mod roll;
mod spec;
pub(crate) mod word;

use std::fmt;
use std::sync::Arc;

use crossbeam_epoch::Guard;

pub(crate) use cells::{Cells, Left, Room};
pub(crate) use directory::{Shard, ShardState, Special};
#[cfg(all(test, slotyard_loom))]
pub(crate) use roll::{Roll, Tenancy};
pub use spec::{DEFAULT_WEIGHT, Heartbeat, NodeSpec, Readiness, ResourceUse};

use crate::capability::{Capabilities, Service};
use crate::id::NodeId;
use crate::pool::{Known, Pool, Profile};
use crate::publish::{Published, Shared};
use jobs::NodeJobs;
pub(crate) use jobs::{Lodging, Rows};
use word::Flags;

/// One incarnation of a node: what never changes, and what readers follow without a lock.
///
/// In this order, so that what finding a node by its id needs is on one line where the allocator aligns to 16 bytes after
/// 16 of its own (an `Arc` has as many, too).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) cell: u32,
    pub(crate) generation: u32,
    /// Of the id.
    pub(crate) hash: u64,
    pub(crate) incarnation: u64,
    pub(crate) jobs: NodeJobs,
    /// What it declared that it can do. Changed under the shard's writer lock.
    pub(crate) declared: Published<Profile>,
    /// What it can do now, if that is less than what it declared: without the services that are off.
    pub(crate) reduced: Published<Capabilities>,
    /// The services that its last word on them said are ready, sorted.
    pub(crate) ready_services: Published<Vec<Service>>,
    /// Where it stands, when it stands in several pools.
    pub(crate) memberships: Published<Vec<Membership>>,
}

impl Node {
    /// The record that `make` makes of what is declared: in place of that of a node which is gone, if that can be.
    #[inline(always)]
    pub(crate) fn shared(
        profile: Known<'_>,
        mut gone: Option<Arc<Self>>,
        make: impl FnOnce(Published<Profile>) -> Self,
    ) -> Arc<Self> {
        // None, if somebody has a handle of it.
        let Some(place) = gone.as_mut().and_then(Arc::get_mut) else {
            return Arc::new(make(Published::new(profile.into_arc())));
        };
        // Most often that one was of the same kind, and its reference of the profile is handed on.
        let same = place.declared.take().filter(|old| std::ptr::eq(&**old, &*profile));
        *place = make(Published::new(same.unwrap_or_else(|| profile.into_arc())));
        gone.expect("a place was found there")
    }

    /// What it declared that it can do.
    pub(crate) fn declared<'g>(&self, pin: &'g Guard) -> Shared<'g, Profile> {
        self.declared.load_shared(pin).expect("it is there from the beginning")
    }

    /// What it can do now.
    pub(crate) fn effective<'g>(&self, pin: &'g Guard) -> &'g Capabilities {
        self.reduced.load(pin).unwrap_or_else(|| &self.declared(pin).get().capabilities)
    }

    /// Whether its last word on its services, if there was one, names this one.
    pub(crate) fn says_is_ready(&self, service: &Service, pin: &Guard) -> bool {
        self.ready_services.load(pin).is_none_or(|ready| ready.binary_search(service).is_ok())
    }
}

/// A place in a pool.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) pool: Arc<Pool>,
    pub(crate) position: u32,
}

/// A registered node, as its registrant refers to it: one incarnation. Cheap to clone.
///
/// It has the numbers of the record's that lead to the cell, so that a heartbeat waits for the cell alone and not for the
/// record before it. That the cell is this incarnation's is told by the address of the record, which is in the cell: while
/// there is a handle no other record has that address, in whatever scheduler.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) node: Arc<Node>,
    pub(crate) cell: u32,
    pub(crate) generation: u32,
}

impl NodeHandle {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let (cell, generation) = (node.cell, node.generation);
        Self { node, cell, generation }
    }

    /// The node's id.
    pub fn id(&self) -> &NodeId {
        &self.node.id
    }

    /// Which life of the id this is; larger than that of any earlier one.
    pub fn incarnation(&self) -> u64 {
        self.node.incarnation
    }
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle").field("id", self.id()).field("incarnation", &self.incarnation()).finish()
    }
}

/// What state a node is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// It has not said yet that it is ready.
    Registering,
    /// It takes jobs, if a slot is free.
    Ready,
    /// Alive but not to be used: a resource is over its threshold, or it says so.
    Degraded,
    /// No new jobs, running ones finish: drained, or its weight is 0.
    Draining,
    /// Its heartbeats have stopped.
    Offline,
}

impl NodeState {
    pub(crate) const ALL: [Self; 5] = [Self::Registering, Self::Ready, Self::Degraded, Self::Draining, Self::Offline];
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// Its name, as it is displayed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Offline => "offline",
        }
    }

    pub(crate) fn of(flags: Flags) -> Self {
        if flags.has(Flags::GONE) || flags.has(Flags::OFFLINE) {
            Self::Offline
        } else if flags.has(Flags::DRAINING) || flags.has(Flags::WEIGHTLESS) {
            Self::Draining
        } else if flags.has(Flags::REGISTERING) {
            Self::Registering
        } else if flags.has(Flags::UNREADY) || flags.has(Flags::OVERLOADED) {
            Self::Degraded
        } else {
            Self::Ready
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node, as it was when asked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Which life of the id this is.
    pub incarnation: u64,
    /// Its state.
    pub state: NodeState,
    /// Its slots.
    pub capacity: u32,
    /// Slots that our jobs and reservations hold.
    pub in_flight: u32,
    /// Jobs of others, as last reported and decayed since; they take up slots, too.
    pub external: u32,
    /// Its weight.
    pub weight: u16,
    /// The pools that it is in.
    pub pools: Vec<String>,
    /// What it declared that it can do.
    pub capabilities: Capabilities,
    /// Services that are off: it says that they are not ready, or that they are unavailable.
    pub services_off: Vec<Service>,
    /// Its resource use, as last reported, to 1/65535 (to 1/2000, if two heartbeats of the node raced).
    pub resources: ResourceUse,
}

/// Resource use in 64 bits: four times 16, `cpu` lowest. Each share is in 0..=1.
#[inline(always)]
pub(crate) fn pack_usage(usage: &ResourceUse) -> u64 {
    /// From here on to twice as much, a number's last bit is worth 1: adding it rounds, and leaves the integer in the lowest
    /// bits. A cast would be four of them, each with its checks, and `round` a call where the processor is not known to have
    /// an instruction for it.
    const UNITS: f32 = (1 << 23) as f32;
    let parts = usage.shares().map(|share| (share * 65_535.0 + UNITS).to_bits() & 0xffff);
    let [cpu, memory, gpu, gpu_memory] = parts.map(u64::from);
    cpu | memory << 16 | gpu << 32 | gpu_memory << 48
}

pub(crate) fn unpack_usage(bits: u64) -> ResourceUse {
    let share = |place: u32| f32::from((bits >> (16 * place)) as u16) / 65_535.0;
    ResourceUse { cpu: share(0), memory: share(1), gpu: share(2), gpu_memory: share(3) }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn usage_comes_back_as_it_went_in(cpu in 0f32..=1.0, memory in 0f32..=1.0, gpu in 0f32..=1.0, gpu_memory in 0f32..=1.0) {
            let usage = ResourceUse { cpu, memory, gpu, gpu_memory };
            for ((name, before), (_, after)) in usage.named().iter().zip(unpack_usage(pack_usage(&usage)).named()) {
                prop_assert!((before - after).abs() <= 1.0 / 65_535.0, "{name}: {before} {after}");
            }
        }
    }
}
