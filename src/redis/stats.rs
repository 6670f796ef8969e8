//! What an instance counts of its dealings with the server.

use std::time::Duration;

use tokio::sync::watch;

use super::engine::Engine;
use super::protocol::Moment;
use crate::stats::{TimeSummary, Times};
use crate::sync::{Ordering, Statistic};

/// A create that takes longer is warned of.
const SLOW: Duration = Duration::from_millis(100);
/// One that takes longer is an error in the log.
const MUCH_TOO_SLOW: Duration = Duration::from_millis(500);

/// See [`SharedStats`].
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) creates: Statistic,
    pub(super) rounds: Statistic,
    pub(super) looks: Statistic,
    pub(super) lost_leases: Statistic,
    pub(super) reconciliations: Statistic,
    pub(super) gaps: Statistic,
    pub(super) undone: Statistic,
    pub(super) made_alone: Statistic,
    pub(super) doubled: Statistic,
    create: Times,
    /// The epoch of the server that has been told of our leases.
    pub(super) restored: Statistic,
    /// When other instances' nodes were last looked at.
    pub(super) followed: watch::Sender<Moment>,
}

impl Meters {
    pub(super) fn new() -> Self {
        let zero = || Statistic::new(0);
        Self {
            creates: zero(),
            rounds: zero(),
            looks: zero(),
            lost_leases: zero(),
            reconciliations: zero(),
            gaps: zero(),
            undone: zero(),
            made_alone: zero(),
            doubled: zero(),
            create: Times::new(),
            restored: zero(),
            followed: watch::channel(0).0,
        }
    }

    /// A create has taken so long, of which so much in waiting for the server, in so many rounds.
    pub(super) fn note_create(&self, request: &str, took: Duration, asking: Duration, rounds: u32) {
        self.create.record(took);
        let choosing = took.saturating_sub(asking);
        if took > MUCH_TOO_SLOW {
            tracing::error!(request, ?took, ?asking, ?choosing, rounds, "a job was created much too slowly");
        } else if took > SLOW {
            tracing::warn!(request, ?took, ?asking, ?choosing, rounds, "a job was created slowly");
        }
    }
}

/// What an instance of a shared scheduler has counted since it was built, beside what its
/// [`scheduler`](super::SharedScheduler::scheduler) has.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SharedStats {
    /// Connections made, the present one included.
    pub connections: u64,
    /// Requests sent to the server, each a round trip. Creates that come at the same time share one.
    pub round_trips: u64,
    /// Scripts that had to be loaded.
    pub script_loads: u64,
    /// How long the server took to answer scripts, the way there and back included.
    pub script_time: TimeSummary,
    /// Creates asked for.
    pub creates: u64,
    /// Times that candidates were offered for them; beyond one a create the server had refused those before.
    pub create_rounds: u64,
    /// How long they took.
    pub create_time: TimeSummary,
    /// Times that it was asked which of the nodes that seem full are.
    pub looks: u64,
    /// Creates, and further attempts, that were called off: their outcome was not known in time, or nobody waited for it any more.
    pub undone: u64,
    /// Jobs that were created without the server, if [`local_only`](super::SharedConfig::local_only) says so.
    pub created_alone: u64,
    /// Those of them that it does not know of yet.
    pub local_jobs: usize,
    /// Those of them whose request was given another job by another instance.
    pub doubled: u64,
    /// Leases of ours that were lost: the job's time had run out, or its node has begun anew.
    pub lost_leases: u64,
    /// Jobs of which we hold the lease.
    pub held_jobs: usize,
    /// Ends of jobs that wait for the server.
    pub outbox: usize,
    /// Ends that have waited, and have been delivered.
    pub outbox_delivered: u64,
    /// Ends that found no room or could not be delivered: those jobs' leases run out.
    pub outbox_lost: u64,
    /// Times that all nodes were looked at.
    pub reconciliations: u64,
    /// Those of them for want of an entry in the stream of changes.
    pub gaps: u64,
    /// How long ago it was last known what other instances' nodes are like.
    pub cache_age: Duration,
}

impl Engine {
    pub(super) fn stats(&self) -> SharedStats {
        let read = |statistic: &Statistic| statistic.load(Ordering::Relaxed);
        let (meters, traffic) = (&self.meters, self.servers.traffic());
        SharedStats {
            connections: read(&traffic.connections),
            round_trips: read(&traffic.requests),
            script_loads: read(&traffic.loads),
            script_time: traffic.script_time.summary(),
            creates: read(&meters.creates),
            create_rounds: read(&meters.rounds),
            create_time: meters.create.summary(),
            looks: read(&meters.looks),
            undone: read(&meters.undone),
            created_alone: read(&meters.made_alone),
            local_jobs: self.alone.len(),
            doubled: read(&meters.doubled),
            lost_leases: read(&meters.lost_leases),
            held_jobs: self.held.len(),
            outbox: self.outbox.len(),
            outbox_delivered: read(&self.outbox.delivered),
            outbox_lost: read(&self.outbox.overflowed),
            reconciliations: read(&meters.reconciliations),
            gaps: read(&meters.gaps),
            cache_age: Duration::from_millis(self.now().saturating_sub(*meters.followed.borrow())),
        }
    }
}
