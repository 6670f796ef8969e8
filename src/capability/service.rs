//! Services: the kinds of work a node can do.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A service name longer than this is refused.
pub const MAX_SERVICE_LEN: usize = 64;

/// A kind of work: `asr`, `nmt`, `tts` and `semantic` are predefined, any other name is allowed.
///
/// ```
/// use slotyard::Service;
///
/// assert_eq!(Service::ASR, Service::from("asr"));
/// assert_eq!(Service::from("embed").name(), "embed");
/// ```
#[derive(Clone)]
pub struct Service(Name);

#[derive(Clone)]
enum Name {
    Predefined(&'static str),
    Custom(Arc<str>),
}

/// Which of a demand's languages a service works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The source language: speech recognition, semantic repair of what was recognised.
    Source,
    /// The target language: speech synthesis.
    Target,
    /// Every language that the demand names, from the one to the other where it names both: translation, and whatever is
    /// not predefined.
    Both,
}

impl Service {
    /// Automatic speech recognition; works on the source language.
    pub const ASR: Service = Service(Name::Predefined("asr"));
    /// Machine translation; works from the source to the target language.
    pub const NMT: Service = Service(Name::Predefined("nmt"));
    /// Speech synthesis; works on the target language.
    pub const TTS: Service = Service(Name::Predefined("tts"));
    /// Semantic repair of recognised text; works on the source language.
    pub const SEMANTIC: Service = Service(Name::Predefined("semantic"));

    /// Stands for any service where a demand names languages and no service.
    pub(super) const ANY: Service = Service(Name::Predefined("*"));

    /// The predefined services, in the order of a translation.
    pub const PREDEFINED: [Service; 4] = [Self::ASR, Self::NMT, Self::TTS, Self::SEMANTIC];

    /// A service by name.
    pub fn new(name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        match Self::PREDEFINED.into_iter().find(|known| known.name() == name) {
            Some(known) => known,
            None => Self(Name::Custom(name.into())),
        }
    }

    /// The name, as given.
    pub fn name(&self) -> &str {
        match &self.0 {
            Name::Predefined(name) => name,
            Name::Custom(name) => name,
        }
    }

    pub(crate) fn role(&self) -> Role {
        match self.name() {
            "asr" | "semantic" => Role::Source,
            "tts" => Role::Target,
            _ => Role::Both,
        }
    }
}

impl From<&str> for Service {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Service {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&Service> for Service {
    fn from(service: &Service) -> Self {
        service.clone()
    }
}

impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Service {}

impl PartialOrd for Service {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Service {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}

impl Hash for Service {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
