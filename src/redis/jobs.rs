//! Jobs: created, moved on, tried again, whichever instance has created them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::call::{Moved, Refused};
use super::engine::{Engine, Within};
use super::error::CoordinatorError;
use super::held::{Bound, HeldJob};
use super::keys::NodeText;
use super::lease::{Binding, Fence, Fingerprint, Instance};
use super::outbox::End;
use super::protocol::{self, Again, Granted, JobAt, Moment, NewJob, Outcome, Terms};
use super::shared_error::SharedError;
use crate::capability::{Demand, ExclusionMode};
use crate::clock::millis;
use crate::core::Pick;
use crate::error::{CreateJobError, JobError, NoNode, RetryError};
use crate::escape::unescape;
use crate::id::{JobId, NodeId};
use crate::job::{JobRequest, JobState};
use crate::sync::Ordering;

/// So often nodes are chosen for one job before it is refused: each time the server has refused those before.
const ROUNDS: u32 = 16;
/// So often it is asked anew which of the nodes that seem full are.
const LOOKS: u32 = 4;
/// So many nodes that are thought full for others' jobs are looked at before a job is refused.
const LOOKED_AT: usize = 256;

/// A job that all instances know: one attempt of it, as it was when asked. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedJob {
    binding: Arc<Binding>,
    request_id: Arc<str>,
}

impl SharedJob {
    fn new(request_id: &str, binding: Binding) -> Self {
        Self { binding: Arc::new(binding), request_id: request_id.into() }
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

    /// The request id.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The state that it was in.
    pub fn state(&self) -> JobState {
        self.binding.state
    }
}

/// What a demand is told apart by, in every process alike.
fn fingerprint(demand: &Demand) -> Fingerprint {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(demand.text());
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest[..16]);
    Fingerprint(u128::from_be_bytes(bits))
}

/// A job, as the server has it.
pub(super) struct Found {
    at: JobAt,
    binding: Binding,
    /// `None`: it was written by a later version.
    demand: Option<Demand>,
}

/// What came of a create: the job, and whether it is this call's own.
pub(super) type Made = Result<(SharedJob, bool), SharedError<CreateJobError>>;

impl Engine {
    /// Creates a job, or finds that of the request.
    pub(super) async fn create_job(&self, request: &JobRequest) -> Made {
        let (server, since, mut rounds) = (self.within(), self.clock(), 0);
        let mut made = self.create_within(&server, request, &mut rounds).await;
        if let Ok((job, false)) = &mut made {
            job.binding = Arc::new(self.as_it_is(&job.binding).await?);
        }
        self.meters.note_create(&request.request_id, since.elapsed(), server.waited(), rounds);
        made
    }

    async fn create_within(&self, server: &Within<'_>, request: &JobRequest, rounds: &mut u32) -> Made {
        let lease = self.core().check_request(request)?;
        self.meters.creates.fetch_add(1, Ordering::Relaxed);
        let terms = self.terms(lease);
        let (id, fingerprint) = (&*request.request_id, fingerprint(&request.demand));
        let note = request.demand.whole_text();
        let job = self.next_job();
        let new = NewJob { request: id, note: &note, fingerprint, job, instance: self.instance, terms };
        let mut tried: Vec<NodeId> = Vec::new();
        // Of all rounds: a request of an earlier one may have been done late.
        let (mut looks, mut first_asked) = (0, None);
        for _ in 0..ROUNDS {
            let pick = || self.core().pick(request, &tried, ExclusionMode::Hard, self.config.candidates);
            let mut picks = match pick() {
                // Full for all that is known here, or those that were tried are.
                Err(NoNode::Busy(_)) if looks < LOOKS => {
                    looks += 1;
                    tried.clear();
                    self.look_again(&request.demand).await?;
                    match self.core().pick(request, &[], ExclusionMode::Hard, self.config.candidates) {
                        Ok(picks) => picks,
                        Err(no_node) => return self.ask_last(server, request, new, no_node, first_asked).await,
                    }
                }
                Err(no_node) => return self.ask_last(server, request, new, no_node, first_asked).await,
                Ok(picks) => picks,
            };
            self.meters.rounds.fetch_add(1, Ordering::Relaxed);
            *rounds += 1;
            let candidates: Vec<_> = picks.iter().map(|pick| NodeText::of(pick.id())).collect();
            let outcome = protocol::create(server, new, &candidates, &mut first_asked).await;
            match self.created(request, new, outcome, &mut picks, terms) {
                Ok(Some(made)) => return made,
                Ok(None) => {}
                Err(refused) => {
                    self.note_refused(&picks, &refused);
                    tried.extend(picks.iter().map(|pick| pick.id().clone()));
                }
            }
        }
        let no_node = self.core().refusal(&request.demand);
        self.ask_last(server, request, new, no_node, first_asked).await
    }

    /// Asks the server of nodes that are full for all that is known here: others may have ended jobs there, ours among them.
    async fn look_again(&self, demand: &Demand) -> Result<(), CoordinatorError> {
        self.meters.looks.fetch_add(1, Ordering::Relaxed);
        let busy = self.core().busy(demand, LOOKED_AT);
        let ids: Vec<_> = busy.iter().map(|(pick, _)| pick.id().clone()).collect();
        let leases = self.glance(&ids).await?;
        let ended = busy.iter().zip(leases).filter(|((_, held), leases)| leases.is_some_and(|leases| leases < *held));
        let ended: Vec<_> = ended.map(|((pick, _), _)| pick.id().clone()).collect();
        self.check_held(&ended).await;
        Ok(())
    }

    /// What follows from the server's answer. `Ok(None)`: it is to be tried anew; `Err`: why the candidates were refused.
    fn created(
        &self,
        request: &JobRequest,
        new: NewJob<'_>,
        outcome: Result<Outcome, CoordinatorError>,
        picks: &mut [Pick],
        terms: Terms,
    ) -> Result<Option<Made>, Vec<Refused>> {
        let id = new.request;
        let made = match outcome {
            Ok(Outcome::Ours(granted)) => {
                let chosen = picks.iter_mut().find(|pick| NodeText::of(pick.id()) == granted.node);
                let (state, earlier) = (JobState::Reserved, Vec::new());
                let Granted { lease, node, begun } = granted;
                let binding = Binding { fingerprint: new.fingerprint, state, lease, node, earlier };
                if let Some(pick) = chosen {
                    self.core().hold_pick(pick);
                    self.core().note_pick(request, pick);
                    let bound = Bound { request: id, note: new.note, binding: &binding };
                    let held = HeldJob::new(bound, begun, terms, pick.take());
                    self.held.pin().insert(lease.job, Arc::new(held));
                }
                Ok(Some(Ok((SharedJob::new(id, binding), true))))
            }
            Ok(Outcome::Theirs(binding)) => Ok(Some(Ok((SharedJob::new(id, binding), false)))),
            Ok(Outcome::Mismatch(binding)) => Ok(Some(Err(mismatch(id, &binding)))),
            Ok(Outcome::Refused(refused)) => Err(refused),
            Ok(Outcome::LeaseLost(_)) => Ok(None),
            Ok(Outcome::Not(_) | Outcome::Limit) => {
                let detail = "a create was answered as a retry is".to_owned();
                Ok(Some(Err(CoordinatorError::Malformed { detail }.into())))
            }
            Err(error) => {
                if error.outcome_is_unknown() {
                    self.undo(new, picks, terms);
                }
                Ok(Some(Err(error.into())))
            }
        };
        picks.iter_mut().for_each(|pick| self.core().drop_pick(pick));
        made
    }

    /// A job that may have been created, and nobody waits for: it is called off when the server can be asked. Where its slot is
    /// is known by its request; where keys are spread, that may not be bound yet.
    fn undo(&self, new: NewJob<'_>, picks: &[Pick], terms: Terms) {
        self.meters.undone.fetch_add(1, Ordering::Relaxed);
        let places = if self.keys.are_spread() { picks.len() } else { 1 };
        for pick in picks.iter().take(places) {
            let (request, node, job) = (new.request.to_owned(), NodeText::of(pick.id()), new.job);
            let at = JobAt { request, job, attempt: 1, node, instance: new.instance, lease: None };
            // Full: then its lease runs out.
            let _ = self.outbox.put(End { job, attempt: 1, at: Some(at), end: JobState::Cancelled, terms });
        }
    }

    /// No node was found for it here. The server has the last word: the request may have its job, and of the nodes that are
    /// full one may have room by now.
    async fn ask_last(
        &self,
        server: &Within<'_>,
        request: &JobRequest,
        new: NewJob<'_>,
        no_node: NoNode,
        mut first_asked: Option<Moment>,
    ) -> Made {
        let busy = self.core().busy(&request.demand, self.config.candidates);
        let mut picks: Vec<_> = busy.into_iter().map(|(pick, _)| pick).collect();
        let candidates: Vec<_> = picks.iter().map(|pick| NodeText::of(pick.id())).collect();
        let outcome = protocol::create(server, new, &candidates, &mut first_asked).await;
        match self.created(request, new, outcome, &mut picks, new.terms) {
            Ok(Some(made)) => made,
            Ok(None) => Err(SharedError::Refused(no_node.into())),
            Err(refused) => match self.note_refused(&picks, &refused) {
                Some(ms) => Err(SharedError::WarmingUp { retry_after: Duration::from_millis(ms) }),
                None => Err(SharedError::Refused(no_node.into())),
            },
        }
    }

    /// What the server has said of candidates. The shortest time after which slots may be known to be free again, if it was
    /// for want of that.
    fn note_refused(&self, picks: &[Pick], refused: &[Refused]) -> Option<u64> {
        let mut warm_up: Option<u64> = None;
        for (pick, refused) in picks.iter().zip(refused) {
            let known = self.nodes.pin().get(pick.id()).cloned();
            match refused {
                Refused::Full(_) => self.core().note_leases(&pick.node, u32::MAX),
                Refused::WarmUp(ms) => warm_up = Some(warm_up.map_or(*ms, |least| least.min(*ms))),
                Refused::Unknown | Refused::Closed(_) => {
                    known.iter().for_each(|known| known.is_doubtful.store(1, Ordering::Relaxed));
                }
            }
        }
        warm_up
    }

    /// A job that is known by its id alone.
    pub(super) async fn find(&self, job: JobId) -> Result<Found, SharedError<JobError>> {
        let unknown = || SharedError::Refused(JobError::UnknownJob { job });
        let noted = self.servers.get(&self.keys.job(job), self.within().deadline()).await?.ok_or_else(unknown)?;
        let (request, note) = noted.split_once('\n').ok_or_else(unknown)?;
        let request = unescape(request).into_owned();
        let binding = self.binding(&request).await?.filter(|binding| binding.lease.job == job).ok_or_else(unknown)?;
        let Binding { lease, node, .. } = binding.clone();
        let (attempt, instance, lease) = (lease.attempt, lease.instance, Some(lease));
        let at = JobAt { request, job, attempt, node, instance, lease };
        Ok(Found { at, binding, demand: Demand::from_text(note) })
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
            Some(binding) => Ok(Some(SharedJob::new(request, self.as_it_is(&binding).await?))),
        }
    }

    /// What a request is bound to, but for a job whose lease has run out: that is found by whoever looks.
    async fn as_it_is(&self, binding: &Binding) -> Result<Binding, CoordinatorError> {
        let mut binding = binding.clone();
        if !binding.state.has_ended() {
            let mut pipeline = redis::pipe();
            pipeline.cmd("ZSCORE").arg(self.keys.slots(&binding.node)).arg(binding.lease.to_string()).cmd("TIME");
            let mut answers = self.servers.plain(&pipeline, self.within().deadline()).await?.into_iter();
            let mut next = || answers.next().unwrap_or_default();
            let runs_out: Option<f64> = redis::from_redis_value(next()).unwrap_or_default();
            let (seconds, _): (f64, f64) = redis::from_redis_value(next()).unwrap_or_default();
            if runs_out.is_none_or(|at| at < seconds * 1000.0) {
                binding.state = JobState::Expired;
            }
        }
        Ok(binding)
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
        self.ensure_restored().await?;
        let (at, _) = self.place(job, attempt).await?;
        let held = self.held.pin().get(&job).filter(|held| held.lease.attempt == attempt).cloned();
        let terms = held.as_ref().map_or_else(|| self.terms(self.core().default_lease()), |held| held.terms);
        let asked = self.now();
        let moved = protocol::advance(&self.within(), &at, to, terms).await?;
        if let (Moved::Done, Some(held)) = (&moved, held) {
            held.renewed(asked);
            to.into_iter().for_each(|state| held.is_now(state));
        }
        self.moved(&at, moved, to.unwrap_or(JobState::Reserved))
    }

    /// Ends a job. Where the server cannot be asked now, that is done when it can, in the order in which jobs were ended here.
    pub(super) async fn finish(
        self: &Arc<Self>,
        job: JobId,
        attempt: u32,
        end: JobState,
    ) -> Result<(), SharedError<JobError>> {
        // Or it would be found to have no lease.
        let _ = self.ensure_restored().await;
        let (at, binding) = match self.place(job, attempt).await {
            // Another's, and it cannot be asked now where it is.
            Err(SharedError::Coordinator(error)) if error.is_transient() => {
                let terms = self.terms(self.core().default_lease());
                return Ok(self.outbox.put(End { job, attempt, at: None, end, terms })?);
            }
            place => place?,
        };
        let held = self.held.pin().get(&job).cloned().filter(|held| held.lease.attempt == attempt);
        let terms = held.as_ref().map_or_else(|| self.terms(self.core().default_lease()), |held| held.terms);
        let outcome = if self.outbox.is_empty() {
            protocol::finish(&self.within(), &at, end, terms).await
        } else {
            Err(CoordinatorError::Unreachable { detail: "ends of other jobs wait for it".to_owned() })
        };
        match outcome {
            Ok(moved) => {
                self.let_go(job, attempt);
                if moved == Moved::Done {
                    self.pass_on(binding.lease.instance, job, attempt);
                    self.remember_end(&at.request, binding, end);
                }
                self.moved(&at, moved, end)
            }
            Err(error) if error.is_transient() => {
                let at = held.is_some().then_some(at);
                self.outbox.put(End { job, attempt, at, end, terms })?;
                self.let_go(job, attempt);
                Ok(())
            }
            Err(error) => Err(error.into()),
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
    fn moved(&self, at: &JobAt, moved: Moved, wanted: JobState) -> Result<(), SharedError<JobError>> {
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

    /// When a further attempt was asked for by an earlier call of which nobody knows what has come.
    fn first_asked(&self, job: JobId, attempt: u32) -> Option<Moment> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(&(job, attempt)).copied()
    }

    /// Remembers that, or that it is known.
    fn note_asked(&self, job: JobId, attempt: u32, first: Option<Moment>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
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
        let Found { at, binding, demand } = self.find(job).await.map_err(SharedError::map)?;
        let at = JobAt { attempt, ..at };
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
        let mut first_asked = self.first_asked(job, attempt);
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
                if let Some(pick) = picks.iter_mut().find(|pick| NodeText::of(pick.id()) == binding.node) {
                    self.core().hold_pick(pick);
                    let bound = Bound { request: &at.request, note: &request.demand.whole_text(), binding: &binding };
                    let held = HeldJob::new(bound, begun, terms, pick.take());
                    self.held.pin().insert(job, Arc::new(held));
                }
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

fn mismatch(request: &str, binding: &Binding) -> SharedError<CreateJobError> {
    let (request_id, job) = (request.to_owned(), binding.lease.job);
    SharedError::Refused(CreateJobError::RequestMismatch { request_id, job })
}
