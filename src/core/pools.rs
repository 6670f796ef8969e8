//! Pools made and dropped, and the snapshot published for it. Lock order: shard, topology, pool.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use crate::capability::Capabilities;
use crate::config::{MIXED, SchedulerConfig};
use crate::event::Event;
use crate::id::NodeId;
use crate::lock::{WriterGuard, WriterLock};
use crate::pool::{Automatic, Indexes, Layout, Pool, PoolConfig, PoolKind, Seat, Seated, Share, automatic_name};
use crate::snapshot::{PoolTable, Snapshot};
use crate::sync::{Flag, Map, Ordering, sized};

/// The automatic pools, found without a lock and changed under one.
#[derive(Debug)]
pub(crate) struct Topology {
    by_signature: Map<Arc<Capabilities>, Arc<Pool>, ahash::RandomState>,
    writer: WriterLock<Numbers>,
}

/// What is needed to make a pool. Under the topology's writer lock.
#[derive(Debug)]
struct Numbers {
    /// The first number never used.
    next: u32,
    /// Numbers of pools that were dropped, in that order; the flag is set when no reader can see the pool any more.
    dropped: VecDeque<(u32, Arc<Flag>)>,
    /// Pools ever made.
    births: u32,
    /// Pools there are, the mixed pool apart.
    pools: usize,
    names: HashSet<Arc<str>>,
    version: u64,
}

/// A place in a pool, of which the pin keeps the pool if nothing else does.
#[derive(Debug, Clone)]
pub(super) struct Place<'g> {
    pub(super) pool: Cow<'g, Arc<Pool>>,
    pub(super) position: u32,
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
        dropped: VecDeque::new(),
        births: next,
        pools: next as usize - 1,
        names: table.iter().map(|pool| pool.name.clone()).collect(),
        version: 1,
    };
    let topology = Topology {
        by_signature: Map::with_hasher(crate::id::fixed_hasher().clone()),
        writer: WriterLock::new("topology", numbers),
    };
    let layout = Layout::new(config.routing_labels.clone(), configured, hash, mixed);
    (layout, topology, Snapshot::new(1, table, config.max_routes))
}

impl Core {
    /// Seats the node in `cell`, or one that is to come into a cell that this finds, making its pool if need be. It is not
    /// marked.
    pub(super) fn join<'g>(
        &self,
        seat: Seat<'g>,
        id: &NodeId,
        cell: Option<u32>,
        weight: u16,
        share: Share,
        pin: &'g Guard,
    ) -> (Place<'g>, Seated) {
        let mut pool = match seat {
            Seat::Fixed(pool) => Cow::Borrowed(pool),
            Seat::Automatic(automatic) => self.pool_of(automatic, id, pin),
        };
        loop {
            if let Some(seated) = pool.join(cell, &self.cells, weight, share, &self.meters.locks) {
                return (Place { pool, position: seated.position }, seated);
            }
            // It was being dropped, which is done by the time that the topology can be locked.
            let Seat::Automatic(automatic) = seat else { unreachable!("only automatic pools are dropped") };
            pool = Cow::Owned(self.make_pool(&automatic.signature, id, pin));
        }
    }

    /// The pool of a signature, made if need be.
    fn pool_of<'g>(&self, automatic: &Automatic, id: &NodeId, pin: &'g Guard) -> Cow<'g, Arc<Pool>> {
        if let Some(pool) = automatic.last().and_then(|key| self.pool_by_key(key, pin)) {
            return Cow::Borrowed(pool);
        }
        let signature = &automatic.signature;
        let pool = self.find_pool(signature).unwrap_or_else(|| self.make_pool(signature, id, pin));
        // The mixed pool takes the place of the signature's own only until that can be made.
        if pool.kind == PoolKind::Automatic {
            automatic.note(&pool);
        }
        Cow::Owned(pool)
    }

    /// The pool of this key, if it has not been dropped.
    fn pool_by_key<'g>(&self, key: u64, pin: &'g Guard) -> Option<&'g Arc<Pool>> {
        self.snapshot(pin).table().get(key as u32).filter(|pool| pool.key == key)
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
        let number = if numbers.pools < self.config.max_pools { numbers.number(self.indexes.len()) } else { None };
        let Some(number) = number else {
            drop(numbers);
            tracing::warn!(node = %id, limit = self.config.max_pools, "too many pools, the node goes to the mixed pool");
            self.events.emit(|| Event::PoolsExhausted { node: id.clone(), limit: self.config.max_pools });
            return self.layout.mixed.clone();
        };
        // Comes round after 2^32 pools; of these the one before with the same key is long gone.
        numbers.births = numbers.births.wrapping_add(1);
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

    /// Lets a member go, and drops its pool if it was the last. `idle`: its cell, if the node is gone and has left it.
    pub(super) fn leave(&self, place: &Place<'_>, idle: Option<u32>, weight: u16, share: Share, pin: &Guard) {
        let pool = &*place.pool;
        let unseated = pool.leave(place.position, idle, weight, share, &self.meters.locks);
        if let Some(lot) = unseated.lot {
            self.cells.retire_all(lot, pin);
        }
        if unseated.was_last && pool.kind == PoolKind::Automatic {
            self.drop_pool_if_empty(pool, pin);
        }
    }

    fn drop_pool_if_empty(&self, pool: &Arc<Pool>, pin: &Guard) {
        let mut numbers = self.topology.writer.lock(&self.meters.locks);
        let Some((left, room)) = pool.close_if_empty(&self.meters.locks) else { return };
        self.cells.give_out(room);
        let _ = self.topology.by_signature.pin().remove_if(&pool.guarantee, |_, found| Arc::ptr_eq(found, pool));
        numbers.pools -= 1;
        numbers.names.remove(&pool.name);
        self.publish(&mut numbers, pool.number, None, pin);
        let unseen = Arc::new(Flag::new(false));
        numbers.dropped.push_back((pool.number, unseen.clone()));
        // Who has found the pool under a pin may yet draw from its index. Release: pairs with `Numbers::number`.
        pin.defer(move || unseen.store(true, Ordering::Release));
        drop(numbers);
        self.cells.retire_all(left, pin);
        tracing::debug!(pool = %pool.name, "pool dropped");
        self.events.emit(|| Event::PoolDropped { pool: pool.name.to_string() });
    }

    /// Publishes the snapshot with what is under `number` replaced.
    fn publish(&self, numbers: &mut WriterGuard<'_, Numbers>, number: u32, pool: Option<Arc<Pool>>, pin: &Guard) {
        numbers.version += 1;
        let table = self.snapshot(pin).table().with(number, pool);
        let snapshot = Snapshot::new(numbers.version, table, self.config.max_routes);
        let stamp = snapshot.stamp();
        self.snapshot.swap(Some(Arc::new(snapshot)), pin);
        // Release: who finds a node that has joined a new pool finds the stamp changed.
        self.stamp.store(stamp, Ordering::Release);
    }
}

/// So many pools are dropped before the number of the first is used again: by then nobody should see that any more, so
/// which number a pool gets does not hang on how fast readers are, and runs with a seed can be repeated.
pub(super) const REST: usize = sized(4096, 1) as usize;

impl Numbers {
    /// A number, below `limit`, of no pool that anybody can still see. `None` when there is none: as many pools as that
    /// were dropped under pins that last.
    fn number(&mut self, limit: usize) -> Option<u32> {
        let fresh = ((self.next as usize) < limit).then_some(self.next);
        // Acquire: pairs with the flag being set, when all that was done by who saw the pool is done.
        let rested =
            self.dropped.front().filter(|(_, unseen)| unseen.load(Ordering::Acquire)).map(|(number, _)| *number);
        match (rested, fresh) {
            (Some(number), _) if self.dropped.len() >= REST || fresh.is_none() => {
                self.dropped.pop_front();
                Some(number)
            }
            _ => {
                self.next += u32::from(fresh.is_some());
                fresh
            }
        }
    }

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

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::config::SchedulerBuilder;
    use crate::node::NodeSpec;

    #[test]
    fn threads_turn_at_a_few_places_each_at_the_same() {
        let core = Core::new(SchedulerBuilder::default().manual_maintenance().check().unwrap());
        let pin = crate::sync::pin();
        let pool = core.snapshot(&pin).table().iter().next().unwrap();
        let places: Vec<_> = (0..64).chain([u32::MAX]).map(|thread| std::ptr::from_ref(pool.rotor(thread))).collect();
        assert_eq!(places.iter().collect::<HashSet<_>>().len(), 16);
        assert_eq!(places[..16], places[16..32]);
    }

    #[test]
    fn pools_are_made_and_dropped_when_the_count_of_those_ever_made_comes_round() {
        let core = Core::new(SchedulerBuilder::default().manual_maintenance().check().unwrap());
        core.topology.writer.lock(&core.meters.locks).births = u32::MAX - 2;
        let mut keys = HashSet::new();
        for turn in 0..6 {
            let spec = NodeSpec::new("n").service(format!("s{turn}")).ready();
            let node = core.register(spec).unwrap();
            let pin = crate::sync::pin();
            let pool = core.snapshot(&pin).table().iter().find(|pool| pool.kind == PoolKind::Automatic);
            let pool = pool.expect("the node's own pool").clone();
            assert!(keys.insert(pool.key), "the key of another pool");
            let demand = crate::Demand::new().service(format!("s{turn}"));
            let found = core.select(super::super::Asked::Plain(&demand), &pin).unwrap().0;
            assert_eq!((found.pool, core.pool_name(found.pool)), (pool.key, Some(pool.name.clone())));
            core.deregister(&node).unwrap();
            assert!(core.pool_name(pool.key).is_none());
        }
        assert!(core.topology.writer.lock(&core.meters.locks).births < 6);
    }

    #[test]
    fn a_number_that_is_used_again_is_taken_for_no_pool_before() {
        let scheduler = SchedulerBuilder::default().manual_maintenance().max_pools(1).build().unwrap();
        let (one, two) = (crate::Demand::new().service("one"), crate::Demand::new().service("two"));
        // Both look first where they found one before.
        let select = |demand| {
            let selected = scheduler.select(demand).ok().map(|selection| selection.node_id().to_string());
            let reserved = scheduler.reserve(demand).ok().map(|slot| slot.node_id().to_string());
            assert_eq!(selected, reserved);
            reserved
        };
        let add = |id: &str, service| scheduler.register(NodeSpec::new(id).service(service).ready()).unwrap();
        let pools = |id| scheduler.node(id).unwrap().pools;
        // No number is left that no pool has had, and nobody sees those that were dropped.
        let all_used = || {
            let core = scheduler.core();
            core.topology.writer.lock(&core.meters.locks).next = core.indexes.len() as u32;
            wait_until_unseen(core);
        };
        let a = add("a", "one");
        assert_eq!(select(&one).as_deref(), Some("a"));
        scheduler.deregister(&a).unwrap();
        all_used();
        let b = add("b", "two");
        assert_eq!((select(&one), select(&two).as_deref()), (None, Some("b")));
        // Its pool has gone, and what has that one's number now is another's.
        add("c", "one");
        assert_eq!((pools("b"), pools("c")), (vec!["two".to_owned()], vec!["mixed".to_owned()]));
        assert_eq!((select(&one).as_deref(), select(&two).as_deref()), (Some("c"), Some("b")));
        // The mixed pool is for as long as there is no room for one of its own.
        scheduler.deregister(&b).unwrap();
        all_used();
        add("d", "one");
        assert_eq!(pools("d"), ["one"]);
    }

    #[test]
    fn a_number_rests_while_there_are_others() {
        let core = Core::new(SchedulerBuilder::default().manual_maintenance().check().unwrap());
        let mut numbers = HashSet::new();
        for turn in 0..5 {
            let node = core.register(NodeSpec::new("n").service("s").ready()).unwrap();
            let pin = crate::sync::pin();
            let pool = core.snapshot(&pin).table().iter().find(|pool| pool.kind == PoolKind::Automatic).unwrap().number;
            assert!(numbers.insert(pool), "{pool} again in turn {turn}");
            core.deregister(&node).unwrap();
            drop(pin);
            wait_until_unseen(&core);
        }
    }

    /// Until nobody sees the pools that were dropped.
    fn wait_until_unseen(core: &Core) {
        let seen = || {
            let numbers = core.topology.writer.lock(&core.meters.locks);
            !numbers.dropped.iter().all(|(_, unseen)| unseen.load(Ordering::Acquire))
        };
        // Tests beside this one may be pinned for long.
        while seen() {
            crate::sync::pin().flush();
            std::thread::yield_now();
        }
    }
}
