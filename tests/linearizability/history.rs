//! What threads did, and when, as steps of the specification.

use std::collections::BTreeMap;

use slotyard::{Event, JobError, JobId, JobState};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};

use crate::specification::{Life, Op, Slot, Slots};

/// A call that has returned, and the ticks of a common clock before and after it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) did: Did,
}

#[derive(Debug, Clone)]
pub(crate) enum Did {
    Register {
        node: u8,
        capacity: u32,
        incarnation: u64,
    },
    AlreadyThere(Life),
    Deregister(Life),
    Drain(Life, bool),
    Capacity(Life, u32),
    Stale(Life),
    Select(Life),
    Reserve(u64, Life),
    GiveBack(u64),
    /// A select or reserve for which nobody was found.
    Refused,
    Create {
        request: u8,
        job: JobId,
        attempt: u32,
        life: Life,
    },
    CreateRefused(u8),
    End(JobId, u32, JobState),
    Renew(JobId, u32),
    Move(JobId, u32, JobState),
    /// Looked up.
    Shown(JobId, u32, Life, JobState),
    /// Looked up by its request.
    Named(u8, Option<JobId>),
    Denied(JobError),
    /// To this attempt.
    Retry(JobId, u32, Life),
    RetryDenied(JobError),
    RetryRefused,
    /// What it expired.
    Tick(Vec<(JobId, u32)>),
}

impl Call {
    fn overlaps(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// The attempt that it gave, if it gave one.
    fn attempt(&self) -> Option<(JobId, u32, Life)> {
        match self.did {
            Did::Create { job, attempt, life, .. } | Did::Retry(job, attempt, life) => Some((job, attempt, life)),
            _ => None,
        }
    }
}

/// A step, and the time in which it was done.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) op: Op,
}

/// How many slots calls may have held for a moment, while this one was refused, and given back.
fn spare(refused: &Call, calls: &[Call]) -> u32 {
    let mut creates: BTreeMap<JobId, (u32, u32)> = BTreeMap::new();
    let mut late = 0;
    for call in calls {
        let meanwhile = u32::from(call.overlaps(refused));
        match call.did {
            Did::Create { job, .. } => {
                let (meanwhile_too, all) = creates.entry(job).or_default();
                *meanwhile_too += meanwhile;
                // One that began when another had returned has found the job at once.
                let raced = |other: &Call| matches!(other.did, Did::Create { job: same, .. } if same == job && other.to < call.from);
                *all += u32::from(!calls.iter().any(raced));
            }
            Did::RetryDenied(_) => late += meanwhile,
            _ => {}
        }
    }
    // Of those that raced to create a job one did, and kept its slot.
    creates.values().map(|(meanwhile, all)| (*meanwhile).min(all.saturating_sub(1))).sum::<u32>() + late
}

/// The slots that were taken for jobs, each by one of the calls that asked for the job and before any of them had it.
fn first_slots(calls: &[Call]) -> Vec<Step> {
    let mut first: BTreeMap<JobId, (u64, u64, Option<Life>)> = BTreeMap::new();
    for call in calls {
        let Did::Create { job, attempt, life, .. } = call.did else { continue };
        let (from, to, of) = first.entry(job).or_insert((u64::MAX, u64::MAX, None));
        *to = call.to.min(*to);
        if attempt == 1 {
            (*from, *of) = (call.from.min(*from), Some(life));
        }
    }
    let take = |(job, (from, to, life))| Some(Step { from, to, op: Op::Take(Slot::Attempt(job, 1), life?) });
    first.into_iter().filter_map(take).collect()
}

/// The steps of all calls. `events`: of jobs orphaned.
pub(crate) fn steps(calls: &[Call], events: &[Event]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut gone: BTreeMap<Life, (u64, u64)> = BTreeMap::new();
    let deregistered = |life: Life| calls.iter().any(|call| matches!(call.did, Did::Deregister(left) if left == life));
    let ended: Vec<(JobId, u32)> = calls
        .iter()
        .flat_map(|call| match &call.did {
            Did::End(job, attempt, _) => vec![(*job, *attempt)],
            Did::Tick(expired) => expired.clone(),
            _ => Vec::new(),
        })
        .chain(events.iter().filter_map(|event| match event {
            Event::JobOrphaned { job, attempt, .. } => Some((*job, *attempt)),
            _ => None,
        }))
        .collect();
    for call in calls {
        let mut add = |op| steps.push(Step { from: call.from, to: call.to, op });
        match &call.did {
            Did::Register { node, capacity, incarnation } => {
                let lives = calls.iter().filter_map(|other| match other.did {
                    Did::Register { node: same, incarnation, .. } if same == *node => Some(incarnation),
                    _ => None,
                });
                // The one before it that nobody took away was replaced.
                let before = lives.filter(|other| other < incarnation).max().map(|before| (*node, before));
                if let Some(before) = before.filter(|before| !deregistered(*before)) {
                    gone.insert(before, (call.from, call.to));
                    add(Op::Gone(before));
                }
                add(Op::Come { life: (*node, *incarnation), capacity: *capacity });
            }
            Did::AlreadyThere(life) => add(Op::AlreadyThere(*life)),
            Did::Deregister(life) => {
                gone.insert(*life, (call.from, call.to));
                add(Op::Gone(*life));
            }
            Did::Drain(life, draining) => add(Op::Drain(*life, *draining)),
            Did::Capacity(life, capacity) => add(Op::Capacity(*life, *capacity)),
            Did::Stale(life) => add(Op::Stale(*life)),
            Did::Select(life) => add(Op::Selected(*life)),
            Did::Reserve(number, life) => add(Op::Take(Slot::Reservation(*number), *life)),
            Did::GiveBack(number) => add(Op::Give(Slot::Reservation(*number))),
            Did::Refused | Did::RetryRefused => add(Op::Refused { spare: spare(call, calls) }),
            Did::Create { request, job, attempt, life } => {
                add(Op::Create { request: *request, job: *job, attempt: *attempt, life: *life });
            }
            Did::CreateRefused(request) => {
                let same = |other: &&Call| matches!(other.did, Did::Create { request: same, .. } if same == *request);
                let excused = calls.iter().filter(same).any(|other| other.overlaps(call));
                add(Op::CreateRefused { request: *request, spare: spare(call, calls), excused });
            }
            Did::End(job, attempt, state) => {
                add(Op::End { job: *job, attempt: *attempt, state: *state });
                add(Op::Give(Slot::Attempt(*job, *attempt)));
            }
            Did::Renew(job, attempt) => add(Op::Renew { job: *job, attempt: *attempt }),
            Did::Move(job, attempt, state) => add(Op::Move { job: *job, attempt: *attempt, state: *state }),
            Did::Shown(job, attempt, life, state) => {
                add(Op::Shown { job: *job, attempt: *attempt, life: *life, state: *state });
            }
            Did::Named(request, job) => add(job.map_or(Op::Unnamed(*request), |job| Op::Named(*request, job))),
            Did::Denied(error) | Did::RetryDenied(error) => add(match *error {
                JobError::StaleAttempt { job, attempt, current } => Op::StaleAttempt { job, attempt, current },
                JobError::AlreadyEnded { job, attempt, state } => Op::AlreadyEnded { job, attempt, state },
                JobError::InvalidTransition { job, attempt, state, wanted } => {
                    Op::NoMove { job, attempt, state, wanted }
                }
                ref other => panic!("{other}: no call was to give that"),
            }),
            Did::Retry(job, attempt, life) => {
                add(Op::Take(Slot::Attempt(*job, *attempt), *life));
                add(Op::Rebind { job: *job, attempt: *attempt });
                let before = attempt - 1;
                if !ended.contains(&(*job, before)) {
                    add(Op::Give(Slot::Attempt(*job, before)));
                }
            }
            Did::Tick(expired) => expired.iter().for_each(|(job, attempt)| {
                add(Op::End { job: *job, attempt: *attempt, state: JobState::Expired });
                add(Op::Give(Slot::Attempt(*job, *attempt)));
            }),
        }
    }
    steps.extend(first_slots(calls));
    for event in events {
        let Event::JobOrphaned { job, attempt, .. } = event else { continue };
        let given = |call: &&Call| call.attempt().is_some_and(|(id, number, _)| (id, number) == (*job, *attempt));
        let (_, _, life) = calls.iter().find(given).and_then(Call::attempt).expect("somebody was given it");
        let (from, to) = gone[&life];
        // By who took the node away; or by who began the attempt meanwhile, and found the node gone.
        let to = calls.iter().filter(given).filter(|call| call.from < to).map(|call| call.to).fold(to, u64::max);
        let mut add = |op| steps.push(Step { from, to, op });
        add(Op::End { job: *job, attempt: *attempt, state: JobState::Orphaned });
        add(Op::Give(Slot::Attempt(*job, *attempt)));
    }
    steps
}

/// Whether some order of the steps, each at an instant of its time, explains all that was given.
pub(crate) fn is_linearizable(steps: &[Step]) -> bool {
    let mut actions: Vec<(u64, u8, usize, Action<Op>)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        // At one time, calls come first: steps of one call are at the same time.
        actions.push((step.from, 0, number, Action::Call(step.op.clone())));
        actions.push((step.to, 1, number, Action::Response(step.op.clone())));
    }
    actions.sort_by_key(|(at, kind, number, _)| (*at, *kind, *number));
    let actions: Vec<_> = actions.into_iter().map(|(.., number, action)| (number, action)).collect();
    actions.is_empty() || WGLChecker::<Slots>::is_linearizable(History::from_actions(actions))
}
