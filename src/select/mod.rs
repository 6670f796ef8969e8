//! Selection: from a route to a node with a free slot, without locks, allocation or a clock.

mod cache;
mod policy;
mod prepared;
mod refusal;
pub(crate) mod route;
mod shares;

use std::hint::select_unpredictable;
use std::sync::Arc;

use crossbeam_epoch::Guard;

pub(crate) use cache::RouteCache;
pub use policy::{Choose, Policy};
pub use prepared::PreparedDemand;
pub(crate) use refusal::Missing;
pub use refusal::{ReasonCounts, Refusal};
pub(crate) use route::{Route, Tier, describe};

use crate::capability::Requirements;
use crate::node::Cells;
use crate::node::cell::Basis;
use crate::pool::{Found, Occupancy, Pool};
use crate::random::Random;
use crate::sync::Ordering;

/// Draws that may hit an unwanted member before the members are gone through one by one.
const BLIND_DRAWS: u32 = 8;

/// What selection looks at, all of it good for as long as the pin.
#[derive(Clone, Copy)]
pub(crate) struct View<'d> {
    pub(crate) cells: &'d Cells,
    pub(crate) occupancy: &'d Occupancy,
    pub(crate) policy: &'d Policy,
    pub(crate) fallback: bool,
    pub(crate) pin: &'d Guard,
    /// The thread's number.
    pub(crate) thread: u32,
}

/// What one call wants beyond the route's requirements.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish<'d> {
    pub(crate) routing_key: Option<u64>,
    /// Number and key of the session's pool.
    pub(crate) pool: Option<u64>,
    /// Cells of the nodes to keep off, those first that are never to be used.
    pub(crate) excluded: &'d [u32],
    /// How many of them are never to be used; the others may be when there is nobody else.
    pub(crate) never: usize,
}

/// A node with a free slot, as a policy is shown it.
#[derive(Clone, Copy)]
pub struct Candidate<'d> {
    pub(crate) pool: &'d Arc<Pool>,
    pub(crate) found: Found<'d>,
}

impl Candidate<'_> {
    /// Slots held by our own jobs.
    pub fn in_flight(&self) -> u32 {
        self.found.word.in_flight()
    }

    /// Jobs of others, as last reported and decayed since.
    pub fn external(&self) -> u32 {
        self.basis().external.into()
    }

    /// Its slots.
    pub fn capacity(&self) -> u32 {
        self.basis().capacity.into()
    }

    /// Its weight.
    pub fn weight(&self) -> u16 {
        self.basis().weight
    }

    /// The largest weight in its pool.
    pub fn max_weight(&self) -> u16 {
        self.pool.max_weight()
    }

    /// Jobs in relation to capacity times weight.
    pub fn load(&self) -> f64 {
        let (jobs, strength) = self.found.load();
        f64::from(jobs) / f64::from(strength.max(1))
    }

    #[inline(always)]
    fn basis(&self) -> Basis {
        self.found.cell.basis()
    }
}

impl std::fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("pool", &self.pool.name)
            .field("in_flight", &self.in_flight())
            .field("external", &self.external())
            .field("capacity", &self.capacity())
            .field("weight", &self.weight())
            .finish()
    }
}

/// What a policy draws from: the free nodes of a pool, or of the pools of one rank.
#[derive(Clone)]
pub struct Drawing<'d> {
    view: View<'d>,
    from: From<'d>,
    filter: Option<Filter<'d>>,
    random: Random,
}

#[derive(Clone, Copy)]
enum From<'d> {
    Pool(&'d Arc<Pool>),
    Tier(&'d Tier),
}

impl<'d> From<'d> {
    fn of(tier: &'d Tier) -> Self {
        match &*tier.pools {
            [only] => Self::Pool(only),
            _ => Self::Tier(tier),
        }
    }
}

/// Which members are wanted, where not all are.
#[derive(Clone, Copy)]
struct Filter<'d> {
    excluded: &'d [u32],
    requirements: Option<&'d Requirements>,
}

impl Filter<'_> {
    fn wants(&self, view: &View<'_>, found: &Found<'_>) -> bool {
        !self.excluded.contains(&found.number)
            && self.requirements.is_none_or(|requirements| {
                let node = found.cell.node.load(view.pin);
                let effective = node.map(|node| node.effective(view.pin));
                effective.is_some_and(|capabilities| capabilities.satisfies(requirements).is_ok())
            })
    }
}

impl<'d> Drawing<'d> {
    /// A free node at random; `None` when there is none. The same one may come again.
    #[inline(always)]
    pub fn draw(&mut self) -> Option<Candidate<'d>> {
        match self.from {
            From::Pool(pool) => self.draw_in(pool),
            From::Tier(tier) => {
                let drawn = tier.draw(&mut self.random);
                self.draw_in(drawn).or_else(|| self.apart(|drawing| drawing.draw_elsewhere(tier)))
            }
        }
    }

    /// Does what is rare on a copy: what is handed to a function elsewhere has to be in memory, and all that is common
    /// should be in registers.
    #[inline(always)]
    pub(super) fn apart<R>(&mut self, rare: impl FnOnce(&mut Self) -> R) -> R {
        let mut copy = self.clone();
        let result = rare(&mut copy);
        self.random = copy.random;
        result
    }

    /// The next free node in the order of positions, and how many turns over the pool came before.
    pub fn next_in_turn(&mut self) -> Option<(Candidate<'d>, u64)> {
        match self.from {
            From::Pool(pool) => self.next_turn_in(pool),
            From::Tier(tier) => {
                let drawn = tier.draw(&mut self.random);
                self.next_turn_in(drawn).or_else(|| {
                    let pool = self.draw_elsewhere(tier)?.pool;
                    self.next_turn_in(pool)
                })
            }
        }
    }

    fn next_turn_in(&mut self, pool: &'d Arc<Pool>) -> Option<(Candidate<'d>, u64)> {
        let rotor = pool.rotor(self.view.thread);
        let size = u64::from(pool.index.high_water()).max(1);
        // Relaxed: threads that share a counter may now and then take the same turn.
        let before = rotor.load(Ordering::Relaxed);
        let (turn, from) = (before / size, (before % size) as u32);
        let (candidate, position) = self.next_in(pool, from)?;
        let turn = if position < from { turn + 1 } else { turn };
        rotor.store(turn * size + u64::from(position) + 1, Ordering::Relaxed);
        Some((candidate, turn))
    }

    /// A random number below `n`; 0 for `n` = 0.
    pub fn below(&mut self, n: u32) -> u32 {
        self.random.below(n)
    }

    /// The one with the smaller load; either at random when they are equal.
    #[inline(always)]
    pub fn less_loaded(&mut self, a: Candidate<'d>, b: Candidate<'d>) -> Candidate<'d> {
        let coin = self.random.next();
        let first = a.found.is_lighter(&b.found, coin);
        // A guess would be wrong half of the time.
        Candidate { pool: select_unpredictable(first, a.pool, b.pool), found: a.found.lighter(b.found, coin) }
    }

    #[inline(always)]
    fn draw_in(&mut self, pool: &'d Arc<Pool>) -> Option<Candidate<'d>> {
        if self.filter.is_some() {
            return self.apart(|drawing| drawing.draw_filtered(pool));
        }
        pool.index.draw(self.view.cells, &mut self.random).map(|found| Candidate { pool, found })
    }

    /// As `draw_in`, where not every member is wanted: a few draws, then member by member from a random one on.
    #[cold]
    fn draw_filtered(&mut self, pool: &'d Arc<Pool>) -> Option<Candidate<'d>> {
        for _ in 0..BLIND_DRAWS {
            let candidate = Candidate { pool, found: pool.index.draw(self.view.cells, &mut self.random)? };
            if self.wants(&candidate.found) {
                return Some(candidate);
            }
        }
        let from = self.random.below(pool.index.high_water());
        self.next_in(pool, from).map(|(candidate, _)| candidate)
    }

    /// The first wanted member at or after `from`, a position of the pool, going round once, and its position.
    fn next_in(&mut self, pool: &'d Arc<Pool>, from: u32) -> Option<(Candidate<'d>, u32)> {
        let (mut at, mut passed) = (from, 0);
        loop {
            let position = pool.index.next(at)?;
            let size = pool.index.high_water();
            passed += (position + size - at) % size + 1;
            if passed > size && self.filter.is_some() {
                return None;
            }
            if let Some(candidate) = self.wanted(pool, position) {
                return Some((candidate, position));
            }
            // Unwanted, or a stale bit, which has been mended.
            at = (position + 1) % size;
        }
    }

    fn wanted(&self, pool: &'d Arc<Pool>, position: u32) -> Option<Candidate<'d>> {
        let found = pool.index.look(self.view.cells, position)?;
        self.wants(&found).then_some(Candidate { pool, found })
    }

    fn wants(&self, found: &Found<'_>) -> bool {
        self.filter.is_none_or(|filter| filter.wants(&self.view, found))
    }

    /// The pool that was drawn has none: on to the others that may have one.
    #[cold]
    fn draw_elsewhere(&mut self, tier: &'d Tier) -> Option<Candidate<'d>> {
        if !self.view.fallback {
            return None;
        }
        let occupied = tier.occupied(self.view.occupancy, &mut self.random);
        for pool in occupied {
            if let Some(candidate) = self.draw_in(pool) {
                return Some(candidate);
            }
            pool.index.mend_occupancy();
        }
        None
    }
}

impl std::fmt::Debug for Drawing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drawing").finish_non_exhaustive()
    }
}

/// Finds a node in the first tier of the route, for whoever has no wish beyond it. `None`: see what [`find`] finds.
#[inline(always)]
pub(crate) fn find_plainly<'d>(view: View<'d>, route: &'d Route, random: &mut Random) -> Option<Candidate<'d>> {
    let tier = route.tiers.first().filter(|tier| !tier.checked)?;
    choose(view, From::of(tier), None, random)
}

#[inline(always)]
fn choose<'d>(
    view: View<'d>,
    from: From<'d>,
    filter: Option<Filter<'d>>,
    random: &mut Random,
) -> Option<Candidate<'d>> {
    let mut drawing = Drawing { view, from, filter, random: random.clone() };
    let found = view.policy.choose(&mut drawing);
    *random = drawing.random;
    found
}

/// Finds a node for the route, as wished.
pub(crate) fn find<'d>(
    view: View<'d>,
    route: &'d Route,
    wish: &Wish<'d>,
    random: &mut Random,
) -> Option<Candidate<'d>> {
    let found = find_wanted(view, route, wish, random);
    if found.is_none() && wish.never < wish.excluded.len() {
        return find_wanted(view, route, &Wish { excluded: &wish.excluded[..wish.never], ..*wish }, random);
    }
    found
}

fn find_wanted<'d>(view: View<'d>, route: &'d Route, wish: &Wish<'d>, random: &mut Random) -> Option<Candidate<'d>> {
    let mut choose = |tier: &'d Tier, from: From<'d>| {
        let filtered = tier.checked || !wish.excluded.is_empty();
        let filter = filtered
            .then(|| Filter { excluded: wish.excluded, requirements: tier.checked.then_some(&*route.requirements) });
        choose(view, from, filter, random)
    };
    if let Some(key) = wish.pool
        && let Some((tier, pool)) = route.tiers.iter().find_map(|tier| Some((tier, tier.find(key)?)))
    {
        let found = choose(tier, From::Pool(pool));
        if found.is_some() || !view.fallback {
            return found;
        }
    }
    for tier in &route.tiers {
        if let Some(pool) = wish.routing_key.and_then(|key| tier.rendezvous(key)) {
            let found = choose(tier, From::Pool(pool));
            if found.is_some() || !view.fallback {
                return found;
            }
        }
        let found = choose(tier, From::of(tier));
        if found.is_some() || !view.fallback {
            return found;
        }
    }
    None
}
