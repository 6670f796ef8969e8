//! The gateway: between its clients, the scheduler and the connections of the nodes.

use std::collections::HashMap;
use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use slotyard::{
    CreateJobError, Demand, Heartbeat, Job, JobError, JobRequest, JobState, NoNode, NodeHandle, NodeSpec, RetryError,
    Scheduler,
};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How long a client waits at most before it asks for a slot again.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// How long a job may take before its node is taken to be lost.
const LEASE: Duration = Duration::from_secs(5);

/// What a node is sent.
pub(crate) struct Task {
    pub(crate) text: String,
    /// Where the result goes; dropped without one when the node dies.
    pub(crate) answer: Sender<String>,
}

pub(crate) struct Gateway {
    pub(crate) scheduler: Scheduler,
    /// A connection ends when its sender is dropped.
    connections: Mutex<HashMap<String, Sender<Task>>>,
}

impl Gateway {
    pub(crate) fn new() -> Result<Self, Failure> {
        let scheduler = Scheduler::builder().heartbeat_timeout(Duration::from_secs(2)).default_lease(LEASE).build()?;
        Ok(Self { scheduler, connections: Mutex::default() })
    }

    /// A node connects: its connection can be found before it is ready for jobs.
    pub(crate) fn connect(&self, spec: NodeSpec, id: &str, connection: Sender<Task>) -> Result<NodeHandle, Failure> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let node = self.scheduler.register(spec)?;
        connections.insert(id.to_owned(), connection);
        drop(connections);
        self.scheduler.heartbeat(&node, &Heartbeat::ready())?;
        Ok(node)
    }

    /// A node's connection is gone. Its jobs become orphans, and its incarnation is never given a job again. The node
    /// may be back by now: then that is another incarnation, and is let be.
    pub(crate) fn disconnected(&self, id: &str, incarnation: u64) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(node) = self.scheduler.handle(id).filter(|node| node.incarnation() == incarnation) else { return };
        connections.remove(id);
        // Somebody else may have noticed, too.
        let _ = self.scheduler.deregister(&node);
    }

    /// Closes all connections, on which the nodes leave.
    pub(crate) fn close(&self) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Has one request done, on as many nodes as it takes.
    pub(crate) fn serve(&self, request_id: &str, session: &str, demand: &Demand) -> Result<String, Failure> {
        let request = JobRequest::new(request_id, demand.clone()).session(session);
        let mut job = loop {
            match self.scheduler.create_job(&request) {
                Ok(job) => break job,
                Err(CreateJobError::NoNode(NoNode::Busy(busy))) => wait(busy.retry_after()),
                Err(error) => return Err(error.into()),
            }
        };
        loop {
            if let Some(result) = self.send(&job)? {
                return match self.scheduler.complete(job.id(), job.attempt()) {
                    // Another client may have found the node gone, after it sent this result, which is as good as ever.
                    Ok(()) | Err(JobError::AlreadyEnded { state: JobState::Orphaned, .. }) => Ok(result),
                    Err(error) => Err(error.into()),
                };
            }
            self.disconnected(job.node_id(), job.incarnation());
            job = self.retry(&job)?;
        }
    }

    /// Sends a job to its node and waits for the result; `None` when the node is gone.
    fn send(&self, job: &Job) -> Result<Option<String>, Failure> {
        let connection =
            self.connections.lock().unwrap_or_else(PoisonError::into_inner).get(job.node_id().as_str()).cloned();
        let (answer, result) = channel();
        let task = Task { text: job.request_id().to_owned(), answer };
        if connection.is_none_or(|connection| connection.send(task).is_err()) {
            return Ok(None);
        }
        // Not if the job was orphaned meanwhile: then the result does not come either.
        let _ = self.scheduler.dispatched(job.id(), job.attempt());
        Ok(result.recv_timeout(LEASE).ok())
    }

    /// The next attempt, on another node if there is one that can do it.
    fn retry(&self, job: &Job) -> Result<Job, Failure> {
        loop {
            match self.scheduler.retry(job.id(), job.attempt()) {
                Ok(next) => return Ok(next),
                Err(RetryError::NoNode(NoNode::Busy(busy))) => wait(busy.retry_after()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn wait(estimate: Option<Duration>) {
    thread::sleep(estimate.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT));
}
