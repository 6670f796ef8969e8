//! The report of several processes: numbers, whose names are those of the JSON, and the text.

use std::collections::BTreeMap;
use std::fmt::Write;

use indicatif::{HumanCount as Count, HumanFloatCount as Decimal};
use serde::Serialize;

use super::check::Findings;
use super::log::{Counts, Settlement};
use crate::ledger::Broken;
use crate::output::{Setting, rounded, text};

#[derive(Debug, Serialize)]
pub(crate) struct SharedReport {
    pub(crate) workload: Setting,
    pub(crate) instances: u32,
    pub(crate) killed: u64,
    pub(crate) pace: f64,
    pub(crate) jobs_offered: u64,
    pub(crate) jobs_completed: u64,
    pub(crate) jobs_refused: u64,
    pub(crate) refused_by_reason: BTreeMap<String, u64>,
    pub(crate) jobs_failed: u64,
    pub(crate) jobs_cancelled: u64,
    pub(crate) jobs_abandoned: u64,
    /// Further attempts; a job may have several.
    pub(crate) jobs_retried: u64,
    /// Jobs of which several processes were told, and attempts that were ended by another than was told of the job first.
    pub(crate) jobs_told_elsewhere: u64,
    pub(crate) ended_elsewhere: u64,
    /// Calls that gave no slot, a client of which may have asked again.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// The invariants; each is the number of times that it did not hold.
    pub(crate) over_capacity: u64,
    pub(crate) held_twice: u64,
    pub(crate) fences_fell: u64,
    pub(crate) double_release: u64,
    pub(crate) duplicate_jobs: u64,
    pub(crate) misplaced: u64,
    pub(crate) unexpected_answers: u64,
    pub(crate) unsettled: u64,
    pub(crate) slots_held_at_end: u64,
    pub(crate) violations: Vec<String>,
    /// Created, as long as new ones were.
    pub(crate) jobs_per_second: f64,
    pub(crate) create_ms: CreateMs,
    /// Times that nodes were offered to the server for a job, and times that it was asked which are full.
    pub(crate) rounds_per_create: f64,
    /// All requests to the server.
    pub(crate) round_trips_per_create: f64,
    /// By the library's count, of processes that were not killed.
    pub(crate) lost_leases: u64,
    /// Attempts that clients found without a lease, and slots that were another's after that.
    pub(crate) attempts_lost: u64,
    pub(crate) slots_taken_over: u64,
    pub(crate) reconciliations: u64,
    pub(crate) counted: Counts,
    /// From the first request to the last answer, in seconds.
    pub(crate) seconds: f64,
}

/// How long creates took, refused ones included.
#[derive(Debug, Serialize)]
pub(crate) struct CreateMs {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl SharedReport {
    pub(crate) fn new(findings: Findings) -> Self {
        let seconds = findings.took as f64 / 1e6;
        let broken = |broken| findings.violations.count(broken);
        let settled = |outcome| findings.settled.get(&outcome).copied().unwrap_or(0);
        let refused = findings.settled.iter().filter_map(|(outcome, count)| match outcome {
            Settlement::Refused(reason) => Some((reason.clone(), *count)),
            _ => None,
        });
        let refused: BTreeMap<_, _> = refused.collect();
        let (counts, completed) = (findings.counts, settled(Settlement::Completed));
        let per_create = |count: u64| rounded(count as f64 / counts.creates.max(1) as f64);
        let ms = |micros: u64| micros as f64 / 1e3;
        let create = |quantile| ms(findings.creates.value_at_quantile(quantile));
        Self {
            workload: Setting { seconds: rounded(seconds * findings.pace), ..findings.setting.clone() },
            instances: findings.instances,
            killed: findings.killed,
            pace: findings.pace,
            jobs_offered: findings.requests,
            jobs_completed: completed,
            jobs_refused: refused.values().sum(),
            refused_by_reason: refused,
            jobs_failed: settled(Settlement::Failed),
            jobs_cancelled: settled(Settlement::Cancelled),
            jobs_abandoned: settled(Settlement::Abandoned),
            jobs_retried: findings.retried,
            jobs_told_elsewhere: findings.asked_elsewhere,
            ended_elsewhere: findings.ended_elsewhere,
            over_capacity: broken(Broken::OverCapacity),
            held_twice: broken(Broken::HeldTwice),
            fences_fell: broken(Broken::FenceFell),
            double_release: broken(Broken::DoubleRelease),
            duplicate_jobs: broken(Broken::DuplicateJobs),
            misplaced: broken(Broken::Misplaced),
            unexpected_answers: broken(Broken::UnexpectedAnswers),
            unsettled: broken(Broken::Unsettled),
            slots_held_at_end: broken(Broken::SlotsHeldAtEnd),
            violations: findings.violations.examples().to_vec(),
            jobs_per_second: (findings.jobs as f64 * 1e6 / findings.created_for.max(1) as f64).round(),
            create_ms: CreateMs { p50: create(0.5), p99: create(0.99), max: ms(findings.creates.max()) },
            rounds_per_create: per_create(counts.create_rounds + counts.looks),
            round_trips_per_create: per_create(counts.round_trips),
            lost_leases: counts.lost_leases,
            attempts_lost: findings.lost,
            slots_taken_over: findings.taken_over,
            reconciliations: counts.reconciliations,
            counted: counts,
            seconds,
            refusals: findings.refusals,
        }
    }

    /// How often each invariant was broken.
    fn invariants(&self) -> [(Broken, u64); Broken::SHARED.len()] {
        Broken::SHARED.map(|broken| {
            let count = match broken {
                Broken::OverCapacity => self.over_capacity,
                Broken::HeldTwice => self.held_twice,
                Broken::FenceFell => self.fences_fell,
                Broken::DoubleRelease => self.double_release,
                Broken::DuplicateJobs => self.duplicate_jobs,
                Broken::Misplaced => self.misplaced,
                Broken::UnexpectedAnswers => self.unexpected_answers,
                Broken::Unsettled => self.unsettled,
                Broken::SlotsHeldAtEnd => self.slots_held_at_end,
                Broken::RefusedWhileFree | Broken::Miscounted | Broken::EventsDropped => 0,
            };
            (broken, count)
        })
    }

    /// Whether every invariant held.
    pub(crate) fn holds(&self) -> bool {
        self.invariants().iter().all(|(_, count)| *count == 0)
    }

    /// The report for the terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        text::heading(&self.workload, "", out)?;
        let killed = match self.killed {
            0 => String::new(),
            killed => format!(", {killed} killed"),
        };
        writeln!(out, "instances     {} processes that share a server{killed}", self.instances)?;
        let virtually = Decimal(self.workload.seconds.round());
        writeln!(out, "time          {:.1} s, {virtually} s of the trace", self.seconds)?;
        writeln!(out)?;
        writeln!(out, "requests      {:>12}", Count(self.jobs_offered).to_string())?;
        let outcomes = [
            ("completed", self.jobs_completed, String::new()),
            ("refused", self.jobs_refused, text::reasons(&self.refused_by_reason)),
            ("failed", self.jobs_failed, "all attempts".to_owned()),
            ("cancelled", self.jobs_cancelled, String::new()),
            ("abandoned", self.jobs_abandoned, "the client vanished, another instance has called it off".to_owned()),
        ];
        for (name, count, note) in outcomes {
            text::outcome(name, count, self.jobs_offered, &note, out)?;
        }
        let (retried, lost) = (Count(self.jobs_retried), Count(self.attempts_lost));
        writeln!(
            out,
            "attempts      retried {retried}, lost {lost}, slots taken over {}",
            Count(self.slots_taken_over)
        )?;
        let (told, ended) = (Count(self.jobs_told_elsewhere), Count(self.ended_elsewhere));
        writeln!(
            out,
            "elsewhere     jobs that several processes had {told}, ended by another than had it first {ended}"
        )?;
        let refusals = match self.refusals.is_empty() {
            true => "none".to_owned(),
            false => text::reasons(&self.refusals),
        };
        writeln!(out, "refusals      {refusals}")?;
        writeln!(out)?;
        writeln!(out, "rate          {} jobs created a second", Decimal(self.jobs_per_second))?;
        let CreateMs { p50, p99, max } = self.create_ms;
        writeln!(out, "create (ms)   p50 {p50:.2}, p99 {p99:.2}, max {max:.2}")?;
        let (rounds, trips) = (self.rounds_per_create, self.round_trips_per_create);
        writeln!(out, "round trips   {rounds:.2} to choose a node for a job, {trips:.2} in all for each job created")?;
        let (leases, looks) = (Count(self.lost_leases), Count(self.reconciliations));
        writeln!(
            out,
            "library       {leases} leases lost, {looks} reconciliations, {} gaps",
            Count(self.counted.gaps)
        )?;
        writeln!(out)?;
        text::verdicts(&self.invariants(), &self.violations, out)
    }
}
