//! One error type for each operation; each names what was wrong and with what value, and nothing was changed.

use std::time::Duration;

use crate::capability::{CapabilityError, Service};
use crate::id::{JobId, NodeId};
use crate::job::JobState;
use crate::select::Refusal;

/// Why a scheduler was not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A knob is out of its bounds.
    #[error("{knob} = {value}: it must be {allowed}")]
    Invalid {
        /// The knob, by its name in the configuration.
        knob: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A configured pool or routing label is malformed.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// The maintenance thread could not be started.
    #[error("the maintenance thread could not be started: {0}")]
    Thread(String),
}

/// An id that is empty or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} id {id:?} has {len} bytes: it must have 1 to {limit}")]
pub struct InvalidId {
    /// Whose: `node`, `request`, `session`.
    pub kind: &'static str,
    /// The id, cut to 64 characters.
    pub id: String,
    /// Its length in bytes.
    pub len: usize,
    /// The longest that is taken.
    pub limit: usize,
}

/// Why a node was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The id is empty or too long.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The capacity is 0 or too large.
    #[error("node {id}: capacity {capacity} must be 1 to {limit}")]
    InvalidCapacity {
        /// The node.
        id: NodeId,
        /// The capacity asked for.
        capacity: u32,
        /// The largest there can be.
        limit: u32,
    },
    /// The capabilities are malformed.
    #[error("node {id}: {error}")]
    InvalidCapabilities {
        /// The node.
        id: NodeId,
        /// What is wrong.
        error: CapabilityError,
    },
    /// A node of this id is registered, and replacing it was not asked for.
    #[error("node {id} is already registered, as incarnation {incarnation}")]
    AlreadyRegistered {
        /// The node.
        id: NodeId,
        /// The incarnation that there is.
        incarnation: u64,
    },
    /// No configured pool takes a node that can do this.
    #[error("node {id}: no configured pool takes it")]
    NoPool {
        /// The node.
        id: NodeId,
    },
    /// There are as many nodes as the configuration allows.
    #[error("node {id}: there are {limit} nodes already, the most that max_nodes allows")]
    TooManyNodes {
        /// The node.
        id: NodeId,
        /// `max_nodes`.
        limit: usize,
    },
}

/// Why a node was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// No node of this id is registered.
    #[error("node {id:?} is not registered")]
    UnknownNode {
        /// The id.
        id: String,
    },
    /// The handle is of an incarnation that has ended (or of another scheduler).
    #[error("node {id}: incarnation {incarnation} has ended")]
    StaleHandle {
        /// The node.
        id: NodeId,
        /// The handle's incarnation.
        incarnation: u64,
    },
    /// The node does not offer this service.
    #[error("node {id} does not offer the service {service}")]
    UnknownService {
        /// The node.
        id: NodeId,
        /// The service.
        service: Service,
    },
    /// The capacity is 0 or too large.
    #[error("node {id}: capacity {capacity} must be 1 to {limit}")]
    InvalidCapacity {
        /// The node.
        id: NodeId,
        /// The capacity asked for.
        capacity: u32,
        /// The largest there can be.
        limit: u32,
    },
    /// The capabilities are malformed.
    #[error("node {id}: {error}")]
    InvalidCapabilities {
        /// The node.
        id: NodeId,
        /// What is wrong.
        error: CapabilityError,
    },
    /// No configured pool takes a node that can do this; it stays as it was.
    #[error("node {id}: no configured pool takes it")]
    NoPool {
        /// The node.
        id: NodeId,
    },
    /// A time is zero or longer than a year.
    #[error("node {id}: a time of {time:?} must be more than zero and at most a year")]
    InvalidTime {
        /// The node.
        id: NodeId,
        /// The time.
        time: Duration,
    },
}

/// Why a heartbeat was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatError {
    /// No node of this id is registered: it must register first.
    #[error("node {id:?} is not registered")]
    UnknownNode {
        /// The id.
        id: String,
    },
    /// The handle is of an incarnation that has ended (or of another scheduler).
    #[error("node {id}: incarnation {incarnation} has ended")]
    StaleHandle {
        /// The node.
        id: NodeId,
        /// The handle's incarnation.
        incarnation: u64,
    },
    /// A resource's use is not a number from 0 to 1.
    #[error("node {id}: {resource} use {value} must be 0 to 1")]
    InvalidResource {
        /// The node.
        id: NodeId,
        /// `cpu`, `memory`, `gpu` or `gpu_memory`.
        resource: &'static str,
        /// The value.
        value: f32,
    },
    /// A service is named that the node does not offer.
    #[error("node {id} does not offer the service {service}")]
    UnknownService {
        /// The node.
        id: NodeId,
        /// The service.
        service: Service,
    },
}

/// Why no node was chosen.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NoNode {
    /// Nobody can do this: what no node offers is in the refusal's `missing`.
    #[error("no node can do this: {0}")]
    Unsupported(Refusal),
    /// All who could are busy: [`Refusal::retry_after`] says when to try again.
    #[error("all nodes that can do this are busy: {0}")]
    Busy(Refusal),
    /// All who could are gone: offline, draining, degraded, or not ready.
    #[error("all nodes that can do this are gone: {0}")]
    Gone(Refusal),
    /// The demand is malformed.
    #[error("the demand is malformed: {0}")]
    Invalid(#[from] CapabilityError),
}

impl NoNode {
    /// Counts by reason, as they are now; `None` for a malformed demand.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Unsupported(refusal) | Self::Busy(refusal) | Self::Gone(refusal) => Some(refusal),
            Self::Invalid(_) => None,
        }
    }

    /// The kind as a word for metrics: `unsupported`, `busy`, `gone`, `invalid`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => "unsupported",
            Self::Busy(_) => "busy",
            Self::Gone(_) => "gone",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// Why a job was not created.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CreateJobError {
    /// No node was found.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// The request or session id is empty or too long.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The lease is zero or longer than `max_lease`.
    #[error("lease {lease:?} must be more than zero and at most {limit:?}")]
    InvalidLease {
        /// The lease asked for.
        lease: Duration,
        /// `max_lease`.
        limit: Duration,
    },
    /// The request id names a job for another demand: never another client's job.
    #[error("request {request_id:?} is known with another demand, as job {job}")]
    RequestMismatch {
        /// The request id.
        request_id: String,
        /// The job that it names.
        job: JobId,
    },
    /// There are as many jobs in memory as the configuration allows, and none of them has ended and could be forgotten.
    #[error(
        "there are {limit} jobs already, the most that max_jobs allows, and none that has ended could be forgotten"
    )]
    TooManyJobs {
        /// `max_jobs`.
        limit: usize,
    },
    /// There are fewer jobs than the configuration allows, but the memory of those that were forgotten cannot be used again
    /// yet: somebody has been looking at the scheduler ever since. That is a [`Selection`](crate::Selection) that is kept, a
    /// policy or an iterator that takes long within a call, or whoever else in the process pins the default collector of
    /// `crossbeam-epoch`. The call may be made again.
    #[error(
        "the memory of forgotten jobs cannot be used again yet: a selection or another epoch pin is held for too long"
    )]
    PlacesPinned,
    /// There are as many sessions as the configuration allows.
    #[error("session {session:?}: there are {limit} sessions already, the most that max_sessions allows")]
    TooManySessions {
        /// The session id.
        session: String,
        /// `max_sessions`.
        limit: usize,
    },
}

/// Why a job was not moved on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No such job, or it was finished and has been forgotten.
    #[error("job {job} is not known")]
    UnknownJob {
        /// The job.
        job: JobId,
    },
    /// The attempt is not the job's latest.
    #[error("job {job}: attempt {attempt} is not the current one, {current}")]
    StaleAttempt {
        /// The job.
        job: JobId,
        /// The attempt named.
        attempt: u32,
        /// The attempt that there is.
        current: u32,
    },
    /// The job has ended; it ended just once, like this.
    #[error("job {job}: attempt {attempt} has already ended as {state}")]
    AlreadyEnded {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// How it ended.
        state: JobState,
    },
    /// The step does not follow from the state that the job is in.
    #[error("job {job}: attempt {attempt} is {state}, it cannot become {wanted}")]
    InvalidTransition {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// The state that it is in.
        state: JobState,
        /// The state asked for.
        wanted: JobState,
    },
}

/// Why a job got no further attempt.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// The job, attempt or state does not allow it.
    #[error(transparent)]
    Job(#[from] JobError),
    /// No node was found; the job stays as it was.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// The job has had as many attempts as the configuration allows.
    #[error("job {job} has had {limit} attempts, the most that max_attempts allows")]
    TooManyAttempts {
        /// The job.
        job: JobId,
        /// `max_attempts`.
        limit: u32,
    },
}
