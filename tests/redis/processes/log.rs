//! What the log of several processes must not say. It is held against what a node does by the fence rule: it keeps the
//! largest fence of each slot that it has been told of, refuses jobs with smaller ones, and runs the others.
//!
//! Lines are `<process> <what> ...`, one after the other as they were written:
//!
//! | what | of | |
//! |---|---|---|
//! | `is` | an instance | what the ids of the process's jobs begin with |
//! | `given` | a job | the process holds its lease: it has created this attempt, and sends it to the node now |
//! | `shown` | a job | another has created it |
//! | `ends` | a job | the process is about to end it |
//! | `ended` | a job | and that was done by this: it is completed |
//! | `failed` | a job | as `ended`; but it may be tried again |
//! | `unknown` | a request | it was not learned what has come of it; if a job, it is called off |
//! | `away` | | from now on the process may be stopped or dead, for longer than its leases last |
//! | `back` | | it is about to go on after that |
//! | `late` | | as `back`; and what it was about to end the server has not been asked to yet |
//! | `lost` | job, attempt | the lease of this attempt has run out, and it was not handed out yet |
//!
//! A lease that has run out is gone when another has its slot; until then the job may be ended yet.
//!
//! A job is `<request> <job> <attempt> <node> <slot> <fence>`. A job has its slot for longer than from `given` to `ends`; so
//! where a larger fence of the slot comes in between, two had it at once, unless the first one's process was away.

use std::collections::{HashMap, HashSet};

/// One attempt of a job.
type Attempt<'a> = (&'a str, &'a str);

fn number(attempt: Attempt<'_>) -> u32 {
    attempt.1.parse().unwrap_or_default()
}

/// What a log says that is as it must be.
#[derive(Debug, Default)]
pub(super) struct Check<'a> {
    /// By request.
    pub(super) jobs: HashMap<&'a str, &'a str>,
    pub(super) given: usize,
    /// Jobs that a node refused because of their fence.
    pub(super) refused: usize,
    /// Slots that another had, who was away.
    pub(super) taken_over: usize,
    /// Ends of jobs that came too late, and were refused.
    pub(super) ended_in_vain: usize,
    /// Jobs that were completed, with which attempt.
    pub(super) completed: HashMap<&'a str, u32>,
    /// The latest attempt of each job.
    attempts: HashMap<&'a str, u32>,
    ended: HashSet<Attempt<'a>>,
    slots: HashMap<(&'a str, &'a str), Slot<'a>>,
    /// Attempts whose slot has another lease since.
    gone: HashSet<Attempt<'a>>,
    /// Attempts that must not be handed out.
    lost: HashSet<Attempt<'a>>,
    /// Attempts that a process is about to end whose lease is gone.
    doomed: HashSet<(&'a str, Attempt<'a>)>,
    /// What a process is about to end.
    ending: HashMap<&'a str, Attempt<'a>>,
    away: HashSet<&'a str>,
    /// Processes that may have got a job before they were away of which they have not spoken yet.
    just_back: HashSet<&'a str>,
    unknown: HashSet<&'a str>,
}

/// What a node knows of a slot.
#[derive(Debug)]
struct Slot<'a> {
    fence: &'a str,
    attempt: Attempt<'a>,
    request: &'a str,
    /// Who holds the lease, if that is known.
    holder: Option<&'a str>,
    runs: bool,
    /// It may have lost its slot without knowing.
    excused: bool,
}

impl<'a> Check<'a> {
    /// Reads a log.
    ///
    /// # Errors
    /// The first line that must not be, and why.
    pub(super) fn of(log: &'a str) -> Result<Self, String> {
        let mut check = Self::default();
        for (number, line) in log.lines().enumerate() {
            check.line(line).map_err(|why| format!("{why}: line {}: {line}", number + 1))?;
        }
        Ok(check)
    }

    fn line(&mut self, line: &'a str) -> Result<(), String> {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            [process, "away"] => {
                self.away.insert(process);
                self.slots_of(process).for_each(|slot| slot.excused = true);
            }
            [process, what @ ("back" | "late")] => {
                self.away.remove(process);
                self.just_back.insert(process);
                let late = self.ending.get(process).filter(|ending| what == "late" && self.gone.contains(*ending));
                self.doomed.extend(late.map(|ending| (process, *ending)));
            }
            [_, "lost", job, attempt] => drop(self.lost.insert((job, attempt))),
            [_, "is", _] => {}
            [_, "unknown", request] => drop(self.unknown.insert(request)),
            [process, what, request, job, attempt, node, slot, fence] => {
                if *self.jobs.entry(request).or_insert(job) != job {
                    return Err(format!("request {request} has two jobs"));
                }
                self.job(process, what, request, (job, attempt), (node, slot), fence)?;
            }
            _ => return Err("not a line of the log".to_owned()),
        }
        Ok(())
    }

    fn slots_of(&mut self, process: &'a str) -> impl Iterator<Item = &mut Slot<'a>> {
        self.slots.values_mut().filter(move |slot| slot.holder == Some(process))
    }

    fn job(
        &mut self,
        process: &'a str,
        what: &str,
        request: &'a str,
        attempt: Attempt<'a>,
        at: (&'a str, &'a str),
        fence: &'a str,
    ) -> Result<(), String> {
        match what {
            "given" => {
                self.given += 1;
                if self.lost.contains(&attempt) {
                    return Err("it was handed out without a lease".to_owned());
                }
                let is_earlier = |slot: &Slot<'_>| slot.attempt.0 == attempt.0 && slot.attempt != attempt;
                if self.slots.values().any(|slot| is_earlier(slot) && slot.runs && !slot.excused) {
                    return Err("an earlier attempt runs yet".to_owned());
                }
                let excused = self.away.contains(process) | self.just_back.remove(process);
                self.sent(request, attempt, at, fence, Some((process, excused)))?;
            }
            "shown" => self.sent(request, attempt, at, fence, None)?,
            "ends" => {
                self.ending.insert(process, attempt);
                if self.gone.contains(&attempt) {
                    self.ended_in_vain += 1;
                    self.doomed.insert((process, attempt));
                }
                if let Some(slot) = self.slots.get_mut(&at).filter(|slot| slot.attempt == attempt) {
                    slot.runs = false;
                }
            }
            "ended" | "failed" => {
                self.ending.remove(process);
                if self.doomed.contains(&(process, attempt)) {
                    return Err("what had lost its lease was ended".to_owned());
                }
                if !self.ended.insert(attempt) {
                    return Err("it was ended twice".to_owned());
                }
                if what == "ended" {
                    self.completed.insert(attempt.0, number(attempt));
                }
            }
            _ => return Err("not a line of the log".to_owned()),
        }
        let latest = self.attempts.entry(attempt.0).or_default();
        *latest = number(attempt).max(*latest);
        if self.completed.get(attempt.0).is_some_and(|completed| completed < latest) {
            return Err("what was completed was tried again".to_owned());
        }
        Ok(())
    }

    /// A node is told of a job; or that there is one is known from another.
    fn sent(
        &mut self,
        request: &'a str,
        attempt: Attempt<'a>,
        at: (&'a str, &'a str),
        fence: &'a str,
        by: Option<(&'a str, bool)>,
    ) -> Result<(), String> {
        let (holder, excused) = (by.map(|(holder, _)| holder), by.is_none_or(|(_, excused)| excused));
        let new = Slot { fence, attempt, request, holder, runs: true, excused };
        let Some(slot) = self.slots.get_mut(&at) else {
            self.slots.insert(at, new);
            return Ok(());
        };
        if fence == slot.fence {
            if slot.attempt != attempt {
                return Err(format!("two have one fence, {attempt:?} and {:?}", slot.attempt));
            } else if let (Some(one), Some((other, excused))) = (slot.holder, by) {
                slot.excused |= excused;
                if one != other {
                    return Err(format!("process {one} was given it, too"));
                }
            } else if by.is_some() {
                (slot.holder, slot.excused) = (holder, excused);
            }
            return Ok(());
        }
        if fence < slot.fence {
            self.gone.insert(attempt);
            self.refused += usize::from(by.is_some());
            return Ok(());
        }
        if slot.runs {
            if !slot.excused && !self.unknown.contains(slot.request) {
                return Err(format!("the slot is held twice, also by {:?} for {:?}", slot.holder, slot.attempt));
            }
            self.taken_over += 1;
        }
        self.gone.insert(slot.attempt);
        *slot = new;
        Ok(())
    }
}

#[test]
fn what_must_not_be_is_found() {
    let find = |lines: &[&str]| {
        Check::of(&lines.join("\n")).map(drop).map_err(|why| why.split(':').next().unwrap().to_owned())
    };
    let (one, two) = ("r1 job1 1 node 0 0a", "r2 job2 1 node 0 0b");
    let say = |process: u32, what: &str, of: &str| format!("{process} {what} {of}").trim_end().to_owned();
    let [given, next] = [say(1, "given", one), say(2, "given", two)];
    let [ends, ended] = ["ends", "ended"].map(|what| say(1, what, one));
    assert_eq!(find(&[&given, &ends, &next, &ended]), Ok(()));
    assert_eq!(find(&[&given, &say(3, "ends", one), &next]), Ok(()));
    assert_eq!(
        find(&[&given, &next]).unwrap_err(),
        "the slot is held twice, also by Some(\"1\") for (\"job1\", \"1\")"
    );
    assert_eq!(find(&[&given, &ends, &ended, &ended]).unwrap_err(), "it was ended twice");
    assert_eq!(find(&[&given, "2 shown r1 job2 1 node 1 0a"]).unwrap_err(), "request r1 has two jobs");
    assert!(find(&[&given, "2 given r2 job2 1 node 0 0a"]).unwrap_err().starts_with("two have one fence"));
    let again = "4 given r1 job1 2 node 1 0a";
    assert_eq!(find(&[&given, &ends, &ended, again]).unwrap_err(), "what was completed was tried again");
    assert_eq!(find(&[&given, &ends, &say(1, "failed", one), again]), Ok(()));
    assert_eq!(find(&[&given, again]).unwrap_err(), "an earlier attempt runs yet");
    assert_eq!(find(&[&given, "1 away", again]), Ok(()));
    // Who was away may have lost its slot, and cannot end what it had; only what was given before.
    assert_eq!(find(&[&given, "1 away", &next, "1 back", &ends]), Ok(()));
    assert_eq!(find(&[&given, "1 away", "1 back", &ends, &next]), Ok(()));
    assert_eq!(find(&["1 away", "1 back", &given, &next]), Ok(()));
    let late = say(1, "given", "r3 job3 1 node 1 0a");
    assert!(find(&["1 away", "1 back", &late, &given, &next]).unwrap_err().starts_with("the slot is held twice"));
    let too_late = "what had lost its lease was ended";
    assert_eq!(find(&[&given, "1 away", "1 back", &ends, &ended]), Ok(()));
    assert_eq!(find(&[&given, "1 away", &next, &ends, &ended]).unwrap_err(), too_late);
    assert_eq!(find(&["1 away", &next, &given, &ends, &ended]).unwrap_err(), too_late);
    assert_eq!(find(&[&given, &ends, "1 away", &next, "1 back", &ended]), Ok(()));
    assert_eq!(find(&[&given, &ends, "1 away", "1 late", &ended]), Ok(()));
    assert_eq!(find(&[&given, &ends, "1 away", &next, "1 late", &ended]).unwrap_err(), too_late);
    assert_eq!(find(&["1 away", "1 lost job1 1", "1 back", &given]).unwrap_err(), "it was handed out without a lease");
}
