//! What a caller asks for when it creates a job.

use std::sync::Arc;
use std::time::Duration;

use crate::capability::{Demand, ExclusionMode};

/// A job to create: what it needs, and the id under which a repeated request finds the same job.
///
/// ```
/// use slotyard::{Demand, JobRequest};
/// use std::time::Duration;
///
/// let request = JobRequest::new("req-42", Demand::translate("zh", "en")).session("s-1").lease(Duration::from_secs(20));
/// # let _ = request;
/// ```
#[derive(Debug, Clone)]
pub struct JobRequest {
    pub(crate) request_id: Arc<str>,
    pub(crate) demand: Demand,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) session_mode: Option<SessionMode>,
    pub(crate) lease: Option<Duration>,
}

/// What a session asks of the nodes for its jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionMode {
    /// Keep to the pool of the session's earlier jobs, while that has room.
    #[default]
    Affinity,
    /// Avoid the node of the session's last job: always, or where there is another.
    Spread(ExclusionMode),
}

impl JobRequest {
    /// A job for `demand`. The same `request_id` gives the same job, until it is forgotten some time after its end.
    pub fn new(request_id: impl AsRef<str>, demand: Demand) -> Self {
        Self { request_id: request_id.as_ref().into(), demand, session: None, session_mode: None, lease: None }
    }

    /// The client conversation that it belongs to.
    pub fn session(mut self, session_id: impl AsRef<str>) -> Self {
        self.session = Some(session_id.as_ref().into());
        self
    }

    /// How the session's jobs go together, if not as configured.
    pub fn session_mode(mut self, mode: SessionMode) -> Self {
        self.session_mode = Some(mode);
        self
    }

    /// How long its slot stays reserved without news of it, if not as configured. More than 0, at most
    /// [`max_lease`](crate::SchedulerConfig::max_lease).
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The request id.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}
