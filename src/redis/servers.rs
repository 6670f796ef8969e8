//! Where the keys are: on one server, or spread over those of a cluster. What is asked goes to whoever has the key.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::call::Call;
use super::cluster::Cluster;
use super::error::CoordinatorError;
use super::link::Link;
use super::target::Traffic;

/// See the module's documentation.
#[derive(Debug)]
pub(super) enum Servers {
    /// The server, or the master that sentinels name.
    One(Link),
    Cluster(Box<Cluster>),
}

impl Servers {
    /// Keeps connections. Does not end by itself.
    pub(super) async fn keep(&self) {
        match self {
            Self::One(link) => link.keep().await,
            Self::Cluster(cluster) => cluster.keep().await,
        }
    }

    /// Waits until all that there are can be asked.
    pub(super) async fn connected(&self, deadline: Instant) -> Result<(), CoordinatorError> {
        match self {
            Self::One(link) => link.connected(deadline).await,
            Self::Cluster(cluster) => cluster.connected(deadline).await,
        }
    }

    /// Asks the server that has the call's keys, once.
    ///
    /// # Errors
    /// Whether anything was done is told by [`CoordinatorError::outcome_is_unknown`].
    pub(super) async fn call<C: Call + Sync>(
        &self,
        call: &C,
        deadline: Instant,
    ) -> Result<C::Answer, CoordinatorError> {
        match self {
            Self::One(link) => Ok(link.call(call, deadline, false).await?),
            Self::Cluster(cluster) => cluster.call(call, deadline).await,
        }
    }

    /// Sends a plain command once, with another that goes with it: the answer to the first, when both are there.
    pub(super) async fn command(
        &self,
        command: Cmd,
        beside: Option<Cmd>,
        deadline: Instant,
    ) -> Result<Value, CoordinatorError> {
        match self {
            Self::One(link) => {
                let mut pipeline = Pipeline::new();
                pipeline.add_command(command);
                if let Some(beside) = beside {
                    pipeline.add_command(beside);
                }
                Ok(link.plain(&pipeline, deadline, false).await?.into_iter().next().unwrap_or(Value::Nil))
            }
            Self::Cluster(cluster) => {
                let beside = async {
                    match beside {
                        Some(beside) => cluster.command(&beside, deadline).await.map(drop),
                        None => Ok(()),
                    }
                };
                let (answer, beside) = futures_util::future::join(cluster.command(&command, deadline), beside).await;
                beside.and(answer)
            }
        }
    }

    /// Sends plain commands that may be done twice, until it is known what each is answered. A command without a key goes
    /// with the one before it. Those of different servers are done in no particular order.
    pub(super) async fn plain(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, CoordinatorError> {
        loop {
            let answers = match self {
                Self::One(link) => link.plain(pipeline, deadline, false).await.map_err(CoordinatorError::from),
                Self::Cluster(cluster) => cluster.plain(pipeline, deadline).await,
            };
            match answers {
                Err(error) if error.outcome_is_unknown() && Instant::now() < deadline => {}
                answers => return answers,
            }
        }
    }

    /// The text under a key.
    pub(super) async fn get(&self, key: &str, deadline: Instant) -> Result<Option<String>, CoordinatorError> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("GET").arg(key);
        let answer = self.plain(&pipeline, deadline).await?.pop().unwrap_or(Value::Nil);
        redis::from_redis_value(answer).map_err(|error| CoordinatorError::Malformed { detail: error.to_string() })
    }

    /// The servers that have these keys, as far as is known: their addresses in order, or none where there is but one.
    pub(super) fn homes(&self, keys: impl IntoIterator<Item = String>) -> Vec<String> {
        match self {
            Self::One(_) => Vec::new(),
            Self::Cluster(cluster) => {
                let homes: BTreeSet<_> = keys.into_iter().map(|key| cluster.home(&key)).collect();
                homes.into_iter().collect()
            }
        }
    }

    /// What goes to and fro.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        match self {
            Self::One(link) => link.traffic(),
            Self::Cluster(cluster) => cluster.traffic(),
        }
    }

    /// The keys under which servers say which epoch it is.
    pub(super) fn epoch_keys(&self) -> Vec<String> {
        match self {
            Self::One(link) => link.epoch_key().into_iter().collect(),
            Self::Cluster(cluster) => cluster.epoch_keys(),
        }
    }
}
