//! What must hold over all processes of a run, looked for in their log.
//!
//! A lease lasts until it is ended, or for its time from when it was last asked for to begin anew; what the instances do
//! by themselves to renew it is not in the log. So another may have its slot if somebody was about to end the job before, or
//! if its time, for all that the log has, had run out: as when its process was killed. Any other overlap is a slot that
//! was held twice. Only times of one clock are compared, and no process has to be quick.

mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use hdrhistogram::Histogram;

use super::log::{self, Attempt, Call, Counts, End, Event, Fence, Lease, Line, Settlement};
use crate::engine::times;
use crate::input::{InputError, Source};
use crate::ledger::{Broken, Violations};
use crate::output::Setting;
use terms::{ORPHANED, Term, terms};

/// What the server's clock, which counts milliseconds, may differ by from ours within a lease, in microseconds.
const TOLERANCE: u64 = 20_000;

/// What a log tells.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) setting: Setting,
    pub(crate) instances: u32,
    pub(crate) pace: f64,
    pub(crate) killed: u64,
    pub(crate) violations: Violations,
    /// By how they ended.
    pub(crate) settled: BTreeMap<Settlement, u64>,
    pub(crate) requests: u64,
    pub(crate) jobs: u64,
    pub(crate) retried: u64,
    /// Requests whose job several processes were told of; and jobs that were ended by another than who had it first.
    pub(crate) asked_elsewhere: u64,
    pub(crate) ended_elsewhere: u64,
    /// Slots that were another's when their lease had run out.
    pub(crate) taken_over: u64,
    /// Attempts that a client found to have run out, or to have no node any more.
    pub(crate) lost: u64,
    pub(crate) refusals: BTreeMap<String, u64>,
    /// How long creates took, refused ones included, in microseconds.
    pub(crate) creates: Histogram<u64>,
    pub(crate) counts: Counts,
    /// From when the first request was due to when the last was settled, and to when the last job was given, in
    /// microseconds.
    pub(crate) took: u64,
    pub(crate) created_for: u64,
}

/// Reads a log, and checks it.
///
/// # Errors
/// At the first line that is malformed, or does not follow from those before it.
pub(crate) fn check(source: &Source) -> Result<Findings, InputError> {
    let lines = log::lines(source).collect::<Result<Vec<_>, _>>()?;
    let Some((_, Line { event: Event::Began { setting, instances, pace, requests, lease }, .. })) = lines.first()
    else {
        return Err(source.error(1, 1, "expected a log that begins with a line `began`"));
    };
    if !matches!(lines.last(), Some((_, Line { event: Event::Left { .. }, .. }))) {
        let message = "expected a log that ends with a line `left`: the run was not brought to its end";
        return Err(source.error(lines.len(), 1, message));
    }
    let findings = Findings {
        setting: setting.clone(),
        instances: *instances,
        pace: *pace,
        requests: *requests,
        killed: 0,
        violations: Violations::default(),
        settled: BTreeMap::new(),
        jobs: 0,
        retried: 0,
        asked_elsewhere: 0,
        ended_elsewhere: 0,
        taken_over: 0,
        lost: 0,
        refusals: BTreeMap::new(),
        creates: times(),
        counts: Counts::default(),
        took: 0,
        created_for: 0,
    };
    let mut check = Check {
        source,
        findings,
        terms: terms(&lines, *lease),
        nodes: HashMap::new(),
        jobs: HashMap::new(),
        places: HashMap::new(),
        ends: HashSet::new(),
        ended: HashMap::new(),
        over: HashMap::new(),
        settled: HashMap::new(),
        counts: BTreeMap::new(),
        opened: 0,
    };
    for (number, line) in &lines[1..] {
        check.line(*number, line)?;
    }
    Ok(check.finish())
}

/// Who holds a slot, for all that was read so far.
#[derive(Debug)]
struct Holding {
    attempt: Attempt,
    fence: Fence,
    since: u64,
    line: usize,
    by: u32,
    /// Somebody has said that it is about to end.
    ends: bool,
}

/// A node, and its slots as they were held last.
#[derive(Debug, Default)]
struct Node {
    capacity: u32,
    slots: HashMap<u32, Holding>,
    /// Attempts that hold a slot, whichever.
    open: HashSet<Attempt>,
}

struct Check<'s> {
    source: &'s Source,
    findings: Findings,
    terms: HashMap<Attempt, Term>,
    nodes: HashMap<String, Node>,
    /// The job of each request, who was first told of it, and whether others were, too.
    jobs: HashMap<String, (String, u32, bool)>,
    /// The node and the slot of each attempt.
    places: HashMap<Attempt, (String, u32)>,
    /// Attempts that somebody was about to end, and those that were ended, in which line.
    ends: HashSet<Attempt>,
    ended: HashMap<Attempt, usize>,
    /// Jobs that have ended for good: with which attempt, in which line.
    over: HashMap<String, (u32, usize)>,
    settled: HashMap<String, Settlement>,
    counts: BTreeMap<u32, Counts>,
    opened: u64,
}

impl Check<'_> {
    fn line(&mut self, number: usize, Line { at, by, event }: &Line) -> Result<(), InputError> {
        match event {
            Event::Began { .. } => {
                return Err(self.source.error(number, 1, "expected `began` in the first line alone"));
            }
            Event::Node { node, slots } => {
                let fresh = Node { capacity: *slots, ..Node::default() };
                if self.nodes.insert(node.clone(), fresh).is_some() {
                    return Err(self.source.error(number, 1, format!("expected each node once, found {node} again")));
                }
            }
            Event::Open { at } => self.opened = *at,
            Event::Killed { .. } => self.findings.killed += 1,
            Event::Asked { .. } => {}
            Event::Given { lease, call, took } => {
                self.note_job(number, *at, *by, &lease.attempt.request, &lease.attempt.job);
                self.given(number, *at, *by, lease)?;
                self.note_create(&lease.attempt.request, *call, *took);
            }
            Event::Known { request, job, call, took, .. } => {
                self.note_job(number, *at, *by, request, job);
                self.note_create(request, *call, *took);
            }
            Event::Refused { request, reason, call, took, .. } => {
                *self.findings.refusals.entry(reason.clone()).or_default() += 1;
                self.note_create(request, *call, *took);
            }
            Event::Moved { of, .. } => drop(self.place(number, of)?),
            Event::Ends { of } => {
                let (node, slot) = self.place(number, of)?;
                self.ends.insert(of.clone());
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.open.remove(of);
                    let holding = node.slots.get_mut(&slot).filter(|holding| holding.attempt == *of);
                    holding.into_iter().for_each(|holding| holding.ends = true);
                }
            }
            Event::Ended { of, how, .. } => self.ended(number, *at, *by, of, *how)?,
            Event::TurnedDown { of, found } => {
                self.place(number, of)?;
                self.findings.lost += u64::from(found == ORPHANED || found == "expired");
            }
            Event::Settled { request, outcome } => {
                self.findings.took = at.saturating_sub(self.opened);
                let settled = self.settled.entry(request.clone()).or_insert_with(|| outcome.clone());
                if outcome < settled {
                    *settled = outcome.clone();
                }
            }
            Event::Misplaced { request, node } => {
                let example = || format!("line {number}: request {request} was given {node}, which cannot serve it");
                self.findings.violations.note(Broken::Misplaced, *at, example);
            }
            Event::Unexpected { what } => {
                let example = || format!("line {number}: process {by}: {what}");
                self.findings.violations.note(Broken::UnexpectedAnswers, *at, example);
            }
            Event::Counted { stats } => drop(self.counts.insert(*by, *stats)),
            Event::Left { held, taken } => self.left(number, *at, *held, *taken),
        }
        Ok(())
    }

    /// Where an attempt is of which a line before this one has said that.
    fn place(&self, number: usize, of: &Attempt) -> Result<(String, u32), InputError> {
        let message = || format!("expected an attempt that was given before, found {of}");
        self.places.get(of).cloned().ok_or_else(|| self.source.error(number, 1, message()))
    }

    fn note_create(&mut self, request: &str, call: Call, took: u64) {
        if call == Call::Create && !super::is_last(request) {
            self.findings.creates.saturating_record(took);
        }
    }

    /// A process was told that this is the job of a request.
    fn note_job(&mut self, number: usize, at: u64, by: u32, request: &str, job: &str) {
        let first = || (job.to_owned(), by, false);
        let (known, asked_first, elsewhere) = self.jobs.entry(request.to_owned()).or_insert_with(first);
        *elsewhere |= *asked_first != by;
        if known != job {
            let example = || format!("line {number}: request {request} has the jobs {known} and {job}");
            self.findings.violations.note(Broken::DuplicateJobs, at, example);
        }
    }

    /// A slot is held by an attempt, as somebody was told.
    fn given(&mut self, number: usize, at: u64, by: u32, lease: &Lease) -> Result<(), InputError> {
        let Lease { attempt, node: name, slot, fence } = lease;
        let Some(node) = self.nodes.get_mut(name) else {
            return Err(self.source.error(
                number,
                1,
                format!("expected a node that was registered before, found {name}"),
            ));
        };
        let violations = &mut self.findings.violations;
        let term = |of: &Attempt| self.terms.get(of).copied().unwrap_or_default();
        if let Some((last, line)) = self.over.get(&attempt.job).filter(|(last, _)| attempt.number > *last) {
            let example =
                || format!("line {number}: {attempt}, of a job that has ended with attempt {last} in line {line}");
            violations.note(Broken::DoubleRelease, at, example);
        }
        if self.places.insert(attempt.clone(), (name.clone(), *slot)).is_none() && !super::is_last(&attempt.request) {
            self.findings.retried += u64::from(attempt.number > 1);
            if attempt.number == 1 {
                self.findings.created_for = at.saturating_sub(self.opened);
            }
        }
        // Who was given a job with others may say so when they have ended it.
        let is_over = self.ends.contains(attempt);
        let holding = Holding { attempt: attempt.clone(), fence: *fence, since: at, line: number, by, ends: is_over };
        let is_fresh = match node.slots.get(slot) {
            None => true,
            Some(before) if before.fence == *fence => {
                if before.attempt != *attempt {
                    let (line, other) = (before.line, &before.attempt);
                    let example = || format!("line {number}: the fence of {attempt} is that of {other}, line {line}");
                    violations.note(Broken::FenceFell, at, example);
                }
                false
            }
            Some(before) if before.fence < *fence => {
                let had = term(&before.attempt);
                if !before.ends && !had.uncertain {
                    if had.until > at + TOLERANCE {
                        let (line, by, other) = (before.line, before.by, &before.attempt);
                        let until = had.until as f64 / 1e6;
                        let example = || {
                            format!(
                                "line {number}: slot {slot} of {name} goes to {attempt}, and is that of {other} until \
                                 {until:.3} s at least, which process {by} was given in line {line}"
                            )
                        };
                        violations.note(Broken::HeldTwice, at, example);
                    } else {
                        self.findings.taken_over += 1;
                    }
                }
                if before.ends || had.uncertain || had.until <= at + TOLERANCE {
                    node.open.remove(&before.attempt);
                }
                true
            }
            Some(before) => {
                // It is told late: it was over before the other one began.
                let had = term(attempt);
                if !is_over && !had.uncertain && had.until > before.since + TOLERANCE {
                    let (line, other) = (before.line, &before.attempt);
                    let example =
                        || format!("line {number}: the fence of {attempt} is below that of {other}, line {line}");
                    violations.note(Broken::FenceFell, at, example);
                }
                false
            }
        };
        if is_fresh {
            node.slots.insert(*slot, holding);
            if !is_over {
                node.open.insert(attempt.clone());
            }
            let (held, capacity) = (node.open.len(), node.capacity);
            if held > capacity as usize {
                let example =
                    || format!("line {number}: {name} has {capacity} slots, and {held} are held with {attempt}");
                violations.note(Broken::OverCapacity, at, example);
            }
        }
        Ok(())
    }

    fn ended(&mut self, number: usize, at: u64, by: u32, of: &Attempt, how: End) -> Result<(), InputError> {
        self.place(number, of)?;
        if let Some(before) = self.ended.insert(of.clone(), number) {
            let example = || format!("line {number}: {of} was ended, and in line {before}, too");
            self.findings.violations.note(Broken::DoubleRelease, at, example);
        }
        if how != End::Failed {
            self.over.insert(of.job.clone(), (of.number, number));
        }
        let first = self.jobs.get(&of.request).map(|(_, first, _)| *first);
        self.findings.ended_elsewhere += u64::from(first.is_some_and(|first| first != by));
        Ok(())
    }

    fn left(&mut self, number: usize, at: u64, held: u64, taken: u64) {
        let slots: u64 = self.nodes.values().map(|node| u64::from(node.capacity)).sum();
        let violations = &mut self.findings.violations;
        if held > 0 {
            violations.note(Broken::SlotsHeldAtEnd, at, || format!("line {number}: {held} slots were held"));
        }
        if taken < slots {
            let example = || format!("line {number}: of {slots} slots {taken} could be taken");
            violations.note(Broken::SlotsHeldAtEnd, at, example);
        } else if taken > slots {
            let example = || format!("line {number}: {taken} slots could be taken, of {slots}");
            violations.note(Broken::OverCapacity, at, example);
        }
    }

    fn finish(mut self) -> Findings {
        let findings = &mut self.findings;
        for number in 0..findings.requests {
            match self.settled.get(&super::request_id(number)) {
                Some(outcome) => *findings.settled.entry(outcome.clone()).or_default() += 1,
                None => {
                    let example = || format!("request {} was never answered", super::request_id(number));
                    findings.violations.note(Broken::Unsettled, self.opened + findings.took, example);
                }
            }
        }
        let of_requests = self.jobs.iter().filter(|(request, _)| !super::is_last(request));
        let (jobs, elsewhere) = of_requests
            .fold((0, 0), |(jobs, elsewhere), (_, (_, _, others))| (jobs + 1, elsewhere + u64::from(*others)));
        (findings.jobs, findings.asked_elsewhere) = (jobs, elsewhere);
        self.counts.values().for_each(|counts| findings.counts += *counts);
        self.findings
    }
}
