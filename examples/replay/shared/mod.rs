//! The replay with several instances of the scheduler, each a process of its own, which share a Redis.
//!
//! `parent` starts the processes, and kills one if told to; `instance` is what such a process does, with a `client` for each
//! of its requests. All write what they see to one `log`, which is checked when they are done: `check` and `report` know
//! nothing but the log.
//!
//! What is not as in the replay of one process: it runs against a server and a clock, so that no two runs are the same; it
//! takes a part of the trace; nodes have no incidents, but that the heartbeats of those of a process that was killed arrive at
//! another; every tenth request, and those whose client sends them twice, are sent to two instances at once; a client that
//! vanishes comes back at another instance, which calls its job off. Not checked is that nothing is refused while a slot is
//! free: what an instance knows of the others is old.

pub(crate) mod args;
mod check;
#[cfg(feature = "redis")]
mod client;
#[cfg(feature = "redis")]
mod instance;
mod log;
#[cfg(feature = "redis")]
mod parent;
mod report;

use std::error::Error;
use std::path::Path;

use crate::args::Args;
use crate::input::Source;
use crate::requests::request_id;

pub(crate) use report::SharedReport;

/// What the ids of requests begin with that are made when all others are done, to see whether all slots are free.
const LAST: &str = "last-";

fn is_last(request: &str) -> bool {
    request.starts_with(LAST)
}

/// Does what the arguments say of several processes. `None`: this is one of them, and another one reports.
pub(crate) fn run(args: &Args) -> Result<Option<SharedReport>, Box<dyn Error>> {
    match (&args.shared.check, &args.shared.redis) {
        (Some(log), _) => checked(log).map(Some),
        (None, Some(url)) => replay(args, url),
        (None, None) => Err("expected --redis or --check".into()),
    }
}

/// What is in a log.
fn checked(log: &Path) -> Result<SharedReport, Box<dyn Error>> {
    Ok(SharedReport::new(check::check(&Source::read(log)?)?))
}

#[cfg(feature = "redis")]
fn replay(args: &Args, url: &str) -> Result<Option<SharedReport>, Box<dyn Error>> {
    match &args.shared.told {
        Some(told) => instance::run(args, url, told).map(|()| None),
        None => parent::run(args, url).map(Some),
    }
}

#[cfg(not(feature = "redis"))]
fn replay(_: &Args, _: &str) -> Result<Option<SharedReport>, Box<dyn Error>> {
    let message = "--redis: expected a build that can talk to one, found one without the feature `redis`: \
                   cargo run --release --features redis --example replay -- --redis ...";
    Err(message.into())
}
