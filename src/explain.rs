//! Why a demand gets a node, or none: every node looked at, counted by reason.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::capability::{CapabilityError, Unmet};
use crate::id::NodeId;
use crate::node::word::Flags;

/// How many ids are named for each reason.
const EXAMPLES: usize = 3;

/// Whether a node can be used for a demand, or the first reason why not: what it cannot do at all comes before what it
/// cannot do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It can be used now.
    Available,
    /// Every slot is held.
    Full,
    /// The demand excludes it.
    Excluded,
    /// No heartbeat for longer than the timeout; the next sweep takes it offline.
    Stale,
    /// A resource is over its threshold.
    ResourceThreshold,
    /// It says that it is not to be used.
    Degraded,
    /// It has not said yet that it is ready.
    Registering,
    /// Drained, or of weight 0.
    Draining,
    /// Its heartbeats have stopped.
    Offline,
    /// It is only in pools of other tenants, or in none.
    OtherTenant,
    /// It does not serve the language pair.
    LanguagePair,
    /// It does not serve the source language.
    SourceLanguage,
    /// It does not serve the target language.
    TargetLanguage,
    /// It does not carry a label.
    Label,
    /// It does not offer a service, or that is off.
    NoService,
}

impl Reason {
    pub(crate) fn of_unmet(unmet: &Unmet) -> Self {
        match unmet {
            Unmet::Service(_) => Self::NoService,
            Unmet::Label(..) => Self::Label,
            Unmet::Source(_) => Self::SourceLanguage,
            Unmet::Target(_) => Self::TargetLanguage,
            Unmet::Pair(_) => Self::LanguagePair,
        }
    }

    pub(crate) fn of_flags(flags: Flags) -> Option<Self> {
        let reasons = [
            (Flags::GONE, Self::Offline),
            (Flags::OFFLINE, Self::Offline),
            (Flags::DRAINING, Self::Draining),
            (Flags::WEIGHTLESS, Self::Draining),
            (Flags::REGISTERING, Self::Registering),
            (Flags::UNREADY, Self::Degraded),
            (Flags::OVERLOADED, Self::ResourceThreshold),
        ];
        reasons.into_iter().find(|(flag, _)| flags.has(*flag)).map(|(_, reason)| reason)
    }

    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Full => "full",
            Self::Excluded => "excluded",
            Self::Stale => "stale",
            Self::ResourceThreshold => "resource threshold",
            Self::Degraded => "degraded",
            Self::Registering => "registering",
            Self::Draining => "draining",
            Self::Offline => "offline",
            Self::OtherTenant => "other tenant",
            Self::LanguagePair => "language pair not served",
            Self::SourceLanguage => "source language",
            Self::TargetLanguage => "target language",
            Self::Label => "label",
            Self::NoService => "no such service",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Nodes of one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tallied {
    /// How many.
    pub count: usize,
    /// A few of them, the first by id.
    pub examples: Vec<NodeId>,
}

impl Tallied {
    fn add(&mut self, id: &NodeId) {
        self.count += 1;
        self.examples.push(id.clone());
        // Kept short as it goes, for a million nodes may have one reason.
        if self.examples.len() > 8 * EXAMPLES {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.examples.sort_unstable();
        self.examples.truncate(EXAMPLES);
    }
}

/// Nodes by reason.
pub type Reasons = BTreeMap<Reason, Tallied>;

/// What a demand would meet, node by node. See [`Scheduler::explain`](crate::Scheduler::explain).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// What is wrong with the demand itself; then no node was looked at.
    pub invalid: Option<CapabilityError>,
    /// All nodes by reason.
    pub nodes: Reasons,
    /// The same for each pool, by its name.
    pub pools: BTreeMap<Arc<str>, Reasons>,
}

impl Explanation {
    pub(crate) fn add(&mut self, id: &NodeId, reason: Reason, pools: &[Arc<str>]) {
        self.nodes.entry(reason).or_default().add(id);
        for pool in pools {
            self.pools.entry(pool.clone()).or_default().entry(reason).or_default().add(id);
        }
    }

    pub(crate) fn finish(&mut self) {
        let all = self.pools.values_mut().flat_map(BTreeMap::values_mut).chain(self.nodes.values_mut());
        all.for_each(Tallied::shorten);
    }

    /// How many nodes have this reason.
    pub fn count(&self, reason: Reason) -> usize {
        self.nodes.get(&reason).map_or(0, |tallied| tallied.count)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.invalid {
            return write!(f, "the demand is malformed: {error}");
        }
        if self.nodes.is_empty() {
            return f.write_str("there are no nodes");
        }
        write_reasons(f, "all", &self.nodes)?;
        for (pool, reasons) in &self.pools {
            f.write_str("\n")?;
            write_reasons(f, pool, reasons)?;
        }
        Ok(())
    }
}

fn write_reasons(f: &mut fmt::Formatter<'_>, name: &str, reasons: &Reasons) -> fmt::Result {
    write!(f, "{name}:")?;
    for (reason, tallied) in reasons {
        let examples: Vec<&str> = tallied.examples.iter().map(NodeId::as_str).collect();
        write!(
            f,
            " {} {reason} ({}{})",
            tallied.count,
            examples.join(" "),
            if tallied.count > examples.len() { " .." } else { "" }
        )?;
    }
    Ok(())
}
