//! Jobs that are tried again, whichever instance has created them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout_at;

use super::engine::Engine;
use super::error::CoordinatorError;
use super::held::{Bound, HeldJob};
use super::jobs::{Found, SharedJob};
use super::keys::NodeText;
use super::lease::Binding;
use super::protocol::{self, Again, Granted, JobAt, Moment, Outcome};
use super::shared_error::SharedError;
use crate::clock::millis;
use crate::error::{JobError, RetryError};
use crate::id::{JobId, NodeId};
use crate::job::{JobRequest, JobState};
use crate::sync::Mutex;

/// What is known of further attempts that were asked for.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// Those that were asked for by calls that gave up, and when first.
    asked: Mutex<BTreeMap<(JobId, u32), Moment>>,
    /// Jobs that are being tried again just now.
    turns: Mutex<BTreeMap<JobId, Arc<AsyncMutex<()>>>>,
}

/// A call that tries a job again, or waits for the one that does: two at once would take the attempt of one for that of both.
struct Turn<'r> {
    retries: &'r Retries,
    job: JobId,
    lock: Arc<AsyncMutex<()>>,
}

impl Retries {
    fn turns(&self) -> crate::sync::MutexGuard<'_, BTreeMap<JobId, Arc<AsyncMutex<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, job: JobId) -> Turn<'_> {
        Turn { retries: self, job, lock: self.turns().entry(job).or_default().clone() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.retries.turns();
        // It is cloned by whoever has the map alone: the other is in there.
        if Arc::strong_count(&self.lock) == 2 {
            turns.remove(&self.job);
        }
    }
}

impl Engine {
    /// When a further attempt was asked for by an earlier call of which nobody knows what has come.
    fn first_asked(&self, job: JobId, attempt: u32) -> Option<Moment> {
        self.retries.asked.lock().unwrap_or_else(PoisonError::into_inner).get(&(job, attempt)).copied()
    }

    /// Remembers that, or that it is known.
    fn note_asked(&self, job: JobId, attempt: u32, first: Option<Moment>) {
        let mut asked = self.retries.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match first {
            None => drop(asked.remove(&(job, attempt))),
            Some(first) => {
                // What was asked for so long ago has run out, whatever came of it.
                let (now, longest) = (self.now(), 4 * millis(self.config.max_lease));
                asked.retain(|_, first| now.saturating_sub(*first) < longest);
                asked.insert((job, attempt), first);
            }
        }
    }

    /// The next attempt of a job.
    pub(super) async fn retry(
        self: &Arc<Self>,
        job: JobId,
        attempt: u32,
    ) -> Result<SharedJob, SharedError<RetryError>> {
        if self.alone.has(job) {
            let detail = format!("job {job} was created without it, and is tried again when it is known there");
            return Err(CoordinatorError::Unreachable { detail }.into());
        }
        let turn = self.retries.turn(job);
        let Ok(_turn) = timeout_at(self.within().deadline(), turn.lock.lock()).await else {
            return Err(CoordinatorError::TimedOut { after: self.config.call_timeout }.into());
        };
        let Found { at, binding, demand } = self.find(job).await.map_err(SharedError::map)?;
        let at = JobAt { attempt, ..at };
        let (mut first_asked, current) = (self.first_asked(job, attempt), binding.lease.attempt);
        if first_asked.is_none() && current > attempt {
            // It was there before it was asked for here: if the answer were lost, it would be taken for this call's own.
            self.let_go(job, attempt);
            return Err(SharedError::Refused(JobError::StaleAttempt { job, attempt, current }.into()));
        }
        let Some(demand) = demand else {
            let detail = format!("the demand of job {job}");
            return Err(CoordinatorError::Malformed { detail }.into());
        };
        let request = &JobRequest::new(&at.request, demand);
        let lease = self.core().default_lease();
        let terms = self.terms(lease);
        let earlier = [&binding.node].into_iter().chain(&binding.earlier).map(|node| NodeId::from(&*node.id()));
        let earlier: Vec<_> = earlier.collect();
        let mode = self.scheduler.config().retry_exclusion;
        let mut picks =
            self.core().pick(request, &earlier, mode, self.config.candidates).map_err(RetryError::NoNode)?;
        let candidates: Vec<_> = picks.iter().map(|pick| NodeText::of(pick.id())).collect();
        let most_attempts = self.scheduler.config().max_attempts;
        let again = Again { at: &at, instance: self.instance, most_attempts, terms };
        let outcome = protocol::retry(&self.within(), again, &candidates, &mut first_asked).await;
        self.note_asked(
            job,
            attempt,
            first_asked.filter(|_| outcome.as_ref().is_err_and(CoordinatorError::outcome_is_unknown)),
        );
        let retried = match outcome {
            Ok(Outcome::Ours(granted)) => {
                self.let_go(job, attempt);
                self.pass_on(binding.lease.instance, job, attempt);
                let Granted { lease, node, begun } = granted;
                let (mut earlier, state) = (binding.earlier.clone(), JobState::Reserved);
                earlier.insert(0, binding.node.clone());
                let binding = Binding { fingerprint: binding.fingerprint, state, lease, node, earlier };
                let chosen = picks.iter_mut().find(|pick| NodeText::of(pick.id()) == binding.node);
                let pick = chosen.map(|pick| {
                    self.core().hold_pick(pick);
                    pick.take()
                });
                let bound = Bound { request: &at.request, note: &request.demand.whole_text(), binding: &binding };
                self.hold(HeldJob::new(bound, begun, terms, pick));
                Ok(SharedJob::new(&at.request, binding))
            }
            Ok(Outcome::Refused(refused)) => {
                let warm_up = self.note_refused(&picks, &refused);
                Err(match warm_up {
                    Some(ms) => SharedError::WarmingUp { retry_after: Duration::from_millis(ms) },
                    None => SharedError::Refused(RetryError::NoNode(self.core().refusal(&request.demand))),
                })
            }
            Ok(Outcome::Limit) => Err(SharedError::Refused(RetryError::TooManyAttempts { job, limit: most_attempts })),
            Ok(Outcome::Not(moved)) => match self.moved(&at, moved, JobState::Reserved) {
                Err(error) => Err(error.map()),
                Ok(()) => Err(SharedError::Refused(JobError::UnknownJob { job }.into())),
            },
            Ok(Outcome::LeaseLost(_) | Outcome::Theirs(_) | Outcome::Mismatch(_)) => {
                Err(CoordinatorError::TimedOut { after: self.config.call_timeout }.into())
            }
            Err(error) => Err(error.into()),
        };
        picks.iter_mut().for_each(|pick| self.core().drop_pick(pick));
        retried
    }
}
