//! What is asked of the server about nodes.

use super::call::{Arguments, Call, Fields, Reply, Standing, unexpected};
use super::keys::{Keys, NodeText};
use super::lease::{Instance, Lease, Malformed};
use super::script::{self, Script};

/// How long what is known of a node is kept, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// The node, without a heartbeat.
    pub(super) node: u64,
    /// Its slots and its fencing counter, and the stream of changes.
    pub(super) slots: u64,
}

/// See register.lua.
#[derive(Debug)]
pub(super) struct Register<'a> {
    pub(super) node: &'a NodeText,
    pub(super) replace: bool,
    pub(super) capacity: u32,
    pub(super) state: &'a str,
    pub(super) kept: Kept,
    pub(super) fields: &'a Fields,
}

/// How it went to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Registered {
    /// As this incarnation.
    Registered(u64),
    /// It is there: its incarnation, and whose it is.
    Exists(u64, String),
}

impl Call for Register<'_> {
    type Answer = Registered;
    const SCRIPT: &'static Script = &script::REGISTER;

    fn home(&self, keys: &Keys) -> String {
        keys.node(self.node)
    }

    fn write(&self, keys: &Keys, standing: Standing, to: &mut Arguments) {
        let Self { node, replace, capacity, state, kept, fields } = self;
        to.key(keys.slots(node)).key(keys.fence(node));
        if !keys.are_spread() {
            to.key(keys.nodes()).key(keys.changes());
        }
        to.argument(&node.0)
            .argument(if *replace { "replace" } else { "new" })
            .argument(standing.epoch)
            .argument(capacity);
        to.argument(state).argument(kept.node).argument(kept.slots).fields(fields);
    }

    fn read(mut reply: Reply) -> Result<Registered, Malformed> {
        match reply.text()?.as_str() {
            "REGISTERED" => Ok(Registered::Registered(reply.parsed()?)),
            "EXISTS" => Ok(Registered::Exists(reply.parsed()?, reply.text()?)),
            other => unexpected(other),
        }
    }
}

/// How it went to change a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changed {
    Done,
    /// The server does not know it, or has lost it.
    Unknown,
    /// The incarnation that there is.
    Stale(u64),
    /// It is this instance's.
    Owned(String),
}

impl Changed {
    fn read(reply: &mut Reply) -> Result<Self, Malformed> {
        Ok(match reply.text()?.as_str() {
            "DONE" => Self::Done,
            "UNKNOWN" => Self::Unknown,
            "STALE" => Self::Stale(reply.parsed()?),
            "OWNED" => Self::Owned(reply.text()?),
            other => return unexpected(other),
        })
    }
}

/// See update.lua.
#[derive(Debug)]
pub(super) struct Update<'a> {
    pub(super) node: &'a NodeText,
    pub(super) incarnation: u64,
    pub(super) state: Option<&'a str>,
    pub(super) capacity: Option<u32>,
    pub(super) kept: Kept,
    pub(super) fields: &'a Fields,
}

impl Call for Update<'_> {
    type Answer = Changed;
    const SCRIPT: &'static Script = &script::UPDATE;

    fn home(&self, keys: &Keys) -> String {
        keys.node(self.node)
    }

    fn write(&self, keys: &Keys, standing: Standing, to: &mut Arguments) {
        let Self { node, incarnation, state, capacity, kept, fields } = self;
        to.key(keys.slots(node)).key(keys.fence(node));
        if !keys.are_spread() {
            to.key(keys.changes());
        }
        to.argument(&node.0).argument(incarnation).argument(standing.epoch).argument(standing.warm_until);
        to.argument(state.unwrap_or_default())
            .argument(capacity.map(|capacity| capacity.to_string()).unwrap_or_default());
        to.argument(kept.slots).fields(fields);
    }

    fn read(mut reply: Reply) -> Result<Changed, Malformed> {
        Changed::read(&mut reply)
    }
}

/// See beat.lua.
#[derive(Debug)]
pub(super) struct Beat<'a> {
    pub(super) node: &'a NodeText,
    pub(super) incarnation: u64,
    pub(super) owner: Instance,
    pub(super) kept: Kept,
    pub(super) fields: &'a Fields,
}

impl Call for Beat<'_> {
    /// And how many leases there are.
    type Answer = (Changed, u32);
    const SCRIPT: &'static Script = &script::BEAT;

    fn home(&self, keys: &Keys) -> String {
        keys.node(self.node)
    }

    fn write(&self, keys: &Keys, _: Standing, to: &mut Arguments) {
        let Self { node, incarnation, owner, kept, fields } = self;
        to.key(keys.slots(node)).key(keys.fence(node));
        to.argument(incarnation).argument(owner).argument(kept.node).argument(kept.slots).fields(fields);
    }

    fn read(mut reply: Reply) -> Result<Self::Answer, Malformed> {
        let changed = Changed::read(&mut reply)?;
        let load = if changed == Changed::Done { reply.parsed()? } else { 0 };
        Ok((changed, load))
    }
}

/// See glance.lua.
#[derive(Debug)]
pub(super) struct Glance<'a> {
    /// One at least; where keys are spread, one.
    pub(super) nodes: &'a [NodeText],
}

/// A node, as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Slots that are leased, by whomever.
    pub(super) leases: u32,
    /// How long ago its last heartbeat came in, in ms.
    pub(super) age: u64,
}

impl Call for Glance<'_> {
    /// For each node; `None`: the server does not know it.
    type Answer = Vec<Option<Seen>>;
    const SCRIPT: &'static Script = &script::GLANCE;

    fn home(&self, keys: &Keys) -> String {
        keys.node(&self.nodes[0])
    }

    fn write(&self, keys: &Keys, _: Standing, to: &mut Arguments) {
        to.key(keys.slots(&self.nodes[0]));
        for node in &self.nodes[1..] {
            to.key(keys.node(node)).key(keys.slots(node));
        }
    }

    fn read(mut reply: Reply) -> Result<Self::Answer, Malformed> {
        let mut nodes = Vec::new();
        while !reply.is_empty() {
            let (leases, age) = (reply.parsed::<i64>()?, reply.parsed::<i64>()?);
            nodes.push(u32::try_from(leases).ok().map(|leases| Seen { leases, age: age.max(0) as u64 }));
        }
        Ok(nodes)
    }
}

/// See deregister.lua.
#[derive(Debug)]
pub(super) struct Deregister<'a> {
    pub(super) node: &'a NodeText,
    pub(super) incarnation: u64,
    pub(super) kept: Kept,
}

impl Call for Deregister<'_> {
    type Answer = Changed;
    const SCRIPT: &'static Script = &script::DEREGISTER;

    fn home(&self, keys: &Keys) -> String {
        keys.node(self.node)
    }

    fn write(&self, keys: &Keys, _: Standing, to: &mut Arguments) {
        let Self { node, incarnation, kept } = self;
        to.key(keys.slots(node)).key(keys.fence(node));
        if !keys.are_spread() {
            to.key(keys.nodes()).key(keys.changes());
        }
        to.argument(&node.0).argument(incarnation).argument(kept.slots);
    }

    fn read(mut reply: Reply) -> Result<Changed, Malformed> {
        Changed::read(&mut reply)
    }
}

/// See restore.lua.
#[derive(Debug)]
pub(super) struct Restore<'a> {
    pub(super) node: &'a NodeText,
    pub(super) incarnation: u64,
    pub(super) capacity: u32,
    pub(super) state: &'a str,
    pub(super) kept: Kept,
    pub(super) longest_lease: u64,
    /// Each with how long it lasts yet, in ms.
    pub(super) leases: &'a [(Lease, u64)],
    pub(super) fields: &'a Fields,
}

/// How it went to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Restored {
    /// For each lease whether it is there; and whether the server had lost the node.
    Restored { held: Vec<bool>, made: bool },
    /// The incarnation that there is.
    Stale(u64),
}

impl Call for Restore<'_> {
    type Answer = Restored;
    const SCRIPT: &'static Script = &script::RESTORE;

    fn home(&self, keys: &Keys) -> String {
        keys.node(self.node)
    }

    fn write(&self, keys: &Keys, standing: Standing, to: &mut Arguments) {
        let Self { node, incarnation, capacity, state, kept, longest_lease, leases, fields } = self;
        to.key(keys.slots(node)).key(keys.fence(node));
        if !keys.are_spread() {
            to.key(keys.nodes()).key(keys.changes());
        }
        to.argument(&node.0).argument(incarnation).argument(standing.epoch).argument(capacity).argument(state);
        to.argument(kept.node).argument(kept.slots).argument(longest_lease).argument(leases.len());
        for (lease, left) in *leases {
            to.argument(lease).argument(left);
        }
        to.fields(fields);
    }

    fn read(mut reply: Reply) -> Result<Restored, Malformed> {
        let made = match reply.text()?.as_str() {
            "MADE" => true,
            "RESTORED" => false,
            "STALE" => return Ok(Restored::Stale(reply.parsed()?)),
            other => return unexpected(other),
        };
        let mut held = Vec::new();
        while !reply.is_empty() {
            held.push(reply.parsed::<u8>()? == 1);
        }
        Ok(Restored::Restored { held, made })
    }
}

/// See announce.lua.
#[derive(Debug)]
pub(super) struct Announce<'a> {
    pub(super) node: &'a NodeText,
    pub(super) is_there: bool,
    pub(super) kept: Kept,
}

impl Call for Announce<'_> {
    type Answer = ();
    const SCRIPT: &'static Script = &script::ANNOUNCE;

    fn home(&self, keys: &Keys) -> String {
        keys.nodes()
    }

    fn write(&self, keys: &Keys, _: Standing, to: &mut Arguments) {
        let Self { node, is_there, kept } = self;
        to.key(keys.changes());
        to.argument(&node.0).argument(if *is_there { "there" } else { "gone" }).argument(kept.slots);
    }

    fn read(mut reply: Reply) -> Result<(), Malformed> {
        match reply.text()?.as_str() {
            "DONE" => Ok(()),
            other => unexpected(other),
        }
    }
}
