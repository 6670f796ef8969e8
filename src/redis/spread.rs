//! The steps of `protocol` where a request and its node are on different servers of a cluster, so that no script reaches both.
//!
//! A create takes a slot first and then binds the request, by a `SET` that does nothing if there is a binding; whoever comes
//! second gives the slot back. An end is written to the request first, which decides, and then the slot is given back. A
//! lease that is left behind in between by a crash is nobody's: it runs out. So what holds is what holds with one server:
//! 1. The binding is written only where there is none, and names a lease that was taken before.
//! 2. A slot is taken by the same steps, on one server.
//! 3. How old a lease is counts from when the slot was asked for.
//! 4. What is asked for once more finds what was done: the lease by whose it is, the binding by its lease.
//!
//! Other than with one server, a job whose lease has run out unnoticed may be completed yet; and who renews a lease has to look
//! now and then whether its job goes on.

use redis::Value;

use super::call::{Creation, Moved, Refused, Renew, note};
use super::error::CoordinatorError;
use super::lease::{Binding, Lease, Malformed};
use super::protocol::{Again, Granted, JobAt, Moment, NewJob, Outcome, Server, Step, Terms, otherwise, start};
use super::spread_call::{Give, Holder, Move, Rebind, Rebound, Take};
use crate::job::JobState;

/// As [`super::protocol::create`].
pub(super) async fn create<S: Server>(
    server: &S,
    new: NewJob<'_>,
    candidates: &[super::keys::NodeText],
    first_asked: &mut Option<Moment>,
) -> Result<Outcome, CoordinatorError> {
    let NewJob { request, fingerprint, job, instance, terms, .. } = new;
    let holder = Holder { job, attempt: 1, instance };
    let granted = match take(server, holder, candidates, terms, first_asked).await? {
        Ok(granted) => granted,
        Err(refused) => {
            // It may have its job all the same.
            let mut get = redis::cmd("GET");
            get.arg(server.keys().request(request));
            let there = binding(again(server, || server.command(get.clone(), None)).await?)?;
            return Ok(there.map_or(Outcome::Refused(refused), |there| bound(new, there)));
        }
    };
    let (lease, node, earlier) = (granted.lease, granted.node.clone(), Vec::new());
    let wanted = Binding { fingerprint, state: JobState::Reserved, lease, node, earlier };
    let mut set = redis::cmd("SET");
    set.arg(server.keys().request(request)).arg(wanted.to_string());
    set.arg("NX").arg("GET").arg("PX").arg(terms.binding);
    let noted = note(server.keys(), job, request, new.note, terms.binding);
    let there = again(server, || server.command(set.clone(), Some(noted.clone()))).await;
    let there = match there.and_then(binding) {
        Ok(there) => there,
        Err(error) => {
            if !error.outcome_is_unknown() {
                give(server, &granted).await;
            }
            return Err(error);
        }
    };
    match there {
        None => start(server, request, terms, granted).await,
        // The answer to an earlier one was lost.
        Some(there) if there.lease.job == job && !there.state.has_ended() => {
            if there.lease != lease {
                give(server, &granted).await;
            }
            let begun = first_asked.unwrap_or(granted.begun);
            start(server, request, terms, Granted { lease: there.lease, node: there.node, begun }).await
        }
        Some(there) => {
            give(server, &granted).await;
            Ok(bound(new, there))
        }
    }
}

/// What a request is bound to that was to be bound to another job.
fn bound(new: NewJob<'_>, there: Binding) -> Outcome {
    if there.fingerprint == new.fingerprint { Outcome::Theirs(there) } else { Outcome::Mismatch(there) }
}

fn binding(answer: Value) -> Result<Option<Binding>, CoordinatorError> {
    let malformed = |Malformed(detail)| CoordinatorError::Malformed { detail };
    let text: Option<String> = redis::from_redis_value(answer)
        .map_err(|error: redis::ParsingError| CoordinatorError::Malformed { detail: error.to_string() })?;
    text.map(|text| text.parse().map_err(malformed)).transpose()
}

/// Asks until the answer is known.
async fn again<S: Server, T, F>(server: &S, ask: impl Fn() -> F) -> Result<T, CoordinatorError>
where
    F: Future<Output = Result<T, CoordinatorError>> + Send,
{
    let mut doubt = None;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.outcome_is_unknown() && server.may_ask_again() => doubt = Some(error),
            Err(error) => return Err(doubt.unwrap_or(error)),
        }
    }
}

/// Takes a slot of the first of the candidates that has room.
async fn take<S: Server>(
    server: &S,
    holder: Holder,
    candidates: &[super::keys::NodeText],
    terms: Terms,
    first_asked: &mut Option<Moment>,
) -> Result<Result<Granted, Vec<Refused>>, CoordinatorError> {
    let (mut again, mut doubt) = (first_asked.is_some(), None);
    let mut refused = Vec::new();
    'candidates: for node in candidates {
        loop {
            let asked = server.now();
            let first = *first_asked.get_or_insert(asked);
            match server.call(&Take { node, holder, lease: terms.lease, again }).await {
                Ok(Ok(lease)) => {
                    // It may be from an earlier one; that it was the first of them is the worst case.
                    let begun = if again { first } else { asked };
                    return Ok(Ok(Granted { lease, node: node.clone(), begun }));
                }
                Ok(Err(why)) => {
                    refused.push(why);
                    continue 'candidates;
                }
                Err(error) if error.outcome_is_unknown() && server.may_ask_again() => {
                    (again, doubt) = (true, Some(error));
                }
                Err(error) => return Err(doubt.unwrap_or(error)),
            }
        }
    }
    Ok(Err(refused))
}

/// Gives a slot back of which nothing has come. If that does not get through, its lease runs out.
async fn give<S: Server>(server: &S, Granted { lease, node, .. }: &Granted) {
    let _ = server.call(&Give { node, lease: Ok(*lease) }).await;
}

/// As [`super::protocol::retry`].
pub(super) async fn retry<S: Server>(
    server: &S,
    again_at: Again<'_>,
    candidates: &[super::keys::NodeText],
    first_asked: &mut Option<Moment>,
) -> Result<Outcome, CoordinatorError> {
    let Again { at: JobAt { request, job, attempt, .. }, instance, most_attempts, terms } = again_at;
    let (job, attempt, kept) = (*job, *attempt, terms.binding);
    let asked_before = first_asked.is_some();
    let holder = Holder { job, attempt: attempt + 1, instance };
    let taken = take(server, holder, candidates, terms, first_asked).await?;
    let next = taken.as_ref().ok().map(|granted| (granted.lease, &granted.node));
    let call = Rebind { request, job, attempt, most_attempts, kept, next };
    let mut doubt = None;
    let rebound = loop {
        match server.call(&call).await {
            Err(error) if error.outcome_is_unknown() && server.may_ask_again() => doubt = Some(error),
            Err(error) => break Err(doubt.take().unwrap_or(error)),
            rebound => break rebound,
        }
    };
    let lost_before = asked_before || doubt.is_some();
    match (rebound, taken) {
        (Ok(Rebound::Done(_)), Err(refused)) => Ok(Outcome::Refused(refused)),
        (Ok(Rebound::Done(before)), Ok(granted)) => {
            if let Some((lease, node)) = before {
                // If it does not get through, that lease runs out.
                let _ = server.call(&Give { node: &node, lease: Ok(lease) }).await;
            }
            start(server, request, terms, granted).await
        }
        (Ok(Rebound::Refused(Creation::Behind(there))), taken) => {
            let Binding { lease, state, node, .. } = *there;
            let ours = lost_before && lease.instance == instance && lease.attempt == attempt + 1;
            let taken = taken.ok();
            if let Some(granted) = taken.as_ref().filter(|granted| granted.lease != lease || !ours) {
                give(server, granted).await;
            }
            if ours && !state.has_ended() {
                let begun = first_asked.or(taken.map(|granted| granted.begun)).unwrap_or_default();
                return start(server, request, terms, Granted { lease, node, begun }).await;
            }
            Ok(Outcome::Not(Moved::Stale(lease.attempt)))
        }
        (Ok(Rebound::Refused(why)), taken) => {
            if let Ok(granted) = taken {
                give(server, &granted).await;
            }
            Ok(otherwise(why))
        }
        (Err(error), taken) => {
            if let Ok(granted) = taken
                && !error.outcome_is_unknown()
            {
                give(server, &granted).await;
            }
            Err(error)
        }
    }
}

/// As [`super::protocol::advance`] and [`super::protocol::finish`].
pub(super) async fn step<S: Server>(
    server: &S,
    at: &JobAt,
    step: Step,
    terms: Terms,
) -> Result<Moved, CoordinatorError> {
    match step {
        Step::To(to) => advance(server, at, to, terms).await,
        Step::End(end) => finish(server, at, (end, None), terms).await,
        Step::Undo => finish(server, at, (JobState::Failed, Some(JobState::Reserved)), terms).await,
    }
}

async fn advance<S: Server>(
    server: &S,
    at: &JobAt,
    to: Option<JobState>,
    terms: Terms,
) -> Result<Moved, CoordinatorError> {
    let Some(lease) = at.lease() else { return moved(server, at, None, None, terms).await.map(unleased) };
    let leases = [lease];
    let renew = Renew { node: &at.node, lease: terms.lease, leases: &leases };
    let held = again(server, || server.call(&renew)).await?;
    // A server that does not know the node has no lease of it.
    match held.into_iter().next().unwrap_or(Some(JobState::Orphaned)) {
        None => moved(server, at, to, None, terms).await,
        Some(lost) => Ok(match moved(server, at, Some(lost), None, terms).await? {
            Moved::Done => Moved::Ended(lost),
            other => other,
        }),
    }
}

/// An attempt of which nobody knows the lease has none, or is not the latest.
fn unleased(moved: Moved) -> Moved {
    match moved {
        Moved::Done => Moved::Unknown,
        other => other,
    }
}

/// Ends an attempt so, if it is in the state that is given with it.
async fn finish<S: Server>(
    server: &S,
    at: &JobAt,
    (end, only): (JobState, Option<JobState>),
    terms: Terms,
) -> Result<Moved, CoordinatorError> {
    let outcome = moved(server, at, Some(end), only, terms).await?;
    if let Moved::Invalid(_) = outcome {
        return Ok(outcome);
    }
    // Whatever it was, the attempt goes on no more; to give back what is not there does no harm.
    let lease = at.lease().ok_or(Holder { job: at.job, attempt: at.attempt, instance: at.instance });
    let give = Give { node: &at.node, lease };
    again(server, || server.call(&give)).await?;
    Ok(outcome)
}

/// Has the request say so.
async fn moved<S: Server>(
    server: &S,
    at: &JobAt,
    to: Option<JobState>,
    only: Option<JobState>,
    terms: Terms,
) -> Result<Moved, CoordinatorError> {
    let JobAt { request, job, attempt, .. } = at;
    let call = Move { request, job: *job, attempt: *attempt, to, only, kept: terms.ended };
    let mut doubt = None;
    loop {
        return Ok(match server.call(&call).await {
            // We have done it before: the answer was lost.
            Ok(Moved::Invalid(state) | Moved::Ended(state)) if doubt.is_some() && to == Some(state) => Moved::Done,
            Ok(answer) => answer,
            Err(error) if error.outcome_is_unknown() && server.may_ask_again() => {
                doubt = Some(error);
                continue;
            }
            Err(error) => return Err(doubt.unwrap_or(error)),
        });
    }
}

impl JobAt {
    /// The lease of this attempt, if it is known.
    fn lease(&self) -> Option<Lease> {
        self.lease.filter(|lease| (lease.job, lease.attempt) == (self.job, self.attempt))
    }
}
