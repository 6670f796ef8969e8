//! Where servers are and how to connect to them, and what is counted of that.

use std::sync::Arc;
use std::time::Duration;

use redis::sentinel::SentinelClient;
use redis::{Client, ConnectionInfo, IntoConnectionInfo};
use tokio::sync::Mutex;

use super::config::Sentinels;
use super::error::CoordinatorError;
use super::keys::Keys;
use super::tls::{self, Tls};
use crate::stats::Times;
use crate::sync::Statistic;

/// What there is to know for connecting.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) source: Source,
    pub(super) keys: Keys,
    pub(super) connect_timeout: Duration,
    /// In ms.
    pub(super) longest_lease: u64,
    /// How long the epoch is kept, in ms.
    pub(super) epoch_kept: u64,
    pub(super) traffic: Arc<Traffic>,
}

/// What goes to and fro on all connections of an instance.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Times that a server was found to begin a new epoch.
    pub(super) epochs: Statistic,
    /// Connections made.
    pub(super) connections: Statistic,
    /// Requests sent, and how many of them were to have a script loaded.
    pub(super) requests: Statistic,
    pub(super) loads: Statistic,
    /// How long servers took to answer scripts.
    pub(super) script_time: Times,
}

impl Traffic {
    pub(super) fn new() -> Self {
        let [epochs, connections, requests, loads] = std::array::from_fn(|_| Statistic::new(0));
        Self { epochs, connections, requests, loads, script_time: Times::new() }
    }
}

/// Where the server is.
#[derive(Clone)]
pub(super) enum Source {
    Single(Box<Client>),
    /// Sentinels say which is the master.
    Sentinel(Arc<Mutex<SentinelClient>>),
    /// It is one of a cluster.
    Member(Box<Client>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No password.
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Sentinel(_) => "Sentinel",
            Self::Member(_) => "Member",
        })
    }
}

impl Source {
    /// The server of a URL. With sentinels, it is the master that they name, and the URL says how to talk to it.
    pub(super) fn of(
        url: &str,
        sentinels: Option<&Sentinels>,
        certificates: Option<&Tls>,
    ) -> Result<Self, CoordinatorError> {
        let info = connection_info(url, certificates)?;
        let Some(Sentinels { urls, master }) = sentinels else {
            return Client::open(info).map(|client| Self::Single(Box::new(client))).map_err(|error| refused(&error));
        };
        tls::check(urls.iter().map(|url| &**url), None)?;
        let parse = |url: &String| secured(url, certificates);
        let urls = urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let client = tls::sentinel(urls, master, &info, certificates);
        client.map(|client| Self::Sentinel(Arc::new(Mutex::new(client)))).map_err(|error| refused(&error))
    }

    pub(super) async fn client(&self) -> redis::RedisResult<Client> {
        match self {
            Self::Single(client) | Self::Member(client) => Ok(Client::clone(client)),
            Self::Sentinel(client) => client.lock().await.async_get_client().await,
        }
    }
}

/// How to connect to the server of a URL.
pub(super) fn connection_info(url: &str, certificates: Option<&Tls>) -> Result<ConnectionInfo, CoordinatorError> {
    tls::check([url], certificates)?;
    let info = secured(url, certificates)?;
    // What there is to send is sent at once.
    let settings = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_tcp_settings(settings))
}

fn secured(url: &str, certificates: Option<&Tls>) -> Result<ConnectionInfo, CoordinatorError> {
    let info = url.into_connection_info().and_then(|info| tls::secured(info, certificates));
    info.map_err(|error| refused(&error))
}

pub(super) fn refused(error: &redis::RedisError) -> CoordinatorError {
    CoordinatorError::Refused { detail: error.to_string() }
}
