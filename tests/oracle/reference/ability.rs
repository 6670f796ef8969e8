//! What nodes can do and jobs need, as far as the reference goes: a few services, of which one translates, and a label.

use slotyard::{Capabilities, Demand, Service};

use super::model::node_id;
use super::step::Ask;

/// Services are `s0`, `s1`, `s2` and `nmt`, one bit each.
pub(crate) const SERVICES: u8 = 4;
/// The bit of the one that translates.
pub(crate) const NMT: u8 = 3;
pub(crate) const LANGUAGES: [&str; 3] = ["de", "en", "zh"];
/// The one tenant that a pool may be bound to.
pub(crate) const TENANT: &str = "acme";

/// What a node can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ability {
    /// A bit a service.
    pub(crate) services: u8,
    /// Between which languages it translates, a bit each; 0 if it does not.
    pub(crate) languages: u8,
    /// The value of its label `zone`; 0: it has none.
    pub(crate) zone: u8,
}

/// What a job needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) services: u8,
    /// From which language to which, if it needs to be translated.
    pub(crate) pair: Option<(u8, u8)>,
    pub(crate) zone: u8,
    pub(crate) tenant: bool,
}

/// What of the needs is not met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    Service,
    Label,
    Source,
    Target,
}

pub(crate) fn service_name(service: u8) -> String {
    if service == NMT { "nmt".into() } else { format!("s{service}") }
}

pub(crate) fn has(set: u8, bit: u8) -> bool {
    set >> bit & 1 == 1
}

pub(crate) fn bits(set: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |bit| has(set, *bit))
}

impl Ability {
    /// Makes it one that there can be: languages just where there is translation.
    pub(crate) fn tidied(self) -> Self {
        let languages = if has(self.services, NMT) { self.languages.max(1) } else { 0 };
        Self { languages, ..self }
    }

    pub(crate) fn without(self, services: u8) -> Self {
        Self { services: self.services & !services, ..self }.tidied()
    }

    pub(crate) fn meets(&self, needs: &Needs) -> Result<(), Lack> {
        if self.services & needs.services != needs.services {
            return Err(Lack::Service);
        }
        if needs.zone != 0 && self.zone != needs.zone {
            return Err(Lack::Label);
        }
        match needs.pair {
            Some((source, _)) if !has(self.languages, source) => Err(Lack::Source),
            Some((_, target)) if !has(self.languages, target) => Err(Lack::Target),
            _ => Ok(()),
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::new();
        for service in bits(self.services) {
            all = match service {
                NMT => all.nmt_any(bits(self.languages).map(|language| LANGUAGES[language as usize])),
                other => all.service(service_name(other)),
            };
        }
        if self.zone == 0 { all } else { all.label("zone", self.zone.to_string()) }
    }

    /// The name of the automatic pool of nodes that can do just this.
    pub(crate) fn pool_name(&self) -> String {
        let languages = bits(self.languages).map(|language| LANGUAGES[language as usize].to_owned());
        let translates = bits(self.services & 1 << NMT).map(service_name);
        let others = bits(self.services & !(1 << NMT)).map(service_name);
        let zone = (self.zone != 0).then(|| format!("zone={}", self.zone));
        let parts: Vec<String> = languages.chain(translates).chain(others).chain(zone).collect();
        if parts.is_empty() { "any".into() } else { parts.join("-") }
    }
}

impl Needs {
    /// Makes them ones that there can be: languages just where there is translation.
    pub(crate) fn tidied(self) -> Self {
        Self { pair: self.pair.filter(|_| has(self.services, NMT)), ..self }
    }

    /// Whether something is to be translated into the language that it is in.
    pub(crate) fn within_one_language(&self) -> bool {
        self.pair.is_some_and(|(source, target)| source == target)
    }

    pub(crate) fn demand(&self) -> Demand {
        let mut demand = Demand::new().services(bits(self.services).map(service_name).map(Service::from));
        if let Some((source, target)) = self.pair {
            demand = demand.source(LANGUAGES[source as usize]).target(LANGUAGES[target as usize]);
        }
        if self.zone != 0 {
            demand = demand.label("zone", self.zone.to_string());
        }
        if self.tenant { demand.tenant(TENANT) } else { demand }
    }
}

impl Ask {
    pub(crate) fn demand(&self) -> Demand {
        let mut demand = self.needs.demand();
        if let Some(key) = self.key {
            demand = demand.routing_key([key]);
        }
        if self.excluded == 0 {
            return demand;
        }
        demand.exclude(bits(self.excluded).map(node_id), self.exclusion)
    }
}
