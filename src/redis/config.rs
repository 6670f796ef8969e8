//! What can be set of a scheduler that is shared.

use std::time::Duration;

use super::error::CoordinatorError;
use super::scheduler::SharedScheduler;
use super::tls::Tls;
use crate::config::{SchedulerBuilder, invalid, within};
use crate::error::ConfigError;

/// Every knob of a scheduler that shares a server with others, beside those of the scheduler itself. Instances that
/// share a prefix must have the same `prefix`, `max_lease` and pools.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SharedConfig {
    /// Where the server is: `redis://user:password@host:port/database`, or `rediss://` by TLS; what else a URL may say is in the crate `redis`.
    pub url: String,
    /// The sentinels that say which server is the master, if there are any: then the URL says how to talk to that (user,
    /// password, database), and not where it is. Default none.
    pub sentinels: Option<Sentinels>,
    /// Certificates for `rediss://`, also that of sentinels. Default what the system trusts.
    pub tls: Option<Tls>,
    /// For a Redis Cluster: URLs of some of its servers, beside `url`; the others are heard of from them. The password and what
    /// else `url` says hold for all of them. Default none: it is a single server.
    pub cluster: Option<Vec<String>>,
    /// What the names of all keys begin with. Default `slotyard:`. On a cluster one with a hash tag, as `{slotyard}:`, has all
    /// of them on one of its servers, which saves a round trip a create and is no faster than that server.
    pub prefix: String,
    /// Where other gateways reach this one, for people and programs that look an owner up: any text. Default empty.
    pub address: String,
    /// The lease of a job that asks for none. Leases are renewed while the instance lives, so it is not how long a job may
    /// take, but how long a slot stays held when its instance has died. Default 30 s.
    pub default_lease: Duration,
    /// The longest lease that a job may ask for, and so how long slots stay closed after the server has lost what it
    /// knew. Default 60 s.
    pub max_lease: Duration,
    /// How long a call waits for the server in all, waiting for a connection included. What has to ask it of other things first
    /// may take a few times as long: a create before it is refused, or whoever comes while a new server is being told of what
    /// the one before knew. Default 500 ms.
    pub call_timeout: Duration,
    /// Whether jobs are created without the server while it cannot be asked: on nodes whose heartbeats come to this instance, and
    /// known to it alone until the server is back. A request that comes to two instances meanwhile has two jobs. Default
    /// false: then a create fails, and a request has one job whatever happens.
    pub local_only: bool,
    /// How long it may take to connect. Default 2 s.
    pub connect_timeout: Duration,
    /// How long a request is bound to its job, from the last attempt on: longer than the longest job and its retries.
    /// Default 24 h.
    pub binding_retention: Duration,
    /// How many nodes are offered for a job at once, of which the server takes the first that has room. Default 3.
    pub candidates: usize,
    /// How often heartbeats are passed on and other nodes' loads are fetched. At most a third of the scheduler's
    /// `heartbeat_timeout`. Default 1 s.
    pub flush_interval: Duration,
    /// How often changes of other instances' nodes are fetched. Default 50 ms.
    pub poll_interval: Duration,
    /// How often all nodes are fetched, whatever changes were heard of. Default 30 s.
    pub reconcile_interval: Duration,
    /// Ends of jobs that wait for the server to come back, at most. Default 65,536.
    pub max_outbox: usize,
}

/// Sentinels, and the name under which they know the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they are, as URLs.
    pub urls: Vec<String>,
    /// The name of the master.
    pub master: String,
}

/// Sets up a [`SharedScheduler`]: each method sets the field of [`SharedConfig`] of its name, which documents it.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct SharedBuilder {
    config: SharedConfig,
    scheduler: SchedulerBuilder,
}

/// Why a shared scheduler was not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedConfigError {
    /// A knob is out of its bounds, or the scheduler could not be built.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URL is malformed.
    #[error(transparent)]
    Url(CoordinatorError),
    /// The threads that talk to the server could not be started.
    #[error("the threads that talk to the coordinator could not be started: {0}")]
    Threads(String),
}

macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`SharedConfig::", stringify!($name), "`].")]
            pub fn $name(mut self, $name: $type) -> Self {
                self.config.$name = $name;
                self
            }
        )*
    };
}

impl SharedBuilder {
    pub(super) fn new(url: &str) -> Self {
        let config = SharedConfig {
            url: url.to_owned(),
            sentinels: None,
            cluster: None,
            tls: None,
            prefix: "slotyard:".to_owned(),
            address: String::new(),
            default_lease: Duration::from_secs(30),
            max_lease: Duration::from_secs(60),
            local_only: false,
            call_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(2),
            binding_retention: Duration::from_secs(24 * 3600),
            candidates: 3,
            flush_interval: Duration::from_secs(1),
            poll_interval: Duration::from_millis(50),
            reconcile_interval: Duration::from_secs(30),
            max_outbox: 1 << 16,
        };
        Self { config, scheduler: SchedulerBuilder::default() }
    }

    setters! {
        default_lease: Duration,
        max_lease: Duration,
        call_timeout: Duration,
        local_only: bool,
        connect_timeout: Duration,
        binding_retention: Duration,
        candidates: usize,
        flush_interval: Duration,
        poll_interval: Duration,
        reconcile_interval: Duration,
        max_outbox: usize,
    }

    /// Sets [`SharedConfig::sentinels`].
    pub fn sentinels<U: AsRef<str>>(mut self, urls: impl IntoIterator<Item = U>, master: impl AsRef<str>) -> Self {
        let urls = urls.into_iter().map(|url| url.as_ref().to_owned()).collect();
        self.config.sentinels = Some(Sentinels { urls, master: master.as_ref().to_owned() });
        self
    }

    /// Sets [`SharedConfig::cluster`].
    pub fn cluster<U: AsRef<str>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.config.cluster = Some(urls.into_iter().map(|url| url.as_ref().to_owned()).collect());
        self
    }

    /// Sets [`SharedConfig::tls`].
    pub fn tls(mut self, tls: Tls) -> Self {
        self.config.tls = Some(tls);
        self
    }

    /// Sets [`SharedConfig::prefix`].
    pub fn prefix(mut self, prefix: impl AsRef<str>) -> Self {
        self.config.prefix = prefix.as_ref().to_owned();
        self
    }

    /// Sets [`SharedConfig::address`].
    pub fn address(mut self, address: impl AsRef<str>) -> Self {
        self.config.address = address.as_ref().to_owned();
        self
    }

    /// Sets up the scheduler that selects: pools, policies, limits. Its leases are those set here.
    pub fn scheduler(mut self, scheduler: SchedulerBuilder) -> Self {
        self.scheduler = scheduler;
        self
    }

    /// Builds it, and begins to connect. It does not wait for the connection: see
    /// [`SharedScheduler::wait_connected`].
    ///
    /// # Errors
    /// [`SharedConfigError`] names what is wrong, and with what value.
    pub fn build(self) -> Result<SharedScheduler, SharedConfigError> {
        let Self { config, scheduler } = self;
        let scheduler = scheduler.default_lease(config.default_lease).max_lease(config.max_lease).build()?;
        config.check(scheduler.config().heartbeat_timeout)?;
        SharedScheduler::start(config, scheduler)
    }
}

impl SharedConfig {
    fn check(&self, heartbeat_timeout: Duration) -> Result<(), ConfigError> {
        let (ms, hour) = (Duration::from_millis(1), Duration::from_secs(3600));
        // A third of a lease is when it is renewed, half of one when it is too old to start from.
        within("default_lease", self.default_lease, 100 * ms, self.max_lease)?;
        within("max_lease", self.max_lease, 100 * ms, 24 * hour)?;
        within("call_timeout", self.call_timeout, ms, hour)?;
        within("connect_timeout", self.connect_timeout, ms, hour)?;
        within("binding_retention", self.binding_retention, self.max_lease, 24 * 366 * hour)?;
        within("candidates", self.candidates, 1, 16)?;
        within("flush_interval", self.flush_interval, ms, heartbeat_timeout / 3)?;
        within("poll_interval", self.poll_interval, ms, hour)?;
        within("reconcile_interval", self.reconcile_interval, ms, 24 * hour)?;
        within("max_outbox", self.max_outbox, 1, 1 << 24)?;
        if self.prefix.contains(['{', '}']) && !has_tag(&self.prefix) {
            return Err(invalid("prefix", &self.prefix, "without braces, or with one pair of them around a hash tag"));
        }
        if self.cluster.is_some() && self.sentinels.is_some() {
            return Err(invalid("cluster", "set", "not set together with sentinels"));
        }
        within("prefix", self.prefix.len(), 0, 256)
    }
}

/// Whether there is one pair of braces, with something in it.
fn has_tag(prefix: &str) -> bool {
    let tag = || {
        let (before, rest) = prefix.split_once('{')?;
        let (tag, after) = rest.split_once('}')?;
        (!tag.is_empty() && ![before, tag, after].concat().contains(['{', '}'])).then_some(())
    };
    tag().is_some()
}
