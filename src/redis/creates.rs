//! Creates: nodes are chosen here, and a slot of one of them is taken on the server.

use std::time::Duration;

use super::call::Refused;
use super::doubts::Asked;
use super::engine::{Engine, Within};
use super::error::CoordinatorError;
use super::held::{Bound, HeldJob};
use super::jobs::SharedJob;
use super::keys::NodeText;
use super::lease::{Binding, Fingerprint};
use super::protocol::{self, Granted, NewJob, Outcome};
use super::shared_error::SharedError;
use crate::capability::{Demand, ExclusionMode};
use crate::core::Pick;
use crate::error::{CreateJobError, NoNode};
use crate::id::NodeId;
use crate::job::{JobRequest, JobState};
use crate::sync::Ordering;

/// So often nodes are chosen for one job before it is refused: each time the server has refused those before.
pub(super) const ROUNDS: u32 = 16;
/// So often it is asked anew which of the nodes that seem full are.
const LOOKS: u32 = 4;
/// So many nodes that are thought full for others' jobs are looked at before a job is refused.
const LOOKED_AT: usize = 256;

/// What a demand is told apart by, in every process alike.
pub(super) fn fingerprint(demand: &Demand) -> Fingerprint {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(demand.text());
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest[..16]);
    Fingerprint(u128::from_be_bytes(bits))
}

/// What came of a create: the job, and whether it is this call's own.
pub(super) type Made = Result<(SharedJob, bool), SharedError<CreateJobError>>;

impl Engine {
    /// Creates a job, or finds that of the request.
    pub(super) async fn create_job(&self, request: &JobRequest) -> Made {
        let (server, since, mut rounds) = (self.within(), self.clock(), 0);
        if let Some(made) = self.made_alone(request) {
            return made;
        }
        let mut made = self.create_within(&server, request, &mut rounds).await;
        if let Err(SharedError::Coordinator(error)) = &made
            && self.config.local_only
            && error.is_of_the_server()
        {
            made = self.create_alone(request, error.clone());
        } else if let Ok((job, false)) = &made {
            made = match self.as_it_is(&request.request_id, job.binding()).await? {
                Some(binding) => Ok((job.with(binding), false)),
                // It was undone just now.
                None => self.create_within(&server, request, &mut rounds).await,
            };
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
        let doubt = self.doubts.resume(id, fingerprint).await;
        let (job, mut asked) = doubt.unwrap_or_else(|| (self.next_job(), Asked::default()));
        let mut new = NewJob { request: id, note: &note, fingerprint, job, instance: self.instance, terms };
        let made = self.create_in_rounds(server, request, &mut new, &mut asked, rounds).await;
        if asked.is_open {
            self.doubt(new, asked);
        }
        self.note_lease(lease);
        made
    }

    async fn create_in_rounds(
        &self,
        server: &Within<'_>,
        request: &JobRequest,
        new: &mut NewJob<'_>,
        asked: &mut Asked,
        rounds: &mut u32,
    ) -> Made {
        let mut tried: Vec<NodeId> = Vec::new();
        let mut looks = 0;
        for _ in 0..ROUNDS {
            let pick = || self.core().pick(request, &tried, ExclusionMode::Hard, self.config.candidates);
            let mut picks = match pick() {
                // Full for all that is known here, or those that were tried are.
                Err(NoNode::Busy(_)) if looks < LOOKS => {
                    looks += 1;
                    tried.clear();
                    self.look_again(server, &request.demand).await?;
                    match self.core().pick(request, &[], ExclusionMode::Hard, self.config.candidates) {
                        Ok(picks) => picks,
                        Err(no_node) => return self.ask_last(server, request, new, no_node, asked).await,
                    }
                }
                Err(no_node) => return self.ask_last(server, request, new, no_node, asked).await,
                Ok(picks) => picks,
            };
            self.meters.rounds.fetch_add(1, Ordering::Relaxed);
            *rounds += 1;
            let candidates: Vec<_> = picks.iter().map(|pick| NodeText::of(pick.id())).collect();
            // Of all rounds the first: a request of an earlier one may have been done late.
            let outcome = protocol::create(server, *new, &candidates, &mut asked.first).await;
            asked.note(&outcome, &candidates);
            match self.created(request, *new, outcome, &mut picks) {
                Ok(Some(made)) => return made,
                // It was ours for too short to be handed out: it is had as it is, with a lease that has run out.
                Ok(None) => (new.job, asked.first) = (self.next_job(), None),
                Err(refused) => {
                    self.note_refused(&picks, &refused);
                    tried.extend(picks.iter().map(|pick| pick.id().clone()));
                }
            }
        }
        let no_node = self.core().refusal(&request.demand);
        self.ask_last(server, request, new, no_node, asked).await
    }

    /// Asks the server of nodes that are full for all that is known here: others may have ended jobs there, ours among them.
    async fn look_again(&self, server: &Within<'_>, demand: &Demand) -> Result<(), CoordinatorError> {
        self.meters.looks.fetch_add(1, Ordering::Relaxed);
        let busy = self.core().busy(demand, LOOKED_AT);
        let ids: Vec<_> = busy.iter().map(|(pick, _)| pick.id().clone()).collect();
        let (now, mut by) = (self.clock(), server.deadline());
        if self.keys.are_spread() {
            // One of the servers may be away: the others' nodes are to be had yet.
            by -= by.saturating_duration_since(now) / 2;
        }
        let leases = self.glance(&ids, by).await?;
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
    ) -> Result<Option<Made>, Vec<Refused>> {
        let id = new.request;
        let made = match outcome {
            Ok(Outcome::Ours(granted)) => {
                let chosen = picks.iter_mut().find(|pick| NodeText::of(pick.id()) == granted.node);
                let (state, earlier) = (JobState::Reserved, Vec::new());
                let Granted { lease, node, begun } = granted;
                let binding = Binding { fingerprint: new.fingerprint, state, lease, node, earlier };
                // It may be on none of them: an earlier request for it has come late.
                let pick = chosen.map(|pick| {
                    self.core().hold_pick(pick);
                    self.core().note_pick(request, pick);
                    pick.take()
                });
                let bound = Bound { request: id, note: new.note, binding: &binding };
                self.hold(HeldJob::new(bound, begun, new.terms, pick));
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
            Err(error) => Ok(Some(Err(error.into()))),
        };
        picks.iter_mut().for_each(|pick| self.core().drop_pick(pick));
        made
    }

    /// No node was found for it here. The server has the last word: the request may have its job, and of the nodes that are
    /// full one may have room by now.
    async fn ask_last(
        &self,
        server: &Within<'_>,
        request: &JobRequest,
        new: &NewJob<'_>,
        no_node: NoNode,
        asked: &mut Asked,
    ) -> Made {
        let busy = self.core().busy(&request.demand, self.config.candidates);
        let mut picks: Vec<_> = busy.into_iter().map(|(pick, _)| pick).collect();
        let candidates: Vec<_> = picks.iter().map(|pick| NodeText::of(pick.id())).collect();
        let outcome = protocol::create(server, *new, &candidates, &mut asked.first).await;
        asked.note(&outcome, &candidates);
        match self.created(request, *new, outcome, &mut picks) {
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
    pub(super) fn note_refused(&self, picks: &[Pick], refused: &[Refused]) -> Option<u64> {
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
}

pub(super) fn mismatch(request: &str, binding: &Binding) -> SharedError<CreateJobError> {
    let (request_id, job) = (request.to_owned(), binding.lease.job);
    SharedError::Refused(CreateJobError::RequestMismatch { request_id, job })
}
