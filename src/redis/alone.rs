//! Jobs that are created without the server, while it cannot be asked: if `local_only` says so, on nodes whose heartbeats come to
//! this instance, and known to it alone.
//!
//! When the server is back they are made known to it, under their ids: then they are jobs like all others. One whose request
//! has been given another job by another instance meanwhile stays known here alone until it ends.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use papaya::HashMap;
use tokio::sync::Mutex as AsyncMutex;

use super::call::Moved;
use super::creates::{Made, ROUNDS, fingerprint, mismatch};
use super::engine::Engine;
use super::error::CoordinatorError;
use super::held::{Bound, HeldJob};
use super::jobs::SharedJob;
use super::keys::NodeText;
use super::lease::{Binding, Fence, Lease};
use super::outbox::{End, Waiting};
use super::protocol::{self, Granted, JobAt, Moment, NewJob, Outcome};
use super::shared_error::SharedError;
use crate::capability::ExclusionMode;
use crate::core::Pick;
use crate::error::JobError;
use crate::event::Event;
use crate::id::{JobId, NodeId};
use crate::job::{JobRequest, JobState};
use crate::node::NodeState;
use crate::sync::{Mutex, Ordering};

/// The slot of a job that the server has given none.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Alone {
    jobs: HashMap<JobId, Arc<AloneJob>>,
    /// By request.
    requests: Mutex<BTreeMap<String, Arc<AloneJob>>>,
    /// Held while one of them is changed.
    changing: AsyncMutex<()>,
}

#[derive(Debug)]
struct AloneJob {
    held: HeldJob,
    known: Mutex<Known>,
}

/// What the server may know of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It was asked first then to create it, and nobody knows what has come of that.
    Perhaps(Moment),
    /// The request has another job.
    Doubled,
}

impl AloneJob {
    /// What whoever asks for the request is told.
    fn made_for(&self, request: &JobRequest) -> Made {
        let binding = self.held.binding();
        if binding.fingerprint == fingerprint(&request.demand) {
            Ok((SharedJob::new(&request.request_id, binding), false))
        } else {
            Err(mismatch(&request.request_id, &binding))
        }
    }

    fn known(&self) -> crate::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alone {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn has(&self, job: JobId) -> bool {
        self.jobs.pin().contains_key(&job)
    }

    fn requests(&self) -> crate::sync::MutexGuard<'_, BTreeMap<String, Arc<AloneJob>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: it is not one of them.
    fn attempt(&self, job: JobId, attempt: u32) -> Option<Result<Arc<AloneJob>, JobError>> {
        let alone = self.jobs.pin().get(&job).cloned()?;
        let current = alone.held.lease.attempt;
        Some(if attempt == current { Ok(alone) } else { Err(JobError::StaleAttempt { job, attempt, current }) })
    }

    fn remove(&self, held: &HeldJob) {
        let mut requests = self.requests();
        self.jobs.pin().remove(&held.lease.job);
        if requests.get(&held.request).is_some_and(|there| there.held.lease.job == held.lease.job) {
            requests.remove(&held.request);
        }
    }
}

impl Engine {
    /// The job of a request that was created without the server, and is known here alone.
    pub(super) fn made_alone(&self, request: &JobRequest) -> Option<Made> {
        let there = self.alone.requests().get(&*request.request_id).cloned()?;
        Some(there.made_for(request))
    }

    /// Creates a job without the server, which could not be asked for this reason.
    pub(super) fn create_alone(&self, request: &JobRequest, away: CoordinatorError) -> Made {
        // Another call for it may have waited for the server as long as this one.
        if let Some(made) = self.made_alone(request) {
            return made;
        }
        let lease = self.core().check_request(request)?;
        let mut tried: Vec<NodeId> = Vec::new();
        for _ in 0..ROUNDS {
            let picked = self.core().pick(request, &tried, ExclusionMode::Hard, self.config.candidates);
            let mut picks = picked.map_err(|no_node| SharedError::Refused(no_node.into()))?;
            let is_ours =
                |pick: &Pick| self.nodes.pin().get(pick.id()).is_some_and(|known| known.owner() == self.instance);
            let chosen = picks.iter_mut().filter(|pick| is_ours(pick)).find_map(|pick| {
                self.core().hold_pick(pick);
                pick.is_held().then(|| pick.take())
            });
            // One was held when they were chosen, whose ever it is.
            picks.iter_mut().for_each(|pick| self.core().drop_pick(pick));
            if let Some(pick) = chosen {
                return self.hold_alone(request, lease, pick);
            }
            tried.extend(picks.iter().map(|pick| pick.id().clone()));
        }
        // None of the nodes that were looked at is ours.
        Err(away.into())
    }

    /// On this slot; or that of the request, if another call has created it meanwhile.
    fn hold_alone(&self, request: &JobRequest, lease: u64, mut pick: Pick) -> Made {
        let mut requests = self.alone.requests();
        if let Some(there) = requests.get(&*request.request_id).cloned() {
            drop(requests);
            self.core().drop_pick(&mut pick);
            return there.made_for(request);
        }
        self.core().note_pick(request, &pick);
        let (id, job) = (&*request.request_id, self.next_job());
        let (state, earlier, node) = (JobState::Reserved, Vec::new(), NodeText::of(pick.id()));
        let terms = self.terms(lease);
        let lease = Lease { job, attempt: 1, instance: self.instance, slot: NO_SLOT, fence: Fence::new(0, 0) };
        let binding = Binding { fingerprint: fingerprint(&request.demand), state, lease, node, earlier };
        let bound = Bound { request: id, note: &request.demand.whole_text(), binding: &binding };
        let held = HeldJob::new(bound, self.now(), terms, Some(pick));
        let alone = Arc::new(AloneJob { held, known: Mutex::new(Known::Nothing) });
        self.alone.jobs.pin().insert(job, alone.clone());
        requests.insert(id.to_owned(), alone);
        self.meters.made_alone.fetch_add(1, Ordering::Relaxed);
        Ok((SharedJob::new(id, binding), true))
    }

    /// Moves on one that is known here alone; `None`: it is not.
    pub(super) async fn advance_alone(
        &self,
        job: JobId,
        attempt: u32,
        to: Option<JobState>,
    ) -> Option<Result<(), JobError>> {
        if !self.alone.has(job) {
            return None;
        }
        let _changing = self.alone.changing.lock().await;
        Some(self.alone.attempt(job, attempt)?.and_then(|alone| {
            let state = alone.held.binding().state;
            match to {
                Some(wanted @ JobState::Dispatched) if state != JobState::Reserved => {
                    Err(JobError::InvalidTransition { job, attempt, state, wanted })
                }
                Some(wanted @ JobState::Running) if state == JobState::Running => {
                    Err(JobError::InvalidTransition { job, attempt, state, wanted })
                }
                to => {
                    to.into_iter().for_each(|state| alone.held.is_now(state));
                    Ok(())
                }
            }
        }))
    }

    /// Ends one; `None`: it is not known here alone.
    pub(super) async fn finish_alone(&self, job: JobId, attempt: u32, end: JobState) -> Option<Result<(), JobError>> {
        if !self.alone.has(job) {
            return None;
        }
        let _changing = self.alone.changing.lock().await;
        Some(self.alone.attempt(job, attempt)?.map(|alone| self.end_alone(&alone, end)))
    }

    /// Calls one off that nobody waits for any more, if it is only reserved. `false`: it is not known here alone.
    pub(super) async fn call_off_alone(&self, job: JobId, attempt: u32) -> bool {
        if !self.alone.has(job) {
            return false;
        }
        let _changing = self.alone.changing.lock().await;
        let Some(alone) = self.alone.attempt(job, attempt) else { return false };
        if let Ok(alone) = alone
            && alone.held.binding().state == JobState::Reserved
        {
            self.meters.undone.fetch_add(1, Ordering::Relaxed);
            self.end_alone(&alone, JobState::Failed);
        }
        true
    }

    /// One that is known here alone has ended; for whoever holds `changing`.
    fn end_alone(&self, alone: &AloneJob, end: JobState) {
        let (held, known) = (&alone.held, *alone.known());
        self.alone.remove(held);
        held.let_go(self);
        if let Known::Perhaps(_) = known {
            let (job, attempt, at) = (held.lease.job, held.lease.attempt, JobAt { lease: None, ..held.at() });
            // Full: its lease runs out, if it has one.
            let _ = self.outbox.put(Waiting::End(End { job, attempt, at: Some(at), end, terms: held.terms }));
        }
    }

    /// Ends those whose node is offline or gone.
    pub(super) fn orphan_alone(&self) {
        let all: Vec<_> = self.alone.jobs.pin().values().cloned().collect();
        for alone in all {
            let held = &alone.held;
            let known = self.nodes.pin().get(&*held.node.id()).cloned();
            let glimpse = known.and_then(|known| self.core().glimpse(&known.handle.node));
            if glimpse.is_none_or(|glimpse| glimpse.state == NodeState::Offline) {
                self.alone.remove(held);
                held.let_go(self);
                let (job, attempt) = (held.lease.job, held.lease.attempt);
                let (node, request_id) = (NodeId::from(&*held.node.id()), held.request.as_str().into());
                self.core().events.emit(|| Event::JobOrphaned { job, attempt, node, request_id });
            }
        }
    }

    /// Has the server know of them.
    pub(super) async fn make_known(&self) {
        let all: Vec<_> = self.alone.jobs.pin().values().cloned().collect();
        for alone in all {
            let is_doubled = *alone.known() == Known::Doubled;
            if !is_doubled && self.make_one_known(&alone).await.is_err() {
                return;
            }
        }
    }

    async fn make_one_known(&self, alone: &AloneJob) -> Result<(), CoordinatorError> {
        let _changing = self.alone.changing.lock().await;
        let held = &alone.held;
        let (job, within) = (held.lease.job, self.within());
        if !self.alone.has(job) {
            return Ok(());
        }
        let (request, note, terms, instance) = (&*held.request, held.note(), held.terms, self.instance);
        let Binding { fingerprint, state, .. } = held.binding();
        let new = NewJob { request, note, fingerprint, job, instance, terms };
        // An earlier request for it may have been done.
        let mut first_asked = match *alone.known() {
            Known::Perhaps(first) => Some(first),
            Known::Nothing | Known::Doubled => None,
        };
        let outcome = protocol::create(&within, new, std::slice::from_ref(&held.node), &mut first_asked).await;
        *alone.known() = match (&outcome, first_asked) {
            (Err(_), Some(first)) => Known::Perhaps(first),
            _ => Known::Nothing,
        };
        match outcome? {
            Outcome::Ours(Granted { lease, node, begun }) => {
                let binding = Binding { fingerprint, state, lease, node, earlier: Vec::new() };
                let known = HeldJob::new(Bound { request, note, binding: &binding }, begun, terms, held.take_pick());
                if state != JobState::Reserved {
                    let asked = self.now();
                    // If this fails it is known as one that is only reserved, until somebody moves it on.
                    if protocol::advance(&within, &known.at(), Some(state), terms).await == Ok(Moved::Done) {
                        known.renewed(asked);
                    }
                }
                self.hold(known);
                self.alone.remove(held);
            }
            Outcome::Theirs(binding) | Outcome::Mismatch(binding) => {
                tracing::warn!(request, %job, other = %binding.lease.job, "a request has two jobs: one was created without the coordinator");
                self.meters.doubled.fetch_add(1, Ordering::Relaxed);
                *alone.known() = Known::Doubled;
            }
            Outcome::LeaseLost(granted) => {
                // Too old to go by. The request stays bound to it, so it is not asked for once more.
                *alone.known() = Known::Perhaps(granted.begun);
                protocol::undo(&within, &granted.at(request), terms).await?;
                *alone.known() = Known::Doubled;
            }
            // There is no room for it now.
            Outcome::Refused(_) | Outcome::Not(_) | Outcome::Limit => {}
        }
        Ok(())
    }
}
