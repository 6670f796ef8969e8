//! Capabilities, demands and pools made of bytes, the malformed and the too large ones included.

use arbitrary::{Arbitrary, Unstructured};
use slotyard::{Capabilities, Demand, ExclusionMode, PoolConfig, Service};

use crate::words::{Name, Tag, many_tags};

/// Services that recur.
pub const SERVICES: &[&str] = &["asr", "nmt", "tts", "semantic", "custom"];
/// Nodes that recur.
pub const NODES: &[&str] = &["n0", "n1", "n2", "n3", "n4", "n5"];
const LABELS: &[&str] = &["routing", "data"];
const VALUES: &[&str] = &["1", "2"];
/// Tenants that recur.
pub const TENANTS: &[&str] = &["acme", "other"];

/// Adds something to capabilities. What adds so much that little else gets its turn is rare.
#[derive(Debug, Clone)]
pub enum Ability<'a> {
    /// A service in these languages.
    In(Name<'a>, Vec<Tag<'a>>),
    /// A service in no particular language.
    Plain(Name<'a>),
    /// Translation in these directions.
    Pairs(Vec<(Tag<'a>, Tag<'a>)>),
    /// A label.
    Label(Name<'a>, Name<'a>),
    /// A service in so many languages.
    Languages(u16),
    /// So many services.
    Services(u8),
    /// So many labels.
    Labels(u8),
}

impl<'a> Arbitrary<'a> for Ability<'a> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match bytes.arbitrary()? {
            0..=95_u8 => Self::In(bytes.arbitrary()?, bytes.arbitrary()?),
            96..=175 => Self::Plain(bytes.arbitrary()?),
            176..=215 => Self::Pairs(bytes.arbitrary()?),
            216..=249 => Self::Label(bytes.arbitrary()?, bytes.arbitrary()?),
            250 | 251 => Self::Languages(bytes.arbitrary()?),
            252 | 253 => Self::Services(bytes.arbitrary()?),
            254.. => Self::Labels(bytes.arbitrary()?),
        })
    }
}

/// All of these together.
pub fn capabilities(abilities: &[Ability<'_>]) -> Capabilities {
    abilities.iter().fold(Capabilities::new(), |all, ability| match ability {
        Ability::In(service, languages) => all.service_in(&*service.text(SERVICES), languages),
        Ability::Plain(service) => all.service(&*service.text(SERVICES)),
        Ability::Pairs(pairs) => all.nmt_pairs(pairs.iter().map(|(source, target)| (source, target))),
        Ability::Label(name, value) => all.label(name.text(LABELS), value.text(VALUES)),
        Ability::Languages(count) => all.asr(many_tags(usize::from(*count % 4200))),
        Ability::Services(count) => (0..count % 80).fold(all, |all, n| all.service(format!("s{n}"))),
        Ability::Labels(count) => (0..count % 80).fold(all, |all, n| all.label(format!("l{n}"), "")),
    })
}

/// Adds something to a demand. As with abilities, what adds much is rare.
#[derive(Debug, Clone)]
pub enum Need<'a> {
    /// A service.
    Service(Name<'a>),
    /// The source language.
    Source(Tag<'a>),
    /// The source language is not known.
    Auto,
    /// The target language.
    Target(Tag<'a>),
    /// A label.
    Label(Name<'a>, Name<'a>),
    /// A tenant.
    Tenant(Name<'a>),
    /// A routing key.
    Key(&'a [u8]),
    /// Nodes to keep off, if need be or at any cost.
    Exclude(Vec<Name<'a>>, bool),
    /// So many services.
    Services(u8),
}

impl<'a> Arbitrary<'a> for Need<'a> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match bytes.arbitrary()? {
            0..=71_u8 => Self::Service(bytes.arbitrary()?),
            72..=111 => Self::Source(bytes.arbitrary()?),
            112..=121 => Self::Auto,
            122..=161 => Self::Target(bytes.arbitrary()?),
            162..=181 => Self::Label(bytes.arbitrary()?, bytes.arbitrary()?),
            182..=201 => Self::Tenant(bytes.arbitrary()?),
            202..=211 => Self::Key(bytes.arbitrary()?),
            212..=252 => Self::Exclude(bytes.arbitrary()?, bytes.arbitrary()?),
            253.. => Self::Services(bytes.arbitrary()?),
        })
    }
}

/// All of these together, and whether its exclusions are hard.
pub fn demand(needs: &[Need<'_>]) -> (Demand, bool) {
    use slotyard::IntoLanguage;
    needs.iter().fold((Demand::new(), true), |(all, hard), need| {
        let all = match need {
            Need::Service(service) => all.service(Service::new(service.text(SERVICES))),
            Need::Source(tag) => match tag.into_language() {
                Ok(language) => all.source_language(language),
                Err(error) => all.source(error.tag),
            },
            Need::Auto => all.source("auto"),
            Need::Target(tag) => all.target(tag),
            Need::Label(name, value) => all.label(name.text(LABELS), value.text(VALUES)),
            Need::Tenant(tenant) => all.tenant(tenant.text(TENANTS)),
            Need::Key(key) => all.routing_key(key),
            Need::Exclude(nodes, hard) => {
                let mode = if *hard { ExclusionMode::Hard } else { ExclusionMode::Soft };
                return (all.exclude(nodes.iter().map(|node| node.text(NODES)), mode), *hard);
            }
            Need::Services(count) => (0..count % 80).fold(all, |all, n| all.service(format!("s{n}"))),
        };
        (all, hard)
    })
}

/// A configured pool.
#[derive(Debug, Clone, Arbitrary)]
pub struct Pool<'a> {
    name: Name<'a>,
    requires: Vec<Ability<'a>>,
    exact: bool,
    tenant: Option<Name<'a>>,
}

impl Pool<'_> {
    /// The pool.
    pub fn config(&self) -> PoolConfig {
        let pool = PoolConfig::new(self.name.text(&["p0", "p1", "p2", "p3", "mixed"]));
        let pool = pool.requires(capabilities(&self.requires));
        let pool = if self.exact { pool.match_exact() } else { pool };
        self.tenant.iter().fold(pool, |pool, tenant| pool.tenant(tenant.text(TENANTS)))
    }
}
