//! Jobs that are there: found, moved on, ended, whichever instance has created them.

use std::sync::Arc;

use papaya::{Compute, Operation};

use super::alone::NO_SLOT;
use super::call::Moved;
use super::engine::Engine;
use super::error::CoordinatorError;
use super::held::HeldJob;
use super::lease::{Binding, Fence, Instance};
use super::outbox::{End, Waiting};
use super::protocol::{self, JobAt};
use super::shared_error::SharedError;
use crate::capability::Demand;
use crate::error::JobError;
use crate::escape::unescape;
use crate::id::{JobId, NodeId};
use crate::job::JobState;

/// A job that all instances know: one attempt of it, as it was when asked. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedJob {
    binding: Arc<Binding>,
    request_id: Arc<str>,
}

impl SharedJob {
    pub(super) fn new(request_id: &str, binding: Binding) -> Self {
        Self { binding: Arc::new(binding), request_id: request_id.into() }
    }

    /// The same, as it is now.
    pub(super) fn with(&self, binding: Binding) -> Self {
        Self { binding: Arc::new(binding), request_id: self.request_id.clone() }
    }

    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.binding.lease.job
    }

    /// Which attempt this is, from 1 on.
    pub fn attempt(&self) -> u32 {
        self.binding.lease.attempt
    }

    /// The node on which the slot is reserved.
    pub fn node_id(&self) -> NodeId {
        NodeId::from(&*self.binding.node.id())
    }

    /// Which of the node's slots it is, from 0 on.
    pub fn slot(&self) -> u32 {
        self.binding.lease.slot
    }

    /// What the node tells by whether the job still has its slot.
    pub fn fence(&self) -> Fence {
        self.binding.lease.fence
    }

    /// Whether it was created without the server, and is known to this instance alone: then slot and fence mean nothing. See
    /// [`SharedConfig::local_only`](super::SharedConfig::local_only).
    pub fn is_local(&self) -> bool {
        self.slot() == NO_SLOT
    }

    /// The request id.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The state that it was in.
    pub fn state(&self) -> JobState {
        self.binding.state
    }
}

/// A job, as the server has it.
pub(super) struct Found {
    pub(super) at: JobAt,
    pub(super) binding: Binding,
    /// `None`: it was written by a later version.
    pub(super) demand: Option<Demand>,
}

impl Engine {
    /// A job that is known by its id alone.
    pub(super) async fn find(&self, job: JobId) -> Result<Found, SharedError<JobError>> {
        let (request, note) = self.noted(job).await?;
        let (at, binding) = self.bound(job, &request).await?;
        Ok(Found { at, binding, demand: Demand::from_text(&note) })
    }

    /// The request of a job, and what there is to be remembered of it.
    pub(super) async fn noted(&self, job: JobId) -> Result<(String, String), SharedError<JobError>> {
        let noted = self.servers.get(&self.keys.job(job), self.within().deadline()).await?;
        let noted = noted.as_deref().and_then(|noted| noted.split_once('\n'));
        let (request, note) = noted.ok_or(SharedError::Refused(JobError::UnknownJob { job }))?;
        Ok((unescape(request).into_owned(), note.to_owned()))
    }

    /// Where the job of a request is, and what the request is bound to.
    pub(super) async fn bound(&self, job: JobId, request: &str) -> Result<(JobAt, Binding), SharedError<JobError>> {
        let binding = self.binding(request).await?.filter(|binding| binding.lease.job == job);
        let binding = binding.ok_or(SharedError::Refused(JobError::UnknownJob { job }))?;
        let Binding { lease, node, .. } = binding.clone();
        let (request, attempt, instance, lease) = (request.to_owned(), lease.attempt, lease.instance, Some(lease));
        Ok((JobAt { request, job, attempt, node, instance, lease }, binding))
    }

    /// What a request is bound to.
    pub(super) async fn binding(&self, request: &str) -> Result<Option<Binding>, CoordinatorError> {
        let text = self.servers.get(&self.keys.request(request), self.within().deadline()).await?;
        let malformed = |super::lease::Malformed(detail)| CoordinatorError::Malformed { detail };
        text.map(|text| text.parse().map_err(malformed)).transpose()
    }

    /// The job of a request.
    pub(super) async fn job_by_request(&self, request: &str) -> Result<Option<SharedJob>, CoordinatorError> {
        match self.binding(request).await? {
            None => Ok(None),
            Some(binding) => {
                Ok(self.as_it_is(request, &binding).await?.map(|binding| SharedJob::new(request, binding)))
            }
        }
    }

    /// What a request is bound to, but for a job whose lease has run out: that is found by whoever looks. `None`: it is bound
    /// to nothing any more.
    pub(super) async fn as_it_is(&self, request: &str, binding: &Binding) -> Result<Option<Binding>, CoordinatorError> {
        if binding.state.has_ended() {
            return Ok(Some(binding.clone()));
        }
        let (asked, mut pipeline) = (binding.lease, redis::pipe());
        pipeline.cmd("ZSCORE").arg(self.keys.slots(&binding.node)).arg(asked.to_string()).cmd("TIME");
        pipeline.cmd("GET").arg(self.keys.request(request));
        let mut answers = self.servers.plain(&pipeline, self.within().deadline()).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let runs_out: Option<f64> = redis::from_redis_value(next()).unwrap_or_default();
        let (seconds, _): (f64, f64) = redis::from_redis_value(next()).unwrap_or_default();
        let bound: Option<String> = redis::from_redis_value(next()).unwrap_or_default();
        let Some(mut binding) = bound.and_then(|text| text.parse::<Binding>().ok()) else { return Ok(None) };
        // Of an attempt that has begun meanwhile, nothing was asked.
        let is_that = binding.lease == asked;
        if is_that && !binding.state.has_ended() && runs_out.is_none_or(|at| at < seconds * 1000.0) {
            binding.state = JobState::Expired;
        }
        Ok(Some(binding))
    }

    /// Where an attempt is, and what its request is bound to, as far as is known here, else on the server.
    pub(super) async fn place(&self, job: JobId, attempt: u32) -> Result<(JobAt, Binding), SharedError<JobError>> {
        let held = self.held.pin().get(&job).cloned();
        let (at, binding) = match held {
            Some(held) => (held.at(), held.binding()),
            None => self.find(job).await.map(|found| (found.at, found.binding))?,
        };
        Ok((JobAt { attempt, ..at }, binding))
    }

    /// Tells whoever holds the lease, if that is another, that the attempt has ended. Nobody waits for that.
    pub(super) fn pass_on(self: &Arc<Self>, holder: Instance, job: JobId, attempt: u32) {
        if holder != self.instance {
            let engine = self.clone();
            tokio::spawn(async move { engine.tell_ended(holder, job, attempt).await });
        }
    }

    /// Moves a job on, or only has its lease begin anew.
    pub(super) async fn advance(
        &self,
        job: JobId,
        attempt: u32,
        to: Option<JobState>,
    ) -> Result<(), SharedError<JobError>> {
        if let Some(outcome) = self.advance_alone(job, attempt, to).await {
            return outcome.map_err(SharedError::Refused);
        }
        self.ensure_restored().await?;
        let (at, _) = self.place(job, attempt).await?;
        let held = self.held.pin().get(&job).filter(|held| held.lease.attempt == attempt).cloned();
        let terms = held.as_ref().map_or_else(|| self.terms(self.core().default_lease()), |held| held.terms);
        let asked = self.now();
        let mut moved = protocol::advance(&self.within(), &at, to, terms).await?;
        if moved == Moved::Unknown && self.tell_again(held.as_deref()).await {
            moved = protocol::advance(&self.within(), &at, to, terms).await?;
        }
        if let (Moved::Done, Some(held)) = (&moved, held) {
            held.renewed(asked);
            to.into_iter().for_each(|state| held.is_now(state));
        }
        self.moved(&at, moved, to.unwrap_or(JobState::Reserved))
    }

    /// The server does not know of a job of ours: it has lost it, without having been lost itself. It is told again.
    async fn tell_again(&self, held: Option<&HeldJob>) -> bool {
        let known = held.and_then(|held| self.nodes.pin().get(&*held.node.id()).cloned());
        match known {
            Some(known) => self.restore(&known).await.is_ok(),
            None => false,
        }
    }

    /// Ends a job. Where the server cannot be asked now, that is done when it can, for each server in the order in which jobs
    /// were ended here.
    pub(super) async fn finish(
        self: &Arc<Self>,
        job: JobId,
        attempt: u32,
        end: JobState,
    ) -> Result<(), SharedError<JobError>> {
        if let Some(outcome) = self.finish_alone(job, attempt, end).await {
            return outcome.map_err(SharedError::Refused);
        }
        if let Some(state) = self.outbox.end_of(job, attempt) {
            return Err(SharedError::Refused(JobError::AlreadyEnded { job, attempt, state }));
        }
        // Or it would be found to have no lease.
        let _ = self.ensure_restored().await;
        let (at, binding) = match self.place(job, attempt).await {
            // Another's, and it cannot be asked now where it is.
            Err(SharedError::Coordinator(error)) if error.is_of_the_server() => {
                let terms = self.terms(self.core().default_lease());
                return Ok(self.outbox.put(Waiting::End(End { job, attempt, at: None, end, terms }))?);
            }
            place => place?,
        };
        let held = self.held.pin().get(&job).cloned().filter(|held| held.lease.attempt == attempt);
        let terms = held.as_ref().map_or_else(|| self.terms(self.core().default_lease()), |held| held.terms);
        let mut outcome = if self.outbox.keeps_waiting(|| self.line_to(&at)) {
            Err(CoordinatorError::Unreachable { detail: "ends of other jobs wait for it".to_owned() })
        } else {
            protocol::finish(&self.within(), &at, end, terms).await
        };
        if outcome == Ok(Moved::Unknown) && self.tell_again(held.as_deref()).await {
            outcome = protocol::finish(&self.within(), &at, end, terms).await;
        }
        match outcome {
            Ok(moved) => {
                self.let_go(job, attempt);
                if moved == Moved::Done {
                    self.pass_on(binding.lease.instance, job, attempt);
                    self.remember_end(&at.request, binding, end);
                }
                self.moved(&at, moved, end)
            }
            Err(error) if error.is_of_the_server() => {
                let at = held.is_some().then_some(at);
                self.outbox.put(Waiting::End(End { job, attempt, at, end, terms }))?;
                self.let_go(job, attempt);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An attempt of which the lease is held here from now on. A slot that is counted for an earlier one, which was never found
    /// to have ended, is given back; an earlier one that is late is not held at all.
    pub(super) fn hold(&self, held: HeldJob) {
        let (held, all) = (Arc::new(held), self.held.pin());
        let is_late = |there: &HeldJob| there.lease.attempt > held.lease.attempt;
        let outcome = all.compute(held.lease.job, |there| match there {
            Some((_, there)) if is_late(there) => Operation::Abort(()),
            _ => Operation::Insert(held.clone()),
        });
        match outcome {
            Compute::Updated { old: (_, before), .. } => before.let_go(self),
            Compute::Aborted(()) => held.let_go(self),
            _ => {}
        }
    }

    /// An attempt of which the lease is no longer held here.
    pub(super) fn let_go(&self, job: JobId, attempt: u32) {
        let held = self.held.pin();
        if let Ok(Some((_, held))) = held.remove_if(&job, |_, held| held.lease.attempt == attempt) {
            held.let_go(self);
        }
    }

    /// What a caller is told of a step.
    pub(super) fn moved(&self, at: &JobAt, moved: Moved, wanted: JobState) -> Result<(), SharedError<JobError>> {
        let JobAt { job, attempt, .. } = *at;
        if let Moved::Ended(_) | Moved::Stale(_) | Moved::Unknown = moved {
            self.let_go(job, attempt);
        }
        Err(SharedError::Refused(match moved {
            Moved::Done => return Ok(()),
            Moved::Unknown => JobError::UnknownJob { job },
            Moved::Stale(current) => JobError::StaleAttempt { job, attempt, current },
            Moved::Ended(state) => JobError::AlreadyEnded { job, attempt, state },
            Moved::Invalid(state) => JobError::InvalidTransition { job, attempt, state, wanted },
            Moved::Elsewhere(_) => {
                let after = self.config.call_timeout;
                return Err(CoordinatorError::TimedOut { after }.into());
            }
        }))
    }
}
