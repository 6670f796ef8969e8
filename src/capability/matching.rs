//! Whether capabilities satisfy requirements, and if not, what is missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::service::Role;
use super::{Capabilities, Labels, Language, Languages, Requirements, Service, Source};

/// The first requirement that is not met, from the most general to the most particular.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unmet {
    Service(Service),
    Label(Arc<str>, Arc<str>),
    Source(Service),
    Target(Service),
    Pair(Service),
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service {service}"),
            Self::Label(name, value) => write!(f, "label {name}={value}"),
            Self::Source(service) => write!(f, "source language of {service}"),
            Self::Target(service) => write!(f, "target language of {service}"),
            Self::Pair(service) => write!(f, "language pair of {service}"),
        }
    }
}

/// How far a set of languages goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    Some(usize),
    All,
}

impl Languages {
    fn source(&self, wanted: &Language) -> bool {
        match self {
            Self::Any => true,
            Self::Set(set) => set.iter().any(|language| language.matches(wanted)),
            Self::Pairs(pairs) => pairs.iter().any(|(source, _)| source.matches(wanted)),
        }
    }

    fn target(&self, wanted: &Language) -> bool {
        match self {
            Self::Pairs(pairs) => pairs.iter().any(|(_, target)| target.matches(wanted)),
            other => other.source(wanted),
        }
    }

    fn pair(&self, from: &Language, to: &Language) -> bool {
        match self {
            Self::Pairs(pairs) => pairs.iter().any(|(source, target)| source.matches(from) && target.matches(to)),
            other => other.source(from) && other.target(to),
        }
    }

    fn serves(&self, service: &Service, source: Option<&Language>, target: Option<&Language>) -> Result<(), Unmet> {
        let source_ok = || source.is_none_or(|wanted| self.source(wanted));
        let target_ok = || target.is_none_or(|wanted| self.target(wanted));
        let met = |met: bool, unmet: fn(Service) -> Unmet| if met { Ok(()) } else { Err(unmet(service.clone())) };
        match service.role() {
            Role::Source => met(source_ok(), Unmet::Source),
            Role::Target => met(target_ok(), Unmet::Target),
            Role::Both => {
                met(source_ok(), Unmet::Source)?;
                met(target_ok(), Unmet::Target)?;
                match (source, target) {
                    (Some(from), Some(to)) => met(self.pair(from, to), Unmet::Pair),
                    _ => Ok(()),
                }
            }
        }
    }

    fn coverage(&self) -> Coverage {
        match self {
            Self::Any => Coverage::All,
            Self::Set(set) => Coverage::Some(set.len()),
            Self::Pairs(pairs) => Coverage::Some(pairs.iter().map(|(source, _)| source).collect::<BTreeSet<_>>().len()),
        }
    }

    /// The languages as far as pools are told apart by them.
    pub(super) fn canonical(&self) -> Languages {
        match self {
            Self::Any => Self::Any,
            Self::Set(set) => Self::Set(set.iter().map(Language::canonical).collect()),
            Self::Pairs(pairs) => Self::Pairs(pairs.iter().map(|(s, t)| (s.canonical(), t.canonical())).collect()),
        }
    }

    /// Whether whatever `other` asks of a node is offered here.
    fn covers(&self, other: &Languages) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Set(mine), Self::Set(theirs)) => theirs.iter().all(|t| mine.iter().any(|m| m.matches(t))),
            (Self::Pairs(_), Self::Set(theirs)) => {
                let known = theirs.iter().all(|language| self.source(language) && self.target(language));
                let mut directions = theirs.iter().flat_map(|from| theirs.iter().map(move |to| (from, to)));
                // From a language to itself nobody lists a pair; see `Requirements::within_one_language`.
                known && directions.all(|(from, to)| from == to || self.pair(from, to))
            }
            (_, Self::Pairs(theirs)) => theirs.iter().all(|(source, target)| self.pair(source, target)),
            (_, Self::Any) => false,
        }
    }
}

impl Capabilities {
    /// Holds the requirements against these capabilities.
    pub(crate) fn satisfies(&self, wanted: &Requirements) -> Result<(), Unmet> {
        for service in &wanted.services {
            if !self.0.services.contains_key(service) {
                return Err(Unmet::Service(service.clone()));
            }
        }
        labels_met(&self.0.labels, &wanted.labels)?;
        let source = match &wanted.source {
            Some(Source::Known(language)) => Some(language),
            Some(Source::Auto) | None => None,
        };
        let target = wanted.target.as_ref();
        for service in &wanted.services {
            self.0.services[service].serves(service, source, target)?;
        }
        if wanted.services.is_empty() {
            // Languages without a service: some service must know each of them.
            let known =
                |language: &Language| self.0.services.values().any(|l| l.source(language) || l.target(language));
            let any = || Service::ANY;
            if source.is_some_and(|language| !known(language)) {
                return Err(Unmet::Source(any()));
            }
            if target.is_some_and(|language| !known(language)) {
                return Err(Unmet::Target(any()));
            }
        }
        Ok(())
    }

    /// All that these capabilities lack of the requirements; empty if they satisfy them. For telling people.
    pub(crate) fn lacks(&self, wanted: &Requirements) -> BTreeSet<Unmet> {
        let missing = wanted.services.iter().filter(|service| !self.0.services.contains_key(service));
        let mut lacks: BTreeSet<Unmet> = missing.cloned().map(Unmet::Service).collect();
        let labels = wanted.labels.iter().filter(|(name, value)| self.0.labels.get(*name) != Some(value));
        lacks.extend(labels.map(|(name, value)| Unmet::Label(name.clone(), value.clone())));
        // What is wrong with the languages of the services that are there.
        let mut there = wanted.clone();
        there.services.retain(|service| self.0.services.contains_key(service));
        there.labels.clear();
        for service in std::mem::take(&mut there.services) {
            let mut alone = there.clone();
            alone.services.insert(service);
            lacks.extend(self.satisfies(&alone).err());
        }
        if wanted.services.is_empty() {
            lacks.extend(self.satisfies(&there).err());
        }
        lacks
    }

    /// Whether a node that can do this can do all that `other` asks: every service in at least its languages, and
    /// every label. The order in which configured pools are the more or the less specific.
    pub(crate) fn includes(&self, other: &Capabilities) -> bool {
        other.0.services.iter().all(|(service, theirs)| match self.0.services.get(service) {
            Some(mine) => mine.covers(theirs),
            None => false,
        }) && labels_met(&self.0.labels, &other.0.labels).is_ok()
    }

    /// Whether this is nothing but what `wanted`, a requirement, asks for. A service that is asked for in no particular
    /// language may be offered in any.
    pub(crate) fn adds_nothing_to(&self, wanted: &Capabilities) -> bool {
        let asked_for = |(service, mine): (&Service, &Languages)| match wanted.0.services.get(service) {
            Some(Languages::Set(none)) if none.is_empty() => true,
            Some(asked) => asked.covers(mine),
            None => false,
        };
        self.0.services.iter().all(asked_for) && labels_met(&wanted.0.labels, &self.0.labels).is_ok()
    }

    /// These capabilities as what is asked of a node: a service without languages is asked for in no particular one.
    pub(crate) fn as_requirement(&self) -> Capabilities {
        let mut asked = self.clone();
        for languages in asked.0.change().services.values_mut() {
            *languages = match &*languages {
                Languages::Any => Languages::Set(BTreeSet::new()),
                named => named.canonical(),
            };
        }
        asked
    }

    /// How many languages are recognised; decides who is preferred when the source language is `auto`.
    pub(crate) fn asr_coverage(&self) -> Coverage {
        self.0.services.get(&Service::ASR).map_or(Coverage::Some(0), Languages::coverage)
    }
}

fn labels_met(mine: &Labels, wanted: &Labels) -> Result<(), Unmet> {
    match wanted.iter().find(|(name, value)| mine.get(*name) != Some(value)) {
        Some((name, value)) => Err(Unmet::Label(name.clone(), value.clone())),
        None => Ok(()),
    }
}
