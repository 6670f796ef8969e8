//! What is counted and timed over the whole run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longer times are recorded as this; in microseconds it is more than a month.
const HOUR_NS: u64 = 3_600_000_000_000;

/// A histogram of times, in whatever unit they are.
pub(crate) fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HOUR_NS, 3).expect("the bounds are in order, the digits few")
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed,
    /// Its client's patience ended; the reason of the last refusal.
    Refused(&'static str),
    /// All attempts failed.
    Failed,
    Cancelled,
    /// Its client vanished.
    Abandoned,
}

/// Counts by what happened.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) offered: u64,
    pub(crate) completed: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) abandoned: u64,
    /// Further attempts that got a slot.
    pub(crate) retried: u64,
    pub(crate) orphaned: u64,
    pub(crate) expired: u64,
    /// Results that came after the job had gone on without that node, and were turned down.
    pub(crate) late_results: u64,
    /// Requests sent twice, or again after their end.
    pub(crate) resent: u64,
    /// Calls for a slot, and those that were refused.
    pub(crate) decisions: u64,
    pub(crate) refusals: u64,
    pub(crate) renewals: u64,
    pub(crate) heartbeats: u64,
    pub(crate) crashes: u64,
    pub(crate) silences: u64,
    pub(crate) drains: u64,
    pub(crate) resizes: u64,
    pub(crate) unavailable: u64,
    /// Nodes that the scheduler declared offline.
    pub(crate) nodes_down: u64,
    /// From arrival to the first slot, or to giving up, in microseconds.
    pub(crate) wait_us: Histogram<u64>,
    /// How long the scheduler took to give or refuse a slot.
    pub(crate) decision_ns: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            offered: 0,
            completed: 0,
            refused: BTreeMap::new(),
            failed: 0,
            cancelled: 0,
            abandoned: 0,
            retried: 0,
            orphaned: 0,
            expired: 0,
            late_results: 0,
            resent: 0,
            decisions: 0,
            refusals: 0,
            renewals: 0,
            heartbeats: 0,
            crashes: 0,
            silences: 0,
            drains: 0,
            resizes: 0,
            unavailable: 0,
            nodes_down: 0,
            wait_us: times(),
            decision_ns: times(),
        }
    }

    pub(super) fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::Refused(reason) => *self.refused.entry(reason).or_default() += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Abandoned => self.abandoned += 1,
        }
    }

    pub(super) fn waited(&mut self, microseconds: u64) {
        self.wait_us.saturating_record(microseconds);
    }

    pub(super) fn decided(&mut self, took: Duration) {
        self.decisions += 1;
        self.decision_ns.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Requests that were refused in the end, for whatever reason.
    pub(crate) fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }
}
