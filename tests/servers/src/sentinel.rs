//! A master and its replica, watched by sentinels that make the replica the master when that dies.

use std::net::SocketAddr;

use crate::resp::Reply;
use crate::server::{Plan, Server};
use crate::wait;

/// A master with a replica, and sentinels that watch them. Dropping it ends all of them.
#[derive(Debug)]
pub struct Sentinel {
    name: String,
    sentinels: Vec<Server>,
    servers: [Server; 2],
}

impl Sentinel {
    /// Starts a master, which the sentinel knows by this name, its replica, and one sentinel.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn start(name: &str) -> Self {
        Self::with(name, 1)
    }

    /// As [`start`](Self::start), with so many sentinels. Most of them must agree that the master is dead. All know of each
    /// other and of the replica when this returns.
    ///
    /// # Panics
    /// When one cannot be started, or they do not find each other.
    pub fn with(name: &str, sentinels: usize) -> Self {
        let master = Server::start();
        let replica = Server::replica_of(&master);
        let quorum = sentinels / 2 + 1;
        let text = format!(
            "sentinel monitor {name} 127.0.0.1 {} {quorum}\n\
             sentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 2000\n",
            master.port()
        );
        let plan = Plan { sentinel: Some(text), ..Plan::of(&[("bind", "127.0.0.1"), ("protected-mode", "no")]) };
        let sentinels = (0..sentinels).map(|_| Server::launch(&plan)).collect();
        let started = Self { name: name.to_owned(), sentinels, servers: [master, replica] };
        started.sentinels.iter().for_each(quicken);
        started.wait_until_known();
        started
    }

    /// Until a failover would succeed. One that finds no good replica is not tried again for twice its timeout.
    fn wait_until_known(&self) {
        for sentinel in &self.sentinels {
            let found = wait::poll(|| self.knows_all(sentinel).unwrap_or(true).then_some(()));
            assert!(found.is_some(), "a sentinel does not find the others\n{}", sentinel.log());
        }
    }

    /// Whether a sentinel knows the others, and that the replica has what the master has; nothing if it does not run.
    fn knows_all(&self, sentinel: &Server) -> Option<bool> {
        let about = |what| sentinel.try_command(&["SENTINEL", what, &self.name]).ok();
        let (master, replicas) = (about("MASTER")?, about("REPLICAS")?);
        let [replica] = replicas.elements() else { return Some(false) };
        let others = (self.sentinels.len() - 1).to_string();
        let is_found = says(&master, "flags", "master") && says(&master, "num-other-sentinels", &others);
        Some(is_found && says(replica, "flags", "slave") && says(replica, "master-link-status", "ok"))
    }

    /// Where the sentinels listen.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::url).collect()
    }

    /// The name that the sentinels know the master by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sentinels' own servers.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The two servers: first the one that was the master at first.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The master's address, as the first sentinel that answers has it.
    ///
    /// # Panics
    /// When none answers.
    pub fn master(&self) -> SocketAddr {
        self.sentinels.iter().find_map(|sentinel| self.master_of(sentinel)).expect("a sentinel names the master")
    }

    fn master_of(&self, sentinel: &Server) -> Option<SocketAddr> {
        let reply = sentinel.try_command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.name]).ok()?.to_string();
        let (address, port) = reply.split_once('\n')?;
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    }

    /// The master's address once it is settled, if a sentinel runs. In the midst of a failover it is named before: whoever
    /// brings the old master back then may have it as the master again.
    fn settled_master_of(&self, sentinel: &Server) -> Option<Option<SocketAddr>> {
        let about = sentinel.try_command(&["SENTINEL", "MASTER", &self.name]).ok()?;
        let named = self.master_of(sentinel);
        let is_settled =
            |address: &SocketAddr| says(&about, "flags", "master") && says(&about, "port", &address.port().to_string());
        Some(named.filter(is_settled))
    }

    /// Kills the master with SIGKILL, as soon as the other server is its replica, and waits until each sentinel that runs names
    /// the other, which is the master then. Returns its address. What the replica did not have yet is lost:
    /// [`Server::catch_up_with`] waits until it has all. To go back, [restart](Server::restart) the one that was killed; it
    /// becomes the replica.
    ///
    /// # Panics
    /// When the other server does not run, or does not become the master.
    pub fn fail_over(&self) -> SocketAddr {
        let old = self.master();
        let [is_old, is_new] = [true, false].map(|same| move |server: &&Server| (server.address() == old) == same);
        let master = self.servers.iter().find(is_old).expect("the master is one of the two");
        let new = self.servers.iter().find(is_new).expect("the other is another");
        assert_eq!(new.command(&["PING"]), "PONG");
        new.wait_for_master();
        self.wait_until_known();
        master.kill();
        let is_through = || {
            let mut named = self.sentinels.iter().filter_map(|sentinel| self.settled_master_of(sentinel)).peekable();
            named.peek().is_some() && named.all(|address| address == Some(new.address()))
        };
        let is_master = || new.info("replication", "role").is_some_and(|role| role == "master");
        let done = wait::poll(|| (is_through() && is_master()).then_some(()));
        assert!(done.is_some(), "the other server has not become the master\n{}", self.sentinels[0].log());
        new.address()
    }
}

/// Whether names and values that follow one another have this value under this name.
fn says(fields: &Reply, name: &str, value: &str) -> bool {
    let mut pairs = fields.elements().chunks_exact(2);
    pairs.any(|pair| pair[0].to_string() == name && pair[1].to_string() == value)
}

/// What a sentinel does each second or two, or each ten, it does ten times a second: that is most of the time that it takes
/// to start. Not so the pings: by how often they are sent it judges how old what it knows of a replica may be. One that does
/// not know the command takes its time.
fn quicken(sentinel: &Server) {
    let periods = ["info-period", "100", "ask-period", "100", "publish-period", "100"];
    sentinel.command(&[&["SENTINEL", "DEBUG"], &periods[..]].concat());
}
