//! What a job needs of a node.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use super::{
    CapabilityError, IntoLanguage, Labels, Language, MAX_LABELS, MAX_SERVICES, Service, check_count, check_label,
    check_service,
};
use crate::id::{NodeId, fixed_hasher, stable_hash};

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
    error: Option<CapabilityError>,
}

/// The part of a demand that decides which pools can serve it; the key under which its route is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Requirements {
    pub(crate) services: BTreeSet<Service>,
    pub(crate) source: Option<Source>,
    pub(crate) target: Option<Language>,
    pub(crate) labels: Labels,
    pub(crate) tenant: Option<Arc<str>>,
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
        self
    }

    /// One more service needed.
    pub fn service(mut self, service: impl Into<Service>) -> Self {
        let service = service.into();
        match check_service(&service) {
            Ok(()) => drop(self.edit().services.insert(service)),
            Err(error) => self.note(error),
        }
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
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        check_count("services", self.requirements.services.len(), MAX_SERVICES)?;
        check_count("labels", self.requirements.labels.len(), MAX_LABELS)?;
        check_count("exclusions", self.exclusions.nodes.len(), MAX_EXCLUSIONS)
    }

    /// A number that differs between demands that differ in what they need (128 bits would be certain; this is 64).
    /// The same request id with another fingerprint is refused, never given another client's job.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = fixed_hasher().build_hasher();
        self.requirements.hash(&mut hasher);
        self.routing_key.hash(&mut hasher);
        hasher.finish()
    }

    fn edit(&mut self) -> &mut Requirements {
        Arc::make_mut(&mut self.requirements)
    }

    fn note(&mut self, error: CapabilityError) {
        self.error.get_or_insert(error);
    }
}
