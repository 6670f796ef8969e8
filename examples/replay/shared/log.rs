//! What all processes of a run append to one file, a line of JSON each: what they are about to do, and what has come of it.
//!
//! A process says that it has a slot after it was given it, and that it is about to end a job before it does. The system
//! appends lines one after the other. So a slot was held for longer than from the one line to the other, whoever wrote them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::input::{InputError, Source};
use crate::output::Setting;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// When it was written, in microseconds since the run began; by one clock for all processes.
    pub(crate) at: u64,
    /// Which process has written it: 0 is the one that has started the others.
    pub(crate) by: u32,
    pub(crate) event: Event,
}

/// What has happened. Times that calls took are in microseconds up to when the line was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Event {
    /// The first line: what is replayed, and by how many instances at once.
    Began { setting: Setting, instances: u32, pace: f64, requests: u64, lease: u64 },
    /// A node was registered, with so many slots.
    Node { node: String, slots: u32 },
    /// All instances are ready: the first request is due so long after the run began.
    Open { at: u64 },
    /// A process was killed, and another one receives the heartbeats of its nodes from now on.
    Killed { process: u32, heir: u32 },
    /// A call is about to be made that may give the request a slot.
    Asked { request: String },
    /// A slot was given, or it was told which one the request has already.
    Given { lease: Lease, call: Call, took: u64 },
    /// The request's job has ended before.
    Known { request: String, job: String, state: String, call: Call, took: u64 },
    /// No slot was given. Where it is not known what has come of it, the job may be called off by the library.
    Refused { request: String, reason: String, call: Call, took: u64, uncertain: bool },
    /// The job was moved on, or its lease was renewed: the server has found that it has its slot.
    Moved { of: Attempt, took: u64 },
    /// The job is about to be ended, or to be tried again elsewhere.
    Ends { of: Attempt },
    /// It was ended so.
    Ended { of: Attempt, how: End, took: u64 },
    /// It was not ended, since it had ended so before.
    TurnedDown { of: Attempt, found: String },
    /// A client has come to an end.
    Settled { request: String, outcome: Settlement },
    /// A node was given a job that it cannot do.
    Misplaced { request: String, node: String },
    /// The library has refused what it must not refuse.
    Unexpected { what: String },
    /// What a process has counted so far.
    Counted { stats: Counts },
    /// The last line: so many slots were held by the server's account when all jobs had ended, and so many could be taken.
    Left { held: u64, taken: u64 },
}

/// A slot that was given for an attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lease {
    #[serde(rename = "of")]
    pub(crate) attempt: Attempt,
    pub(crate) node: String,
    pub(crate) slot: u32,
    pub(crate) fence: Fence,
}

/// An attempt of a job, of which it was told before what slot it has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attempt {
    pub(crate) request: String,
    pub(crate) job: String,
    pub(crate) number: u32,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}, job {}, attempt {}", self.request, self.job, self.number)
    }
}

/// As the library shows fences: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Fence(pub(crate) u128);

impl TryFrom<String> for Fence {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        parsed.map(Self).ok_or_else(|| "expected a fence, 32 hexadecimal digits".to_owned())
    }
}

impl From<Fence> for String {
    fn from(fence: Fence) -> Self {
        format!("{:032x}", fence.0)
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Create,
    Retry,
    /// The job of a request, of which only another instance was told.
    Look,
}

/// How a process has ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Completed,
    Failed,
    Cancelled,
}

/// How a request has ended for one of its clients: the first that there is for any of them counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Settlement {
    Completed,
    Cancelled,
    /// Its client has gone away, and another instance has called it off.
    Abandoned,
    /// All attempts failed.
    Failed,
    /// Its client's patience ended; the reason of the last refusal.
    Refused(String),
}

macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        /// What a process has counted of its dealings with the server: the fields of `SharedStats` that add up.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Counts { $(pub(crate) $name: u64),* }

        impl std::ops::AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        #[cfg(feature = "redis")]
        impl From<slotyard::SharedStats> for Counts {
            fn from(stats: slotyard::SharedStats) -> Self {
                Self { $($name: stats.$name),* }
            }
        }
    };
}

counts! {
    connections, round_trips, creates, create_rounds, looks, undone, lost_leases, outbox_delivered, outbox_lost,
    reconciliations, gaps,
}

/// Every line of a log, with its number, from 1 on.
///
/// # Errors
/// At the first line that is not one, with the place.
pub(crate) fn lines(source: &Source) -> impl Iterator<Item = Result<(usize, Line), InputError>> {
    source.text().lines().enumerate().map(|(before, text)| {
        serde_json::from_str(text).map(|line| (before + 1, line)).map_err(|error| source.json_error(before, &error))
    })
}

#[cfg(feature = "redis")]
pub(crate) use writer::{Clock, Log};

#[cfg(feature = "redis")]
mod writer {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Write};
    use std::path::Path;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::{Event, Line};

    /// The clock that all processes of a run share: they agree on its beginning, and each goes on from there by itself, so
    /// that a system's time that is set meanwhile does no harm.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Clock {
        /// In microseconds since 1970.
        began: u64,
        /// How much of the run was over when this process looked first, and when that was.
        before: u64,
        since: Instant,
    }

    impl Clock {
        /// The clock of a run that has begun then; now, if not said.
        pub(crate) fn new(began: Option<u64>) -> Self {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
            let began = began.unwrap_or(now);
            Self { began, before: now.saturating_sub(began), since: Instant::now() }
        }

        /// What another process needs to have the same clock.
        pub(crate) fn began(&self) -> u64 {
            self.began
        }

        /// In microseconds since the run began.
        pub(crate) fn now(&self) -> u64 {
            self.before + self.since.elapsed().as_micros() as u64
        }

        /// How long it is until then.
        pub(crate) fn until(&self, at: u64) -> Duration {
            Duration::from_micros(at.saturating_sub(self.now()))
        }
    }

    /// The log, as a process appends to it.
    #[derive(Debug)]
    pub(crate) struct Log {
        file: File,
        by: u32,
        clock: Clock,
    }

    impl Log {
        pub(crate) fn open(path: &Path, by: u32, clock: Clock) -> io::Result<Self> {
            Ok(Self { file: OpenOptions::new().append(true).create(true).open(path)?, by, clock })
        }

        pub(crate) fn clock(&self) -> Clock {
            self.clock
        }

        /// Appends a line, in one piece, so that those of several processes do not mix.
        pub(crate) fn say(&self, event: Event) {
            let line = Line { at: self.clock.now(), by: self.by, event };
            let text = serde_json::to_string(&line).map_err(io::Error::from);
            // A run whose log has holes proves nothing.
            if let Err(error) = text.and_then(|text| (&self.file).write_all((text + "\n").as_bytes())) {
                eprintln!("replay: the log cannot be written: {error}");
                std::process::exit(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_none_are_refused_with_their_place() {
        let good = r#"{"at":1,"by":2,"event":{"ends":{"of":{"request":"r1","job":"j","number":1}}}}"#;
        let error = |text: &str| {
            let source = Source::named("log", &format!("{good}\n{text}\n"));
            let outcome: Result<Vec<_>, _> = lines(&source).collect();
            outcome.map(|lines| assert_eq!(lines[0].0, 1)).unwrap_err().to_string()
        };
        assert_eq!(error(&good[..30]), "log:2:30: JSON: EOF while parsing an object");
        assert_eq!(error("given"), "log:2:1: JSON: expected value");
        assert!(error(&good.replace("ends", "begins")).starts_with("log:2:32: JSON: unknown variant `begins`"));
        assert!(error(&good.replace("\"by\":2", "\"by\":-2")).starts_with("log:2:15: JSON: invalid value"));
        assert!(error(&good.replace("\"job\":\"j\",", "")).starts_with("log:2:64: JSON: missing field `job`"));
        assert!(error(&good.replace("\"job\"", "\"rank\":1,\"job\"")).starts_with("log:2:59: JSON: unknown field"));
        assert!(error(&format!("{good}{good}")).starts_with("log:2:78: JSON: trailing characters"));
        let given = r#"{"at":1,"by":2,"event":{"given":{"lease":{"of":{"request":"r1","job":"j","number":1},"node":"n",
            "slot":0,"fence":"12"},"call":"create","took":1}}}"#
            .replace('\n', " ");
        assert!(error(&given).contains("JSON: expected a fence, 32 hexadecimal digits"), "{}", error(&given));
    }
}
