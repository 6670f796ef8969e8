//! Pools: nodes that are interchangeable for some demands.

mod config;
pub(crate) mod index;
mod indexes;
mod layout;
mod lent;
mod occupancy;
mod profile;
mod roster;
mod tally;
mod view;

use std::sync::Arc;

use crossbeam_utils::CachePadded;

pub use config::PoolConfig;
pub(crate) use index::word::FANOUT;
pub(crate) use index::{Found, Index, Part};
pub(crate) use indexes::Indexes;
pub(crate) use layout::{Layout, Seat, automatic_name};
pub(crate) use lent::Lent;
pub(crate) use occupancy::Occupancy;
#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
pub(crate) use profile::Seating;
pub(crate) use profile::{Automatic, Known, Profile, Profiles};
pub(crate) use roster::Seated;
pub(crate) use tally::{Share, Tally};
pub use view::{PoolKind, PoolView};

use crate::capability::Capabilities;
use crate::id::stable_hash;
use crate::lock::WriterLock;
use crate::node::NodeState;
use crate::sync::{Ordering, PlainOnceLock, Statistic};
use roster::Roster;

/// Round-robin positions of a pool; threads share them by their number.
const ROTORS: usize = 16;

/// A pool: what its members can do, where they are, and which of them may be selected.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Its place in the snapshot's table; used again after the pool is dropped.
    pub(crate) number: u32,
    /// Never used again; its low half is the number.
    pub(crate) key: u64,
    pub(crate) name: Arc<str>,
    /// What routing keys are held against.
    pub(crate) name_hash: u64,
    pub(crate) kind: PoolKind,
    /// Every member can do at least this.
    pub(crate) guarantee: Arc<Capabilities>,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) index: Arc<Index>,
    pub(crate) tally: Arc<Tally>,
    /// What its jobs keep of it.
    lending: lent::Lending,
    /// The largest weight of a member.
    max_weight: Statistic,
    /// Positions of round robin, made when first used.
    rotors: PlainOnceLock<Box<[CachePadded<Statistic>]>>,
    writer: WriterLock<Roster>,
}

impl Pool {
    pub(crate) fn new(
        (number, birth): (u32, u32),
        name: Arc<str>,
        kind: PoolKind,
        guarantee: Arc<Capabilities>,
        tenant: Option<Arc<str>>,
        index: Arc<Index>,
    ) -> Self {
        let key = u64::from(birth) << 32 | u64::from(number);
        index.serve(key);
        Self {
            number,
            key,
            name_hash: stable_hash(&*name),
            name,
            kind,
            guarantee,
            tenant,
            index,
            tally: Arc::default(),
            lending: lent::Lending::default(),
            max_weight: Statistic::new(0),
            rotors: PlainOnceLock::new(),
            writer: WriterLock::new("pool", Roster::default()),
        }
    }

    pub(crate) fn max_weight(&self) -> u16 {
        self.max_weight.load(Ordering::Relaxed) as u16
    }

    pub(crate) fn rotor(&self, thread: u32) -> &Statistic {
        let rotors = || (0..ROTORS).map(|_| CachePadded::new(Statistic::new(0))).collect();
        &self.rotors.get_or_init(rotors)[thread as usize % ROTORS]
    }

    /// Members, whatever their state.
    pub(crate) fn members(&self) -> u64 {
        NodeState::ALL.iter().map(|state| self.tally.count(*state)).sum()
    }
}
