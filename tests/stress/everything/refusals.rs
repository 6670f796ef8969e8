//! What may be refused while everything is done at once, each kind by its name; anything else fails.

use slotyard::{CreateJobError, HeartbeatError, InvalidId, JobError, NodeError, RegisterError, RetryError};

use super::setups::MAX_ID;

fn too_long(error: &InvalidId) -> &'static str {
    assert!(error.len > MAX_ID, "{error}");
    "id too long"
}

pub(super) fn register_error(error: &RegisterError) -> &'static str {
    match error {
        RegisterError::InvalidId(error) => too_long(error),
        RegisterError::InvalidCapacity { capacity: 0, .. } => "no capacity",
        RegisterError::AlreadyRegistered { .. } => "already registered",
        RegisterError::TooManyNodes { .. } => "too many nodes",
        other => panic!("{other}"),
    }
}

pub(super) fn node_error(error: &NodeError) -> &'static str {
    match error {
        NodeError::StaleHandle { .. } => "stale handle",
        NodeError::UnknownNode { .. } => "unknown node",
        NodeError::UnknownService { .. } => "unknown service",
        NodeError::InvalidTime { .. } => "no time",
        other => panic!("{other}"),
    }
}

pub(super) fn heartbeat_error(error: &HeartbeatError) -> &'static str {
    match error {
        HeartbeatError::StaleHandle { .. } => "stale handle",
        HeartbeatError::UnknownNode { .. } => "unknown node",
        HeartbeatError::UnknownService { .. } => "unknown service",
        HeartbeatError::InvalidResource { .. } => "resource out of range",
        other => panic!("{other}"),
    }
}

pub(super) fn create_error(error: &CreateJobError) -> &'static str {
    match error {
        CreateJobError::NoNode(error) => error.kind(),
        CreateJobError::InvalidId(error) => too_long(error),
        CreateJobError::InvalidLease { .. } => "lease out of range",
        CreateJobError::RequestMismatch { .. } => "another demand",
        CreateJobError::TooManyJobs { .. } => "too many jobs",
        CreateJobError::PlacesPinned => "places pinned",
        CreateJobError::TooManySessions { .. } => "too many sessions",
        other => panic!("{other}"),
    }
}

pub(super) fn job_error(error: &JobError) -> &'static str {
    match error {
        JobError::UnknownJob { .. } => "unknown job",
        JobError::StaleAttempt { .. } => "stale attempt",
        JobError::AlreadyEnded { .. } => "already ended",
        JobError::InvalidTransition { .. } => "no such step",
        other => panic!("{other}"),
    }
}

pub(super) fn retry_error(error: &RetryError) -> &'static str {
    match error {
        RetryError::Job(error) => job_error(error),
        RetryError::NoNode(error) => error.kind(),
        RetryError::TooManyAttempts { .. } => "too many attempts",
        other => panic!("{other}"),
    }
}
