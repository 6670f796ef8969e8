//! What an instance has: its scheduler, its link to the server, and what it knows of nodes and jobs.

use std::collections::VecDeque;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use papaya::HashMap;
use redis::{Cmd, Value};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

use super::alone::Alone;
use super::call::Call;
use super::cluster::Cluster;
use super::config::SharedConfig;
use super::doubts::Doubts;
use super::error::CoordinatorError;
use super::held::HeldJob;
use super::keys::Keys;
use super::lease::{Binding, Instance};
use super::link::Link;
use super::node_call::Kept;
use super::nodes::KnownNode;
use super::outbox::Outbox;
use super::protocol::{Moment, Server, Terms};
use super::retries::Retries;
use super::servers::Servers;
use super::stats::Meters;
use super::target::{Source, Target, Traffic};
use super::watch::Watches;
use crate::clock::millis;
use crate::core::Core;
use crate::id::{JobId, NodeId};
use crate::scheduler::Scheduler;
use crate::sync::{Mutex as PlainMutex, Ordering, Sequence, Statistic};

/// See the module's documentation.
pub(super) struct Engine {
    pub(super) config: SharedConfig,
    pub(super) scheduler: Scheduler,
    pub(super) servers: Servers,
    pub(super) keys: Keys,
    pub(super) instance: Instance,
    /// Nodes of all instances.
    pub(super) nodes: HashMap<NodeId, Arc<KnownNode>>,
    /// How those of others have been heard of.
    pub(super) watches: Watches,
    /// Jobs of which this instance holds the lease.
    pub(super) held: HashMap<JobId, Arc<HeldJob>>,
    pub(super) retries: Retries,
    /// There is one whose lease is shorter than most.
    pub(super) has_short_lease: Notify,
    /// Jobs that the server does not know of.
    pub(super) alone: Alone,
    pub(super) doubts: Doubts,
    pub(super) outbox: Outbox,
    /// Jobs that we have ended of late, and when.
    pub(super) ends: PlainMutex<VecDeque<(Moment, String, Binding)>>,
    /// Held while nodes are changed here, so that what the server says of them is applied in the order in which it was said.
    pub(super) managing: Mutex<()>,
    /// Held by whoever tells a new server of what we hold.
    pub(super) restoring: Mutex<()>,
    pub(super) meters: Meters,
    began: Instant,
    jobs: Sequence,
}

impl Engine {
    pub(super) fn new(config: SharedConfig, scheduler: Scheduler) -> Result<Self, CoordinatorError> {
        // Those of a prefix with a hash tag are on one server of a cluster: there all is as with a single server.
        let is_spread = config.cluster.is_some() && !config.prefix.contains('{');
        let keys = Keys::new(&config.prefix, is_spread);
        let target = Target {
            source: Source::of(&config.url, config.sentinels.as_ref(), config.tls.as_ref())?,
            traffic: Arc::new(Traffic::new()),
            keys: keys.clone(),
            connect_timeout: config.connect_timeout,
            longest_lease: millis(config.max_lease),
            epoch_kept: kept_long(&config),
        };
        Ok(Self {
            watches: Watches::new(scheduler.config().heartbeat_timeout, config.flush_interval),
            scheduler,
            servers: match &config.cluster {
                None => Servers::One(Link::new(target)),
                Some(others) => {
                    let urls = [from_ref(&config.url), others].concat();
                    Servers::Cluster(Box::new(Cluster::of(&urls, config.tls.as_ref(), target)?))
                }
            },
            keys,
            instance: Instance(fastrand::u64(..)),
            nodes: HashMap::new(),
            held: HashMap::new(),
            retries: Retries::default(),
            has_short_lease: Notify::new(),
            alone: Alone::default(),
            doubts: Doubts::default(),
            outbox: Outbox::new(config.max_outbox),
            ends: PlainMutex::default(),
            managing: Mutex::new(()),
            restoring: Mutex::new(()),
            meters: Meters::new(),
            began: Instant::now(),
            jobs: Sequence::new(1),
            config,
        })
    }

    pub(super) fn core(&self) -> &Core {
        self.scheduler.core()
    }

    /// An id that no other job has: the instance's, and a number.
    pub(super) fn next_job(&self) -> JobId {
        // Relaxed: only distinctness matters.
        let number = self.jobs.fetch_add(1, Ordering::Relaxed);
        JobId::from_u128(u128::from(self.instance.0) << 64 | u128::from(number))
    }

    /// From now on.
    pub(super) fn clock(&self) -> Instant {
        Instant::now()
    }

    pub(super) fn now(&self) -> Moment {
        millis(self.began.elapsed())
    }

    /// A call that may take so long as the configuration says.
    pub(super) fn within(&self) -> Within<'_> {
        self.within_by(Instant::now() + self.config.call_timeout)
    }

    /// A call that must be done by a time.
    pub(super) fn within_by(&self, deadline: Instant) -> Within<'_> {
        Within { engine: self, deadline, waited: Statistic::new(0) }
    }

    /// Waits until the server can be asked, and the nodes of the other instances are known.
    pub(super) async fn wait_connected(&self, within: Duration) -> Result<(), CoordinatorError> {
        let deadline = Instant::now() + within;
        self.servers.connected(deadline).await?;
        let (from, mut followed) = (self.now(), self.meters.followed.subscribe());
        let is_known = followed.wait_for(|at| *at > from);
        match timeout_at(deadline, is_known).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(CoordinatorError::TimedOut { after: within }),
        }
    }

    pub(super) fn terms(&self, lease: u64) -> Terms {
        let ended = millis(self.scheduler.config().finished_retention).max(1);
        Terms { lease, binding: millis(self.config.binding_retention), ended }
    }

    pub(super) fn kept(&self) -> Kept {
        // A node whose heartbeats have stopped is offline first, and then forgotten.
        let timeout = self.scheduler.config().heartbeat_timeout;
        let node = millis(timeout.saturating_mul(2).saturating_add(self.config.flush_interval.saturating_mul(2)));
        Kept { node, slots: kept_long(&self.config) }
    }
}

/// How long what outlives nodes is kept, in ms: longer than any lease, and than a node may be away.
fn kept_long(config: &SharedConfig) -> u64 {
    millis(config.binding_retention.max(config.max_lease.saturating_mul(4)).max(Duration::from_secs(3600)))
}

/// The server, for a call that must be done by a time.
pub(super) struct Within<'e> {
    engine: &'e Engine,
    deadline: Instant,
    /// How long answers were waited for, in ns.
    waited: Statistic,
}

impl Within<'_> {
    /// Asks until the answer is known: for what may be done twice.
    pub(super) async fn ask<C: Call + Sync>(&self, call: &C) -> Result<C::Answer, CoordinatorError> {
        loop {
            match self.call(call).await {
                Err(error) if error.outcome_is_unknown() && self.may_ask_again() => {}
                answer => return answer,
            }
        }
    }

    /// How long answers were waited for.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    fn note_waited(&self, since: Instant) {
        let waited = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(waited, Ordering::Relaxed);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Server for Within<'_> {
    async fn call<C: Call + Sync>(&self, call: &C) -> Result<C::Answer, CoordinatorError> {
        let since = Instant::now();
        let answer = self.engine.servers.call(call, self.deadline).await;
        self.note_waited(since);
        answer
    }

    async fn command(&self, command: Cmd, beside: Option<Cmd>) -> Result<Value, CoordinatorError> {
        let since = Instant::now();
        let answers = self.engine.servers.command(command, beside, self.deadline).await;
        self.note_waited(since);
        answers
    }

    fn keys(&self) -> &Keys {
        &self.engine.keys
    }

    fn now(&self) -> Moment {
        self.engine.now()
    }

    fn may_ask_again(&self) -> bool {
        Instant::now() < self.deadline
    }
}
