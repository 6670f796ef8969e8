//! What is asked where a request and its node are on different servers, of one of them at a time.

use super::call::{Arguments, Call, Creation, Moved, Refused, Reply, Standing};
use super::keys::{Keys, NodeText};
use super::lease::{Instance, Lease, Malformed};
use super::script::{self, Script};
use crate::id::JobId;
use crate::job::JobState;

/// What the leases of an attempt begin with, of one instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) instance: Instance,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { job, attempt, instance } = self;
        write!(f, "{job}:{attempt}:{instance}")
    }
}

/// See take.lua.
#[derive(Debug)]
pub(super) struct Take<'a> {
    pub(super) node: &'a NodeText,
    pub(super) holder: Holder,
    pub(super) lease: u64,
    /// It may have been done before.
    pub(super) again: bool,
}

impl Call for Take<'_> {
    type Answer = Result<Lease, Refused>;
    const SCRIPT: &'static Script = &script::TAKE;

    fn home(&self, keys: &Keys) -> String {
        keys.slots(self.node)
    }

    fn write(&self, _: &Keys, standing: Standing, to: &mut Arguments) {
        let Self { node: _, holder, lease, again } = self;
        to.argument(holder).argument(lease).argument(standing.epoch).argument(standing.warm_until);
        to.argument(if *again { "again" } else { "" });
    }

    fn read(mut reply: Reply) -> Result<Self::Answer, Malformed> {
        Ok(match reply.text()?.as_str() {
            "TAKEN" => Ok(reply.text()?.parse()?),
            reason => Err(Refused::read(reason, &mut reply)?),
        })
    }
}

/// See give.lua.
#[derive(Debug)]
pub(super) struct Give<'a> {
    pub(super) node: &'a NodeText,
    /// `Err`: the lease is not known, but whose it is.
    pub(super) lease: Result<Lease, Holder>,
}

impl Call for Give<'_> {
    /// Whether it was there.
    type Answer = bool;
    const SCRIPT: &'static Script = &script::GIVE;

    fn home(&self, keys: &Keys) -> String {
        keys.slots(self.node)
    }

    fn write(&self, _: &Keys, _: Standing, to: &mut Arguments) {
        match self.lease {
            Ok(lease) => to.argument(lease),
            Err(holder) => to.argument(format_args!("{holder}:")),
        };
    }

    fn read(mut reply: Reply) -> Result<bool, Malformed> {
        Ok(reply.parsed::<u8>()? == 1)
    }
}

/// See move.lua.
#[derive(Debug)]
pub(super) struct Move<'a> {
    pub(super) request: &'a str,
    pub(super) job: JobId,
    pub(super) attempt: u32,
    /// `None`: to look whether it goes on.
    pub(super) to: Option<JobState>,
    /// The state that it must be in, if that matters.
    pub(super) only: Option<JobState>,
    /// How long a job that has ended is remembered.
    pub(super) kept: u64,
}

impl Call for Move<'_> {
    type Answer = Moved;
    const SCRIPT: &'static Script = &script::MOVE;

    fn home(&self, keys: &Keys) -> String {
        keys.request(self.request)
    }

    fn write(&self, _: &Keys, _: Standing, to: &mut Arguments) {
        let Self { request: _, job, attempt, to: state, only, kept } = self;
        to.argument(job).argument(attempt).argument(state.map_or("", JobState::as_str)).argument(kept);
        to.argument(only.map_or("", JobState::as_str));
    }

    fn read(mut reply: Reply) -> Result<Moved, Malformed> {
        Moved::read(&reply.text()?, &mut reply)
    }
}

/// See rebind.lua.
#[derive(Debug)]
pub(super) struct Rebind<'a> {
    pub(super) request: &'a str,
    pub(super) job: JobId,
    /// The one before.
    pub(super) attempt: u32,
    pub(super) most_attempts: u32,
    pub(super) kept: u64,
    /// The next one, and where it is; `None`: to look whether there may be one.
    pub(super) next: Option<(Lease, &'a NodeText)>,
}

/// How it went to bind a request to the next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rebound {
    /// And what the attempt before holds yet.
    Done(Option<(Lease, NodeText)>),
    /// As a retry is answered.
    Refused(Creation),
}

impl Call for Rebind<'_> {
    type Answer = Rebound;
    const SCRIPT: &'static Script = &script::REBIND;

    fn home(&self, keys: &Keys) -> String {
        keys.request(self.request)
    }

    fn write(&self, _: &Keys, _: Standing, to: &mut Arguments) {
        let Self { request: _, job, attempt, most_attempts, kept, next } = self;
        to.argument(job).argument(attempt).argument(most_attempts).argument(kept);
        match next {
            Some((lease, node)) => to.argument(lease).argument(&node.0),
            None => to.argument("").argument(""),
        };
    }

    fn read(mut reply: Reply) -> Result<Rebound, Malformed> {
        let word = reply.text()?;
        if word != "DONE" {
            return Creation::refused(&word, &mut reply).map(Rebound::Refused);
        }
        let held = if reply.is_empty() { None } else { Some((reply.text()?.parse()?, NodeText(reply.text()?))) };
        Ok(Rebound::Done(held))
    }
}
