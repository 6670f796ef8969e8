//! Pools made and dropped, and the snapshot published for it. Lock order: shard, topology, pool.

use std::collections::HashSet;
use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use crate::capability::Capabilities;
use crate::config::{MIXED, SchedulerConfig};
use crate::event::Event;
use crate::id::NodeId;
use crate::lock::{WriterGuard, WriterLock};
use crate::node::Membership;
use crate::pool::{Indexes, Layout, Member, Pool, PoolConfig, PoolKind, Seat, automatic_name};
use crate::snapshot::{PoolTable, Snapshot};
use crate::sync::{Map, SegQueue};

/// The automatic pools, found without a lock and changed under one.
#[derive(Debug)]
pub(crate) struct Topology {
    by_signature: Map<Arc<Capabilities>, Arc<Pool>, ahash::RandomState>,
    writer: WriterLock<Numbers>,
    /// Numbers of pools that were dropped and that no reader can see any more.
    vacant: Arc<SegQueue<u32>>,
}

/// What is needed to make a pool. Under the topology's writer lock.
#[derive(Debug)]
struct Numbers {
    /// The first number never used.
    next: u32,
    /// Pools ever made.
    births: u32,
    /// Pools there are, the mixed pool apart.
    pools: usize,
    names: HashSet<Arc<str>>,
    version: u64,
}

/// The pools that the configuration calls for, and the first snapshot.
pub(super) fn lay_out(config: &SchedulerConfig, indexes: &Indexes) -> (Layout, Topology, Snapshot) {
    let mut table = PoolTable::default();
    let mut next = 0;
    let mut make = |name: &str, kind, pool: Option<&PoolConfig>| {
        let requirement = pool.map(|pool| pool.requirement.as_requirement()).unwrap_or_default();
        let tenant = pool.and_then(|pool| pool.tenant.clone());
        let pool = Pool::new((next, next), name.into(), kind, Arc::new(requirement), tenant, indexes.make(next));
        let pool = Arc::new(pool);
        table = table.with(next, Some(pool.clone()));
        next += 1;
        pool
    };
    let mixed = make(MIXED, PoolKind::Mixed, None);
    let configured = config.pools.iter().map(|pool| (make(&pool.name, PoolKind::Configured, Some(pool)), pool.exact));
    let configured: Vec<_> = configured.collect();
    // One hash pool is no different from an automatic one; where pools are configured, no node would come to them.
    let hash_pools = if config.hash_pools > 1 && config.pools.is_empty() { config.hash_pools } else { 0 };
    let hash: Vec<_> = (0..hash_pools).map(|n| make(&format!("hash-{n}"), PoolKind::Hash, None)).collect();
    let numbers = Numbers {
        next,
        births: next,
        pools: next as usize - 1,
        names: table.iter().map(|pool| pool.name.clone()).collect(),
        version: 1,
    };
    let topology = Topology {
        by_signature: Map::with_hasher(crate::id::fixed_hasher().clone()),
        writer: WriterLock::new("topology", numbers),
        vacant: Arc::new(SegQueue::new()),
    };
    let layout = Layout::new(config.routing_labels.clone(), configured, hash, mixed);
    (layout, topology, Snapshot::new(1, table, config.max_routes))
}

impl Core {
    /// Seats a member, making its pool if need be. It is not marked.
    pub(super) fn join(&self, seat: &Seat, id: &NodeId, member: Member, weight: u16, pin: &Guard) -> Membership {
        let mut pool = match seat {
            Seat::Fixed(pool) => pool.clone(),
            Seat::Automatic(signature) => {
                self.find_pool(signature).unwrap_or_else(|| self.make_pool(signature, id, pin))
            }
        };
        loop {
            if let Some(position) = pool.join(member, weight, &self.meters.locks) {
                return Membership { pool, position };
            }
            // It was being dropped, which is done by the time that the topology can be locked.
            let Seat::Automatic(signature) = seat else { unreachable!("only automatic pools are dropped") };
            pool = self.make_pool(signature, id, pin);
        }
    }

    pub(super) fn find_pool(&self, signature: &Arc<Capabilities>) -> Option<Arc<Pool>> {
        self.topology.by_signature.pin().get(signature).cloned()
    }

    #[cold]
    fn make_pool(&self, signature: &Arc<Capabilities>, id: &NodeId, pin: &Guard) -> Arc<Pool> {
        let mut numbers = self.topology.writer.lock(&self.meters.locks);
        if let Some(pool) = self.find_pool(signature) {
            return pool;
        }
        let number = if numbers.pools < self.config.max_pools { self.number(&mut numbers) } else { None };
        let Some(number) = number else {
            drop(numbers);
            tracing::warn!(node = %id, limit = self.config.max_pools, "too many pools, the node goes to the mixed pool");
            self.events.emit(|| Event::PoolsExhausted { node: id.clone(), limit: self.config.max_pools });
            return self.layout.mixed.clone();
        };
        numbers.births += 1;
        let name = numbers.name(signature);
        let identity = (number, numbers.births);
        let index = self.indexes.make(number);
        let pool = Arc::new(Pool::new(identity, name, PoolKind::Automatic, signature.clone(), None, index));
        numbers.pools += 1;
        self.publish(&mut numbers, number, Some(pool.clone()), pin);
        self.topology.by_signature.pin().insert(signature.clone(), pool.clone());
        drop(numbers);
        tracing::debug!(pool = %pool.name, "pool made");
        self.events.emit(|| Event::PoolMade { pool: pool.name.to_string() });
        pool
    }

    /// A number that no pool has which anybody can still see. `None` when there is none: as many pools were dropped as
    /// there may be, under pins that last.
    fn number(&self, numbers: &mut Numbers) -> Option<u32> {
        self.topology.vacant.pop().or_else(|| {
            let next = numbers.next;
            ((next as usize) < self.indexes.len()).then(|| {
                numbers.next += 1;
                next
            })
        })
    }

    /// Lets a member go, and drops its pool if it was the last.
    pub(super) fn leave(&self, membership: &Membership, weight: u16, pin: &Guard) {
        let pool = &membership.pool;
        let was_last = pool.leave(membership.position, weight, &self.meters.locks);
        if was_last && pool.kind == PoolKind::Automatic {
            self.drop_pool_if_empty(pool, pin);
        }
    }

    fn drop_pool_if_empty(&self, pool: &Arc<Pool>, pin: &Guard) {
        let mut numbers = self.topology.writer.lock(&self.meters.locks);
        if !pool.close_if_empty(&self.meters.locks) {
            return;
        }
        let _ = self.topology.by_signature.pin().remove_if(&pool.guarantee, |_, found| Arc::ptr_eq(found, pool));
        numbers.pools -= 1;
        numbers.names.remove(&pool.name);
        self.publish(&mut numbers, pool.number, None, pin);
        let (vacant, number) = (self.topology.vacant.clone(), pool.number);
        // Who has found the pool under a pin may yet draw from its index.
        pin.defer(move || vacant.push(number));
        drop(numbers);
        tracing::debug!(pool = %pool.name, "pool dropped");
        self.events.emit(|| Event::PoolDropped { pool: pool.name.to_string() });
    }

    /// Publishes the snapshot with what is under `number` replaced.
    fn publish(&self, numbers: &mut WriterGuard<'_, Numbers>, number: u32, pool: Option<Arc<Pool>>, pin: &Guard) {
        numbers.version += 1;
        let table = self.snapshot(pin).table().with(number, pool);
        self.snapshot.swap(Some(Arc::new(Snapshot::new(numbers.version, table, self.config.max_routes))), pin);
    }
}

impl Numbers {
    /// A name that no other pool has.
    fn name(&mut self, signature: &Capabilities) -> Arc<str> {
        let mut name: Arc<str> = automatic_name(signature).into();
        let (plain, mut others) = (name.clone(), 1);
        while !self.names.insert(name.clone()) {
            others += 1;
            name = format!("{plain}~{others}").into();
        }
        name
    }
}
