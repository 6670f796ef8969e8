//! Every knob of a scheduler, with its default and its bounds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::capability::{Capabilities, ExclusionMode, check_label};
use crate::error::ConfigError;
use crate::job::SessionMode;
use crate::node::ResourceUse;
use crate::pool::PoolConfig;
use crate::select::Policy;

/// No capacity is larger: the slot word has 14 bits for it.
pub const MAX_CAPACITY: u32 = crate::node::word::MAX_SLOTS;
/// No more pools than this, however configured.
pub const MAX_POOLS: usize = 1 << 16;

/// The configuration of a scheduler; made by [`SchedulerBuilder`], read by
/// [`Scheduler::config`](crate::Scheduler::config).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SchedulerConfig {
    /// A node without a heartbeat for this long is offline. Default 15 s.
    pub heartbeat_timeout: Duration,
    /// An offline node is forgotten after this long. Default 5 min.
    pub offline_retention: Duration,
    /// How often the own maintenance thread looks at the clock; the grain of every time here. At most a quarter of
    /// `heartbeat_timeout`, with a thread of its own. Default 10 ms.
    pub tick_interval: Duration,
    /// Whether the embedder calls [`tick`](crate::Scheduler::tick), instead of an own thread. Default no.
    pub manual_maintenance: bool,
    /// Seed of the random choices. With one, a single-threaded run repeats itself. Default: drawn.
    pub seed: Option<u64>,
    /// How a node is chosen within a pool. Default [`Policy::power_of_two`].
    pub policy: Policy,
    /// Whether a demand goes on to the other pools of its route when the first has no free slot. Default yes.
    pub fallback: bool,
    /// From which use on a node is degraded. Default: never.
    pub thresholds: ResourceThresholds,
    /// Over how long jobs of others that a node once reported are forgotten. Default 15 s.
    pub external_load_decay: Duration,
    /// The lease of a job that asks for none. Default 60 s.
    pub default_lease: Duration,
    /// The longest lease that a job may ask for. Default 24 h.
    pub max_lease: Duration,
    /// How long a finished job is remembered. Default 10 min.
    pub finished_retention: Duration,
    /// How many finished jobs are remembered, at most. Default 65,536.
    pub max_finished_jobs: usize,
    /// How a session's jobs go together. Default [`SessionMode::Affinity`].
    pub session_mode: SessionMode,
    /// A session is forgotten this long after the last news of a job of it: created, moved on, renewed, ended. Default
    /// 10 min.
    pub session_ttl: Duration,
    /// Whether a retry may go to a node that was tried before when there is no other. Default [`ExclusionMode::Soft`].
    pub retry_exclusion: ExclusionMode,
    /// Attempts of one job, the first included. Default 3.
    pub max_attempts: u32,
    /// Nodes at once. Default 2,097,152.
    pub max_nodes: usize,
    /// Jobs in memory at once, finished ones included. Default 2,097,152.
    pub max_jobs: usize,
    /// Sessions at once. Default 1,048,576.
    pub max_sessions: usize,
    /// Pools at once, the mixed pool apart; past it nodes share the mixed pool. Default 4096.
    pub max_pools: usize,
    /// Routes kept at once; past it a demand's route is computed at every call. Default 16,384.
    pub max_routes: usize,
    /// The longest id of a node, request or session, in bytes. Default 256.
    pub max_id_len: usize,
    /// Labels that take part in making pools. Default none.
    pub routing_labels: BTreeSet<Arc<str>>,
    /// Configured pools. With any, a node joins the most specific of them that it satisfies; without, pools are
    /// automatic. Default none.
    pub pools: Vec<PoolConfig>,
    /// Into how many pools nodes without capabilities are spread, by the hash of their id, when no pools are configured.
    /// Default 1.
    pub hash_pools: usize,
    /// Whether threads that draw much keep to a part of a large pool each, so that they do not take nodes from one another's
    /// caches: two threads then do nearly twice what one does. The parts are as large as the threads were busy before the
    /// last tick, and wander, so every node is drawn as often as any other; and a thread whose part becomes fuller than the
    /// rest, as when others fall idle, leaves it until the next tick. Default true.
    pub homes: bool,
    /// Partitions of the nodes: who waits for whom when nodes change. A power of two. Default 16.
    pub shards: usize,
}

/// From which use of a resource on a node is degraded, and below which it recovers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResourceThresholds {
    /// Degraded as soon as one resource is at or above this. Infinite: never.
    pub degrade: ResourceUse,
    /// Ready again as soon as all are below this.
    pub recover: ResourceUse,
}

impl ResourceThresholds {
    /// Degraded from `degrade` of any resource on, ready again when all are below `recover`.
    ///
    /// ```
    /// let thresholds = slotyard::ResourceThresholds::all(0.95, 0.85);
    /// assert_eq!(thresholds.degrade.gpu, 0.95);
    /// ```
    pub fn all(degrade: f32, recover: f32) -> Self {
        let all = |share| ResourceUse { cpu: share, memory: share, gpu: share, gpu_memory: share };
        Self { degrade: all(degrade), recover: all(recover) }
    }

    /// Whether a node that was `degraded` is so with this use.
    #[inline(always)]
    pub(crate) fn degraded(&self, was: bool, usage: &ResourceUse) -> bool {
        let limit = if was { &self.recover } else { &self.degrade };
        // All four at once, rather than up to the first.
        usage.shares().iter().zip(limit.shares()).fold(false, |any, (used, limit)| any | (*used >= limit))
    }
}

impl Default for ResourceThresholds {
    fn default() -> Self {
        Self::all(f32::INFINITY, f32::INFINITY)
    }
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(15),
            offline_retention: Duration::from_secs(300),
            tick_interval: Duration::from_millis(10),
            manual_maintenance: false,
            seed: None,
            policy: Policy::power_of_two(),
            fallback: true,
            thresholds: ResourceThresholds::default(),
            external_load_decay: Duration::from_secs(15),
            default_lease: Duration::from_secs(60),
            max_lease: Duration::from_secs(24 * 3600),
            finished_retention: Duration::from_secs(600),
            max_finished_jobs: 1 << 16,
            session_mode: SessionMode::Affinity,
            session_ttl: Duration::from_secs(600),
            retry_exclusion: ExclusionMode::Soft,
            max_attempts: 3,
            max_nodes: 1 << 21,
            max_jobs: 1 << 21,
            max_sessions: 1 << 20,
            max_pools: 4096,
            max_routes: 1 << 14,
            max_id_len: 256,
            routing_labels: BTreeSet::new(),
            pools: Vec::new(),
            hash_pools: 1,
            homes: true,
            shards: 16,
        }
    }
}

/// Sets up a scheduler: each method sets the field of [`SchedulerConfig`] of its name, which documents it.
///
/// ```
/// use slotyard::Scheduler;
/// use std::time::Duration;
///
/// let scheduler = Scheduler::builder().heartbeat_timeout(Duration::from_secs(5)).max_attempts(2).build()?;
/// # drop(scheduler);
/// # Ok::<(), slotyard::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until build() is called"]
pub struct SchedulerBuilder {
    config: SchedulerConfig,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.config.$name = $name;
                self
            }
        )*
    };
}

impl SchedulerBuilder {
    setters! {
        /// Sets [`SchedulerConfig::heartbeat_timeout`].
        heartbeat_timeout: Duration,
        /// Sets [`SchedulerConfig::offline_retention`].
        offline_retention: Duration,
        /// Sets [`SchedulerConfig::tick_interval`].
        tick_interval: Duration,
        /// Sets [`SchedulerConfig::policy`].
        policy: Policy,
        /// Sets [`SchedulerConfig::fallback`].
        fallback: bool,
        /// Sets [`SchedulerConfig::thresholds`].
        thresholds: ResourceThresholds,
        /// Sets [`SchedulerConfig::external_load_decay`].
        external_load_decay: Duration,
        /// Sets [`SchedulerConfig::default_lease`].
        default_lease: Duration,
        /// Sets [`SchedulerConfig::max_lease`].
        max_lease: Duration,
        /// Sets [`SchedulerConfig::finished_retention`].
        finished_retention: Duration,
        /// Sets [`SchedulerConfig::max_finished_jobs`].
        max_finished_jobs: usize,
        /// Sets [`SchedulerConfig::session_mode`].
        session_mode: SessionMode,
        /// Sets [`SchedulerConfig::session_ttl`].
        session_ttl: Duration,
        /// Sets [`SchedulerConfig::retry_exclusion`].
        retry_exclusion: ExclusionMode,
        /// Sets [`SchedulerConfig::max_attempts`].
        max_attempts: u32,
        /// Sets [`SchedulerConfig::max_nodes`].
        max_nodes: usize,
        /// Sets [`SchedulerConfig::max_jobs`].
        max_jobs: usize,
        /// Sets [`SchedulerConfig::max_sessions`].
        max_sessions: usize,
        /// Sets [`SchedulerConfig::max_pools`].
        max_pools: usize,
        /// Sets [`SchedulerConfig::max_routes`].
        max_routes: usize,
        /// Sets [`SchedulerConfig::max_id_len`].
        max_id_len: usize,
        /// Sets [`SchedulerConfig::hash_pools`].
        hash_pools: usize,
        /// Sets [`SchedulerConfig::homes`].
        homes: bool,
        /// Sets [`SchedulerConfig::shards`].
        shards: usize,
    }

    /// A configuration as it stands, to change from there.
    pub fn from_config(config: SchedulerConfig) -> Self {
        Self { config }
    }

    /// Sets [`SchedulerConfig::seed`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Sets [`SchedulerConfig::manual_maintenance`]: no thread; the embedder calls `tick`.
    pub fn manual_maintenance(mut self) -> Self {
        self.config.manual_maintenance = true;
        self
    }

    /// Declares a label as one that takes part in making pools.
    pub fn routing_label(mut self, name: impl AsRef<str>) -> Self {
        self.config.routing_labels.insert(name.as_ref().into());
        self
    }

    /// Adds a configured pool.
    pub fn pool(mut self, pool: PoolConfig) -> Self {
        self.config.pools.push(pool);
        self
    }

    /// The configuration so far, checked.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob, its value and what it may be.
    pub fn check(self) -> Result<SchedulerConfig, ConfigError> {
        let config = self.config;
        config.check()?;
        Ok(config)
    }
}

impl SchedulerConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let at_least_1ms = [
            ("heartbeat_timeout", self.heartbeat_timeout),
            ("offline_retention", self.offline_retention),
            ("tick_interval", self.tick_interval),
            ("external_load_decay", self.external_load_decay),
            ("default_lease", self.default_lease),
            ("max_lease", self.max_lease),
            ("session_ttl", self.session_ttl),
        ];
        // Times are kept in milliseconds; a year leaves room for sums in every type used.
        let year = Duration::from_secs(366 * 24 * 3600);
        for (knob, value) in at_least_1ms {
            within(knob, value, Duration::from_millis(1), year)?;
        }
        // Nodes are heard of between two ticks, or they would be found dead by the first that is a little late.
        if !self.manual_maintenance {
            within("tick_interval", self.tick_interval, Duration::ZERO, self.heartbeat_timeout / 4)?;
        }
        within("finished_retention", self.finished_retention, Duration::ZERO, year)?;
        within("default_lease", self.default_lease, Duration::from_millis(1), self.max_lease)?;
        within("max_attempts", self.max_attempts, 1, 1 << 16)?;
        within("max_nodes", self.max_nodes, 1, 1 << 26)?;
        within("max_jobs", self.max_jobs, 1, 1 << 30)?;
        within("max_finished_jobs", self.max_finished_jobs, 0, self.max_jobs)?;
        within("max_sessions", self.max_sessions, 1, 1 << 30)?;
        within("max_pools", self.max_pools, 1, MAX_POOLS)?;
        within("max_routes", self.max_routes, 1, 1 << 20)?;
        within("max_id_len", self.max_id_len, 1, 1 << 16)?;
        within("hash_pools", self.hash_pools, 1, self.max_pools)?;
        within("shards", self.shards, 1, 1024)?;
        if !self.shards.is_power_of_two() {
            return Err(invalid("shards", self.shards, "a power of two"));
        }
        self.check_thresholds()?;
        self.policy.check()?;
        for label in &self.routing_labels {
            check_label(label, "").map_err(ConfigError::Capability)?;
        }
        self.check_pools()
    }

    fn check_thresholds(&self) -> Result<(), ConfigError> {
        let (degrade, recover) = (self.thresholds.degrade.named(), self.thresholds.recover.named());
        for ((name, degrade), (_, recover)) in degrade.into_iter().zip(recover) {
            let ordered = recover > 0.0 && recover <= degrade;
            if !ordered {
                return Err(invalid(
                    "thresholds",
                    format!("{name}: degrade {degrade}, recover {recover}"),
                    "0 < recover <= degrade",
                ));
            }
        }
        Ok(())
    }

    fn check_pools(&self) -> Result<(), ConfigError> {
        within("pools", self.pools.len(), 0, self.max_pools)?;
        let mut names = BTreeSet::new();
        for pool in &self.pools {
            pool.requirement.validate()?;
            if pool.name.is_empty() || pool.name.len() > self.max_id_len {
                return Err(invalid("pools", format!("name {:?}", pool.name), "1 to max_id_len bytes"));
            }
            if &*pool.name == MIXED {
                return Err(invalid("pools", format!("name {MIXED:?}"), "a name that is not the mixed pool's"));
            }
            if !names.insert(&pool.name) {
                return Err(invalid("pools", format!("name {:?} twice", pool.name), "names that differ"));
            }
        }
        let mut tenants = BTreeSet::new();
        for tenant in self.pools.iter().filter_map(|pool| pool.tenant.as_ref()) {
            check_label("tenant", tenant).map_err(ConfigError::Capability)?;
            if !tenants.insert(tenant) {
                return Err(invalid("pools", format!("tenant {tenant:?} bound twice"), "one pool a tenant"));
            }
        }
        if self.pools.iter().filter(|pool| pool.requirement == Capabilities::new() && pool.tenant.is_none()).count() > 1
        {
            return Err(invalid("pools", "two pools without a requirement", "one catch-all pool"));
        }
        Ok(())
    }
}

/// The name of the mixed pool.
pub(crate) const MIXED: &str = "mixed";

pub(crate) fn invalid(knob: &'static str, value: impl std::fmt::Debug, allowed: &str) -> ConfigError {
    ConfigError::Invalid { knob, value: format!("{value:?}"), allowed: allowed.to_owned() }
}

pub(crate) fn within<T: PartialOrd + std::fmt::Debug>(
    knob: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<(), ConfigError> {
    if value >= min && value <= max { Ok(()) } else { Err(invalid(knob, value, &format!("{min:?} to {max:?}"))) }
}
