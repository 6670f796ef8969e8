//! Pools that the configuration names.

use std::sync::Arc;

use crate::capability::Capabilities;

/// A pool that the configuration names: which nodes it takes, and whose jobs.
///
/// ```
/// use slotyard::{Capabilities, PoolConfig, Scheduler};
///
/// let scheduler = Scheduler::builder()
///     .pool(PoolConfig::new("speech").requires(Capabilities::new().asr(["zh", "en"]).tts(["en"])))
///     .pool(PoolConfig::new("acme").requires(Capabilities::new().label("tenant", "acme")).tenant("acme"))
///     .pool(PoolConfig::new("rest"))
///     .build()?;
/// # drop(scheduler);
/// # Ok::<(), slotyard::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    pub(crate) name: Arc<str>,
    pub(crate) requirement: Capabilities,
    pub(crate) exact: bool,
    pub(crate) tenant: Option<Arc<str>>,
}

impl PoolConfig {
    /// A pool without a requirement: it takes what no other pool takes.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self { name: name.as_ref().into(), requirement: Capabilities::new(), exact: false, tenant: None }
    }

    /// What a node must be able to do, at least, to join; every label counts here.
    pub fn requires(mut self, requirement: Capabilities) -> Self {
        self.requirement = requirement;
        self
    }

    /// Takes only nodes that can do just what is required and nothing else (labels that are no routing labels and are
    /// not required do not count).
    pub fn match_exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Serves this tenant's demands only, and first ([`Demand::tenant`](crate::Demand::tenant)).
    pub fn tenant(mut self, tenant: impl AsRef<str>) -> Self {
        self.tenant = Some(tenant.as_ref().into());
        self
    }
}
