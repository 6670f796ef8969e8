//! The part of the command line that is about several processes.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::args::positive;

/// Several instances of the scheduler that share a Redis.
#[derive(Debug, Args)]
#[command(next_help_heading = "Several gateways")]
pub(crate) struct SharedArgs {
    /// Replays in real time, with several processes that share the Redis at this URL; needs a build with
    /// `--features redis`
    #[arg(long, value_name = "URL", conflicts_with = "html")]
    pub(crate) redis: Option<String>,
    /// How many processes, each with an instance of the scheduler
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64),
        requires = "redis")]
    pub(crate) instances: u32,
    /// How many times as fast as real time, service times included
    #[arg(long, value_name = "FACTOR", default_value = "8", value_parser = positive, requires = "redis")]
    pub(crate) pace: f64,
    /// How many seconds of real time requests arrive; the rest of the trace is left out
    #[arg(long, value_name = "S", default_value = "5", value_parser = positive, requires = "redis")]
    pub(crate) seconds: f64,
    /// Kills one of the processes in the middle, has another receive the heartbeats of its nodes, and starts a new one
    #[arg(long, requires = "redis")]
    pub(crate) kill: bool,
    /// Keeps the log of events here, which must not exist; else it is kept only if an invariant was broken
    #[arg(long, value_name = "OUT", requires = "redis")]
    pub(crate) log: Option<PathBuf>,
    /// Checks the log of an earlier run, and reports what is in it
    #[arg(long, value_name = "LOG", conflicts_with_all = ["redis", "html"])]
    pub(crate) check: Option<PathBuf>,
    /// What a process is told by the one that starts it
    #[arg(long, hide = true, value_parser = Told::from_str, requires = "redis")]
    pub(crate) told: Option<Told>,
}

impl SharedArgs {
    /// Whether anything is asked for that is about several processes.
    pub(crate) fn is_asked(&self) -> bool {
        self.redis.is_some() || self.check.is_some()
    }
}

/// What a process is told that is one of several.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Its number, of no other process of the run; from 1 on.
    pub(crate) process: u32,
    /// Its place among the instances, from 0 on, by which nodes and requests are dealt.
    pub(crate) place: u32,
    /// What the keys on the server begin with.
    pub(crate) prefix: String,
    pub(crate) log: PathBuf,
    /// When the run began, in microseconds since 1970.
    pub(crate) began: u64,
    /// Another process had the place, and was killed: this one goes on with its requests.
    pub(crate) resumes: bool,
}

impl FromStr for Told {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}
