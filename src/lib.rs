//! A node scheduler to embed in a gateway: worker nodes register and send heartbeats, [`Scheduler::select`] finds a
//! node that can do a job, and [`Scheduler::create_job`] reserves one of its slots, exactly once for a request.
//!
//! # What it guarantees
//! - **No lock, no clock, constant time** on the path of a job; `select` allocates nothing.
//! - **No refusal while a slot is free**: within a pool, a refusal means that there was an instant during the call at
//!   which no member could be selected. Over the pools of a route, and with exclusions, it holds when nothing changes
//!   meanwhile.
//! - **A slot is held once and released once**, and only on the incarnation on which it was reserved. No job lands on a
//!   node after [`drain`](Scheduler::drain), [`deregister`](Scheduler::deregister) or its going offline has returned.
//! - **A request id names one job**, however many create it at once.
//!
//! # What it trades away
//! - A choice is good, not best: two nodes are compared, not all of them.
//! - Time is coarse: leases and timeouts are as fine as the tick (10 ms), and late by one at most.
//! - Over several pools, which one is drawn follows the free slots of some seconds ago. A full one is never waited
//!   for.
//! - Memory that was replaced is freed when no reader can see it any more, which is soon, but not at once.
//!
//! [`docs`] has the design, the memory orderings and the limitations.
//!
//! ```
//! use slotyard::{Demand, Heartbeat, JobRequest, NodeSpec, Scheduler};
//!
//! let scheduler = Scheduler::builder().build()?;
//! let node = scheduler.register(NodeSpec::new("w-1").capacity(4).service("embed").label("model", "bge-m3"))?;
//! scheduler.heartbeat(&node, &Heartbeat::ready())?;
//!
//! let demand = Demand::new().service("embed").label("model", "bge-m3");
//! let job = scheduler.create_job(&JobRequest::new("req-1", demand))?;
//! assert_eq!(job.node_id(), "w-1");
//! scheduler.complete(job.id(), job.attempt())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod docs;

mod arena;
mod batch;
mod capability;
mod clock;
mod config;
mod core;
mod error;
#[cfg(feature = "redis")]
mod escape;
mod event;
mod explain;
mod few;
mod id;
mod job;
mod keeper;
mod lock;
mod node;
mod pool;
mod prefetch;
mod publish;
mod random;
#[cfg(feature = "redis")]
mod redis;
mod scheduler;
mod select;
mod session;
mod snapshot;
mod stats;
mod sync;
mod text;

/// Bounds that no configuration lifts.
pub mod limits {
    pub use crate::capability::{
        MAX_EXCLUSIONS, MAX_LABEL_LEN, MAX_LABELS, MAX_LANGUAGES, MAX_SERVICE_LEN, MAX_SERVICES, MAX_TAG_LEN,
    };
    pub use crate::config::{MAX_CAPACITY, MAX_POOLS};
}

pub use capability::{
    Capabilities, CapabilityError, Demand, ExclusionMode, IntoLanguage, Language, LanguageError, Service,
};
pub use config::{ResourceThresholds, SchedulerBuilder, SchedulerConfig};
pub use error::{
    ConfigError, CreateJobError, HeartbeatError, InvalidId, JobError, NoNode, NodeError, RegisterError, RetryError,
};
pub use event::{Event, EventReceiver};
pub use explain::{Explanation, Reason, Reasons, Tallied};
pub use id::{JobId, NodeId, ParseJobIdError};
pub use job::{Job, JobRequest, JobState, JobView, SessionMode};
pub use node::{DEFAULT_WEIGHT, Heartbeat, NodeHandle, NodeSpec, NodeState, NodeView, Readiness, ResourceUse};
pub use pool::{PoolConfig, PoolKind, PoolView};
#[cfg(feature = "redis")]
pub use redis::{
    Blocking, CoordinatorError, Fence, Sentinels, SharedBuilder, SharedConfig, SharedConfigError, SharedError,
    SharedJob, SharedNode, SharedScheduler, SharedStats, Tls,
};
pub use scheduler::{Reservation, Scheduler, Selection};
pub use select::{Candidate, Choose, Drawing, Policy, PreparedDemand, ReasonCounts, Refusal};
pub use snapshot::Snapshot;
pub use stats::{Counters, Gauges, Stats, TimeSummary};

/// The README's examples are tests, of which some take the feature.
#[cfg(all(doctest, feature = "redis"))]
#[doc = include_str!("../README.md")]
struct Readme;
