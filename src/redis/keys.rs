//! The names of keys. docs/redis has what is under each.

use std::borrow::Cow;

use super::lease::Instance;
use crate::escape::{escape, unescape};
use crate::id::JobId;

/// Makes the names of keys, all under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Box<str>,
    /// Whether they are spread over the servers of a cluster. What one script touches must be in one hash slot: then a node's
    /// id is what the slot of its keys is worked out from.
    spread: bool,
}

impl Keys {
    pub(super) fn new(prefix: &str, spread: bool) -> Self {
        Self { prefix: prefix.into(), spread }
    }

    /// Whether a request and its node, and what all instances share, are on different servers.
    pub(super) fn are_spread(&self) -> bool {
        self.spread
    }

    /// What a request is bound to.
    pub(super) fn request(&self, request_id: &str) -> String {
        format!("{}r:{request_id}", self.prefix)
    }

    /// Which request a job is of.
    pub(super) fn job(&self, job: JobId) -> String {
        format!("{}j:{job}", self.prefix)
    }

    /// What a node is.
    pub(super) fn node(&self, id: &NodeText) -> String {
        self.of_node("n", id)
    }

    /// A node's slots, and the leases of them.
    pub(super) fn slots(&self, id: &NodeText) -> String {
        self.of_node("l", id)
    }

    /// A node's fencing counter.
    pub(super) fn fence(&self, id: &NodeText) -> String {
        self.of_node("f", id)
    }

    /// The members of a pool, for people and other programs.
    pub(super) fn pool(&self, name: &str) -> String {
        format!("{}p:{name}", self.prefix)
    }

    /// What an instance says of itself, while it lives.
    pub(super) fn instance(&self, instance: Instance) -> String {
        format!("{}i:{instance}", self.prefix)
    }

    /// All nodes, each with when its last heartbeat was.
    pub(super) fn nodes(&self) -> String {
        self.shared("nodes")
    }

    /// The stream of changes.
    pub(super) fn changes(&self) -> String {
        self.shared("changes")
    }

    /// What an instance is told by others: jobs of its that they have ended.
    pub(super) fn inbox(&self, instance: Instance) -> String {
        format!("{}m:{instance}", self.prefix)
    }

    /// Which server granted the leases. Each server of a cluster has one of its own: the first number whose key is there.
    pub(super) fn epoch(&self, of: Option<u32>) -> String {
        match of {
            None => format!("{}epoch", self.prefix),
            Some(number) => format!("{}epoch:{number}", self.prefix),
        }
    }

    /// One script says that a node is there and that something has changed.
    fn shared(&self, kind: &str) -> String {
        if self.spread { format!("{}{{all}}:{kind}", self.prefix) } else { format!("{}{kind}", self.prefix) }
    }

    fn of_node(&self, kind: &str, NodeText(id): &NodeText) -> String {
        if self.spread { format!("{}{kind}:{{{id}}}", self.prefix) } else { format!("{}{kind}:{id}", self.prefix) }
    }
}

/// A node's id as it is in keys and bindings: as it is, but for what would end a word there, or a key's hash tag. That is
/// written as `%` and two hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeText(pub(super) String);

impl NodeText {
    pub(super) fn of(id: &str) -> Self {
        Self(escape(id, &['{', '}']).into_owned())
    }

    /// The id.
    pub(super) fn id(&self) -> Cow<'_, str> {
        unescape(&self.0)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_node_are_in_one_hash_slot_where_they_must_be() {
        let (plain, tagged) = (Keys::new("s:", false), Keys::new("s:", true));
        let id = NodeText::of("gpu 7}");
        assert_eq!(plain.node(&id), "s:n:gpu%207%7D");
        assert_eq!(
            [tagged.node(&id), tagged.slots(&id), tagged.fence(&id)].map(|key| key[4..].to_owned()),
            ["{gpu%207%7D}", "{gpu%207%7D}", "{gpu%207%7D}"]
        );
        assert_eq!(plain.request("req 1"), "s:r:req 1");
    }
}
