//! What nodes can do and what jobs need: services, languages, labels, and how the one is held against the other.

mod demand;
mod described;
mod language;
mod matching;
mod service;
#[cfg(feature = "redis")]
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

#[cfg(doc)]
pub(crate) use demand::Memo;
pub use demand::{Demand, ExclusionMode, MAX_EXCLUSIONS};
pub(crate) use demand::{Exclusions, Requirements, Source};
use described::Described;
pub use language::{IntoLanguage, Language, LanguageError, MAX_TAG_LEN};
pub(crate) use matching::{Coverage, Unmet};
pub use service::{MAX_SERVICE_LEN, Service};

/// More services than this on one node, or in one demand, are refused.
pub const MAX_SERVICES: usize = 64;
/// More languages than this in one service of a node are refused; language pairs count one each.
pub const MAX_LANGUAGES: usize = 4096;
/// More labels than this on one node, or in one demand, are refused.
pub const MAX_LABELS: usize = 64;
/// A label's name or value longer than this is refused.
pub const MAX_LABEL_LEN: usize = 128;

pub(crate) type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// What a node can do: its services, each with its languages, and its labels. Cheap to clone.
///
/// The builder methods never fail; what is wrong with their arguments is told by the call that takes the finished
/// value ([`register`](crate::Scheduler::register), [`update`](crate::Scheduler::update)).
///
/// ```
/// use slotyard::{Capabilities, Service};
///
/// let speech = Capabilities::new().asr(["zh", "en"]).nmt_any(["zh", "en"]).tts(["en"]).label("zone", "eu-1");
/// assert!(speech.offers(&Service::TTS));
/// let vision = Capabilities::new().service("ocr").label("model", "trocr");
/// assert!(!vision.offers(&Service::ASR));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(Described);

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Capabilities");
        shown.field("services", &self.0.services).field("labels", &self.0.labels).field("error", &self.0.error).finish()
    }
}

/// The languages in which one service is offered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Languages {
    /// The service does not depend on a language.
    Any,
    /// Each of these; for translation, from any to any of them.
    Set(BTreeSet<Language>),
    /// Exactly these directions.
    Pairs(BTreeSet<(Language, Language)>),
}

/// What is wrong with a description of capabilities or with a demand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// A language tag is not well-formed BCP-47.
    #[error("language tag {tag:?} is malformed: {reason}")]
    MalformedLanguage {
        /// The tag as given, cut to 64 bytes.
        tag: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A service name is empty or longer than 64 bytes.
    #[error("service name {name:?} must have 1 to 64 bytes")]
    InvalidServiceName {
        /// The name as given.
        name: String,
    },
    /// A label's name is empty, or its name or value is longer than 128 bytes.
    #[error("label {name:?}={value:?}: the name must have 1 to 128 bytes, the value at most 128")]
    InvalidLabel {
        /// The label's name.
        name: String,
        /// The label's value.
        value: String,
    },
    /// More of something than is taken.
    #[error("{found} {what}, at most {limit} are taken")]
    TooMany {
        /// What there is too much of: `services`, `languages`, `labels`, `exclusions`.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many are taken.
        limit: usize,
    },
}

impl From<LanguageError> for CapabilityError {
    fn from(error: LanguageError) -> Self {
        Self::MalformedLanguage { tag: error.tag, reason: error.reason }
    }
}

pub(crate) fn check_service(service: &Service) -> Result<(), CapabilityError> {
    match service.name().len() {
        1..=MAX_SERVICE_LEN => Ok(()),
        _ => Err(CapabilityError::InvalidServiceName { name: service.name().to_owned() }),
    }
}

pub(crate) fn check_label(name: &str, value: &str) -> Result<(), CapabilityError> {
    if (1..=MAX_LABEL_LEN).contains(&name.len()) && value.len() <= MAX_LABEL_LEN {
        Ok(())
    } else {
        Err(CapabilityError::InvalidLabel { name: name.to_owned(), value: value.to_owned() })
    }
}

pub(crate) fn check_count(what: &'static str, found: usize, limit: usize) -> Result<(), CapabilityError> {
    if found <= limit { Ok(()) } else { Err(CapabilityError::TooMany { what, found, limit }) }
}

impl Capabilities {
    /// No services, no labels: a node that takes the demands that need nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Speech recognition in these languages.
    pub fn asr<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.service_in(Service::ASR, languages)
    }

    /// Speech synthesis in these languages.
    pub fn tts<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.service_in(Service::TTS, languages)
    }

    /// Semantic repair in these languages.
    pub fn semantic<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.service_in(Service::SEMANTIC, languages)
    }

    /// Translation from any to any of these languages.
    pub fn nmt_any<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.service_in(Service::NMT, languages)
    }

    /// Translation in exactly these directions, `(source, target)`.
    pub fn nmt_pairs<S: IntoLanguage, T: IntoLanguage>(mut self, pairs: impl IntoIterator<Item = (S, T)>) -> Self {
        let pairs: Result<BTreeSet<_>, LanguageError> =
            pairs.into_iter().map(|(source, target)| Ok((source.into_language()?, target.into_language()?))).collect();
        match pairs {
            Ok(pairs) => self.insert(Service::NMT, Languages::Pairs(pairs)),
            Err(error) => self.note(error.into()),
        }
        self
    }

    /// A service that does not depend on a language.
    pub fn service(mut self, service: impl Into<Service>) -> Self {
        self.insert(service.into(), Languages::Any);
        self
    }

    /// A service in these languages; translation ([`Service::NMT`]) is then from any to any of them.
    pub fn service_in<L: IntoLanguage>(
        mut self,
        service: impl Into<Service>,
        languages: impl IntoIterator<Item = L>,
    ) -> Self {
        match languages.into_iter().map(IntoLanguage::into_language).collect::<Result<BTreeSet<_>, _>>() {
            Ok(languages) => self.insert(service.into(), Languages::Set(languages)),
            Err(error) => self.note(error.into()),
        }
        self
    }

    /// A label. Only labels that the configuration declares as routing labels take part in making pools.
    pub fn label(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        match check_label(name, value) {
            Ok(()) => drop(self.0.change().labels.insert(name.into(), value.into())),
            Err(error) => self.note(error),
        }
        self
    }

    /// Whether the service is among them, in whatever language.
    pub fn offers(&self, service: &Service) -> bool {
        self.0.services.contains_key(service)
    }

    /// The services, sorted by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.0.services.keys()
    }

    /// The labels, sorted by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Every language that some service names, sorted, each once.
    pub fn languages(&self) -> BTreeSet<&Language> {
        let services = self.0.services.values();
        services
            .flat_map(|languages| -> Box<dyn Iterator<Item = &Language>> {
                match languages {
                    Languages::Any => Box::new(std::iter::empty()),
                    Languages::Set(set) => Box::new(set.iter()),
                    Languages::Pairs(pairs) => Box::new(pairs.iter().flat_map(|(source, target)| [source, target])),
                }
            })
            .collect()
    }

    /// The first thing that is wrong with what the builder was given.
    ///
    /// # Errors
    /// [`CapabilityError`] says what.
    pub fn validate(&self) -> Result<(), CapabilityError> {
        if let Some(error) = &self.0.error {
            return Err(error.clone());
        }
        check_count("services", self.0.services.len(), MAX_SERVICES)?;
        check_count("labels", self.0.labels.len(), MAX_LABELS)?;
        for languages in self.0.services.values() {
            let found = match languages {
                Languages::Any => 0,
                Languages::Set(set) => set.len(),
                Languages::Pairs(pairs) => pairs.len(),
            };
            check_count("languages", found, MAX_LANGUAGES)?;
        }
        Ok(())
    }

    /// Of all that is in them; the same in this process only.
    pub(crate) fn content_hash(&self) -> u64 {
        self.0.hash_of_content()
    }

    fn insert(&mut self, service: Service, languages: Languages) {
        match check_service(&service) {
            Ok(()) => drop(self.0.change().services.insert(service, languages)),
            Err(error) => self.note(error),
        }
    }

    fn note(&mut self, error: CapabilityError) {
        self.0.change().error.get_or_insert(error);
    }

    /// The part that tells pools apart: languages by what they match, and only the routing labels.
    pub(crate) fn signature(&self, routing_labels: &BTreeSet<Arc<str>>) -> Capabilities {
        let services = self.0.services.iter().map(|(service, languages)| (service.clone(), languages.canonical()));
        let labels = self.0.labels.iter().filter(|(name, _)| routing_labels.contains(*name));
        let labels = labels.map(|(name, value)| (name.clone(), value.clone()));
        Self(Described::new(services.collect(), labels.collect()))
    }

    /// These capabilities without the services that `keep` turns down.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&Service) -> bool) -> Capabilities {
        let mut left = self.clone();
        left.0.change().services.retain(|service, _| keep(service));
        left
    }
}
