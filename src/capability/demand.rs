//! What a job needs of a node.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::service::Role;
use super::{
    CapabilityError, IntoLanguage, Labels, Language, MAX_LABELS, MAX_SERVICES, Service, check_count, check_label,
    check_service,
};
use crate::id::{NodeId, fixed_hasher, mix, stable_hash};
use crate::sync::{Ordering, Statistic};

/// More exclusions than this in one demand are refused.
pub const MAX_EXCLUSIONS: usize = 32;

/// What a job needs: services, source and target language, labels, a tenant, a routing key; and nodes to keep off.
///
/// The builder methods never fail; what is wrong with their arguments is told by the call that takes the finished
/// value, as [`NoNode::Invalid`](crate::NoNode::Invalid). Cheap to clone.
///
/// ```
/// use slotyard::{Demand, Service};
///
/// let speech = Demand::translate("zh", "en").services([Service::ASR, Service::NMT, Service::TTS]);
/// let detect = Demand::translate("auto", "en").services([Service::ASR, Service::NMT]);
/// let embed = Demand::new().service("embed").label("model", "bge-m3").routing_key("tenant-7");
/// # let _ = (speech, detect, embed);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Demand {
    pub(crate) requirements: Arc<Requirements>,
    pub(crate) routing_key: Option<u64>,
    pub(crate) exclusions: Exclusions,
    /// What is wrong with an argument; it stays.
    error: Option<CapabilityError>,
    /// What there is too much of now.
    excess: Option<CapabilityError>,
}

/// The part of a demand that decides which pools can serve it; the key under which its route is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Requirements {
    pub(crate) services: BTreeSet<Service>,
    pub(crate) source: Option<Source>,
    pub(crate) target: Option<Language>,
    pub(crate) labels: Labels,
    pub(crate) tenant: Option<Arc<str>>,
    hash: KnownHash,
    pub(crate) memo: Memo,
    pub(crate) kind: KindMemo,
}

/// The pool that was the only one of the first tier of the route, and the stamp of the snapshot of which that is true.
///
/// Stamp in the upper 44 bits (at a million snapshots a second they last half a year), pool number in the lower 20; 0:
/// none yet. As with [`KnownHash`], it says nothing in comparisons, and a copy has none.
#[derive(Debug, Default)]
pub(crate) struct Memo(Statistic);

impl Memo {
    const NUMBER_BITS: u32 = 20;

    /// The pool's number, if it is known under this stamp.
    #[inline(always)]
    pub(crate) fn known(&self, stamp: u64) -> Option<u32> {
        // Relaxed: a memo says all in one word, and whoever uses it looks at the stamp again.
        let kept = self.0.load(Ordering::Relaxed);
        (kept >> Self::NUMBER_BITS == stamp).then_some(kept as u32 & ((1 << Self::NUMBER_BITS) - 1))
    }

    /// Whether they have been asked for before.
    pub(crate) fn is_some(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn keep(&self, stamp: u64, number: u32) {
        debug_assert!(number < 1 << Self::NUMBER_BITS && stamp < 1 << (64 - Self::NUMBER_BITS));
        let kept = stamp << Self::NUMBER_BITS | u64::from(number);
        if self.0.load(Ordering::Relaxed) != kept {
            self.0.store(kept, Ordering::Relaxed);
        }
    }
}

/// Under which number a scheduler keeps these very requirements for its jobs (see `job::wanted`). Scheduler in the upper 48
/// bits, number in the lower 16; 0: none does. As with [`Memo`], it says nothing in comparisons, and a copy has none.
#[derive(Debug, Default)]
pub(crate) struct KindMemo(Statistic);

impl KindMemo {
    const NUMBER_BITS: u32 = 16;

    /// The number, if this scheduler keeps them; numbers of schedulers are from 1 on.
    #[inline(always)]
    pub(crate) fn known(&self, scheduler: u64) -> Option<usize> {
        // Relaxed: whoever finds a number looks what is kept there.
        let kept = self.0.load(Ordering::Relaxed);
        (kept >> Self::NUMBER_BITS == scheduler).then_some(kept as usize & ((1 << Self::NUMBER_BITS) - 1))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn keep(&self, scheduler: u64, number: usize) {
        debug_assert!(number < 1 << Self::NUMBER_BITS);
        self.0.store(scheduler << Self::NUMBER_BITS | number as u64, Ordering::Relaxed);
    }
}

/// A hash, once it is known: 0 until then. It follows from the other fields, so it says nothing in comparisons, and a
/// copy, which may be about to be changed, has none.
#[derive(Debug, Default)]
struct KnownHash(Statistic);

/// What follows from the other fields of a value is no part of it.
macro_rules! no_part_of_the_value {
    ($type:ty) => {
        impl Clone for $type {
            fn clone(&self) -> Self {
                Self::default()
            }
        }

        impl PartialEq for $type {
            fn eq(&self, _: &Self) -> bool {
                true
            }
        }

        impl Eq for $type {}

        impl Hash for $type {
            fn hash<H: Hasher>(&self, _: &mut H) {}
        }
    };
}

no_part_of_the_value!(KnownHash);
no_part_of_the_value!(Memo);
no_part_of_the_value!(KindMemo);

impl Requirements {
    /// Whether something is to be translated between variants of one language, `zh-CN` and `zh-TW`. Whoever translates any of some
    /// languages to any other serves that, too; but a node that lists pairs seldom lists it, and joins a configured pool
    /// of any-to-any without.
    pub(crate) fn within_one_language(&self) -> bool {
        let translated = self.services.iter().any(|service| service.role() == Role::Both);
        match (&self.source, &self.target) {
            (Some(Source::Known(source)), Some(target)) => translated && source.primary() == target.primary(),
            _ => false,
        }
    }

    /// A number that differs between demands that differ in what they need (128 bits would be certain; this is 64).
    /// The same request id with another fingerprint is refused, never given another client's job.
    pub(crate) fn fingerprint(&self, routing_key: Option<u64>) -> u64 {
        self.known_hash() ^ routing_key.map_or(0, |key| mix(!key))
    }

    /// Equal for equal requirements, in this process. Worked out once.
    #[inline(always)]
    pub(crate) fn known_hash(&self) -> u64 {
        // Relaxed: whoever finds none works out the same.
        match self.hash.0.load(Ordering::Relaxed) {
            0 => self.work_out_hash(),
            known => known,
        }
    }

    #[cold]
    fn work_out_hash(&self) -> u64 {
        let hash = fixed_hasher().hash_one(self).max(1);
        self.hash.0.store(hash, Ordering::Relaxed);
        hash
    }
}

/// The language that a job comes in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// Not known yet: the node finds out, so the more it recognises the better.
    Auto,
    Known(Language),
}

/// Nodes to keep off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exclusions {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) mode: ExclusionMode,
}

/// Whether an excluded node may be used when there is no other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExclusionMode {
    /// Never.
    #[default]
    Hard,
    /// When no other node has a free slot.
    Soft,
}

impl Demand {
    /// A demand that any node satisfies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Translation from `source` (a tag, or `auto`) to `target`; needs [`Service::NMT`] until
    /// [`services`](Self::services) says what else.
    pub fn translate(source: impl AsRef<str>, target: impl IntoLanguage) -> Self {
        Self::new().service(Service::NMT).source(source).target(target)
    }

    /// The services needed, in place of those named so far.
    pub fn services<S: Into<Service>>(mut self, services: impl IntoIterator<Item = S>) -> Self {
        self.edit().services.clear();
        for service in services {
            self = self.service(service);
        }
        self.recount();
        self
    }

    /// One more service needed.
    pub fn service(mut self, service: impl Into<Service>) -> Self {
        let service = service.into();
        match check_service(&service) {
            Ok(()) => drop(self.edit().services.insert(service)),
            Err(error) => self.note(error),
        }
        self.recount();
        self
    }

    /// The source language, or `auto` when the node is to find out: it must then serve the target, and nodes that
    /// recognise more languages are preferred.
    pub fn source(mut self, source: impl AsRef<str>) -> Self {
        match source.as_ref() {
            "auto" => self.edit().source = Some(Source::Auto),
            tag => match Language::new(tag) {
                Ok(language) => self.edit().source = Some(Source::Known(language)),
                Err(error) => self.note(error.into()),
            },
        }
        self
    }

    /// The source language, when its tag must match exactly ([`Language::exact`]).
    pub fn source_language(mut self, source: Language) -> Self {
        self.edit().source = Some(Source::Known(source));
        self
    }

    /// The target language.
    pub fn target(mut self, target: impl IntoLanguage) -> Self {
        match target.into_language() {
            Ok(language) => self.edit().target = Some(language),
            Err(error) => self.note(error.into()),
        }
        self
    }

    /// A label that the node must carry with just this value.
    pub fn label(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        match check_label(name, value) {
            Ok(()) => drop(self.edit().labels.insert(name.into(), value.into())),
            Err(error) => self.note(error),
        }
        self.recount();
        self
    }

    /// Whose job it is: a tenant that the configuration binds to a pool goes there first. Any other name changes
    /// nothing.
    pub fn tenant(mut self, tenant: impl AsRef<str>) -> Self {
        match check_label("tenant", tenant.as_ref()) {
            Ok(()) => self.edit().tenant = Some(tenant.as_ref().into()),
            Err(error) => self.note(error),
        }
        self
    }

    /// A key that keeps its demands in one pool of the route while that has room (weighted rendezvous hashing), the same
    /// one in every process with the same pools.
    pub fn routing_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.routing_key = Some(stable_hash(key));
        self
    }

    /// Nodes to keep off, and whether that is a must. Unknown ids change nothing. A later call replaces.
    pub fn exclude<N: Into<NodeId>>(mut self, nodes: impl IntoIterator<Item = N>, mode: ExclusionMode) -> Self {
        self.exclusions = Exclusions { nodes: nodes.into_iter().map(Into::into).collect(), mode };
        self
    }

    /// The first thing that is wrong with what the builder was given.
    ///
    /// # Errors
    /// [`CapabilityError`] says what.
    pub fn validate(&self) -> Result<(), CapabilityError> {
        match self.error.as_ref().or(self.excess.as_ref()) {
            Some(error) => Err(error.clone()),
            None => check_count("exclusions", self.exclusions.nodes.len(), MAX_EXCLUSIONS),
        }
    }

    /// Whether it is valid and asks for nothing beyond its requirements.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.error.is_none() && self.excess.is_none() && self.routing_key.is_none() && self.exclusions.nodes.is_empty()
    }

    /// See [`Requirements::fingerprint`].
    pub(crate) fn fingerprint(&self) -> u64 {
        self.requirements.fingerprint(self.routing_key)
    }

    /// A demand of these parts, which were valid.
    pub(crate) fn of(requirements: Arc<Requirements>, routing_key: Option<u64>, exclusions: Exclusions) -> Self {
        Self { requirements, routing_key, exclusions, error: None, excess: None }
    }

    fn edit(&mut self) -> &mut Requirements {
        let requirements = Arc::make_mut(&mut self.requirements);
        requirements.hash = KnownHash::default();
        requirements.memo = Memo::default();
        requirements.kind = KindMemo::default();
        requirements
    }

    fn recount(&mut self) {
        let Requirements { services, labels, .. } = &*self.requirements;
        let services = check_count("services", services.len(), MAX_SERVICES);
        self.excess = services.and(check_count("labels", labels.len(), MAX_LABELS)).err();
    }

    fn note(&mut self, error: CapabilityError) {
        self.error.get_or_insert(error);
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_memo_is_known_under_its_stamp_alone() {
        let most = (1 << 20) - 1;
        for (stamp, number) in [(1, 0), (1, 1), (2, most), (3, 0x5_5555), ((1 << 44) - 1, 0xa_aaaa)] {
            let memo = Memo::default();
            assert!(!memo.is_some());
            memo.keep(stamp, number);
            assert_eq!((memo.known(stamp), memo.known(stamp ^ 1), memo.known(stamp << 1)), (Some(number), None, None));
            assert!(memo.is_some());
        }
        for (scheduler, number) in [(1, 0), (1, 1), (2, 0xffff), (3, 0x5555), ((1 << 48) - 1, 0xaaaa)] {
            let memo = KindMemo::default();
            assert!(memo.is_none());
            memo.keep(scheduler, number);
            assert_eq!((memo.known(scheduler), memo.known(scheduler ^ 1)), (Some(number), None));
            assert!(!memo.is_none());
        }
    }
}
