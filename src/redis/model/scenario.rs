//! What a model is about: nodes, clients with their programs, and what may happen to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::{Process, Program};
use crate::redis::keys::Keys;

/// How often something may happen in an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Bounds {
    /// A client is told that nobody knows what has come of its request, while the server may do it then or later, or have
    /// done it.
    pub(super) losses: u8,
    pub(super) crashes: u8,
    /// Another server takes the place of the one that there is.
    pub(super) servers: u8,
    /// Time passes.
    pub(super) jumps: u8,
}

/// What may take the place of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Replacements {
    /// One without any data.
    pub(super) empty: bool,
    /// A replica, which may lack so many of the last commands; `None`: no replica.
    pub(super) behind: Option<usize>,
    /// The clocks that it may have, by how much they show more than the one before, in ms.
    pub(super) skews: &'static [i64],
}

/// See the module's documentation.
pub(super) struct Scenario {
    /// Whether a request and its node are on one server is theirs to say.
    pub(super) keys: Arc<Keys>,
    /// With how many slots each.
    pub(super) nodes: Vec<(&'static str, u32)>,
    pub(super) programs: Vec<Program>,
    pub(super) bounds: Bounds,
    pub(super) replacements: Replacements,
    /// Jobs that are there from the beginning, whose creator is gone: the request, the job's number, and its node.
    pub(super) jobs: Vec<(&'static str, u128, usize)>,
    /// Whether bindings may expire, so that a request may have another job.
    pub(super) bindings_expire: bool,
    /// Whether jobs are sent to nodes.
    pub(super) nodes_run: bool,
    /// Whether time may pass until the last moment at which something holds, and not only until the first at which it does
    /// not.
    pub(super) by_the_moment: bool,
    /// Whether nodes look at fences.
    pub(super) fences: bool,
    /// Whether a request that its client has given up for lost may come in later.
    pub(super) may_be_late: bool,
    /// Scripts as they are instead of as they ship.
    pub(super) scripts: BTreeMap<&'static str, String>,
    /// More states than this are too many to look at.
    pub(super) most_states: usize,
}

impl Scenario {
    pub(super) fn new<const N: usize>(nodes: [(&'static str, u32); N]) -> Self {
        Self {
            keys: Arc::new(Keys::new("", false)),
            nodes: nodes.to_vec(),
            programs: Vec::new(),
            bounds: Bounds::default(),
            replacements: Replacements { empty: false, behind: None, skews: &[0] },
            jobs: Vec::new(),
            bindings_expire: false,
            nodes_run: false,
            by_the_moment: false,
            fences: true,
            may_be_late: false,
            scripts: BTreeMap::new(),
            most_states: 1_000_000,
        }
    }

    /// No script reaches a request and a node at once.
    pub(super) fn spread(mut self) -> Self {
        self.keys = Arc::new(Keys::new("", true));
        self
    }

    /// One client more.
    pub(super) fn client<F: Future<Output = ()> + 'static>(mut self, program: impl Fn(Process) -> F + 'static) -> Self {
        self.programs.push(Box::new(move |process| Box::pin(program(process))));
        self
    }

    pub(super) fn job(mut self, request: &'static str, number: u128, node: usize) -> Self {
        self.jobs.push((request, number, node));
        self
    }

    pub(super) fn losses(mut self, losses: u8) -> Self {
        self.bounds.losses = losses;
        self
    }

    pub(super) fn crashes(mut self, crashes: u8) -> Self {
        self.bounds.crashes = crashes;
        self
    }

    pub(super) fn jumps(mut self, jumps: u8) -> Self {
        self.bounds.jumps = jumps;
        self
    }

    /// So many servers are lost, and such take their places.
    pub(super) fn servers(mut self, servers: u8, replacements: Replacements) -> Self {
        self.bounds.servers = servers;
        self.replacements = replacements;
        self
    }

    /// What is lost may come in later.
    pub(super) fn late(mut self) -> Self {
        self.may_be_late = true;
        self
    }

    /// Time may also pass until the last moment at which something holds.
    pub(super) fn by_the_moment(mut self) -> Self {
        self.by_the_moment = true;
        self
    }

    /// Bindings are kept for so short that they may expire.
    pub(super) fn bindings_expire(mut self) -> Self {
        self.bindings_expire = true;
        self
    }

    /// Nodes run what they are sent.
    pub(super) fn running(mut self) -> Self {
        self.nodes_run = true;
        self
    }

    pub(super) fn states(mut self, most: usize) -> Self {
        self.most_states = most;
        self
    }

    pub(super) fn without_fences(mut self) -> Self {
        self.fences = false;
        self
    }

    /// A script in which `from`, which is there once, is `to`.
    pub(super) fn script(mut self, name: &'static str, from: &str, to: &str) -> Self {
        let script =
            crate::redis::script::ALL.iter().find(|script| script.name == name).expect("there is such a script");
        let source = self.scripts.entry(name).or_insert_with(|| script.source.to_owned());
        assert_eq!(source.matches(from).count(), 1, "{name} has changed: {from}");
        *source = source.replace(from, to);
        self
    }
}
