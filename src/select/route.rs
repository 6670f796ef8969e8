//! The route: the pools that satisfy one demand, in the order in which they are tried.
//!
//! A route is made of tiers, tried one after the other. Within a tier a pool is chosen by the session, by the routing
//! key, or in proportion to free slots; when it has none, the others of the tier follow as the occupancy bitmap shows
//! them. Tiers, in order: the tenant's own pool; pools whose every member can do it (with the source language unknown,
//! those that recognise most languages first); pools in which only some members may.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::capability::{Coverage, Requirements, Source, Unmet};
use crate::id::mix;
use crate::node::NodeState;
use crate::pool::index::word::FANOUT;
use crate::pool::{Layout, Occupancy, Pool};
use crate::random::Random;

use super::shares::Shares;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) requirements: Arc<Requirements>,
    pub(crate) tiers: Box<[Tier]>,
    /// The pool of the first tier, if it is alone there and every member can do it.
    pub(crate) sole: Option<Arc<Pool>>,
    /// What the pools lack that are not in the route; if there are none, all that is asked for.
    pub(crate) missing: Box<[String]>,
}

/// Pools of equal rank.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) pools: Box<[Arc<Pool>]>,
    /// The pools as a mask over pool numbers: number of an occupancy word, and which of its bits.
    mask: Box<[(u32, u32)]>,
    /// Whether members must be held against the requirements one by one.
    pub(crate) checked: bool,
    shares: Shares,
}

impl Route {
    /// Computes the route from the pools that there are. Takes no lock.
    ///
    /// Where a demand names what pools are not told apart by (a label that is no routing label, a language exactly), the
    /// members of every pool that could do it otherwise are checked.
    pub(crate) fn compute<'a>(
        requirements: &Arc<Requirements>,
        layout: &Layout,
        pools: impl Iterator<Item = &'a Arc<Pool>>,
    ) -> Self {
        let told_apart = layout.told_apart_by(requirements);
        let may = |pool: &Pool| {
            pool.may_do_more() || told_apart.as_ref().is_some_and(|r| pool.guarantee.satisfies(r).is_ok())
        };
        let mut ranked: Vec<(Rank, Arc<Pool>)> = Vec::new();
        // What every pool lacks that is not in the route, and what each lacks first.
        let (mut nobody_has, mut unmet): (Option<BTreeSet<Unmet>>, _) = (None, Vec::new());
        for pool in pools.filter(|pool| pool.tenant.is_none() || pool.tenant == requirements.tenant) {
            let own = if pool.tenant.is_some() { 0 } else { 1 };
            match pool.guarantee.satisfies(requirements) {
                Ok(()) => {
                    let checked = requirements.within_one_language() && pool.may_do_more();
                    let coverage = if checked { 0 } else { coverage(requirements, pool) };
                    ranked.push((Rank { own, checked, coverage }, pool.clone()));
                }
                Err(_) if may(pool) => ranked.push((Rank { own, checked: true, coverage: 0 }, pool.clone())),
                Err(lack) => {
                    let lacks = pool.guarantee.lacks(requirements);
                    nobody_has = Some(match nobody_has {
                        Some(others) => others.intersection(&lacks).cloned().collect(),
                        None => lacks,
                    });
                    unmet.push(lack);
                }
            }
        }
        // Where all that is asked for is there, but not together, each pool's first lack has to do.
        let unmet = nobody_has.filter(|all| !all.is_empty()).map_or(unmet, |all| all.into_iter().collect());
        ranked.sort_by_key(|(rank, pool)| (*rank, pool.number));
        let missing = describe(unmet, requirements);
        let tiers = ranked.chunk_by(|(a, _), (b, _)| a == b).map(|tier| {
            let pools = tier.iter().map(|(_, pool)| pool.clone()).collect();
            Tier::new(pools, tier[0].0.checked)
        });
        let tiers: Box<[Tier]> = tiers.collect();
        let sole =
            tiers.first().filter(|tier| !tier.checked && tier.pools.len() == 1).map(|tier| tier.pools[0].clone());
        Self { requirements: requirements.clone(), tiers, sole, missing }
    }

    /// Whether it is the route for these requirements.
    #[inline(always)]
    pub(crate) fn is_for(&self, wanted: &Arc<Requirements>) -> bool {
        Arc::ptr_eq(&self.requirements, wanted)
            || (self.requirements.known_hash() == wanted.known_hash() && self.requirements == *wanted)
    }

    /// Every pool, in the order of the tiers.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.tiers.iter().flat_map(|tier| tier.pools.iter())
    }

    /// Members that take jobs, over the pools whose every member can do it.
    pub(crate) fn ready(&self) -> u64 {
        let sure = self.tiers.iter().filter(|tier| !tier.checked);
        sure.flat_map(|tier| tier.pools.iter()).map(|pool| pool.tally.count(NodeState::Ready)).sum()
    }

    /// Draws up the shares anew, from the free slots that the last sweep found.
    pub(crate) fn refresh(&self) {
        self.tiers.iter().for_each(Tier::refresh);
    }
}

/// The smaller the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    own: u8,
    checked: bool,
    /// Languages not recognised, out of very many, where the source is unknown.
    coverage: usize,
}

fn coverage(requirements: &Requirements, pool: &Pool) -> usize {
    match (&requirements.source, pool.guarantee.asr_coverage()) {
        (Some(Source::Auto), Coverage::Some(languages)) => usize::MAX - languages,
        _ => 0,
    }
}

/// What is missing, in words, each once. If nobody lacks anything, nobody is there: then it is all that is asked for.
pub(crate) fn describe(mut unmet: Vec<Unmet>, requirements: &Requirements) -> Box<[String]> {
    if unmet.is_empty() {
        unmet.extend(requirements.services.iter().cloned().map(Unmet::Service));
    }
    if unmet.is_empty() {
        return Box::new(["a node".to_owned()]);
    }
    unmet.sort();
    unmet.dedup();
    unmet.iter().map(Unmet::to_string).collect()
}

impl Tier {
    fn new(pools: Box<[Arc<Pool>]>, checked: bool) -> Self {
        let mut mask: Vec<(u32, u32)> = Vec::new();
        for pool in &pools {
            let (word, bit) = (pool.number / FANOUT, 1 << (pool.number % FANOUT));
            match mask.last_mut().filter(|(last, _)| *last == word) {
                Some((_, bits)) => *bits |= bit,
                None => mask.push((word, bit)),
            }
        }
        let tier = Self { shares: Shares::even(pools.len()), pools, mask: mask.into(), checked };
        tier.refresh();
        tier
    }

    fn refresh(&self) {
        if self.pools.len() > 1 {
            self.shares.refresh(self.pools.iter().map(|pool| pool.tally.free()));
        }
    }

    /// A pool in proportion to free slots.
    #[inline(always)]
    pub(crate) fn draw(&self, random: &mut Random) -> &Arc<Pool> {
        if let [only] = &*self.pools {
            return only;
        }
        &self.pools[self.shares.draw(random)]
    }

    /// The pool of this key, if it is one of them.
    pub(crate) fn find(&self, key: u64) -> Option<&Arc<Pool>> {
        let place = self.pools.binary_search_by_key(&(key as u32), |pool| pool.number).ok()?;
        Some(&self.pools[place]).filter(|pool| pool.key == key)
    }

    /// The pool for a routing key: weighted rendezvous hashing (Thaler and Ravishankar 1998, weights after Schindelhauer
    /// and Schomaker 2005), the weight being the pool's slots. Looks at every pool of the tier.
    pub(crate) fn rendezvous(&self, key: u64) -> Option<&Arc<Pool>> {
        let score = |pool: &Arc<Pool>| {
            // In (0, 1]: 53 bits, and never 0, whose logarithm is infinite.
            let uniform = ((mix(key ^ pool.name_hash) >> 11) + 1) as f64 / (1u64 << 53) as f64;
            let weight = pool.tally.capacity().max(1) as f64;
            -weight / uniform.ln()
        };
        self.pools.iter().max_by(|a, b| score(a).total_cmp(&score(b)))
    }

    /// The tier's pools that may have room, as the occupancy bitmap shows them, from a random one on.
    pub(crate) fn occupied<'a>(
        &'a self,
        occupancy: &'a Occupancy,
        random: &mut Random,
    ) -> impl Iterator<Item = &'a Arc<Pool>> + use<'a> {
        let words = self.mask.len() as u32;
        let start = if words == 0 { 0 } else { random.below(words) };
        let turn = random.below(FANOUT);
        (0..words)
            .flat_map(move |step| {
                let (word, mask) = self.mask[((start + step) % words) as usize];
                Bits { bits: (occupancy.bits(word) & mask).rotate_right(turn), turn }
                    .map(move |bit| word * FANOUT + bit)
            })
            .filter_map(|number| {
                let place = self.pools.binary_search_by_key(&number, |pool| pool.number).ok()?;
                Some(&self.pools[place])
            })
    }
}

/// The set bits of a word that was rotated right by `turn`.
struct Bits {
    bits: u32,
    turn: u32,
}

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.bits == 0 {
            return None;
        }
        let bit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some((bit + self.turn) % FANOUT)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn bits_come_once_each_from_the_turn_on() {
        let bits = 0b1000_0000_0000_0000_0000_0000_0001_0010u32;
        let seen: Vec<u32> = Bits { bits: bits.rotate_right(4), turn: 4 }.collect();
        assert_eq!(seen, [4, 31, 1]);
    }
}
