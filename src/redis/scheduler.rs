//! The face of a scheduler that is shared: [`SharedScheduler`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::blocking::Blocking;
use super::config::{SharedBuilder, SharedConfig, SharedConfigError};
use super::engine::Engine;
use super::error::CoordinatorError;
use super::jobs::SharedJob;
use super::nodes::KnownNode;
use super::shared_error::SharedError;
use super::stats::SharedStats;
use super::unclaimed::Unclaimed;
use crate::capability::Capabilities;
use crate::error::{CreateJobError, HeartbeatError, JobError, NodeError, RegisterError, RetryError};
use crate::id::{JobId, NodeId};
use crate::job::{JobRequest, JobState};
use crate::node::{Heartbeat, NodeSpec};
use crate::scheduler::Scheduler;

/// A scheduler that is one with those of other gateways, which share a Redis. Cheap to clone; clones are one instance.
///
/// Nodes that are registered with one instance are known to all; a request id gives one job whichever instance is asked,
/// and a node's capacity holds for all of them together. What is read is read from a scheduler of the instance's own
/// ([`scheduler`](Self::scheduler)), which never waits; what is changed is changed on the server, in one round trip. It
/// is done by threads of the instance's own, so any executor will do; and what has begun goes on when its future is dropped: a
/// job that nobody waits for any more is called off.
#[derive(Clone)]
pub struct SharedScheduler {
    running: Arc<Running>,
}

/// The engine and what drives it.
struct Running {
    engine: Arc<Engine>,
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped where nothing may wait.
            runtime.shutdown_background();
        }
    }
}

/// A node that is registered with all instances, as its registrant refers to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedNode {
    known: Arc<KnownNode>,
}

impl SharedNode {
    /// The node's id.
    pub fn id(&self) -> &NodeId {
        self.known.handle.id()
    }

    /// Which life of the id this is, as all instances count; larger than that of any earlier one.
    pub fn incarnation(&self) -> u64 {
        self.known.incarnation
    }
}

impl SharedScheduler {
    /// Sets up a scheduler that shares the server at this URL.
    pub fn builder(url: impl AsRef<str>) -> SharedBuilder {
        SharedBuilder::new(url.as_ref())
    }

    pub(super) fn start(config: SharedConfig, scheduler: Scheduler) -> Result<Self, SharedConfigError> {
        let engine = Arc::new(Engine::new(config, scheduler).map_err(SharedConfigError::Url)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("slotyard-redis")
            .enable_all()
            .build()
            .map_err(|error| SharedConfigError::Threads(error.to_string()))?;
        let servers = engine.clone();
        runtime.spawn(async move { servers.servers.keep().await });
        let outbox = engine.clone();
        runtime.spawn(async move { outbox.outbox.deliver(&outbox).await });
        runtime.spawn(engine.clone().renew_leases());
        runtime.spawn(engine.clone().flush());
        runtime.spawn(engine.clone().mirror());
        Ok(Self { running: Arc::new(Running { engine, runtime: Some(runtime) }) })
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.running.engine
    }

    /// The scheduler of this instance, which has the nodes of all: for whatever is read. It must not be changed but by this
    /// one.
    pub fn scheduler(&self) -> &Scheduler {
        &self.engine().scheduler
    }

    /// The same for callers without a runtime: its operations return when they are done.
    pub fn blocking(&self) -> Blocking<'_> {
        Blocking { shared: self }
    }

    /// What this instance has counted of its dealings with the server.
    pub fn stats(&self) -> SharedStats {
        self.engine().stats()
    }

    /// The configuration.
    pub fn config(&self) -> &SharedConfig {
        &self.engine().config
    }

    /// Waits until the server can be asked, and the nodes of the other instances are known.
    ///
    /// # Errors
    /// What has kept it from that for so long.
    pub async fn wait_connected(&self, within: Duration) -> Result<(), CoordinatorError> {
        self.run(async move |engine| engine.wait_connected(within).await).await.unwrap_or_else(|| Err(stopped()))
    }

    /// Does something on the instance's own threads, to its end even if nobody waits for it any more: what comes of it is dropped
    /// then. `None`: they have been stopped.
    async fn run<T: Send + 'static, F>(&self, work: impl FnOnce(Arc<Engine>) -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let runtime = self.running.runtime.as_ref()?;
        runtime.spawn(work(self.engine().clone())).await.ok()
    }

    async fn done<T: Send + 'static, E: Send + 'static, F>(
        &self,
        work: impl FnOnce(Arc<Engine>) -> F,
    ) -> Result<T, SharedError<E>>
    where
        F: Future<Output = Result<T, SharedError<E>>> + Send + 'static,
    {
        self.run(work).await.unwrap_or(Err(SharedError::Stopped))
    }

    /// Registers a node with all instances: this one is its owner, which receives its heartbeats.
    ///
    /// # Errors
    /// As [`Scheduler::register`]; a node of this id may be registered with another instance. Nothing was changed, unless
    /// [`CoordinatorError::outcome_is_unknown`].
    pub async fn register(&self, spec: NodeSpec) -> Result<SharedNode, SharedError<RegisterError>> {
        let known = self.done(async move |engine| engine.register(spec).await).await?;
        Ok(SharedNode { known })
    }

    /// The node of this id, whichever instance it is registered with. Who receives its heartbeats from now on becomes its
    /// owner with the first of them.
    pub fn node(&self, id: &str) -> Option<SharedNode> {
        let known = self.engine().nodes.pin().get(id).cloned()?;
        Some(SharedNode { known })
    }

    /// Takes a heartbeat in; it is passed on to the others later, together with those of other nodes. Never waits.
    ///
    /// # Errors
    /// As [`Scheduler::heartbeat`].
    pub fn heartbeat(&self, node: &SharedNode, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        self.scheduler().heartbeat(&node.known.handle, beat)?;
        node.known.claim(self.engine().instance);
        Ok(())
    }

    /// Changes what a node can do.
    ///
    /// # Errors
    /// As [`Scheduler::update`], and nothing was changed. [`SharedError::Coordinator`]: it was changed here, and the others
    /// are told as soon as the server can be asked; so with all changes of nodes.
    pub async fn update(&self, node: &SharedNode, capabilities: Capabilities) -> Result<(), SharedError<NodeError>> {
        self.change(node, move |scheduler, handle| scheduler.update(handle, capabilities)).await
    }

    /// Changes how many slots a node has.
    ///
    /// # Errors
    /// As [`Scheduler::set_capacity`], and [`update`](Self::update).
    pub async fn set_capacity(&self, node: &SharedNode, capacity: u32) -> Result<(), SharedError<NodeError>> {
        self.change(node, move |scheduler, handle| scheduler.set_capacity(handle, capacity)).await
    }

    /// Changes a node's weight; 0 drains it.
    ///
    /// # Errors
    /// As [`Scheduler::set_weight`], and [`update`](Self::update).
    pub async fn set_weight(&self, node: &SharedNode, weight: u16) -> Result<(), SharedError<NodeError>> {
        self.change(node, move |scheduler, handle| scheduler.set_weight(handle, weight)).await
    }

    /// Sends no more jobs to a node. When this returns without an error, no instance has one land there.
    ///
    /// # Errors
    /// As [`Scheduler::drain`], and [`update`](Self::update).
    pub async fn drain(&self, node: &SharedNode) -> Result<(), SharedError<NodeError>> {
        self.change(node, |scheduler, handle| scheduler.drain(handle)).await
    }

    /// Ends a drain.
    ///
    /// # Errors
    /// As [`Scheduler::undrain`], and [`update`](Self::update).
    pub async fn undrain(&self, node: &SharedNode) -> Result<(), SharedError<NodeError>> {
        self.change(node, |scheduler, handle| scheduler.undrain(handle)).await
    }

    async fn change(
        &self,
        node: &SharedNode,
        change: impl FnOnce(&Scheduler, &crate::NodeHandle) -> Result<(), NodeError> + Send + 'static,
    ) -> Result<(), SharedError<NodeError>> {
        let known = node.known.clone();
        self.done(async move |engine: Arc<Engine>| {
            let _managing = engine.managing.lock().await;
            change(&engine.scheduler, &known.handle)?;
            known.claim(engine.instance);
            engine.publish(&known).await
        })
        .await
    }

    /// Removes a node from all instances; its jobs become orphans.
    ///
    /// # Errors
    /// As [`Scheduler::deregister`]. [`SharedError::Coordinator`]: it was removed here; the others forget it when its
    /// heartbeats are missed.
    pub async fn deregister(&self, node: &SharedNode) -> Result<(), SharedError<NodeError>> {
        let known = node.known.clone();
        self.done(async move |engine| engine.deregister(&known).await).await
    }

    /// Creates a job: one of a node's slots is reserved, and all instances know it under its request id. The same request id
    /// gives the same job, whichever instance is asked and however many at once. It may be started when this
    /// returns: by then no more than half of its lease has passed.
    ///
    /// # Errors
    /// As [`Scheduler::create_job`]; no slot is held. [`SharedError::Coordinator`]: it fails closed. If its outcome is unknown,
    /// whoever asks this instance for the request again before the server can be asked has the job; else it is called off then.
    pub async fn create_job(&self, request: &JobRequest) -> Result<SharedJob, SharedError<CreateJobError>> {
        let request = request.clone();
        let made = self.done(async move |engine: Arc<Engine>| {
            let (job, is_ours) = engine.create_job(&request).await?;
            Ok(Unclaimed::new(job, is_ours, engine))
        });
        made.await.map(Unclaimed::claim)
    }

    /// The job of a request, as the server has it.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn job_by_request(&self, request_id: &str) -> Result<Option<SharedJob>, CoordinatorError> {
        let id = request_id.to_owned();
        self.run(async move |engine: Arc<Engine>| engine.job_by_request(&id).await)
            .await
            .unwrap_or_else(|| Err(stopped()))
    }

    /// The job was sent to its node. Its lease begins anew.
    ///
    /// # Errors
    /// [`JobError`]: it must not be started; nothing was changed.
    pub async fn dispatched(&self, job: JobId, attempt: u32) -> Result<(), SharedError<JobError>> {
        self.advance(job, attempt, Some(JobState::Dispatched)).await
    }

    /// The node works on the job. Its lease begins anew.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub async fn running(&self, job: JobId, attempt: u32) -> Result<(), SharedError<JobError>> {
        self.advance(job, attempt, Some(JobState::Running)).await
    }

    /// News of the job: its lease begins anew. The leases of jobs that this instance has created are renewed by themselves.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub async fn renew(&self, job: JobId, attempt: u32) -> Result<(), SharedError<JobError>> {
        self.advance(job, attempt, None).await
    }

    async fn advance(&self, job: JobId, attempt: u32, to: Option<JobState>) -> Result<(), SharedError<JobError>> {
        self.done(async move |engine: Arc<Engine>| engine.advance(job, attempt, to).await).await
    }

    /// The job has ended well. If the server cannot be asked now, it is told as soon as it can, in the order in which jobs
    /// were ended here; whether it was so is then not told any more.
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub async fn complete(&self, job: JobId, attempt: u32) -> Result<(), SharedError<JobError>> {
        self.finish(job, attempt, JobState::Completed).await
    }

    /// The job has ended badly; it may be retried. Else as [`complete`](Self::complete).
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub async fn fail(&self, job: JobId, attempt: u32) -> Result<(), SharedError<JobError>> {
        self.finish(job, attempt, JobState::Failed).await
    }

    /// The job is called off. Else as [`complete`](Self::complete).
    ///
    /// # Errors
    /// [`JobError`]; nothing was changed.
    pub async fn cancel(&self, job: JobId, attempt: u32) -> Result<(), SharedError<JobError>> {
        self.finish(job, attempt, JobState::Cancelled).await
    }

    async fn finish(&self, job: JobId, attempt: u32, end: JobState) -> Result<(), SharedError<JobError>> {
        self.done(async move |engine: Arc<Engine>| engine.finish(job, attempt, end).await).await
    }

    /// The next attempt of a job, on a node that has not had it where there is one; whichever instance has created it.
    ///
    /// # Errors
    /// As [`Scheduler::retry`]; the job stays as it was. If this future is dropped, the attempt is called off: it has failed.
    pub async fn retry(&self, job: JobId, attempt: u32) -> Result<SharedJob, SharedError<RetryError>> {
        let retried = self.done(async move |engine: Arc<Engine>| {
            let next = engine.retry(job, attempt).await?;
            Ok(Unclaimed::new(next, true, engine))
        });
        retried.await.map(Unclaimed::claim)
    }
}

fn stopped() -> CoordinatorError {
    CoordinatorError::Unreachable { detail: "the scheduler has stopped".to_owned() }
}

impl fmt::Debug for SharedScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedScheduler").field("instance", &self.engine().instance).finish_non_exhaustive()
    }
}
