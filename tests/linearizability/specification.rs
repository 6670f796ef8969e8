//! What one scheduler does in one order: slots of a few nodes, jobs under request ids. Only what can be told from what calls
//! gave.
//!
//! A call is one step, or a few steps, each of which happens at an instant between the call and its return:
//! - a create takes a slot, then binds its request;
//! - a completion ends the attempt, then gives its slot back, which is so when it returns;
//! - a retry takes the new slot, then becomes the job's attempt, then gives the old slot back;
//! - a deregistration takes the node away, then orphans its jobs one by one; a tick expires jobs one by one.
//!
//! What is not one step in the scheduler either, and documented: two creates of one request may each hold a slot for a
//! moment, and one of them gives its own back; so does a retry that comes too late. How many such slots may have been held
//! during a refused call is counted (`spare`), and so many free slots it may have missed. And a create may be refused while
//! another one of the same request has just taken the last slot (`excused`).

use std::collections::BTreeMap;

use slotyard::{JobId, JobState};
use todc_utils::specifications::Specification;

/// A node, and its incarnation.
pub(crate) type Life = (u8, u64);

/// What holds a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    Attempt(JobId, u32),
    Reservation(u64),
}

/// A step, with what was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Come {
        life: Life,
        capacity: u32,
    },
    /// Refused, because this one is there.
    AlreadyThere(Life),
    Gone(Life),
    /// Refused, because this one is not there any more.
    Stale(Life),
    Drain(Life, bool),
    Capacity(Life, u32),
    Selected(Life),
    /// Nobody was found.
    Refused {
        spare: u32,
    },
    Take(Slot, Life),
    Give(Slot),
    /// Found, or made: then with the slot of its first attempt, if that was not taken in a step before.
    Create {
        request: u8,
        job: JobId,
        attempt: u32,
        life: Life,
    },
    CreateRefused {
        request: u8,
        spare: u32,
        excused: bool,
    },
    /// The attempt, which has its slot, takes the place of the one before.
    Rebind {
        job: JobId,
        attempt: u32,
    },
    End {
        job: JobId,
        attempt: u32,
        state: JobState,
    },
    Renew {
        job: JobId,
        attempt: u32,
    },
    /// Dispatched, or running.
    Move {
        job: JobId,
        attempt: u32,
        state: JobState,
    },
    /// Refused, because it is in this state.
    NoMove {
        job: JobId,
        attempt: u32,
        state: JobState,
        wanted: JobState,
    },
    /// What a look-up of the job shows.
    Shown {
        job: JobId,
        attempt: u32,
        life: Life,
        state: JobState,
    },
    /// The request id has a job, this one.
    Named(u8, JobId),
    /// The request id has none.
    Unnamed(u8),
    /// Refused, because this is the job's attempt now.
    StaleAttempt {
        job: JobId,
        attempt: u32,
        current: u32,
    },
    /// Refused, because it has ended so.
    AlreadyEnded {
        job: JobId,
        attempt: u32,
        state: JobState,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    incarnation: u64,
    capacity: u32,
    draining: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    attempt: u32,
    life: Life,
    state: JobState,
}

impl Job {
    fn is_active(&self, attempt: u32) -> bool {
        self.attempt == attempt && !self.state.has_ended()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    nodes: BTreeMap<u8, Node>,
    held: BTreeMap<Slot, Life>,
    jobs: BTreeMap<JobId, Job>,
    requests: BTreeMap<u8, JobId>,
}

impl State {
    fn is_there(&self, life: Life) -> bool {
        self.nodes.get(&life.0).is_some_and(|node| node.incarnation == life.1)
    }

    fn free_slots(&self, id: u8) -> u32 {
        let Some(node) = self.nodes.get(&id).filter(|node| !node.draining) else { return 0 };
        let held = self.held.values().filter(|life| **life == (id, node.incarnation)).count();
        node.capacity.saturating_sub(held as u32)
    }

    fn is_free(&self, life: Life) -> bool {
        self.is_there(life) && self.free_slots(life.0) > 0
    }

    fn all_free(&self) -> u32 {
        self.nodes.keys().map(|id| self.free_slots(*id)).sum()
    }

    /// Does the step, if it can be done and give this.
    fn step(&mut self, op: &Op) -> Option<()> {
        let ensure = |holds: bool| holds.then_some(());
        match *op {
            Op::Come { life: (id, incarnation), capacity } => {
                ensure(!self.nodes.contains_key(&id))?;
                self.nodes.insert(id, Node { incarnation, capacity, draining: false });
            }
            Op::AlreadyThere(life) => ensure(self.is_there(life))?,
            Op::Gone(life) => {
                ensure(self.is_there(life))?;
                self.nodes.remove(&life.0);
            }
            Op::Stale(life) => ensure(!self.is_there(life))?,
            Op::Drain(life, draining) => {
                ensure(self.is_there(life))?;
                self.nodes.get_mut(&life.0)?.draining = draining;
            }
            Op::Capacity(life, capacity) => {
                ensure(self.is_there(life))?;
                self.nodes.get_mut(&life.0)?.capacity = capacity;
            }
            Op::Selected(life) => ensure(self.is_free(life))?,
            Op::Refused { spare } => ensure(self.all_free() <= spare)?,
            Op::Take(slot, life) => {
                // Of a first attempt before there is the job.
                let is_late = matches!(slot, Slot::Attempt(job, 1) if self.jobs.contains_key(&job));
                ensure(self.is_free(life) && !self.held.contains_key(&slot) && !is_late)?;
                self.held.insert(slot, life);
            }
            Op::Give(slot) => {
                if let Slot::Attempt(job, attempt) = slot {
                    let job = self.jobs.get(&job)?;
                    ensure(job.attempt > attempt || job.state.has_ended())?;
                }
                self.held.remove(&slot)?;
            }
            Op::Create { request, job, attempt, life } => match self.requests.get(&request) {
                Some(known) => {
                    let found = &self.jobs[known];
                    ensure(*known == job && found.attempt == attempt && found.life == life)?;
                }
                None => {
                    ensure(attempt == 1 && !self.jobs.contains_key(&job))?;
                    let slot = Slot::Attempt(job, 1);
                    let taken = self.held.get(&slot).copied();
                    ensure(taken.map_or_else(|| self.is_free(life), |taken| taken == life))?;
                    self.requests.insert(request, job);
                    self.held.insert(slot, life);
                    self.jobs.insert(job, Job { attempt, life, state: JobState::Reserved });
                }
            },
            Op::CreateRefused { request, spare, excused } => {
                ensure(self.all_free() <= spare && (excused || !self.requests.contains_key(&request)))?;
            }
            Op::Rebind { job, attempt } => {
                let life = *self.held.get(&Slot::Attempt(job, attempt))?;
                let known = self.jobs.get_mut(&job)?;
                let may = !matches!(known.state, JobState::Completed | JobState::Cancelled);
                ensure(known.attempt + 1 == attempt && may)?;
                *known = Job { attempt, life, state: JobState::Reserved };
            }
            Op::End { job, attempt, state } => {
                let life = self.jobs.get(&job)?.life;
                // Orphaned is only who has lost his node.
                ensure(state != JobState::Orphaned || !self.is_there(life))?;
                let known = self.jobs.get_mut(&job)?;
                ensure(known.is_active(attempt))?;
                known.state = state;
            }
            Op::Renew { job, attempt } => ensure(self.jobs.get(&job)?.is_active(attempt))?,
            Op::Move { job, attempt, state } => {
                let known = self.jobs.get_mut(&job)?;
                ensure(known.is_active(attempt) && known.state < state)?;
                known.state = state;
            }
            Op::NoMove { job, attempt, state, wanted } => {
                let known = self.jobs.get(&job)?;
                ensure(known.is_active(attempt) && known.state == state && state >= wanted)?;
            }
            Op::Shown { job, attempt, life, state } => {
                ensure(*self.jobs.get(&job)? == Job { attempt, life, state })?;
            }
            Op::Named(request, job) => ensure(self.requests.get(&request) == Some(&job))?,
            Op::Unnamed(request) => ensure(!self.requests.contains_key(&request))?,
            Op::StaleAttempt { job, attempt, current } => {
                ensure(attempt != current && self.jobs.get(&job)?.attempt == current)?;
            }
            Op::AlreadyEnded { job, attempt, state } => {
                let known = self.jobs.get(&job)?;
                ensure(known.attempt == attempt && known.state == state && state.has_ended())?;
            }
        }
        Some(())
    }
}

/// See the module's documentation.
pub(crate) struct Slots;

impl Specification for Slots {
    type State = State;
    type Operation = Op;

    fn init() -> State {
        State::default()
    }

    fn apply(op: &Op, state: &State) -> (bool, State) {
        let mut next = state.clone();
        match next.step(op) {
            Some(()) => (true, next),
            None => (false, state.clone()),
        }
    }
}
