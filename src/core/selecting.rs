//! Selection and reservation.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use super::reserving::Chosen;
use crate::capability::{Demand, ExclusionMode, MAX_EXCLUSIONS};
use crate::error::NoNode;
use crate::pool::Pool;
use crate::publish::Shared;
use crate::select::{Candidate, PreparedDemand, Route, View, Wish, find, find_plainly};
use crate::snapshot::Snapshot;
use crate::stats::Count;

/// A demand, as it was given.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    Plain(&'a Demand),
    Prepared(&'a PreparedDemand),
}

impl<'a> Asked<'a> {
    pub(super) fn demand(self) -> &'a Demand {
        match self {
            Self::Plain(demand) => demand,
            Self::Prepared(prepared) => prepared.demand(),
        }
    }

    /// See [`Demand::is_plain`].
    #[inline(always)]
    pub(super) fn is_plain(self) -> bool {
        match self {
            Self::Plain(demand) => demand.is_plain(),
            Self::Prepared(prepared) => prepared.is_plain(),
        }
    }
}

/// Further wishes of a job beyond its demand.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra<'a> {
    /// Number and key of the session's pool.
    pub(super) pool: Option<u64>,
    /// Cells to keep off.
    pub(super) avoid: &'a [u32],
    pub(super) avoid_mode: ExclusionMode,
    /// One more, with a mode of its own.
    pub(super) spread: Option<(u32, ExclusionMode)>,
}

impl Extra<'_> {
    /// Whether nothing is wished for.
    #[inline(always)]
    pub(super) fn is_none(&self) -> bool {
        self.pool.is_none() && self.avoid.is_empty() && self.spread.is_none()
    }
}

/// Cells to keep off, on the stack: those that a demand names, of a job's earlier nodes the latest, and the last of a
/// session.
pub(super) struct Cells {
    cells: [u32; Self::ROOM],
    len: usize,
}

impl Cells {
    /// Earlier nodes of a job that are kept off.
    pub(super) const EARLIER: usize = 32;
    const ROOM: usize = MAX_EXCLUSIONS + Self::EARLIER + 1;

    pub(super) fn new() -> Self {
        Self { cells: [0; Self::ROOM], len: 0 }
    }

    pub(super) fn push(&mut self, cell: u32) {
        if self.len < Self::ROOM && !self.as_slice().contains(&cell) {
            self.cells[self.len] = cell;
            self.len += 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.cells[..self.len]
    }
}

/// How busy it was then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Busyness {
    pub(crate) in_flight: u32,
    pub(crate) capacity: u32,
}

impl Core {
    #[inline(always)]
    pub(crate) fn select(&self, asked: Asked<'_>, pin: &Guard) -> Result<(Chosen, Busyness), NoNode> {
        self.choose(asked, Extra::default(), pin, |candidate, thread| {
            self.meters.counts.add(thread, Count::selected);
            let busyness = Busyness { in_flight: candidate.in_flight(), capacity: candidate.capacity() };
            Some((Chosen::of(&candidate.found, candidate.pool.key), busyness))
        })
    }

    /// Finds candidates until `take` takes one.
    ///
    /// Each turn that does not means that another thread took a slot, so some thread always gets on.
    #[inline(always)]
    pub(super) fn choose<R>(
        &self,
        asked: Asked<'_>,
        extra: Extra<'_>,
        pin: &Guard,
        mut take: impl FnMut(&Candidate<'_>, u32) -> Option<R>,
    ) -> Result<R, NoNode> {
        if extra.is_none()
            && let Some(pool) = self.sole_pool(asked, pin)
        {
            let (mut random, thread) = self.threads.stream();
            let taken = loop {
                let Some(found) = self.draw_lighter(&pool.index, thread, &mut random) else { break None };
                let taken = take(&Candidate { pool, found }, thread);
                if taken.is_some() {
                    break taken;
                }
            };
            self.threads.keep(random);
            if let Some(taken) = taken {
                return Ok(taken);
            }
        }
        self.choose_at_large(asked, extra, pin, take)
    }

    /// Where any free node of one pool will do, and two choices decide, which is all that most gateways want: that pool.
    #[inline(always)]
    fn sole_pool<'g>(&self, asked: Asked<'_>, pin: &'g Guard) -> Option<&'g Arc<Pool>> {
        if !(self.config.policy.is_power_of_two() && asked.is_plain()) {
            return None;
        }
        let snapshot = self.snapshot(pin);
        let pool = self.known_route(asked, snapshot, pin)?.get().sole.as_ref()?;
        // From now on it is reserved from without a pin.
        asked.demand().requirements.memo.keep(snapshot.stamp(), pool.number);
        Some(pool)
    }

    #[inline(never)]
    fn choose_at_large<R>(
        &self,
        asked: Asked<'_>,
        extra: Extra<'_>,
        pin: &Guard,
        mut take: impl FnMut(&Candidate<'_>, u32) -> Option<R>,
    ) -> Result<R, NoNode> {
        // No wish beyond the requirements, whose route is known, and a free node in its first tier. (Where pools are
        // kept strictly apart, the choice of one is not to be made twice.)
        if asked.is_plain()
            && self.config.fallback
            && extra.is_none()
            && let Some(route) = self.known_route(asked, self.snapshot(pin), pin)
            && let Some(taken) = self.threads.with(|random, thread| {
                loop {
                    let candidate = find_plainly(self.view(pin, thread), route.get(), random)?;
                    if let Some(taken) = take(&candidate, thread) {
                        return Some(taken);
                    }
                }
            })
        {
            return Ok(taken);
        }
        self.choose_as_wished(asked, extra, pin, take)
    }

    #[inline(never)]
    fn choose_as_wished<R>(
        &self,
        asked: Asked<'_>,
        extra: Extra<'_>,
        pin: &Guard,
        mut take: impl FnMut(&Candidate<'_>, u32) -> Option<R>,
    ) -> Result<R, NoNode> {
        let demand = asked.demand();
        demand.validate()?;
        let (excluded, never) = self.excluded(demand, &extra);
        let wish = Wish { routing_key: demand.routing_key, pool: extra.pool, excluded: excluded.as_slice(), never };
        let unkept;
        let route = match self.route(asked, pin) {
            Ok(route) => route,
            Err(route) => {
                unkept = route;
                Shared::of(&unkept)
            }
        };
        self.threads.with(|random, thread| {
            loop {
                let Some(candidate) = find(self.view(pin, thread), route.get(), &wish, random) else {
                    return Err(self.refuse(route, pin, thread));
                };
                if let Some(taken) = take(&candidate, thread) {
                    return Ok(taken);
                }
            }
        })
    }

    #[inline(always)]
    fn view<'v>(&'v self, pin: &'v Guard, thread: u32) -> View<'v> {
        View {
            cells: &self.cells,
            occupancy: self.indexes.occupancy(),
            policy: &self.config.policy,
            fallback: self.config.fallback,
            pin,
            thread,
        }
    }

    #[inline(always)]
    fn known_route<'g>(&self, asked: Asked<'_>, snapshot: &Snapshot, pin: &'g Guard) -> Option<Shared<'g, Route>> {
        match asked {
            Asked::Prepared(prepared) => prepared.route(self.threads.scheduler(), snapshot, self.upkeep.sweeps(), pin),
            Asked::Plain(demand) => snapshot.routes().get(&demand.requirements, pin),
        }
    }

    /// The route, computed if it is not known yet; `Err` when it cannot be kept.
    pub(super) fn route<'g>(&self, asked: Asked<'_>, pin: &'g Guard) -> Result<Shared<'g, Route>, Arc<Route>> {
        let snapshot = self.snapshot(pin);
        if let Some(route) = self.known_route(asked, snapshot, pin) {
            return Ok(route);
        }
        let requirements = &asked.demand().requirements;
        let route = match snapshot.routes().get(requirements, pin) {
            Some(route) => route,
            None => {
                self.count(Count::routes_computed);
                let route = Arc::new(Route::compute(requirements, &self.layout, snapshot.table().iter()));
                match snapshot.routes().keep(&route, pin) {
                    Some(kept) => kept,
                    None => {
                        self.count(Count::routes_not_kept);
                        if let Asked::Prepared(prepared) = asked {
                            // Sweeps do not get to it, so it is good until the next one.
                            let sweeps = self.upkeep.sweeps();
                            prepared.learn(self.threads.scheduler(), snapshot, Shared::of(&route), sweeps, pin);
                        }
                        return Err(route);
                    }
                }
            }
        };
        if let Asked::Prepared(prepared) = asked {
            prepared.learn(self.threads.scheduler(), snapshot, route, u64::MAX, pin);
        }
        Ok(route)
    }

    /// The cells to keep off, the hard ones first, and how many these are. What the demand excludes and what the job's
    /// history does are each as hard as they are, whatever the other.
    fn excluded(&self, demand: &Demand, extra: &Extra<'_>) -> (Cells, usize) {
        let mut cells = Cells::new();
        let mut hard = 0;
        for mode in [ExclusionMode::Hard, ExclusionMode::Soft] {
            if demand.exclusions.mode == mode {
                for id in &demand.exclusions.nodes {
                    let key = self.node_key(id);
                    self.shard(key.hash).with(&key, |node| cells.push(node.cell));
                }
            }
            if extra.avoid_mode == mode {
                extra.avoid.iter().for_each(|cell| cells.push(*cell));
            }
            extra.spread.filter(|(_, spread)| *spread == mode).into_iter().for_each(|(cell, _)| cells.push(cell));
            if mode == ExclusionMode::Hard {
                hard = cells.as_slice().len();
            }
        }
        (cells, hard)
    }
}
