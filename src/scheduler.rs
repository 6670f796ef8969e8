//! The face of the library: [`Scheduler`], and what it hands out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_epoch::Guard;

use crate::capability::{Capabilities, Demand, Service};
use crate::config::{SchedulerBuilder, SchedulerConfig};
use crate::core::{Asked, Busyness, Core, Slot};
use crate::error::{
    ConfigError, CreateJobError, HeartbeatError, JobError, NoNode, NodeError, RegisterError, RetryError,
};
use crate::event::EventReceiver;
use crate::explain::Explanation;
use crate::id::JobId;
use crate::job::{End, Job, JobRequest, JobView};
use crate::keeper::Keeper;
use crate::node::{Heartbeat, Node, NodeHandle, NodeSpec, NodeView};
use crate::pool::PoolView;
use crate::select::PreparedDemand;
use crate::snapshot::Snapshot;
use crate::stats::Stats;

/// A node scheduler. Cheap to clone; clones are one scheduler, used by any number of threads at once.
///
/// Choosing nodes and moving jobs on never waits for a lock and reads no clock. Changing nodes takes the writer lock of
/// a fraction of them (a shard), for microseconds. Time passes by itself, in a thread that is joined when the last
/// clone is dropped, or by [`tick`](Self::tick).
///
/// ```
/// use slotyard::{Demand, Heartbeat, JobRequest, NodeSpec, Scheduler, Service};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::builder().heartbeat_timeout(Duration::from_secs(15)).build()?;
/// let node =
///     scheduler.register(NodeSpec::new("gpu-7").capacity(8).asr(["zh", "en"]).nmt_any(["zh", "en"]).tts(["en"]))?;
/// scheduler.heartbeat(&node, &Heartbeat::ready())?;
///
/// let demand = Demand::translate("zh", "en").services([Service::ASR, Service::NMT, Service::TTS]);
/// let job = scheduler.create_job(&JobRequest::new("req-42", demand).session("s-1"))?;
/// assert_eq!(job.node_id(), "gpu-7");
/// scheduler.complete(job.id(), job.attempt())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Running>,
}

/// The engine and what drives it.
struct Running {
    core: Arc<Core>,
    upkeep: Option<Keeper>,
}

impl Scheduler {
    /// Sets up a scheduler.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    pub(crate) fn with_config(config: SchedulerConfig) -> Result<Self, ConfigError> {
        let core = Arc::new(Core::new(config));
        let upkeep = if core.config.manual_maintenance { None } else { Some(Keeper::start(core.clone())?) };
        Ok(Self { inner: Arc::new(Running { core, upkeep }) })
    }

    pub(crate) fn core(&self) -> &Core {
        &self.inner.core
    }

    /// The configuration.
    pub fn config(&self) -> &SchedulerConfig {
        &self.core().config
    }

    /// Registers a node. It is [`Registering`](crate::NodeState::Registering), and gets no jobs, until a heartbeat says
    /// that it is ready, unless the spec says so.
    ///
    /// When this returns, a select that begins finds the node, if it is ready.
    ///
    /// # Errors
    /// [`RegisterError`] says what is wrong with the spec, or which limit is reached. Nothing was changed.
    pub fn register(&self, spec: NodeSpec) -> Result<NodeHandle, RegisterError> {
        self.core().register(spec)
    }

    /// The node that is registered under this id.
    pub fn handle(&self, id: &str) -> Option<NodeHandle> {
        self.core().handle(id)
    }

    /// Takes a heartbeat in. One that changes nothing in what the node can do touches that node's atomics only. A
    /// node that was offline and is not forgotten yet is up again.
    ///
    /// # Errors
    /// [`HeartbeatError`]: the handle's incarnation has ended (the node must register again), or the heartbeat is
    /// malformed; then nothing of it was taken in.
    pub fn heartbeat(&self, node: &NodeHandle, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        self.core().heartbeat(node, beat)
    }

    /// As [`heartbeat`](Self::heartbeat), for whoever has only the id.
    ///
    /// # Errors
    /// As `heartbeat`, and when no node of this id is registered.
    pub fn heartbeat_by_id(&self, id: &str, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        self.core().heartbeat_by_id(id, beat)
    }

    /// Changes what a node can do, and with it the pools that it is in, while its jobs run on.
    ///
    /// When this returns, no select that begins finds the node for what it can no longer do.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was changed.
    pub fn update(&self, node: &NodeHandle, capabilities: Capabilities) -> Result<(), NodeError> {
        self.core().update(node, capabilities)
    }

    /// Changes how many slots a node has, 1 to 16,383. With fewer slots than jobs, the jobs run on and no more come
    /// until enough have ended.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was changed.
    pub fn set_capacity(&self, node: &NodeHandle, capacity: u32) -> Result<(), NodeError> {
        self.core().set_capacity(node, capacity)
    }

    /// Changes a node's weight; 0 drains it.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was changed.
    pub fn set_weight(&self, node: &NodeHandle, weight: u16) -> Result<(), NodeError> {
        self.core().set_weight(node, weight)
    }

    /// Sends no more jobs to a node; those that it has run on. When this returns, no job lands there, not even one
    /// whose creation had already chosen the node.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was changed.
    pub fn drain(&self, node: &NodeHandle) -> Result<(), NodeError> {
        self.core().set_draining(node, true)
    }

    /// Ends a drain.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was changed.
    pub fn undrain(&self, node: &NodeHandle) -> Result<(), NodeError> {
        self.core().set_draining(node, false)
    }

    /// Removes a node; its jobs become orphans, which may be retried.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was changed.
    pub fn deregister(&self, node: &NodeHandle) -> Result<(), NodeError> {
        self.core().deregister(node)
    }

    /// Turns one service of a node off for a while: the node has said "model not available".
    ///
    /// # Errors
    /// [`NodeError`]: also when the node does not offer the service, or `time` is zero or longer than a year.
    pub fn mark_unavailable(&self, node: &NodeHandle, service: &Service, time: Duration) -> Result<(), NodeError> {
        self.core().mark_unavailable(node, service, time)
    }

    /// Chooses a node for a demand, without reserving. Never blocks; allocates nothing once the demand's route is
    /// known; takes the same time with one slot free among a million as with all.
    ///
    /// Never refuses while a slot is free: within one pool there was an instant during the call at which no member
    /// could be selected; over several pools, or with exclusions, that holds when nothing changes meanwhile.
    ///
    /// # Errors
    /// [`NoNode`] tells "nobody can do this" from "all who could are busy" and "all who could are gone".
    pub fn select(&self, demand: &Demand) -> Result<Selection<'_>, NoNode> {
        self.select_asked(Asked::Plain(demand))
    }

    /// Prepares a demand that will be selected for again and again.
    pub fn prepare(&self, demand: &Demand) -> PreparedDemand {
        PreparedDemand::new(demand.clone(), self.core().threads.scheduler())
    }

    /// As [`select`](Self::select), without hashing or comparing a string.
    ///
    /// # Errors
    /// As `select`.
    pub fn select_prepared(&self, demand: &PreparedDemand) -> Result<Selection<'_>, NoNode> {
        self.select_asked(Asked::Prepared(demand))
    }

    #[inline(always)]
    fn select_asked(&self, asked: Asked<'_>) -> Result<Selection<'_>, NoNode> {
        let pin = crate::sync::pin();
        let (chosen, busyness) = self.core().select(asked, &pin)?;
        Ok(Selection { core: self.core(), cell: chosen.cell, pool: chosen.pool, busyness, pin })
    }

    /// Chooses a node and takes one of its slots, until the reservation is dropped. For whoever keeps track of jobs
    /// himself; [`create_job`](Self::create_job) does that, too.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn reserve(&self, demand: &Demand) -> Result<Reservation<'_>, NoNode> {
        self.reserve_asked(Asked::Plain(demand))
    }

    /// As [`reserve`](Self::reserve), without hashing or comparing a string.
    ///
    /// # Errors
    /// As `select`.
    pub fn reserve_prepared(&self, demand: &PreparedDemand) -> Result<Reservation<'_>, NoNode> {
        self.reserve_asked(Asked::Prepared(demand))
    }

    #[inline(always)]
    fn reserve_asked(&self, asked: Asked<'_>) -> Result<Reservation<'_>, NoNode> {
        let slot = self.core().reserve(asked)?;
        Ok(Reservation { core: self.core(), slot })
    }

    /// Creates a job: chooses a node, reserves one of its slots, and remembers both under the request id. The same
    /// request id gives the same job, whoever asks and however many at once; exactly one slot stays held.
    ///
    /// While a job is in the middle of being created by one thread, another one that creates the same may be told
    /// that all nodes are busy, if the first has just taken the last slot.
    ///
    /// # Errors
    /// [`CreateJobError`]; no slot is held.
    pub fn create_job(&self, request: &JobRequest) -> Result<Job, CreateJobError> {
        let pin = crate::sync::pin();
        match self.core().create_job(request, &pin) {
            Ok(job) => Ok(job),
            Err(error) => self.not_created(error, request, pin),
        }
    }

    /// The job was sent to its node.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub fn dispatched(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        self.core().dispatched(job, attempt)
    }

    /// The node works on the job.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub fn running(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        self.core().running(job, attempt)
    }

    /// The job has ended well. Its slot is free when this returns.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub fn complete(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        self.core().end(job, attempt, End::Completed, &crate::sync::pin())
    }

    /// The job has ended badly. Its slot is free when this returns; it may be retried.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub fn fail(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        self.core().end(job, attempt, End::Failed, &crate::sync::pin())
    }

    /// The job is called off. Its slot is free when this returns.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub fn cancel(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        self.core().end(job, attempt, End::Cancelled, &crate::sync::pin())
    }

    /// News of the job: its lease begins anew. A job whose lease has run out is not revived.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub fn renew(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        self.core().renew(job, attempt)
    }

    /// The next attempt of a job that is active, or that failed, expired or was orphaned: on a node that has not had
    /// it yet, where there is one. The slot of an active attempt is given back once the new one is reserved.
    ///
    /// # Errors
    /// [`RetryError`]; the job is as it was.
    pub fn retry(&self, job: JobId, attempt: u32) -> Result<Job, RetryError> {
        self.core().retry(job, attempt)
    }

    /// A job by its id, until it is forgotten some time after its end.
    pub fn job(&self, job: JobId) -> Option<JobView> {
        self.core().job(job)
    }

    /// A job by its request id.
    pub fn job_by_request(&self, request_id: &str) -> Option<JobView> {
        self.core().job_by_request(request_id)
    }

    /// Says why a demand gets a node, or none, by looking at every node. For people: its cost grows with the nodes.
    pub fn explain(&self, demand: &Demand) -> Explanation {
        self.core().explain(demand)
    }

    /// A node by its id.
    pub fn node(&self, id: &str) -> Option<NodeView> {
        self.core().node(id)
    }

    /// All nodes, by id. Its cost grows with the nodes, and each shard's writers wait for it in turn.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.core().nodes()
    }

    /// All pools.
    pub fn pools(&self) -> Vec<PoolView> {
        self.core().pools()
    }

    /// What selection reads now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.core().snapshot_arc()
    }

    /// What the scheduler counts of itself.
    pub fn stats(&self) -> Stats {
        self.core().stats()
    }

    /// Subscribes to events. At most `capacity` (1 to 1,048,576: what is outside is taken for the nearest) wait in the
    /// queue; further ones are dropped and counted.
    pub fn subscribe(&self, capacity: usize) -> EventReceiver {
        self.core().events.subscribe(capacity)
    }

    /// Moves the clock to `now`, the time since the scheduler was built, and does what has come due: nodes that were
    /// not heard of go offline, leases run out, what is old is forgotten. A time before an earlier one changes
    /// nothing. Time ends after 2^44 - 1 ms, which is 557 years: what is later is taken for that, and nothing that is
    /// begun then comes due.
    ///
    /// # Panics
    /// Without [`manual_maintenance`](SchedulerBuilder::manual_maintenance): then time passes by itself.
    pub fn tick(&self, now: Duration) {
        assert!(self.inner.upkeep.is_none(), "tick is for schedulers built with manual_maintenance()");
        self.core().tick(now);
    }
}

impl SchedulerBuilder {
    /// Builds the scheduler, and starts its maintenance thread unless that is the embedder's.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob, its value and what it may be; or the thread could not be started.
    pub fn build(self) -> Result<Scheduler, ConfigError> {
        Scheduler::with_config(self.check()?)
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A node chosen, with nothing reserved: by the time that it is used it may be full or gone.
///
/// A view of memory that the scheduler keeps for it, so it should be short-lived; it cannot be sent to another thread
/// or held across an `await` of a task that moves between threads, which is deliberate:
///
/// ```compile_fail
/// let scheduler = slotyard::Scheduler::builder().build().unwrap();
/// let selection = scheduler.select(&slotyard::Demand::new()).unwrap();
/// std::thread::scope(|scope| { scope.spawn(move || selection.node_id().to_owned()); });
/// ```
/// ```no_run
/// let scheduler = slotyard::Scheduler::builder().build().unwrap();
/// let id = scheduler.select(&slotyard::Demand::new()).unwrap().node_id().to_owned();
/// std::thread::scope(|scope| { scope.spawn(move || id); });
/// ```
pub struct Selection<'s> {
    core: &'s Core,
    // Of what was chosen these two by themselves: copied as a whole, by halves of 16 bytes, it would wait for the stores.
    cell: u32,
    pool: u64,
    busyness: Busyness,
    pin: Guard,
}

impl Selection<'_> {
    fn node(&self) -> &Node {
        // The pin was there before the node was chosen, so its cell has not been given to another.
        self.core.node_in(self.cell, &self.pin).expect("a pin keeps the node in its cell")
    }

    /// The node's id.
    pub fn node_id(&self) -> &str {
        &self.node().id
    }

    /// The node's incarnation.
    pub fn incarnation(&self) -> u64 {
        self.node().incarnation
    }

    /// The name of the pool in which it was found, if that is still there.
    pub fn pool(&self) -> Option<Arc<str>> {
        self.core.pool_name(self.pool)
    }

    /// Slots held by our own jobs, when it was chosen.
    pub fn in_flight(&self) -> u32 {
        self.busyness.in_flight
    }

    /// Its slots.
    pub fn capacity(&self) -> u32 {
        self.busyness.capacity
    }
}

impl fmt::Debug for Selection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("node_id", &self.node_id()).field("in_flight", &self.in_flight()).finish()
    }
}

/// A slot held on a node; given back when this is dropped.
#[must_use = "the slot is given back as soon as the reservation is dropped"]
pub struct Reservation<'s> {
    core: &'s Core,
    slot: Slot<'s>,
}

impl Reservation<'_> {
    /// The node, as its registrant refers to it.
    pub fn node(&self) -> NodeHandle {
        NodeHandle::new(self.core.node_held(self.slot.chosen.cell))
    }

    /// The node's id.
    pub fn node_id(&self) -> crate::NodeId {
        self.node().id().clone()
    }

    /// The name of the pool in which it was found, if that is still there.
    pub fn pool(&self) -> Option<Arc<str>> {
        self.core.pool_name(self.slot.chosen.pool)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.core.give_back(self.slot);
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("node", &self.node()).finish()
    }
}
