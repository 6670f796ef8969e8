//! Which pools there are, and who is in them.

use std::collections::BTreeMap;

use slotyard::{Event, NodeState, PoolKind};

use super::super::ability::{Ability, Needs};
use super::super::setup::Layout;
use super::{Model, node_id};

/// One life of a pool: never used again.
pub(crate) type Birth = u64;

#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) kind: PoolKind,
    /// Every member can do at least this.
    pub(crate) guarantee: Ability,
    exact: bool,
    pub(crate) tenant: bool,
    /// By how much the last sweep found fewer slots free than are offered, or more, if members have gone since.
    pub(super) found: i64,
}

/// Where a node belongs.
#[derive(Clone, Copy)]
enum Seat {
    Fixed(Birth),
    /// In the automatic pool of these.
    Automatic(Ability),
}

impl Pool {
    fn may_do_more(&self) -> bool {
        matches!(self.kind, PoolKind::Configured | PoolKind::Mixed)
    }
}

fn includes(mine: &Ability, other: &Ability) -> bool {
    mine.services & other.services == other.services && (other.zone == 0 || mine.zone == other.zone)
}

impl Model {
    /// The pools that are always there.
    pub(super) fn lay_out(&mut self) {
        self.add_pool("mixed".into(), PoolKind::Mixed, Ability::default());
        match self.setup.layout.clone() {
            Layout::Automatic => {}
            Layout::Hash(pools) => (0..pools).for_each(|n| {
                self.add_pool(format!("hash-{n}"), PoolKind::Hash, Ability::default());
            }),
            Layout::Configured(pools) => pools.iter().for_each(|configured| {
                let birth = self.add_pool(configured.name.into(), PoolKind::Configured, configured.requires);
                let pool = self.pools.get_mut(&birth).expect("just added");
                (pool.exact, pool.tenant) = (configured.exact, configured.tenant);
            }),
        }
    }

    fn add_pool(&mut self, name: String, kind: PoolKind, guarantee: Ability) -> Birth {
        self.births += 1;
        let pool = Pool { name, kind, guarantee, exact: false, tenant: false, found: 0 };
        self.pools.insert(self.births, pool);
        self.births
    }

    fn pool_where(&self, is_it: impl Fn(&Pool) -> bool) -> Option<Birth> {
        self.pools.iter().find(|(_, pool)| is_it(pool)).map(|(birth, _)| *birth)
    }

    pub(crate) fn members(&self, birth: Birth) -> impl Iterator<Item = u8> {
        self.nodes.iter().filter(move |(_, node)| node.homes.contains(&birth)).map(|(id, _)| *id)
    }

    /// The part that tells pools apart.
    fn signature(&self, able: &Ability) -> Ability {
        if self.setup.zones { *able } else { Ability { zone: 0, ..*able } }
    }

    /// The node was seen in these pools: if it is a hash pool, it stays that one's.
    pub(crate) fn learn_hash_pool(&mut self, node: u8, pools: &[String]) {
        if let [only] = pools
            && let Some(birth) = self.pool_where(|pool| pool.kind == PoolKind::Hash && pool.name == *only)
        {
            self.hash_pools.entry(node).or_insert(birth);
        }
    }

    fn seats(&self, id: u8, able: &Ability) -> Vec<Seat> {
        let signature = self.signature(able);
        match self.setup.layout {
            Layout::Configured(_) => self.configured(able).into_iter().map(Seat::Fixed).collect(),
            Layout::Hash(_) if signature == Ability::default() => {
                // Of a node that came and went within one tick it was not to be seen, and makes no difference.
                let any = || self.pool_where(|pool| pool.kind == PoolKind::Hash).expect("there are some");
                vec![Seat::Fixed(self.hash_pools.get(&id).copied().unwrap_or_else(any))]
            }
            _ => vec![Seat::Automatic(signature)],
        }
    }

    /// The most specific of the configured pools that take a node: none of them is beaten by another that takes it, too,
    /// and asks for more, or for the same and nothing else.
    fn configured(&self, able: &Ability) -> Vec<Birth> {
        let takes = |pool: &Pool| {
            let signature = self.signature(able);
            let adds_nothing = signature.services & !pool.guarantee.services == 0
                && (signature.zone == 0 || signature.zone == pool.guarantee.zone);
            pool.kind == PoolKind::Configured && includes(able, &pool.guarantee) && (!pool.exact || adds_nothing)
        };
        let taking: BTreeMap<_, _> = self.pools.iter().filter(|(_, pool)| takes(pool)).collect();
        let beaten = |pool: &Pool| {
            taking.values().any(|other| {
                let more = includes(&other.guarantee, &pool.guarantee);
                let less = includes(&pool.guarantee, &other.guarantee);
                more && (!less || (other.exact && !pool.exact))
            })
        };
        taking.iter().filter(|(_, pool)| !beaten(pool)).map(|(birth, _)| **birth).collect()
    }

    /// Whether there is no pool for a node that can do this.
    pub(crate) fn has_no_pool(&self, able: &Ability) -> bool {
        self.seats(0, able).is_empty()
    }

    /// The pool of a seat; made if need be and if there may be another.
    fn join(&mut self, id: u8, seat: Seat) -> Birth {
        let signature = match seat {
            Seat::Fixed(birth) => return birth,
            Seat::Automatic(signature) => signature,
        };
        let own = |pool: &Pool| pool.kind == PoolKind::Automatic && pool.guarantee == signature;
        if let Some(birth) = self.pool_where(own) {
            return birth;
        }
        // The mixed pool does not count.
        if self.pools.len() > self.setup.max_pools {
            self.tell(Event::PoolsExhausted { node: node_id(id).into(), limit: self.setup.max_pools });
            return self.pool_where(|pool| pool.kind == PoolKind::Mixed).expect("it is always there");
        }
        let name = signature.pool_name();
        self.tell(Event::PoolMade { pool: name.clone() });
        self.version += 1;
        self.add_pool(name, PoolKind::Automatic, signature)
    }

    /// Drops those of these pools that have nobody left, if they are automatic.
    pub(super) fn leave(&mut self, births: &[Birth]) {
        for birth in births {
            let deserted = self.members(*birth).next().is_none();
            let automatic = self.pools.get(birth).is_some_and(|pool| pool.kind == PoolKind::Automatic);
            if deserted && automatic {
                let pool = self.pools.remove(birth).expect("just seen");
                self.version += 1;
                self.tell(Event::PoolDropped { pool: pool.name });
            }
        }
    }

    /// The pools for a node that comes.
    pub(super) fn settle(&mut self, id: u8, able: &Ability) -> Vec<Birth> {
        let seats = self.seats(id, able);
        seats.into_iter().map(|seat| self.join(id, seat)).collect()
    }

    /// Moves a node to where it belongs by what it can do now.
    pub(super) fn reseat(&mut self, id: u8) {
        let (able, before) = (self.nodes[&id].able(), self.nodes[&id].homes.clone());
        let mut homes = Vec::new();
        for seat in self.seats(id, &able) {
            // In the mixed pool it is asked anew whether there may be one of its own by now.
            let is_it = |birth: &Birth| match seat {
                Seat::Fixed(fixed) => *birth == fixed,
                Seat::Automatic(signature) => {
                    let pool = &self.pools[birth];
                    pool.kind == PoolKind::Automatic && pool.guarantee == signature
                }
            };
            let there = before.iter().copied().find(is_it);
            homes.push(match there {
                Some(birth) => birth,
                None => self.join(id, seat),
            });
        }
        self.node(id).homes = homes;
        self.leave(&before);
    }

    /// The pools that may serve these needs, in the order in which they are tried: a tenant's own; those whose members
    /// can all do it; those of which some members may.
    pub(crate) fn tiers(&self, needs: &Needs) -> Vec<Vec<Birth>> {
        let mut tiers: BTreeMap<(bool, bool), Vec<Birth>> = BTreeMap::new();
        for (birth, pool) in self.pools.iter().filter(|(_, pool)| !pool.tenant || needs.tenant) {
            let checked = if pool.guarantee.meets(needs).is_ok() {
                needs.within_one_language() && pool.may_do_more()
            } else {
                // Pools are not told apart by a label that is no routing label.
                let told_apart = if self.setup.zones { *needs } else { Needs { zone: 0, ..*needs } };
                if !pool.may_do_more() && (told_apart == *needs || pool.guarantee.meets(&told_apart).is_err()) {
                    continue;
                }
                true
            };
            tiers.entry((!pool.tenant, checked)).or_default().push(*birth);
        }
        tiers.into_values().collect()
    }

    /// Its members in this state, and the slots of all of them.
    pub(crate) fn count(&self, birth: Birth, state: NodeState) -> usize {
        self.members(birth).filter(|id| self.nodes[id].state() == state).count()
    }

    pub(crate) fn capacity(&self, birth: Birth) -> u64 {
        self.members(birth).map(|id| u64::from(self.nodes[&id].capacity)).sum()
    }

    pub(super) fn offered(&self, birth: Birth) -> i64 {
        let ready = self.members(birth).filter(|id| self.nodes[id].state() == NodeState::Ready);
        ready.map(|id| i64::from(self.nodes[&id].capacity)).sum()
    }

    /// What is shown as free: what the last sweep found, and what was offered since.
    pub(crate) fn free(&self, birth: Birth) -> u64 {
        (self.offered(birth) + self.pools[&birth].found).max(0) as u64
    }
}
