//! A job of which this instance holds the lease: it renews that, and its own scheduler counts the slot.

use super::call::noted;
use super::engine::Engine;
use super::keys::{Keys, NodeText};
use super::lease::{Binding, Lease};
use super::protocol::{JobAt, Moment, Terms};
use crate::core::Pick;
use crate::job::JobState;
use std::sync::PoisonError;

use crate::sync::{Mutex, Ordering, Statistic};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct HeldJob {
    pub(super) request: String,
    pub(super) lease: Lease,
    pub(super) node: NodeText,
    pub(super) terms: Terms,
    /// What the request is bound to, as far as is known here, and what is remembered of the job.
    binding: Mutex<Binding>,
    note: String,
    /// When the lease's present term was asked for.
    begun: Statistic,
    /// The slot that is counted here, if one is.
    pick: Mutex<Option<Pick>>,
}

/// A job as it is bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) request: &'a str,
    pub(super) note: &'a str,
    pub(super) binding: &'a Binding,
}

impl HeldJob {
    pub(super) fn new(at: Bound<'_>, begun: Moment, terms: Terms, pick: Option<Pick>) -> Self {
        let Bound { request, note, binding } = at;
        let (lease, node) = (binding.lease, binding.node.clone());
        let (begun, pick) = (Statistic::new(begun), Mutex::new(pick));
        let (request, note, binding) = (request.to_owned(), note.to_owned(), Mutex::new(binding.clone()));
        Self { request, lease, node, terms, binding, note, begun, pick }
    }

    /// What is remembered of the job: its demand.
    pub(super) fn note(&self) -> &str {
        &self.note
    }

    /// The job is in this state now.
    pub(super) fn is_now(&self, state: JobState) {
        self.binding.lock().unwrap_or_else(PoisonError::into_inner).state = state;
    }

    /// What the request is bound to, as far as is known here.
    pub(super) fn binding(&self) -> Binding {
        self.binding.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a server that has lost what the request is bound to told of it again, and asks it what that is now. Three
    /// commands.
    pub(super) fn bind_again(&self, keys: &Keys, pipeline: &mut redis::Pipeline) {
        let binding = self.binding().to_string();
        let noted = noted(&self.request, &self.note);
        for (key, value) in [(keys.request(&self.request), binding), (keys.job(self.lease.job), noted)] {
            pipeline.cmd("SET").arg(key).arg(value).arg("NX").arg("PX").arg(self.terms.binding);
        }
        pipeline.cmd("GET").arg(keys.request(&self.request));
    }

    /// Whether that is so says that the job is ours yet.
    pub(super) fn is_bound(&self, answer: redis::Value) -> bool {
        let text: Option<String> = redis::from_redis_value(answer).unwrap_or_default();
        let binding = text.and_then(|text| text.parse::<Binding>().ok());
        binding.is_some_and(|binding| binding.lease == self.lease && !binding.state.has_ended())
    }

    pub(super) fn at(&self) -> JobAt {
        let Lease { job, attempt, instance, .. } = self.lease;
        let (request, node, lease) = (self.request.clone(), self.node.clone(), Some(self.lease));
        JobAt { request, job, attempt, node, instance, lease }
    }

    pub(super) fn begun(&self) -> Moment {
        self.begun.load(Ordering::Relaxed)
    }

    /// A further term was asked for then, and has begun.
    pub(super) fn renewed(&self, asked: Moment) {
        self.begun.fetch_max(asked, Ordering::Relaxed);
    }

    /// When its lease runs out at the earliest.
    pub(super) fn runs_out(&self) -> Moment {
        self.begun().saturating_add(self.terms.lease)
    }

    /// The slot that is counted here is the caller's from now on.
    pub(super) fn take_pick(&self) -> Option<Pick> {
        self.pick.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Its slot is not counted here any more.
    pub(super) fn let_go(&self, engine: &Engine) {
        if let Some(pick) = &mut *self.pick.lock().unwrap_or_else(PoisonError::into_inner) {
            engine.core().drop_pick(pick);
        }
    }
}
