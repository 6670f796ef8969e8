//! Creates of which nobody knows what has come: the job may be on the server, and nobody has it.
//!
//! Whoever asks for the request again before the server could be asked has the job by this, as if it had never been in doubt.
//! What nobody has asked for by then is called off: it has failed, and may be tried again. The request stays bound to it, since
//! another instance may have been told of it, and would have a second job else. A job that another instance was told of
//! meanwhile, and has moved on, is left to it; then this instance, in whose name its lease is, renews that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use tokio::sync::Mutex as AsyncMutex;

use super::call::Moved;
use super::engine::Engine;
use super::error::CoordinatorError;
use super::held::{Bound, HeldJob};
use super::jobs::SharedJob;
use super::keys::NodeText;
use super::lease::Fingerprint;
use super::outbox::Waiting;
use super::protocol::{self, JobAt, Moment, NewJob, Outcome, Terms};
use super::spread_call::{Give, Holder};
use crate::id::JobId;
use crate::sync::{Mutex, Ordering};

/// All of them: as many at most as may wait in the outbox.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: Mutex<Open>,
    /// Held while one is undone.
    undoing: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct Open {
    /// By request and job.
    doubts: BTreeMap<(String, JobId), Doubt>,
    /// Those for which an [`Undo`] waits in the outbox already, whether they are in doubt now or were asked for again since.
    waiting: BTreeSet<(String, JobId)>,
    /// The request of the job that is being undone.
    undone: Option<String>,
}

#[derive(Debug)]
struct Doubt {
    fingerprint: Fingerprint,
    first_asked: Moment,
    /// Where slots may have been taken for it.
    places: Vec<NodeText>,
}

/// What has been asked for in one create.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// When first.
    pub(super) first: Option<Moment>,
    /// Nobody knows what has come of the last of it.
    pub(super) is_open: bool,
    /// Where slots may have been taken.
    places: Vec<NodeText>,
}

impl Asked {
    /// What came of asking for a slot of these.
    pub(super) fn note(&mut self, outcome: &Result<Outcome, CoordinatorError>, candidates: &[NodeText]) {
        match outcome {
            Ok(_) => self.is_open = false,
            Err(error) => self.is_open |= error.outcome_is_unknown(),
        }
        for place in candidates {
            if !self.places.contains(place) {
                self.places.push(place.clone());
            }
        }
    }
}

/// A job that is to be called off.
#[derive(Debug, Clone)]
pub(super) struct Undo {
    at: JobAt,
    /// What there is to be remembered of the job: its demand.
    note: String,
    terms: Terms,
    /// Whoever asks for it again has it.
    is_doubted: bool,
}

impl Doubts {
    fn open(&self) -> crate::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job that may have been created for this request, and what was asked for then: whoever is told has to see to it.
    pub(super) async fn resume(&self, request: &str, fingerprint: Fingerprint) -> Option<(JobId, Asked)> {
        let is_undone = self.open().undone.as_deref() == Some(request);
        if is_undone {
            drop(self.undoing.lock().await);
        }
        let mut open = self.open();
        let of_request = open.doubts.range((request.to_owned(), JobId::from_u128(0))..);
        let mut of_request = of_request.take_while(|((other, _), _)| other == request);
        let (key, _) = of_request.find(|(_, doubt)| doubt.fingerprint == fingerprint)?;
        let (key, job) = (key.clone(), key.1);
        let Doubt { first_asked, places, .. } = open.doubts.remove(&key)?;
        Some((job, Asked { first: Some(first_asked), is_open: true, places }))
    }
}

impl Engine {
    /// Nobody knows whether the job was created.
    pub(super) fn doubt(&self, new: NewJob<'_>, asked: Asked) {
        let NewJob { request, note, fingerprint, job, instance, terms } = new;
        let Some(node) = asked.places.first().cloned() else { return };
        self.meters.undone.fetch_add(1, Ordering::Relaxed);
        let (key, places) = ((request.to_owned(), job), asked.places);
        let first_asked = asked.first.unwrap_or_else(|| self.now());
        let is_new = {
            let mut open = self.doubts.open();
            open.doubts.insert(key.clone(), Doubt { fingerprint, first_asked, places });
            open.waiting.insert(key.clone())
        };
        if !is_new {
            return;
        }
        let at = JobAt { request: request.to_owned(), job, attempt: 1, node, instance, lease: None };
        let undo = Undo { at, note: note.to_owned(), terms, is_doubted: true };
        if self.outbox.put(Waiting::Undo(undo)).is_err() {
            // Its lease runs out.
            let mut open = self.doubts.open();
            open.doubts.remove(&key);
            open.waiting.remove(&key);
        }
    }

    /// An attempt of ours that nobody waits for any more: the first of a job, or a further one.
    pub(super) async fn call_off(&self, job: &SharedJob) {
        if self.call_off_alone(job.id(), job.attempt()).await {
            return;
        }
        let held = self.held.pin().get(&job.id()).cloned();
        let Some(held) = held.filter(|held| held.lease.attempt == job.attempt()) else { return };
        self.meters.undone.fetch_add(1, Ordering::Relaxed);
        let (at, note, terms) = (held.at(), held.note().to_owned(), held.terms);
        match protocol::undo(&self.within(), &at, terms).await {
            Ok(Moved::Invalid(_)) => {}
            Ok(_) => self.let_go(job.id(), job.attempt()),
            Err(_) => {
                self.let_go(job.id(), job.attempt());
                let undo = Undo { at, note, terms, is_doubted: false };
                // Full: its lease runs out.
                let _ = self.outbox.put(Waiting::Undo(undo));
            }
        }
    }

    /// The request of one that waits, and the nodes where slots may have been taken for it.
    pub(super) fn places_of<'a>(&self, undo: &'a Undo) -> (&'a str, Vec<NodeText>) {
        let key = (undo.at.request.clone(), undo.at.job);
        let doubted = self.doubts.open().doubts.get(&key).map(|doubt| doubt.places.clone());
        (&undo.at.request, doubted.unwrap_or_else(|| vec![undo.at.node.clone()]))
    }

    /// Calls off one that has waited for it, unless it was asked for again.
    pub(super) async fn undo(&self, undo: &Undo) -> Result<(), CoordinatorError> {
        let _undoing = self.doubts.undoing.lock().await;
        let key = (undo.at.request.clone(), undo.at.job);
        let doubt = {
            let mut open = self.doubts.open();
            let doubt = open.doubts.remove(&key);
            open.waiting.remove(&key);
            if undo.is_doubted && doubt.is_none() {
                return Ok(());
            }
            open.undone = Some(key.0.clone());
            doubt
        };
        let places = doubt.as_ref().map_or(&[][..], |doubt| &doubt.places);
        let outcome = self.undo_now(undo, places).await;
        let mut open = self.doubts.open();
        open.undone = None;
        if let (Err(error), Some(doubt)) = (&outcome, doubt)
            && error.is_of_the_server()
        {
            open.waiting.insert(key.clone());
            open.doubts.insert(key, doubt);
        }
        outcome
    }

    async fn undo_now(&self, undo: &Undo, places: &[NodeText]) -> Result<(), CoordinatorError> {
        let Undo { at, note, terms, .. } = undo;
        let within = self.within();
        if let Moved::Invalid(_) = protocol::undo(&within, at, *terms).await? {
            return self.adopt(at, note, *terms).await;
        }
        if self.keys.are_spread() {
            for node in places.iter().filter(|node| **node != at.node) {
                let holder = Holder { job: at.job, attempt: at.attempt, instance: at.instance };
                within.ask(&Give { node, lease: Err(holder) }).await?;
            }
        }
        Ok(())
    }

    /// Holds a job that another instance has moved on.
    async fn adopt(&self, at: &JobAt, note: &str, terms: Terms) -> Result<(), CoordinatorError> {
        let binding = self.binding(&at.request).await?;
        let is_it = |lease: &super::lease::Lease| (lease.job, lease.attempt) == (at.job, at.attempt);
        let Some(binding) = binding.filter(|binding| is_it(&binding.lease)) else { return Ok(()) };
        let (node, lease) = (binding.node.clone(), Some(binding.lease));
        let at = JobAt { node, lease, ..at.clone() };
        let asked = self.now();
        if protocol::advance(&self.within(), &at, None, terms).await? == Moved::Done {
            let bound = Bound { request: &at.request, note, binding: &binding };
            self.hold(HeldJob::new(bound, asked, terms, None));
            self.note_lease(terms.lease);
        }
        Ok(())
    }
}
