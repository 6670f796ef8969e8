//! What the tests share. Time is virtual: nothing here sleeps or reads a clock.
#![allow(dead_code, reason = "each test crate uses a part of it")]

pub(crate) mod agreement;

use std::time::Duration;

use slotyard::{
    CreateJobError, Demand, Event, EventReceiver, Gauges, Job, JobRequest, JobState, NoNode, NodeHandle, NodeSpec,
    NodeState, NodeView, PoolView, Scheduler, SchedulerBuilder,
};

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A builder of schedulers whose time stands still until a tick, and whose choices repeat.
pub(crate) fn builder() -> SchedulerBuilder {
    Scheduler::builder().manual_maintenance().seed(7)
}

pub(crate) fn build(builder: SchedulerBuilder) -> Scheduler {
    builder.build().expect("the configuration is valid")
}

pub(crate) fn scheduler() -> Scheduler {
    build(builder())
}

/// A ready node that offers the service `work`.
pub(crate) fn worker(id: impl AsRef<str>, capacity: u32) -> NodeSpec {
    NodeSpec::new(id).service("work").capacity(capacity).ready()
}

/// What a [`worker`] can do.
pub(crate) fn work() -> Demand {
    Demand::new().service("work")
}

pub(crate) fn add(scheduler: &Scheduler, spec: NodeSpec) -> NodeHandle {
    scheduler.register(spec).expect("the node can be registered")
}

/// Registers [`worker`]s of these ids.
pub(crate) fn add_workers<S: AsRef<str>>(
    scheduler: &Scheduler,
    ids: impl IntoIterator<Item = S>,
    capacity: u32,
) -> Vec<NodeHandle> {
    ids.into_iter().map(|id| add(scheduler, worker(id, capacity))).collect()
}

pub(crate) fn handle(scheduler: &Scheduler, id: &str) -> NodeHandle {
    scheduler.handle(id).expect("the node is registered")
}

pub(crate) fn node(scheduler: &Scheduler, id: &str) -> NodeView {
    scheduler.node(id).expect("the node is registered")
}

pub(crate) fn state(scheduler: &Scheduler, id: &str) -> NodeState {
    node(scheduler, id).state
}

pub(crate) fn in_flight(scheduler: &Scheduler, id: &str) -> u32 {
    node(scheduler, id).in_flight
}

/// The names of the pools that have nodes, in order.
pub(crate) fn peopled_pools(scheduler: &Scheduler) -> Vec<String> {
    let mut names: Vec<String> =
        scheduler.pools().into_iter().filter(|pool| pool.nodes > 0).map(|pool| pool.name).collect();
    names.sort();
    names
}

pub(crate) fn pool(scheduler: &Scheduler, name: &str) -> PoolView {
    scheduler.pools().into_iter().find(|pool| pool.name == name).expect("the pool exists")
}

pub(crate) fn create(scheduler: &Scheduler, request: impl AsRef<str>, demand: Demand) -> Job {
    scheduler.create_job(&JobRequest::new(request, demand)).expect("a slot is free")
}

pub(crate) fn try_create(scheduler: &Scheduler, request: &str, demand: Demand) -> Result<Job, CreateJobError> {
    scheduler.create_job(&JobRequest::new(request, demand))
}

/// Why a create found no node.
pub(crate) fn refused(result: Result<Job, CreateJobError>) -> NoNode {
    match result {
        Err(CreateJobError::NoNode(no_node)) => no_node,
        other => panic!("refused for want of a node was expected, not {other:?}"),
    }
}

/// The id of the node that a select chooses.
pub(crate) fn selected(scheduler: &Scheduler, demand: &Demand) -> String {
    scheduler.select(demand).expect("a node can be selected").node_id().to_owned()
}

/// The kind of a select's refusal: `busy`, `gone`, `unsupported`, `invalid`; `selected` when there is none.
pub(crate) fn kind(scheduler: &Scheduler, demand: &Demand) -> &'static str {
    scheduler.select(demand).err().map_or("selected", |no_node| no_node.kind())
}

/// Creates jobs until one is refused, which must be because all are busy.
pub(crate) fn fill(scheduler: &Scheduler, prefix: &str, demand: &Demand) -> Vec<Job> {
    let mut jobs = Vec::new();
    loop {
        match try_create(scheduler, &format!("{prefix}-{}", jobs.len()), demand.clone()) {
            Ok(job) => jobs.push(job),
            Err(CreateJobError::NoNode(NoNode::Busy(_))) => return jobs,
            Err(error) => panic!("busy was expected after {} jobs, not {error}", jobs.len()),
        }
    }
}

pub(crate) fn complete(scheduler: &Scheduler, job: &Job) {
    scheduler.complete(job.id(), job.attempt()).expect("the job is active");
}

pub(crate) fn job_state(scheduler: &Scheduler, job: &Job) -> JobState {
    scheduler.job(job.id()).expect("the job is remembered").state
}

/// The events so far.
pub(crate) fn drain(events: &EventReceiver) -> Vec<Event> {
    events.collect()
}

/// All that a refused call must leave as it was. The cache of routes is not part of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Picture {
    nodes: Vec<NodeView>,
    pools: Vec<PoolView>,
    now: Gauges,
    slots_held: u64,
    created: u64,
}

pub(crate) fn picture(scheduler: &Scheduler) -> Picture {
    let stats = scheduler.stats();
    let mut now = stats.now;
    now.routes = 0;
    let slots_held = stats.counters.reserved.wrapping_sub(stats.counters.released);
    Picture {
        nodes: scheduler.nodes(),
        pools: scheduler.pools(),
        now,
        slots_held,
        created: stats.counters.created + stats.counters.retried,
    }
}

/// Makes a call that may be refused, and then must have changed nothing.
pub(crate) fn attempt<'s, T, E: std::fmt::Display>(
    scheduler: &'s Scheduler,
    call: impl FnOnce(&'s Scheduler) -> Result<T, E>,
) -> Result<T, E> {
    let before = picture(scheduler);
    call(scheduler).inspect_err(|error| {
        assert_eq!(picture(scheduler), before, "a refused call has changed something: {error}");
    })
}

/// Makes a call that must be refused, and must have changed nothing.
pub(crate) fn refuses<T: std::fmt::Debug, E: std::fmt::Display>(
    scheduler: &Scheduler,
    call: impl FnOnce(&Scheduler) -> Result<T, E>,
) -> E {
    match attempt(scheduler, call) {
        Ok(value) => panic!("the call was to be refused, but gave {value:?}"),
        Err(error) => error,
    }
}
