//! Masters that share the slots, made into a cluster by what redis-cli would say to them.

use crate::resp::Reply;
use crate::server::{Plan, Server};
use crate::wait;

/// Of every cluster.
pub const SLOTS: u16 = 16_384;
/// Milliseconds: soon enough for a test, and a machine with much to do is not taken for dead at once.
const NODE_TIMEOUT: &str = "1000";
/// So often in a row they must be of one mind whose slot it is: what is on its way between them may change that.
const LOOKS: u32 = 4;
/// Of a slot that is moved, at a time.
const KEYS: &str = "100";

/// A cluster of masters without replicas. Dropping it ends all of them.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts so many masters, each with an equal share of the slots, in order. All answer for theirs when this returns, and
    /// know of the others.
    ///
    /// # Panics
    /// When it does not come about.
    pub fn start(masters: usize) -> Self {
        Self::with(masters, &[])
    }

    /// As [`start`](Self::start), with directives for each, as [`Server::with`] takes them.
    ///
    /// # Panics
    /// When it does not come about.
    pub fn with(masters: usize, config: &[(&str, &str)]) -> Self {
        assert!(masters > 0, "a cluster has a master");
        // What a node is in the cluster is kept beside the folder of its data: it outlasts them.
        let all = [
            ("cluster-enabled", "yes"),
            ("cluster-node-timeout", NODE_TIMEOUT),
            ("cluster-config-file", "../nodes.conf"),
        ];
        let plan = Plan { has_bus: true, ..Plan::of(&[&all, config].concat()) };
        let cluster = Self { servers: (0..masters).map(|_| Server::launch(&plan)).collect() };
        cluster.join();
        cluster
    }

    fn join(&self) {
        let count = self.servers.len();
        for (n, server) in self.servers.iter().enumerate() {
            // Else all begin with the same, and must first agree on who has which.
            told(server, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            let [first, end] = [n, n + 1].map(|n| n * usize::from(SLOTS) / count);
            told(server, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]);
        }
        // Each is told of all: they would hear of each other, but later.
        for (n, server) in self.servers.iter().enumerate() {
            for other in &self.servers[..n] {
                told(server, &["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]);
            }
        }
        self.wait_until_ok();
    }

    /// Waits until each says that the cluster is well, that it knows of all others, and that all slots are served.
    ///
    /// # Panics
    /// When that does not come, with the log of one that does not say so.
    pub fn wait_until_ok(&self) {
        for server in &self.servers {
            let found = wait::poll(|| self.is_ok(server).then_some(()));
            assert!(found.is_some(), "the cluster does not come about\n{}", server.log());
        }
    }

    fn is_ok(&self, server: &Server) -> bool {
        let Ok(info) = server.try_command(&["CLUSTER", "INFO"]) else { return false };
        let info = info.to_string();
        let says = |name: &str, value: &str| info.lines().any(|line| line.split_once(':') == Some((name, value)));
        let count = self.servers.len().to_string();
        says("cluster_state", "ok")
            && says("cluster_known_nodes", &count)
            && says("cluster_slots_ok", &SLOTS.to_string())
    }

    /// The masters, in the order of the slots that they had first.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Where they listen.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// When no master answers.
    pub fn slot_of(&self, key: &str) -> u16 {
        match self.ask(&["CLUSTER", "KEYSLOT", key]) {
            Reply::Integer(slot) => u16::try_from(slot).expect("a slot is below 16,384"),
            other => panic!("a slot was expected, not {other}"),
        }
    }

    /// Which of [`servers`](Self::servers) a slot belongs to, as the first of them that answers says.
    ///
    /// # Panics
    /// When no master answers, or the slot is nobody's.
    pub fn owner_of(&self, slot: u16) -> usize {
        let owner = self.servers.iter().find_map(|server| self.owner_by(server, slot));
        owner.unwrap_or_else(|| panic!("slot {slot} belongs to none"))
    }

    fn owner_by(&self, server: &Server, slot: u16) -> Option<usize> {
        let slots = server.try_command(&["CLUSTER", "SLOTS"]).ok()?;
        let is_in = |range: &&Reply| {
            let [Reply::Integer(first), Reply::Integer(last), ..] = range.elements() else { return false };
            (*first..=*last).contains(&slot.into())
        };
        // A range is its first and last slot, and then its nodes: each with its address, its port, its name.
        let port = slots.elements().iter().find(is_in).and_then(|range| range.elements()[2].elements().get(1));
        let is_there = |server: &Server| port == Some(&Reply::Integer(server.port().into()));
        self.servers.iter().position(is_there)
    }

    /// Moves a slot with its keys from one of [`servers`](Self::servers) to another. Requests may come meanwhile; some are
    /// then sent on with `ASK` or told to `TRYAGAIN`.
    ///
    /// # Panics
    /// When a master refuses its part: the slot is not there.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to);
        self.move_keys(slot, from, to);
        self.end_move(slot, from, to);
    }

    /// The first part of [`move_slot`](Self::move_slot): from now on a key of the slot that is not at its owner any more is
    /// asked for at the other one.
    ///
    /// # Panics
    /// When a master refuses.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let [source, target] = [from, to].map(|n| &self.servers[n]);
        told(target, &["CLUSTER", "SETSLOT", &slot.to_string(), "IMPORTING", &id_of(source)]);
        told(source, &["CLUSTER", "SETSLOT", &slot.to_string(), "MIGRATING", &id_of(target)]);
    }

    /// The second part: the keys.
    ///
    /// # Panics
    /// When a master refuses.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let (slot, port) = (slot.to_string(), self.servers[to].port().to_string());
        let mut source = self.servers[from].connect(crate::server::ANSWER).expect("the master can be reached");
        let mut call = |command: &[&[u8]]| source.call(command).expect("the master answers");
        loop {
            let keys = call(&[b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), KEYS.as_bytes()]);
            let keys =
                keys.elements().iter().filter_map(|key| if let Reply::Bulk(key) = key { Some(&**key) } else { None });
            let migrate: [&[u8]; 7] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000", b"KEYS"];
            let command: Vec<&[u8]> = migrate.into_iter().chain(keys).collect();
            if command.len() == migrate.len() {
                return;
            }
            // A key that was removed meanwhile is none.
            let reply = call(&command).to_string();
            assert!(reply == "OK" || reply == "NOKEY", "keys of slot {slot} do not move: {reply}");
        }
    }

    /// The last part: the other one is the owner, and all are told.
    ///
    /// # Panics
    /// When a master refuses: the slot has keys left.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let id = id_of(&self.servers[to]);
        // The new owner first: one that does not know that a slot is its own would send back what is sent on to it.
        let others = (0..self.servers.len()).filter(|n| ![from, to].contains(n));
        let all: Vec<_> = [to, from].into_iter().chain(others).collect();
        // What one has heard of an earlier move may come after what it is told, and undo it.
        let agreed = wait::poll(|| {
            for n in &all {
                told(&self.servers[*n], &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
            }
            let agree = |_| {
                wait::pause();
                all.iter().all(|n| self.owner_by(&self.servers[*n], slot) == Some(to))
            };
            (0..LOOKS).all(agree).then_some(())
        });
        assert!(agreed.is_some(), "the servers do not agree on whose slot {slot} is");
    }

    /// The answer of the first that has one.
    fn ask(&self, command: &[&str]) -> Reply {
        let mut replies = self.servers.iter().filter_map(|server| server.try_command(command).ok());
        replies.next().expect("a master answers")
    }
}

/// Says something that is not to be refused.
fn told(server: &Server, command: &[&str]) {
    assert_eq!(server.command(command), "OK", "{command:?}");
}

fn id_of(server: &Server) -> String {
    server.command(&["CLUSTER", "MYID"])
}
