//! What an instance does, step by step, to create a job and to move it on: the same code for a server and for the model of
//! one, in which `model` explores every order of these steps, of lost requests and answers, and of crashes.
//!
//! # What must hold
//! 1. A request has one job for as long as its binding is kept: the binding is written in the step that takes the slot, and
//!    only where there is none.
//! 2. A slot has one lease at a time: a lease takes the place of the slot's free member, or of a lease that has run out.
//! 3. Who has been given a job may start it at once: not more than half of its lease has passed since the request for it
//!    *was sent*, by a clock of this process alone; so it has not run out on the server, which gave it later.
//! 4. Whatever is asked twice, because the answer to the first was lost, is done once.

use super::call::{Advance, Call, Create, Creation, Finish, Moved, Refused, Retry};
use super::error::CoordinatorError;
use super::keys::{Keys, NodeText};
use super::lease::{Binding, Fingerprint, Instance, Lease};
use super::spread;
use crate::id::JobId;
use crate::job::JobState;

/// Time of this process, in ms; it never goes back.
pub(super) type Moment = u64;

/// Where calls go: a server, or the model of one.
pub(super) trait Server: Sync {
    /// Asks once.
    fn call<C: Call + Sync>(&self, call: &C) -> impl Future<Output = Result<C::Answer, CoordinatorError>> + Send;

    /// Sends a plain command once, with another that goes with it; the answer to the first, when both are there.
    fn command(
        &self,
        command: redis::Cmd,
        beside: Option<redis::Cmd>,
    ) -> impl Future<Output = Result<redis::Value, CoordinatorError>> + Send;

    /// The names of keys, and whether they are spread: then `spread` has the steps.
    fn keys(&self) -> &Keys;

    /// The time of this process.
    fn now(&self) -> Moment;

    /// Whether there is time to ask once more.
    fn may_ask_again(&self) -> bool;
}

/// How long things last, in ms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) lease: u64,
    /// A binding, from its last step on.
    pub(super) binding: u64,
    /// The binding of a job that has ended.
    pub(super) ended: u64,
}

/// A job that is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewJob<'a> {
    pub(super) request: &'a str,
    /// See [`Create`].
    pub(super) note: &'a str,
    pub(super) fingerprint: Fingerprint,
    pub(super) job: JobId,
    pub(super) instance: Instance,
    pub(super) terms: Terms,
}

/// One attempt of a job, for whoever wants it moved on.
#[derive(Debug, Clone)]
pub(super) struct JobAt {
    pub(super) request: String,
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) node: NodeText,
    /// The instance that asked for the job, and the lease, if that is known: for where keys are spread.
    pub(super) instance: Instance,
    pub(super) lease: Option<Lease>,
}

/// A lease that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) lease: Lease,
    pub(super) node: NodeText,
    /// When its present term was asked for: it runs out no earlier than a lease after that.
    pub(super) begun: Moment,
}

impl Granted {
    /// Where the job is, for whoever wants it moved on.
    pub(super) fn at(&self, request: &str) -> JobAt {
        let Lease { job, attempt, instance, .. } = self.lease;
        let (request, node) = (request.to_owned(), self.node.clone());
        JobAt { request, job, attempt, node, instance, lease: Some(self.lease) }
    }
}

/// What came of creating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The job is ours, and may be started.
    Ours(Granted),
    /// There is another's, or one of our own from before.
    Theirs(Binding),
    /// The request is bound to another demand.
    Mismatch(Binding),
    /// None of the candidates has room.
    Refused(Vec<Refused>),
    /// It was ours, and has been lost before it could be handed out.
    LeaseLost(Granted),
    /// A retry that does not follow from what the job is.
    Not(Moved),
    /// There have been as many attempts as may be.
    Limit,
}

/// Creates a job on the first of the candidates that has room.
///
/// # Errors
/// If the outcome is unknown, the job may be there: it is to be asked for again, or called off.
pub(super) async fn create<S: Server>(
    server: &S,
    new: NewJob<'_>,
    candidates: &[NodeText],
    first_asked: &mut Option<Moment>,
) -> Result<Outcome, CoordinatorError> {
    if server.keys().are_spread() {
        return spread::create(server, new, candidates, first_asked).await;
    }
    let NewJob { request, note, fingerprint, job, instance, terms } = new;
    let (lease, kept, mut doubt) = (terms.lease, terms.binding, None);
    let call = Create { request, note, fingerprint, job, instance, lease, kept, candidates };
    loop {
        let asked = server.now();
        let first = *first_asked.get_or_insert(asked);
        match server.call(&call).await {
            Ok(Creation::Created(lease, place)) => {
                let node = candidates[place.min(candidates.len() - 1)].clone();
                return start(server, request, terms, Granted { lease, node, begun: asked }).await;
            }
            // The answer to an earlier one was lost. That it was the first of them is the worst case.
            Ok(Creation::Existing(binding)) if binding.lease.job == job && !binding.state.has_ended() => {
                let granted = Granted { lease: binding.lease, node: binding.node, begun: first };
                return start(server, request, terms, granted).await;
            }
            Ok(answer) => return Ok(otherwise(answer)),
            Err(error) if error.outcome_is_unknown() && server.may_ask_again() => doubt = Some(error),
            // That nothing was done now says nothing of what was asked before.
            Err(error) => return Err(doubt.unwrap_or(error)),
        }
    }
}

/// What there is to try again, and where the job is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again<'a> {
    pub(super) at: &'a JobAt,
    pub(super) instance: Instance,
    pub(super) most_attempts: u32,
    pub(super) terms: Terms,
}

/// The attempt after this one, on the first of the candidates that has room. Not at the same time with another of the same
/// job by the same instance.
///
/// # Errors
/// As [`create`].
pub(super) async fn retry<S: Server>(
    server: &S,
    again: Again<'_>,
    candidates: &[NodeText],
    first_asked: &mut Option<Moment>,
) -> Result<Outcome, CoordinatorError> {
    if server.keys().are_spread() {
        return spread::retry(server, again, candidates, first_asked).await;
    }
    let Again { at: JobAt { request, job, attempt, node, .. }, instance, most_attempts, terms } = again;
    let (mut node, mut doubt) = (node.clone(), None);
    loop {
        let asked = server.now();
        let asked_before = first_asked.is_some();
        let first = *first_asked.get_or_insert(asked);
        let call = Retry {
            request,
            job: *job,
            attempt: *attempt,
            node: &node,
            instance,
            lease: terms.lease,
            kept: terms.binding,
            most_attempts,
            candidates,
        };
        match server.call(&call).await {
            Ok(Creation::Created(lease, place)) => {
                let node = candidates[place.min(candidates.len() - 1)].clone();
                return start(server, request, terms, Granted { lease, node, begun: asked }).await;
            }
            Ok(Creation::Behind(binding)) => {
                let Binding { lease, state, node, .. } = *binding;
                let ours = asked_before && lease.instance == instance && lease.attempt == attempt + 1;
                if ours && !state.has_ended() {
                    return start(server, request, terms, Granted { lease, node, begun: first }).await;
                }
                return Ok(Outcome::Not(Moved::Stale(lease.attempt)));
            }
            Ok(Creation::Not(Moved::Elsewhere(other))) if server.may_ask_again() => node = other,
            Ok(answer) => return Ok(otherwise(answer)),
            Err(error) if error.outcome_is_unknown() && server.may_ask_again() => doubt = Some(error),
            Err(error) => return Err(doubt.unwrap_or(error)),
        }
    }
}

pub(super) fn otherwise(answer: Creation) -> Outcome {
    match answer {
        Creation::Existing(binding) => Outcome::Theirs(binding),
        Creation::Mismatch(binding) => Outcome::Mismatch(binding),
        Creation::None(refused) => Outcome::Refused(refused),
        Creation::Not(moved) => Outcome::Not(moved),
        Creation::Behind(binding) => Outcome::Not(Moved::Stale(binding.lease.attempt)),
        Creation::Limit => Outcome::Limit,
        Creation::Created(..) => unreachable!("whoever creates sees to what was created"),
    }
}

/// Hands a lease out if it is not old; one that is begins anew first.
pub(super) async fn start<S: Server>(
    server: &S,
    request: &str,
    terms: Terms,
    mut granted: Granted,
) -> Result<Outcome, CoordinatorError> {
    while server.now().saturating_sub(granted.begun) > terms.lease / 2 {
        let at = granted.at(request);
        let asked = server.now();
        // Run out, for all that is known: a server that knows nothing of who has the slot by now would have it begin anew.
        if asked.saturating_sub(granted.begun) >= terms.lease {
            return Ok(Outcome::LeaseLost(granted));
        }
        match advance(server, &at, None, terms).await? {
            Moved::Done => granted.begun = asked,
            _ => return Ok(Outcome::LeaseLost(granted)),
        }
    }
    Ok(Outcome::Ours(granted))
}

/// Moves a job on to a state, if one is named, and has its lease begin anew.
///
/// # Errors
/// If the outcome is unknown, it may have been done; to ask again does no harm.
pub(super) async fn advance<S: Server>(
    server: &S,
    at: &JobAt,
    to: Option<JobState>,
    terms: Terms,
) -> Result<Moved, CoordinatorError> {
    take(server, at, Step::To(to), terms).await
}

/// Ends a job.
///
/// # Errors
/// As [`advance`].
pub(super) async fn finish<S: Server>(
    server: &S,
    at: &JobAt,
    end: JobState,
    terms: Terms,
) -> Result<Moved, CoordinatorError> {
    take(server, at, Step::End(end), terms).await
}

/// Ends a job that nobody was handed, unless somebody has moved it on by then: [`Moved::Invalid`]. The request stays bound to
/// it, for another may have been told of it, and would have a second job else; it has failed, so that it may be tried again.
///
/// # Errors
/// As [`advance`].
pub(super) async fn undo<S: Server>(server: &S, at: &JobAt, terms: Terms) -> Result<Moved, CoordinatorError> {
    take(server, at, Step::Undo, terms).await
}

/// A step of a job that is there.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// To this state, or to none; the lease begins anew.
    To(Option<JobState>),
    /// It ends so.
    End(JobState),
    /// It has failed, if it is only reserved.
    Undo,
}

/// Takes a step until its outcome is known, following the job to where it is.
async fn take<S: Server>(server: &S, at: &JobAt, step: Step, terms: Terms) -> Result<Moved, CoordinatorError> {
    if server.keys().are_spread() {
        return spread::step(server, at, step, terms).await;
    }
    let JobAt { request, job, attempt, .. } = at;
    let (job, attempt, lease, kept) = (*job, *attempt, terms.lease, terms.ended);
    let (mut node, mut doubt) = (at.node.clone(), None);
    loop {
        let answer = match step {
            Step::To(to) => server.call(&Advance { request, job, attempt, node: &node, to, lease, kept }).await,
            Step::End(end) => server.call(&Finish { request, job, attempt, node: &node, end, only: None, kept }).await,
            Step::Undo => {
                let (end, only) = (JobState::Failed, Some(JobState::Reserved));
                server.call(&Finish { request, job, attempt, node: &node, end, only, kept }).await
            }
        };
        match (answer, step) {
            (Ok(Moved::Elsewhere(other)), _) if server.may_ask_again() => node = other,
            // We have taken it before: the answer was lost.
            (Ok(Moved::Invalid(state)), Step::To(to)) if doubt.is_some() && to == Some(state) => {
                return Ok(Moved::Done);
            }
            (Ok(Moved::Ended(state)), Step::End(end)) if doubt.is_some() && end == state => return Ok(Moved::Done),
            (Ok(answer), _) => return Ok(answer),
            (Err(error), _) if error.outcome_is_unknown() && server.may_ask_again() => doubt = Some(error),
            (Err(error), _) => return Err(doubt.unwrap_or(error)),
        }
    }
}
