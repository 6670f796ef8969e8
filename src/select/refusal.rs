//! What is said of a refusal: cheap to make, counted only when somebody reads it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Route;
use crate::node::NodeState;

/// Why a demand was refused. Making one costs no count and no allocation; its figures are those of the moment when
/// they are read.
#[derive(Clone)]
pub struct Refusal {
    route: Arc<Route>,
    retry_after: Option<Duration>,
    missing: Missing,
}

/// What nobody offers.
#[derive(Clone)]
pub(crate) enum Missing {
    /// Somebody offers everything.
    Nothing,
    /// What the route says.
    AsRouted,
    /// What was found out for this refusal.
    Found(Arc<[String]>),
}

/// Nodes that could not be used, by reason, over the pools of a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReasonCounts {
    /// Ready, with every slot held (or excluded by the demand).
    pub full: u64,
    /// They have not said yet that they are ready.
    pub registering: u64,
    /// Alive but not to be used.
    pub degraded: u64,
    /// Drained, or of weight 0.
    pub draining: u64,
    /// Their heartbeats have stopped.
    pub offline: u64,
}

impl Refusal {
    pub(crate) fn new(route: Arc<Route>, retry_after: Option<Duration>, missing: Missing) -> Self {
        Self { route, retry_after, missing }
    }

    /// When a slot may be expected to come free, from the durations of jobs in the pools that could do it, or from the
    /// default lease while none has ended yet. `None` when no node that could do it is ready.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the nodes lack that there are, in words (`service tts`, `language pair of nmt`); empty when some node offers
    /// everything.
    pub fn missing(&self) -> &[String] {
        match &self.missing {
            Missing::Nothing => &[],
            Missing::AsRouted => &self.route.missing,
            Missing::Found(missing) => missing,
        }
    }

    /// The nodes of all pools that could do it, by reason. (Pools in which only some members may do it are counted
    /// whole, and a node counts in each of its pools; [`explain`](crate::Scheduler::explain) looks at each node.)
    pub fn counts(&self) -> ReasonCounts {
        let count = |state| self.route.pools().map(|pool| pool.tally.count(state)).sum();
        ReasonCounts {
            full: count(NodeState::Ready),
            registering: count(NodeState::Registering),
            degraded: count(NodeState::Degraded),
            draining: count(NodeState::Draining),
            offline: count(NodeState::Offline),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let known = [
            (counts.full, "full"),
            (counts.registering, "registering"),
            (counts.degraded, "degraded"),
            (counts.draining, "draining"),
            (counts.offline, "offline"),
        ];
        let mut parts: Vec<String> =
            known.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} {reason}")).collect();
        if !self.missing().is_empty() {
            parts.push(format!("missing: {}", self.missing().join(", ")));
        }
        if parts.is_empty() {
            parts.push("there are no nodes".to_owned());
        }
        f.write_str(&parts.join(", "))?;
        match self.retry_after {
            Some(time) => write!(f, "; a slot may be free in {time:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("missing", &self.missing())
            .field("counts", &self.counts())
            .field("retry_after", &self.retry_after)
            .finish()
    }
}
