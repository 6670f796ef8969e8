//! The face for callers without a runtime.

use std::time::Duration;

use super::error::CoordinatorError;
use super::jobs::SharedJob;
use super::scheduler::{SharedNode, SharedScheduler};
use super::shared_error::SharedError;
use crate::capability::Capabilities;
use crate::error::{CreateJobError, JobError, NodeError, RegisterError, RetryError};
use crate::id::JobId;
use crate::job::JobRequest;
use crate::node::NodeSpec;

/// A [`SharedScheduler`] whose operations return when they are done. The calling thread waits, for as long as the
/// operation may take: not to be used where others wait for that thread, as in a task of a runtime.
///
/// ```no_run
/// use slotyard::{Demand, JobRequest, NodeSpec, SharedScheduler};
/// use std::time::Duration;
///
/// let shared = SharedScheduler::builder("redis://10.0.0.1:6379/").build()?;
/// shared.blocking().wait_connected(Duration::from_secs(5))?;
/// shared.blocking().register(NodeSpec::new("w-1").service("embed").ready())?;
/// let job = shared.blocking().create_job(&JobRequest::new("req-1", Demand::new().service("embed")))?;
/// shared.blocking().complete(job.id(), job.attempt())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Blocking<'s> {
    pub(super) shared: &'s SharedScheduler,
}

macro_rules! blocking {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Blocking<'_> {
            $(
                #[doc = concat!("[`SharedScheduler::", stringify!($name), "`].")]
                ///
                /// # Errors
                /// As there.
                pub fn $name(self, $($argument: $type),*) -> $result {
                    pollster::block_on(self.shared.$name($($argument),*))
                }
            )*
        }
    };
}

blocking! {
    wait_connected(within: Duration) -> Result<(), CoordinatorError>;
    register(spec: NodeSpec) -> Result<SharedNode, SharedError<RegisterError>>;
    update(node: &SharedNode, capabilities: Capabilities) -> Result<(), SharedError<NodeError>>;
    set_capacity(node: &SharedNode, capacity: u32) -> Result<(), SharedError<NodeError>>;
    set_weight(node: &SharedNode, weight: u16) -> Result<(), SharedError<NodeError>>;
    drain(node: &SharedNode) -> Result<(), SharedError<NodeError>>;
    undrain(node: &SharedNode) -> Result<(), SharedError<NodeError>>;
    deregister(node: &SharedNode) -> Result<(), SharedError<NodeError>>;
    create_job(request: &JobRequest) -> Result<SharedJob, SharedError<CreateJobError>>;
    job_by_request(request_id: &str) -> Result<Option<SharedJob>, CoordinatorError>;
    dispatched(job: JobId, attempt: u32) -> Result<(), SharedError<JobError>>;
    running(job: JobId, attempt: u32) -> Result<(), SharedError<JobError>>;
    renew(job: JobId, attempt: u32) -> Result<(), SharedError<JobError>>;
    complete(job: JobId, attempt: u32) -> Result<(), SharedError<JobError>>;
    fail(job: JobId, attempt: u32) -> Result<(), SharedError<JobError>>;
    cancel(job: JobId, attempt: u32) -> Result<(), SharedError<JobError>>;
    retry(job: JobId, attempt: u32) -> Result<SharedJob, SharedError<RetryError>>;
}
