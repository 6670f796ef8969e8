//! Demands prepared once, so that a call neither hashes nor compares strings.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Route;
use crate::capability::Demand;
use crate::publish::{Published, Shared};
use crate::snapshot::Snapshot;

/// A demand with its route at hand: for callers that select for the same demand again and again. The route is found
/// anew when the set of pools has changed. See [`Scheduler::prepare`](crate::Scheduler::prepare).
#[derive(Debug)]
pub struct PreparedDemand {
    demand: Demand,
    /// See [`Demand::is_plain`].
    plain: bool,
    scheduler: u64,
    known: Published<Known>,
}

/// A route, and the snapshot that it is of.
#[derive(Debug)]
struct Known {
    version: u64,
    /// The last sweep after which its shares are up to date.
    until: u64,
    route: Arc<Route>,
}

impl PreparedDemand {
    pub(crate) fn new(demand: Demand, scheduler: u64) -> Self {
        Self { plain: demand.is_plain(), demand, scheduler, known: Published::default() }
    }

    /// The demand.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// The route of the snapshot, if it is the one known.
    #[inline(always)]
    pub(crate) fn route<'g>(
        &self,
        scheduler: u64,
        snapshot: &Snapshot,
        sweeps: u64,
        pin: &'g Guard,
    ) -> Option<Shared<'g, Route>> {
        let known = self.known.load(pin)?;
        let good = self.scheduler == scheduler && known.version == snapshot.version() && sweeps <= known.until;
        good.then(|| Shared::of(&known.route))
    }

    pub(crate) fn learn(&self, scheduler: u64, snapshot: &Snapshot, route: Shared<'_, Route>, until: u64, pin: &Guard) {
        if self.scheduler == scheduler {
            let known = Known { version: snapshot.version(), until, route: route.to_arc() };
            self.known.swap(Some(Arc::new(known)), pin);
        }
    }
}

impl Clone for PreparedDemand {
    fn clone(&self) -> Self {
        Self::new(self.demand.clone(), self.scheduler)
    }
}
