//! What the data of a server says, for the checks: read once for each state of it.

use super::data::{Data, Score, Value};
use crate::id::JobId;
use crate::job::JobState;
use crate::redis::lease::{Binding, Lease};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) nodes: Vec<NodeSlots>,
    pub(super) bindings: Vec<Bound>,
    pub(super) warm_until: u64,
}

/// The slots of one node.
#[derive(Debug, Default)]
pub(super) struct NodeSlots {
    /// `None`: the server does not know the node.
    pub(super) there: Option<Described>,
    pub(super) closed: bool,
    /// Leases, each with when it runs out by the server's clock.
    pub(super) leases: Vec<(Lease, u64)>,
    /// The numbers of all slots.
    pub(super) slots: Vec<u32>,
    /// When what may be a lease runs out: `lost:` ones.
    pub(super) lost: Vec<u64>,
}

/// How a node's slots are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) incarnation: u64,
    pub(super) capacity: usize,
}

/// A request's binding.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) request: String,
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) lease: Lease,
    pub(super) state: JobState,
    pub(super) expires: u64,
}

impl View {
    /// `slots` are the keys of nodes' slots.
    pub(super) fn of(data: &Data, slots: &[String]) -> Self {
        let bindings = data.keys.iter().filter_map(|(key, entry)| {
            let request = key.strip_prefix("r:")?.to_owned();
            let Value::Text(text) = &entry.value else { panic!("{key} is no text") };
            let Binding { state, lease, .. } = text.parse().unwrap_or_else(|error| panic!("{key}: {error:?}"));
            let expires = entry.expires.expect("every binding goes some time");
            Some(Bound { request, job: lease.job, attempt: lease.attempt, lease, state, expires })
        });
        let warm_until = data.field("epoch", "warm_until").map_or(0, |text| text.parse().expect("a time"));
        let nodes = slots.iter().map(|key| NodeSlots::of(data.sorted(key))).collect();
        Self { nodes, bindings: bindings.collect(), warm_until }
    }

    /// What a request is bound to at this time.
    pub(super) fn bound(&self, request: &str, now: u64) -> Option<&Bound> {
        self.bindings.iter().find(|bound| bound.request == request && now <= bound.expires)
    }

    /// All leases, each with its node and when it runs out.
    pub(super) fn leases(&self) -> impl Iterator<Item = (usize, &Lease, u64)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(node, slots)| slots.leases.iter().map(move |(lease, ends)| (node, lease, *ends)))
    }
}

impl NodeSlots {
    fn of(members: &[(Score, String)]) -> Self {
        let mut slots = Self::default();
        for (score, member) in members {
            slots.add(*score, member).unwrap_or_else(|| panic!("nobody writes this: {member}"));
        }
        slots
    }

    fn add(&mut self, Score(score): Score, member: &str) -> Option<()> {
        let (kind, rest) = member.split_once(':')?;
        match kind {
            "node" => {
                let (incarnation, capacity) = rest.split_once(':')?;
                let described = Described { incarnation: incarnation.parse().ok()?, capacity: capacity.parse().ok()? };
                assert_eq!(self.there.replace(described), None, "the node is described twice: {member}");
            }
            "closed" => self.closed = true,
            "free" => self.slots.push(rest.split(':').next()?.parse().ok()?),
            "lost" => {
                self.slots.push(rest.split(':').next()?.parse().ok()?);
                self.lost.push(score as u64);
            }
            _ => {
                let lease: Lease = member.parse().ok()?;
                self.slots.push(lease.slot);
                self.leases.push((lease, score as u64));
            }
        }
        Some(())
    }

    /// How many leases there are that have not run out.
    pub(super) fn alive(&self, now: u64) -> usize {
        self.leases.iter().filter(|(_, ends)| *ends > now).count()
    }

    /// When a lease runs out, if it is there.
    pub(super) fn end_of(&self, lease: &Lease) -> Option<u64> {
        self.leases.iter().find(|(other, _)| other == lease).map(|(_, ends)| *ends)
    }
}
