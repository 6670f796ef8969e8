//! The engine behind [`Scheduler`](crate::Scheduler): what there is, and the pieces that every operation uses.
//!
//! `nodes`, `heartbeats`, `pools`, `selecting`, `holding`, `jobs`, `ending`, `upkeep` and `views` are its operations, by
//! what they are about.

#[cfg(feature = "redis")]
mod coordinated;
mod ending;
mod heartbeats;
mod holding;
mod homes;
mod jobs;
mod nodes;
mod pools;
mod refusing;
mod reserving;
mod selecting;
mod upkeep;
mod views;

// Below this module, so that the models reach what is private to it.
#[cfg(all(test, slotyard_loom))]
#[path = "../../loom-tests/mod.rs"]
mod loom_tests;
#[cfg(all(test, slotyard_shuttle))]
#[path = "../../shuttle-tests/mod.rs"]
mod shuttle_tests;

use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::clock::{Clock, millis};
use crate::config::SchedulerConfig;
use crate::event::Events;
use crate::id::{NodeKey, Prehashed, mix};
use crate::job::{Jobs, Kinds, Wheel};
use crate::node::cell::{Cell, Change, Edge, Home};
use crate::node::word::Flags;
use crate::node::{Cells, Node, Rows, Shard};
use crate::pool::{Index, Indexes, Layout, Pool, Profiles};
use crate::publish::Published;
use crate::random::Threads;
use crate::session::Sessions;
use crate::snapshot::Snapshot;
use crate::stats::{Count, Meters};
use crate::sync::{AtomicU64, Ordering, Sequence};
#[cfg(feature = "redis")]
pub(crate) use coordinated::Pick;
use homes::Homes;
use pools::Topology;
pub(crate) use reserving::Slot;
pub(crate) use selecting::{Asked, Busyness};
use upkeep::Upkeep;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: SchedulerConfig,
    pub(crate) clock: Clock,
    pub(crate) threads: Threads,
    pub(crate) meters: Meters,
    pub(crate) events: Events,
    hasher: ahash::RandomState,
    layout: Layout,
    profiles: Profiles,
    cells: Arc<Cells>,
    rows: Rows,
    indexes: Indexes,
    homes: Homes,
    snapshot: Published<Snapshot>,
    /// That of the snapshot.
    stamp: AtomicU64,
    topology: Topology,
    shards: Box<[Shard]>,
    live_nodes: Sequence,
    jobs: Arc<Jobs>,
    kinds: Kinds,
    /// In ms.
    default_lease: u64,
    sessions: Sessions,
    wheel: Wheel,
    upkeep: Upkeep,
}

impl Core {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        let threads = Threads::new(config.seed);
        // Schedulers that are seeded alike give the same ids: that is what a seed is for.
        let tag = config.seed.map_or_else(|| fastrand::u64(..), mix);
        let hasher = match config.seed {
            Some(seed) => ahash::RandomState::with_seeds(seed, mix(seed), mix(seed ^ 1), mix(seed ^ 2)),
            None => ahash::RandomState::new(),
        };
        // Beside the mixed pool, and numbers of pools that were dropped and may still be seen.
        let indexes = Indexes::new(config.max_pools + 1 + 2 * pools::REST);
        let (layout, topology, snapshot) = pools::lay_out(&config, &indexes);
        let cells = Arc::new(Cells::new());
        let grain = (config.tick_interval.as_millis() as u64).clamp(1, 100);
        Self {
            clock: Clock::new(),
            meters: Meters::new(),
            events: Events::default(),
            hasher,
            layout,
            profiles: Profiles::new(),
            shards: (0..config.shards).map(|number| Shard::new(number, config.shards, cells.clone())).collect(),
            cells,
            rows: Rows::new(),
            indexes,
            homes: Homes::new(),
            stamp: AtomicU64::new(snapshot.stamp()),
            snapshot: Published::new(Arc::new(snapshot)),
            topology,
            live_nodes: Sequence::new(0),
            jobs: Arc::new(Jobs::new(tag, config.max_jobs, config.max_finished_jobs)),
            kinds: Kinds::new(threads.scheduler()),
            default_lease: millis(config.default_lease),
            sessions: Sessions::new(config.max_sessions, config.shards),
            wheel: Wheel::new(grain),
            upkeep: Upkeep::default(),
            threads,
            config,
        }
    }

    fn prehash<'a>(&self, id: &'a str) -> Prehashed<&'a str> {
        Prehashed::new(&self.hasher, id)
    }

    #[inline(always)]
    fn node_key<'a>(&self, id: &'a str) -> NodeKey<'a> {
        NodeKey::new(&self.hasher, id)
    }

    #[inline(always)]
    fn shard(&self, hash: u64) -> &Shard {
        // The high bits: the maps use the low ones.
        &self.shards[(hash >> 40) as usize & (self.shards.len() - 1)]
    }

    /// How far the clock may be behind: by a tick, unless the embedder moves it.
    fn clock_lag(&self) -> u64 {
        if self.config.manual_maintenance { 0 } else { millis(self.config.tick_interval) }
    }

    fn snapshot<'g>(&self, pin: &'g Guard) -> &'g Snapshot {
        self.snapshot.load(pin).expect("a snapshot is published when the scheduler is built, and ever after")
    }

    #[inline(always)]
    fn count(&self, count: Count) {
        self.meters.counts.add(self.threads.ordinal(), count);
    }

    /// Calls `visit` with every pool that the cell's node stands in, and its position there.
    fn for_each_home(&self, cell: &Cell, pin: &Guard, mut visit: impl FnMut(&Pool, u32)) {
        match cell.home() {
            Home::None => {}
            Home::At { pool, position } => {
                if let Some(pool) = self.snapshot(pin).table().get(pool) {
                    visit(pool, position);
                }
            }
            Home::Several => {
                let memberships = cell.node.load(pin).and_then(|node| node.memberships.load(pin));
                memberships.into_iter().flatten().for_each(|at| visit(&at.pool, at.position));
            }
        }
    }

    /// Tells the indexes of a node's pools of a change of its slot word.
    ///
    /// Needs no pin. Without one the cell may be another node's by now: that one is told of in vain, which costs a
    /// stale bit at worst.
    #[inline(always)]
    fn tell(&self, cell: &Cell, edge: Edge) {
        match edge {
            Edge::None => {}
            Edge::Risen => self.for_each_index(cell, |index, position| index.mark(position)),
            Edge::Pending(word) => {
                self.for_each_index(cell, |index, position| index.mark(position));
                cell.settle(word);
            }
            Edge::Fallen => self.for_each_index(cell, |index, position| index.mend(&self.cells, position)),
        }
    }

    /// Calls `visit` with the index of every pool that the cell's node stands in, and its position there.
    #[inline(always)]
    fn for_each_index(&self, cell: &Cell, mut visit: impl FnMut(&Index, u32)) {
        match cell.home() {
            Home::None => {}
            Home::At { pool, position } => {
                if let Some(index) = self.indexes.get(pool) {
                    visit(index, position);
                }
            }
            Home::Several => {
                self.for_each_home(cell, &crate::sync::pin(), |pool, position| visit(&pool.index, position));
            }
        }
    }

    pub(super) fn released(&self, number: u32, cell: &Cell, change: &Change) {
        self.tell(cell, change.edge);
        if change.leaves_idle() {
            self.cells.retire(number, &crate::sync::pin());
        }
    }

    /// Whether this incarnation is still in its cell and not gone. One of another scheduler is in no cell of this one.
    /// Good for as long as the node's shard is locked, or for the rest of a pin under which this is asked.
    fn is_current(&self, node: &Node) -> bool {
        let Some(cell) = self.cells.get(node.cell) else { return false };
        // Before it is looked whose the cell is. Acquire: pairs with the Release of `Cell::vacate`. Who reads in the word what
        // came after the node has left sees that its address has gone, too; the other way round the word might be the next
        // one's, which says nothing of this.
        let word = cell.word();
        cell.node.is(node) && !word.flags().has(Flags::GONE)
    }

    fn live_nodes(&self) -> usize {
        self.live_nodes.load(Ordering::Relaxed) as usize
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Records that pools keep for nodes that come may have references of these very pools.
        self.layout.configured().for_each(|pool| drop(pool.take_room(&self.meters.locks)));
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::error::{HeartbeatError, NodeError};
    use crate::sync::{collect, collect_until};
    use crate::{Capabilities, Heartbeat, NodeSpec, NodeState, PoolConfig, SchedulerBuilder, Service};

    /// With two pools, in which a node can stand at once.
    fn core_of_two_pools() -> Core {
        let pool = |name, service| PoolConfig::new(name).requires(Capabilities::new().service(service));
        let builder = SchedulerBuilder::default().manual_maintenance();
        let builder = builder.pool(pool("hears", Service::ASR)).pool(pool("speaks", Service::TTS));
        Core::new(builder.check().unwrap())
    }

    fn come_and_go(core: &Core, id: usize, services: &[Service]) {
        let capabilities = services.iter().cloned().fold(Capabilities::new(), Capabilities::service);
        let handle = core.register(NodeSpec::new(id.to_string()).capabilities(capabilities)).unwrap();
        core.deregister(&handle).unwrap();
    }

    /// Waits until what was deferred has been done.
    fn collect_all() {
        let done = Arc::new(());
        let deferred = done.clone();
        let pin = crate::sync::pin();
        pin.defer(move || drop(deferred));
        pin.flush();
        drop(pin);
        collect_until(|| Arc::strong_count(&done) == 1);
    }

    /// Two that pin all the time, and of which one hangs on how soon others' pins end: not at once.
    static BUSY: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn busy() -> std::sync::MutexGuard<'static, ()> {
        BUSY.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[test]
    fn a_handle_is_not_taken_for_that_of_a_later_node_in_the_same_cell_of_the_same_generation() {
        let _busy = busy();
        let core = core_of_two_pools();
        let register = || {
            let capabilities = Capabilities::new().service(Service::ASR);
            core.register(NodeSpec::new("n").capabilities(capabilities).ready()).unwrap()
        };
        let first = register();
        core.deregister(&first).unwrap();
        // Generations come round, and the first one's is there again some time.
        let comes_again = |_: &u32| {
            let later = register();
            if (later.cell, later.generation) == (first.cell, first.generation) {
                return true;
            }
            core.deregister(&later).unwrap();
            collect_a_little();
            false
        };
        assert!((0..500_000).any(|turn| comes_again(&turn)), "the generation did not come round");
        for beat in [Heartbeat::alive(), Heartbeat::ready().running(1)] {
            let expected = HeartbeatError::StaleHandle { id: "n".into(), incarnation: first.node.incarnation };
            assert_eq!(core.heartbeat(&first, &beat), Err(expected));
        }
        let stale = NodeError::StaleHandle { id: "n".into(), incarnation: first.node.incarnation };
        assert_eq!(core.set_capacity(&first, 2), Err(stale.clone()));
        assert_eq!(core.set_draining(&first, true), Err(stale.clone()));
        assert_eq!(core.deregister(&first), Err(stale));
        assert_eq!((core.node("n").unwrap().capacity, core.node("n").unwrap().state), (1, NodeState::Ready));
    }

    /// As calls do in passing.
    fn collect_a_little() {
        (0..8).for_each(|_| crate::sync::pin().flush());
    }

    #[test]
    fn pools_go_with_their_scheduler_though_they_keep_records_that_refer_to_them() {
        let core = core_of_two_pools();
        let services = [Service::ASR, Service::TTS];
        (0..1000).for_each(|turn| come_and_go(&core, turn, &services[..1 + turn % 2]));
        let pools: Vec<_> = core.layout.configured().map(Arc::downgrade).collect();
        drop(core);
        collect_until(|| pools.iter().all(|pool| pool.upgrade().is_none()));
    }

    #[test]
    fn a_cell_is_not_vacated_while_it_may_have_been_found_in_the_second_pool() {
        use std::sync::mpsc::channel;
        let core = core_of_two_pools();
        // Of each pool all but one of the cells of a lot are put away.
        (0..31).for_each(|turn| come_and_go(&core, turn, &[Service::ASR]));
        (31..62).for_each(|turn| come_and_go(&core, turn, &[Service::TTS]));
        let both = Capabilities::new().service(Service::ASR).service(Service::TTS);
        let handle = core.register(NodeSpec::new("both").capabilities(both)).unwrap();
        let (cell, generation) = (core.cells.at(handle.cell), handle.generation);
        let last_place = |pin: &crossbeam_epoch::Guard| {
            let place = core.places(&handle.node, pin).to_vec().pop().unwrap();
            (place.pool.into_owned(), place.position)
        };
        let (pool, position) = &last_place(&crate::sync::pin());
        let (found, is_found) = channel();
        let (go_on, goes_on) = channel::<()>();
        std::thread::scope(|scope| {
            let reader = pool.undisturbed(&core.meters.locks, || {
                // It gets as far as the second pool, and is pinned.
                let leaver = scope.spawn(|| {
                    // A thread's first pin has the epoch go on.
                    drop(crate::sync::pin());
                    core.deregister(&handle).unwrap();
                });
                while core.layout.configured().next().unwrap().members() > 0 {
                    std::thread::yield_now();
                }
                collect();
                let reader = scope.spawn(move || {
                    let _pin = crate::sync::pin();
                    found.send(pool.index.member(*position)).unwrap();
                    goes_on.recv().unwrap();
                    assert_eq!(cell.word().generation(), generation, "it was vacated");
                });
                assert_eq!(is_found.recv().unwrap(), Some(handle.cell));
                assert!(!leaver.is_finished());
                reader
            });
            while pool.members() > 0 {
                std::thread::yield_now();
            }
            collect();
            go_on.send(()).unwrap();
            reader.join().unwrap();
        });
        collect_until(|| cell.word().generation() != generation);
    }

    #[test]
    fn most_nodes_of_a_large_pool_live_in_its_own_cells_though_each_has_been_replaced() {
        let _busy = busy();
        let core = Core::new(SchedulerBuilder::default().manual_maintenance().check().unwrap());
        let register = |id: usize| {
            let spec = NodeSpec::new(id.to_string()).capabilities(Capabilities::new().service(Service::ASR));
            core.register(spec.replace_existing()).unwrap();
            if id.is_multiple_of(16) {
                collect_all();
            }
        };
        let elsewhere = || {
            (0..1000).for_each(register);
            let pin = crate::sync::pin();
            let pool = core.snapshot(&pin).table().iter().find(|pool| pool.members() > 0).unwrap();
            assert!(pool.index.high_water() <= 1000 + 2 * 64, "{}", pool.index.high_water());
            let members = (0..pool.index.high_water()).filter_map(|at| Some((at, pool.index.member(at)?)));
            members.filter(|(at, cell)| pool.index.own_cell(*at, &core.cells) != *cell).count()
        };
        assert_eq!(elsewhere(), 0);
        // More than once, for who has come to a cell elsewhere may be lucky next time.
        let rounds: Vec<_> = (0..3).map(|_| elsewhere()).collect();
        assert!(rounds.iter().all(|elsewhere| *elsewhere < 50), "{rounds:?} of 1000");
    }

    #[test]
    fn a_cell_that_is_left_by_a_slot_is_not_vacated_while_it_may_have_been_found_in_a_pool() {
        let cells = Arc::new(crate::node::Cells::new());
        let number = cells.take();
        let cell = cells.at(number);
        let generation = cell.prepare(1, 100);
        cell.open(generation, 1, Flags::GONE);
        drop(crate::sync::pin());
        std::thread::scope(|scope| {
            // Who takes the node out of its pool is pinned, and has yet to do so, when a job gives the last slot back.
            let taker = crate::sync::pin();
            cells.retire(number, &taker);
            taker.flush();
            // So somebody can come who finds it there.
            let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
            let (pinned, is_pinned) = std::sync::mpsc::channel();
            let reader = scope.spawn(move || {
                let _pin = crate::sync::pin();
                pinned.send(()).unwrap();
                goes_on.recv().unwrap();
                assert_eq!(cell.word().generation(), generation, "it was vacated");
            });
            is_pinned.recv().unwrap();
            drop(taker);
            collect();
            go_on.send(()).unwrap();
            reader.join().unwrap();
        });
        collect_until(|| cell.word().generation() != generation);
    }
}
