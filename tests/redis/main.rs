//! Several instances of a scheduler on a real server.

mod alone;
mod cluster;
mod doubts;
mod failures;
mod instances;
mod jobs;
mod people;
mod processes;
mod replay;
mod slow;
#[cfg(feature = "redis-tls")]
mod tls;
mod versions;

use std::time::Duration;

use pollster::block_on;
use slotyard::{
    Demand, Heartbeat, JobRequest, JobState, NodeSpec, SharedBuilder, SharedError, SharedJob, SharedNode,
    SharedScheduler,
};
use slotyard_servers::Server;

/// Long enough for a machine that is busy; nothing waits for so long that goes well.
const PATIENCE: Duration = Duration::from_secs(20);

/// An instance, connected.
fn instance(server: &Server) -> SharedScheduler {
    instance_with(server, |builder| builder)
}

fn instance_with(server: &Server, with: impl FnOnce(SharedBuilder) -> SharedBuilder) -> SharedScheduler {
    let builder = SharedScheduler::builder(server.url()).call_timeout(PATIENCE).connect_timeout(PATIENCE);
    let builder = builder.poll_interval(Duration::from_millis(5)).flush_interval(Duration::from_millis(20));
    let shared = with(builder).build().unwrap();
    block_on(shared.wait_connected(PATIENCE)).unwrap();
    shared
}

/// A node that is ready, as far as this instance is asked.
fn ready_node(shared: &SharedScheduler, id: &str, capacity: u32) -> SharedNode {
    let node = block_on(shared.register(NodeSpec::new(id).capacity(capacity).service("embed").ready())).unwrap();
    shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
    node
}

/// All that a job goes through, with a node of its own.
fn life(shared: &SharedScheduler, id: &str) {
    let jobs = shared.blocking();
    let node = ready_node(shared, "its own", 1);
    jobs.set_capacity(&node, 2).unwrap();
    let request = JobRequest::new(id, Demand::new().service("embed"));
    let job = jobs.create_job(&request).unwrap();
    jobs.dispatched(job.id(), 1).unwrap();
    jobs.running(job.id(), 1).unwrap();
    assert_eq!(jobs.create_job(&request).unwrap().state(), JobState::Running);
    jobs.fail(job.id(), 1).unwrap();
    let job = jobs.retry(job.id(), 1).unwrap();
    jobs.renew(job.id(), 2).unwrap();
    jobs.complete(job.id(), 2).unwrap();
    assert_eq!(jobs.job_by_request(id).unwrap().unwrap().state(), JobState::Completed);
    jobs.deregister(&node).unwrap();
}

/// Whether the job is known to go on: as soon as the server can be asked.
fn goes_on(shared: &SharedScheduler, job: &SharedJob) -> bool {
    match block_on(shared.renew(job.id(), job.attempt())) {
        Ok(()) => true,
        Err(SharedError::Coordinator(_)) => false,
        Err(refused) => panic!("{refused:?}"),
    }
}
