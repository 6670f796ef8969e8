//! What is asked of the server, and what it answers: each call as its script reads it.

use redis::Value;

use super::keys::{Keys, NodeText};
use super::lease::{Binding, Fingerprint, Instance, Lease, Malformed, state};
use super::script::{self, Script};
use crate::escape::escape;
use crate::id::JobId;
use crate::job::JobState;

/// Something to ask of the server.
pub(super) trait Call {
    /// What it answers.
    type Answer: Send;
    /// The script that does it.
    const SCRIPT: &'static Script;
    /// The script that does many of them, if they are sent together when they come at the same time.
    const MANY: Option<&'static Script> = None;

    /// The first of its keys, whose server is asked.
    fn home(&self, keys: &Keys) -> String;

    /// What else the script is given, on a connection to a server of this standing.
    fn write(&self, keys: &Keys, standing: Standing, to: &mut Arguments);

    /// All that it is given.
    fn arguments(&self, keys: &Keys, standing: Standing) -> Arguments {
        let mut arguments = Arguments::default();
        arguments.key(self.home(keys));
        self.write(keys, standing, &mut arguments);
        arguments
    }

    /// A plain command that goes with it, before it; its answer is not waited for.
    fn beside(&self, _keys: &Keys) -> Option<redis::Cmd> {
        None
    }

    /// What it has answered.
    fn read(reply: Reply) -> Result<Self::Answer, Malformed>;
}

/// The keys and arguments of a script.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<String>,
}

impl Arguments {
    pub(super) fn key(&mut self, key: String) -> &mut Self {
        self.keys.push(key);
        self
    }

    pub(super) fn argument(&mut self, argument: impl ToString) -> &mut Self {
        self.arguments.push(argument.to_string());
        self
    }

    pub(super) fn fields(&mut self, fields: &Fields) {
        for (field, value) in fields {
            self.argument(field).argument(value);
        }
    }
}

/// What there is to say of a node, by name.
pub(super) type Fields = [(&'static str, String)];

/// What a script has answered: a list.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub(super) fn new(value: Value) -> Result<Self, Malformed> {
        match value {
            Value::Array(items) => Ok(Self(items.into_iter())),
            other => Err(Malformed::new(format_args!("not a list: {other:?}"))),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => String::from_utf8(bytes).map_err(Malformed::new),
            Some(Value::SimpleString(text)) => Ok(text),
            Some(Value::Int(number)) => Ok(number.to_string()),
            other => Err(Malformed::new(format_args!("not a text: {other:?}"))),
        }
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, Malformed> {
        let text = self.text()?;
        text.parse().map_err(|_| Malformed::new(format_args!("not what was expected: {text}")))
    }

    /// A time in ms, which a script may have worked out to be no whole number, or less than nothing.
    pub(super) fn ms(&mut self) -> Result<u64, Malformed> {
        Ok(self.parsed::<f64>()?.max(0.0) as u64)
    }

    fn state(&mut self) -> Result<JobState, Malformed> {
        let text = self.text()?;
        state(&text).ok_or_else(|| Malformed::new(format_args!("not a state: {text}")))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

pub(super) fn unexpected<T>(word: &str) -> Result<T, Malformed> {
    Err(Malformed::new(format_args!("unexpected answer: {word}")))
}

/// What an instance knows of the server's past: see docs/redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    pub(super) epoch: u64,
    /// By the server's clock, in ms.
    pub(super) warm_until: u64,
}

/// See hello.lua.
#[derive(Debug)]
pub(super) struct Hello<'a> {
    /// See [`Keys::epoch`].
    pub(super) key: &'a str,
    pub(super) run: &'a str,
    pub(super) known: u64,
    pub(super) longest_lease: u64,
    pub(super) kept: u64,
}

impl Call for Hello<'_> {
    type Answer = Standing;
    const SCRIPT: &'static Script = &script::HELLO;

    fn home(&self, _: &Keys) -> String {
        self.key.to_owned()
    }

    fn write(&self, _: &Keys, _: Standing, to: &mut Arguments) {
        let Self { key: _, run, known, longest_lease, kept } = self;
        to.argument(run).argument(known).argument(longest_lease).argument(kept);
    }

    fn read(mut reply: Reply) -> Result<Standing, Malformed> {
        Ok(Standing { epoch: reply.parsed()?, warm_until: reply.parsed()? })
    }
}

/// Why a candidate has not been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// The server does not know the node.
    Unknown,
    /// It takes no jobs: its state.
    Closed(String),
    /// A slot may come free in so many ms.
    Full(u64),
    /// The server may have lost leases, which run out in so many ms.
    WarmUp(u64),
}

impl Refused {
    pub(super) fn read(reason: &str, reply: &mut Reply) -> Result<Self, Malformed> {
        Ok(match reason {
            "UNKNOWN" => reply.text().map(|_| Self::Unknown)?,
            "CLOSED" => Self::Closed(reply.text()?),
            "FULL" => Self::Full(reply.ms()?),
            "WARMUP" => Self::WarmUp(reply.ms()?),
            other => return unexpected(other),
        })
    }
}

/// How it went to reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Creation {
    /// On the candidate of this place.
    Created(Lease, usize),
    /// The request is bound already.
    Existing(Binding),
    /// To another demand.
    Mismatch(Binding),
    /// Each candidate with why.
    None(Vec<Refused>),
    /// A retry that does not follow from what the job is.
    Not(Moved),
    /// A retry of an attempt that is not the latest.
    Behind(Box<Binding>),
    /// There have been as many attempts as may be.
    Limit,
}

/// How it went to move a job on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Moved {
    Done,
    /// No such job is bound to the request.
    Unknown,
    /// The attempt that there is.
    Stale(u32),
    /// How it had ended before.
    Ended(JobState),
    /// The step does not follow from this state.
    Invalid(JobState),
    /// The job is on this node.
    Elsewhere(NodeText),
}

impl Moved {
    pub(super) fn read(word: &str, reply: &mut Reply) -> Result<Self, Malformed> {
        Ok(match word {
            "DONE" => Self::Done,
            "UNKNOWN" => Self::Unknown,
            "STALE" => Self::Stale(reply.parsed()?),
            "ENDED" => Self::Ended(reply.state()?),
            "INVALID" => Self::Invalid(reply.state()?),
            "MOVED" => Self::Elsewhere(NodeText(reply.text()?)),
            other => return unexpected(other),
        })
    }
}

impl Creation {
    fn read(mut reply: Reply) -> Result<Self, Malformed> {
        Ok(match reply.text()?.as_str() {
            "CREATED" => {
                let (lease, candidate) = (reply.text()?.parse()?, reply.parsed::<usize>()?);
                let place = candidate.checked_sub(1);
                Self::Created(lease, place.ok_or_else(|| Malformed::new("the candidate before the first"))?)
            }
            "EXISTING" => Self::Existing(reply.text()?.parse()?),
            "MISMATCH" => Self::Mismatch(reply.text()?.parse()?),
            "NONE" => {
                let mut refused = Vec::new();
                while !reply.is_empty() {
                    let reason = reply.text()?;
                    refused.push(Refused::read(&reason, &mut reply)?);
                }
                Self::None(refused)
            }
            other => Self::refused(other, &mut reply)?,
        })
    }

    /// Why an attempt cannot be tried again.
    pub(super) fn refused(word: &str, reply: &mut Reply) -> Result<Self, Malformed> {
        Ok(match word {
            "LIMIT" => Self::Limit,
            "BEHIND" => Self::Behind(Box::new(reply.text()?.parse()?)),
            other => Self::Not(Moved::read(other, reply)?),
        })
    }
}

/// What is kept under the id of a job: its request, and its demand.
pub(super) fn noted(request: &str, note: &str) -> String {
    format!("{}\n{note}", escape(request, &[]))
}

/// Keeps that for so many ms.
pub(super) fn note(keys: &Keys, job: JobId, request: &str, note: &str, kept: u64) -> redis::Cmd {
    let mut set = redis::cmd("SET");
    set.arg(keys.job(job)).arg(noted(request, note)).arg("PX").arg(kept);
    set
}

/// See create.lua.
#[derive(Debug)]
pub(super) struct Create<'a> {
    pub(super) request: &'a str,
    /// What else there is to be remembered of the job: its demand, see `Demand::whole_text`.
    pub(super) note: &'a str,
    pub(super) fingerprint: Fingerprint,
    pub(super) job: JobId,
    pub(super) instance: Instance,
    pub(super) lease: u64,
    pub(super) kept: u64,
    pub(super) candidates: &'a [NodeText],
}

impl Call for Create<'_> {
    type Answer = Creation;
    const SCRIPT: &'static Script = &script::CREATE;
    const MANY: Option<&'static Script> = Some(&script::CREATES);

    fn home(&self, keys: &Keys) -> String {
        keys.request(self.request)
    }

    fn write(&self, keys: &Keys, standing: Standing, to: &mut Arguments) {
        let Self { fingerprint, job, instance, lease, kept, candidates, request: _, note: _ } = self;
        to.argument(fingerprint).argument(format_args!("{job}:1:{instance}")).argument(lease).argument(kept);
        to.argument(standing.epoch).argument(standing.warm_until);
        for node in *candidates {
            to.key(keys.slots(node)).argument(&node.0);
        }
    }

    /// Whoever has only the job's id finds its request by this. It does not wait for what comes of the create: where that is
    /// nothing, there is no binding that names the job, and it leads nowhere.
    fn beside(&self, keys: &Keys) -> Option<redis::Cmd> {
        Some(note(keys, self.job, self.request, self.note, self.kept))
    }

    fn read(reply: Reply) -> Result<Creation, Malformed> {
        Creation::read(reply)
    }
}

/// See retry.lua.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    pub(super) request: &'a str,
    pub(super) job: JobId,
    /// The one before.
    pub(super) attempt: u32,
    pub(super) node: &'a NodeText,
    pub(super) instance: Instance,
    pub(super) lease: u64,
    pub(super) kept: u64,
    pub(super) most_attempts: u32,
    pub(super) candidates: &'a [NodeText],
}

impl Call for Retry<'_> {
    type Answer = Creation;
    const SCRIPT: &'static Script = &script::RETRY;

    fn home(&self, keys: &Keys) -> String {
        keys.request(self.request)
    }

    fn write(&self, keys: &Keys, standing: Standing, to: &mut Arguments) {
        let Self { request: _, job, attempt, node, instance, lease, kept, most_attempts, candidates } = self;
        to.key(keys.slots(node));
        to.argument(job).argument(attempt).argument(&node.0).argument(lease).argument(kept);
        to.argument(standing.epoch).argument(standing.warm_until).argument(most_attempts).argument(instance);
        for node in *candidates {
            to.key(keys.slots(node)).argument(&node.0);
        }
    }

    fn read(reply: Reply) -> Result<Creation, Malformed> {
        Creation::read(reply)
    }
}

/// See finish.lua.
#[derive(Debug)]
pub(super) struct Finish<'a> {
    pub(super) request: &'a str,
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) node: &'a NodeText,
    pub(super) end: JobState,
    /// The state that it must be in, if that matters.
    pub(super) only: Option<JobState>,
    pub(super) kept: u64,
}

impl Call for Finish<'_> {
    type Answer = Moved;
    const SCRIPT: &'static Script = &script::FINISH;

    fn home(&self, keys: &Keys) -> String {
        keys.request(self.request)
    }

    fn write(&self, keys: &Keys, _: Standing, to: &mut Arguments) {
        let Self { request: _, job, attempt, node, end, only, kept } = self;
        to.key(keys.slots(node));
        to.argument(job).argument(attempt).argument(end).argument(&node.0).argument(kept);
        to.argument(only.map_or("", JobState::as_str));
    }

    fn read(mut reply: Reply) -> Result<Moved, Malformed> {
        Moved::read(&reply.text()?, &mut reply)
    }
}

/// See advance.lua.
#[derive(Debug)]
pub(super) struct Advance<'a> {
    pub(super) request: &'a str,
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) node: &'a NodeText,
    /// `None`: only the lease begins anew.
    pub(super) to: Option<JobState>,
    pub(super) lease: u64,
    pub(super) kept: u64,
}

impl Call for Advance<'_> {
    type Answer = Moved;
    const SCRIPT: &'static Script = &script::ADVANCE;

    fn home(&self, keys: &Keys) -> String {
        keys.request(self.request)
    }

    fn write(&self, keys: &Keys, _: Standing, to: &mut Arguments) {
        let Self { request: _, job, attempt, node, to: state, lease, kept } = self;
        to.key(keys.slots(node));
        to.argument(job).argument(attempt).argument(state.map_or("", JobState::as_str)).argument(&node.0);
        to.argument(lease).argument(kept);
    }

    fn read(mut reply: Reply) -> Result<Moved, Malformed> {
        Moved::read(&reply.text()?, &mut reply)
    }
}

/// See renew.lua.
#[derive(Debug)]
pub(super) struct Renew<'a> {
    pub(super) node: &'a NodeText,
    pub(super) lease: u64,
    pub(super) leases: &'a [Lease],
}

impl Call for Renew<'_> {
    /// For each lease `None`, or how its job has ended, if nobody has ended it; nothing, if the server does not know the node.
    type Answer = Vec<Option<JobState>>;
    const SCRIPT: &'static Script = &script::RENEW;

    fn home(&self, keys: &Keys) -> String {
        keys.slots(self.node)
    }

    fn write(&self, _: &Keys, _: Standing, to: &mut Arguments) {
        to.argument(self.lease);
        for lease in self.leases {
            to.argument(lease);
        }
    }

    fn read(mut reply: Reply) -> Result<Self::Answer, Malformed> {
        let mut lost = Vec::new();
        while !reply.is_empty() {
            let text = reply.text()?;
            let end = || state(&text).ok_or_else(|| Malformed::new(format_args!("not a state: {text}")));
            lost.push(if text == "held" { None } else { Some(end()?) });
        }
        Ok(lost)
    }
}
