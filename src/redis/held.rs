//! A job of which this instance holds the lease: it renews that, and its own scheduler counts the slot.

use super::engine::Engine;
use super::keys::NodeText;
use super::lease::Lease;
use super::protocol::{Granted, JobAt, Moment, Terms};
use crate::core::Pick;
use std::sync::PoisonError;

use crate::sync::{Mutex, Ordering, Statistic};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct HeldJob {
    pub(super) request: String,
    pub(super) lease: Lease,
    pub(super) node: NodeText,
    pub(super) terms: Terms,
    /// When the lease's present term was asked for.
    begun: Statistic,
    /// The slot that is counted here, if one is.
    pick: Mutex<Pick>,
}

impl HeldJob {
    pub(super) fn new(request: &str, granted: Granted, terms: Terms, pick: Pick) -> Self {
        let Granted { lease, node, begun } = granted;
        let (begun, pick) = (Statistic::new(begun), Mutex::new(pick));
        Self { request: request.to_owned(), lease, node, terms, begun, pick }
    }

    pub(super) fn at(&self) -> JobAt {
        let Lease { job, attempt, .. } = self.lease;
        JobAt { request: self.request.clone(), job, attempt, node: self.node.clone() }
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

    /// Its slot is not counted here any more.
    pub(super) fn let_go(&self, engine: &Engine) {
        engine.core().drop_pick(&mut self.pick.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
