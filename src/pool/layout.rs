//! Which pools a node belongs in, and what automatic pools are called. Pure: reads the configuration, takes no lock.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::profile::{Automatic, Profile, Seating};
use super::{Pool, PoolKind};
use crate::capability::{Capabilities, Requirements, Service, Source};
use crate::few::Few;
use crate::id::stable_hash;

/// Where a node is to sit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seat<'p> {
    /// In a pool that is always there.
    Fixed(&'p Arc<Pool>),
    /// In the automatic pool of this signature, to be made if there is none.
    Automatic(&'p Automatic),
}

/// The pools that are always there, and the rules.
#[derive(Debug)]
pub(crate) struct Layout {
    routing_labels: BTreeSet<Arc<str>>,
    /// Configured pools, each with whether it takes exact matches only.
    configured: Vec<(Arc<Pool>, bool)>,
    hash: Vec<Arc<Pool>>,
    pub(crate) mixed: Arc<Pool>,
}

impl Layout {
    pub(crate) fn new(
        routing_labels: BTreeSet<Arc<str>>,
        configured: Vec<(Arc<Pool>, bool)>,
        hash: Vec<Arc<Pool>>,
        mixed: Arc<Pool>,
    ) -> Self {
        Self { routing_labels, configured, hash, mixed }
    }

    pub(crate) fn configured(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.configured.iter().map(|(pool, _)| pool)
    }

    pub(crate) fn signature(&self, capabilities: &Capabilities) -> Capabilities {
        capabilities.signature(&self.routing_labels)
    }

    /// The requirements as far as pools are told apart by them: without labels that are no routing labels, and with
    /// languages by their primary subtags, for a pool of `zh` has members of `zh-CN` and of `zh-TW`. `None` if that is
    /// no different.
    pub(crate) fn told_apart_by(&self, requirements: &Requirements) -> Option<Requirements> {
        let mut told_apart = requirements.clone();
        told_apart.labels.retain(|name, _| self.routing_labels.contains(name));
        told_apart.target = told_apart.target.map(|language| language.loose());
        if let Some(Source::Known(language)) = &mut told_apart.source {
            *language = language.loose();
        }
        (told_apart != *requirements).then_some(told_apart)
    }

    /// The seats of a node; none when no configured pool takes it.
    pub(crate) fn seats<'p>(&'p self, id: &str, profile: &'p Profile) -> Few<Seat<'p>> {
        match &profile.seating {
            Seating::Fixed(pools) => pools.iter().map(Seat::Fixed).collect(),
            Seating::Hashed => {
                let pool = stable_hash(id) % self.hash.len() as u64;
                Few::One(Seat::Fixed(&self.hash[pool as usize]))
            }
            Seating::Automatic(automatic) => Few::One(Seat::Automatic(automatic)),
        }
    }

    /// Where nodes that can do this sit.
    pub(crate) fn seating(&self, capabilities: &Capabilities) -> Seating {
        if !self.configured.is_empty() {
            return Seating::Fixed(self.configured_pools(capabilities));
        }
        let signature = self.signature(capabilities);
        if signature == Capabilities::new() && !self.hash.is_empty() {
            return Seating::Hashed;
        }
        Seating::Automatic(Automatic::new(Arc::new(signature)))
    }

    /// The most specific of the configured pools that take the node: those that ask for nothing less than another
    /// one that takes it, too.
    fn configured_pools(&self, capabilities: &Capabilities) -> Vec<Arc<Pool>> {
        let takes = |(pool, exact): &&(Arc<Pool>, bool)| {
            let wanted = &pool.guarantee;
            capabilities.includes(wanted) && (!exact || self.signature(capabilities).adds_nothing_to(wanted))
        };
        let taking: Vec<_> = self.configured.iter().filter(takes).collect();
        let beaten = |(pool, exact): &(Arc<Pool>, bool)| {
            taking.iter().any(|(other, other_exact)| {
                let more = other.guarantee.includes(&pool.guarantee);
                let less = pool.guarantee.includes(&other.guarantee);
                more && (!less || (*other_exact && !exact))
            })
        };
        taking.iter().filter(|entry| !beaten(entry)).map(|(pool, _)| pool.clone()).collect()
    }
}

/// The name of an automatic pool: its languages joined by `-`, then the services when not all predefined ones and no
/// others are there, then the routing labels.
pub(crate) fn automatic_name(signature: &Capabilities) -> String {
    let mut parts: Vec<String> = signature.languages().iter().map(|language| language.tag().to_owned()).collect();
    let services: BTreeSet<&Service> = signature.services().collect();
    if services != Service::PREDEFINED.iter().collect() {
        // In the order of a translation, then by name.
        let predefined = Service::PREDEFINED.iter().filter(|service| services.contains(service));
        let others = services.iter().copied().filter(|service| !Service::PREDEFINED.contains(service));
        parts.extend(predefined.chain(others).map(|service| service.name().to_owned()));
    }
    parts.extend(signature.labels().map(|(name, value)| format!("{name}={value}")));
    let name = if parts.is_empty() { "any".to_owned() } else { parts.join("-") };
    shorten(name)
}

/// A name of hundreds of languages is of no use to anybody.
fn shorten(name: String) -> String {
    const LONGEST: usize = 120;
    if name.len() <= LONGEST {
        return name;
    }
    let cut = (0..=LONGEST).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!("{}..{:08x}", &name[..cut], stable_hash(&name) as u32)
}

impl Pool {
    /// Whether members can do things that the pool does not guarantee, so that they are checked one by one for
    /// demands that go beyond.
    pub(crate) fn may_do_more(&self) -> bool {
        matches!(self.kind, PoolKind::Configured | PoolKind::Mixed)
    }
}
