//! One server: started, asked, killed, stopped, brought back; and replicas of it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::port::Port;
use crate::process::Process;
use crate::resp::{Connection, Reply};
use crate::wait;

/// What every server is told first; what a test says comes later and wins. No sync waits for more replicas to come.
const DEFAULTS: [(&str, &str); 5] = [
    ("bind", "127.0.0.1"),
    ("protected-mode", "no"),
    ("save", ""),
    ("appendonly", "no"),
    ("repl-diskless-sync-delay", "0"),
];
/// Others may take a port between our look and the server's.
const PORTS: u32 = 20;
/// How long a server of a test may take to answer. One that takes longer is stopped, or has died in the midst.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// A `redis-server` on a port of 127.0.0.1, without persistence. It works in a temporary folder of its own. Dropping it kills
/// the server and removes the folder.
#[derive(Debug)]
pub struct Server {
    /// Before the folder, which it works in.
    running: Mutex<Option<Process>>,
    port: Port,
    /// For TLS, if it has a certificate.
    tls_port: Option<Port>,
    plan: Plan,
    folder: TempDir,
}

/// What a server is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Directives of its configuration, after the defaults.
    pub(crate) config: Vec<(String, String)>,
    /// Whether it has a bus port, too, as the nodes of a cluster do.
    pub(crate) has_bus: bool,
    /// A sentinel has a file with its configuration, which it changes.
    pub(crate) sentinel: Option<String>,
}

impl Plan {
    pub(crate) fn of(config: &[(&str, &str)]) -> Self {
        let config = config.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { config, ..Self::default() }
    }
}

impl Server {
    /// Starts a server, and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started, with its log.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with directives of its configuration, which win over those that all have: `("maxmemory", "1mb")`. A
    /// value of several words is several arguments. With `requirepass`, [`url`](Self::url) has the password, and commands
    /// are sent with it.
    ///
    /// # Panics
    /// When it cannot be started, with its log.
    pub fn with(config: &[(&str, &str)]) -> Self {
        Self::launch(&Plan::of(config))
    }

    /// Starts a replica of another server, and waits until it has the other's data.
    ///
    /// # Panics
    /// When it cannot be started, or does not come to its master.
    pub fn replica_of(master: &Self) -> Self {
        let mut plan = Plan::of(&[("replicaof", &format!("127.0.0.1 {}", master.port()))]);
        plan.config.extend(master.password().map(|password| ("masterauth".to_owned(), password.to_owned())));
        let replica = Self::launch(&plan);
        replica.wait_for_master();
        replica
    }

    /// As [`with`](Self::with).
    pub(crate) fn launch(plan: &Plan) -> Self {
        for _ in 1..PORTS {
            match Self::try_launch(plan) {
                Err(failure) if is_taken(&failure) => {}
                outcome => return outcome.unwrap_or_else(|failure| panic!("{failure}")),
            }
        }
        Self::try_launch(plan).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// On one port; or what was wrong.
    fn try_launch(plan: &Plan) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("slotyard-server-").tempdir().expect("a folder can be made");
        let has_certificate = plan.config.iter().any(|(name, _)| name == "tls-cert-file");
        let (port, tls_port) = (Port::free(plan.has_bus), has_certificate.then(|| Port::free(false)));
        let server = Self { running: Mutex::default(), port, tls_port, plan: plan.clone(), folder };
        if let Some(text) = &plan.sentinel {
            fs::write(server.sentinel_file(), text).expect("a file can be written");
        }
        *server.running() = Some(server.begin()?);
        Ok(server)
    }

    /// Starts the process and waits until it answers; or what was wrong.
    fn begin(&self) -> Result<Process, String> {
        let folder = self.data();
        fs::create_dir_all(&folder).expect("a folder can be made");
        let mut process = Process::start(&self.arguments(), &folder, &self.log_file());
        let outcome = wait::poll(|| match process.ended() {
            Some(status) => Some(Err(format!("has ended: {status}"))),
            None => self.is_ready(process.id()).then_some(Ok(())),
        });
        match outcome.unwrap_or_else(|| Err("does not answer".to_owned())) {
            Ok(()) => Ok(process),
            Err(what) => Err(format!("the server on port {} {what}\n{}", self.port(), self.log())),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let ports = [("port", Some(&self.port)), ("tls-port", self.tls_port.as_ref())];
        let ports = ports.map(|(name, port)| Some((name, port?.number().to_string())));
        let defaults = DEFAULTS.into_iter().filter(|_| self.plan.sentinel.is_none());
        let config = self.plan.config.iter().map(|(name, value)| (&**name, &**value));
        let mut arguments = Vec::new();
        if self.plan.sentinel.is_some() {
            arguments.extend([self.sentinel_file().display().to_string(), "--sentinel".to_owned()]);
        }
        for (name, value) in defaults.chain(config).chain(ports.iter().flatten().map(|(name, port)| (*name, &**port))) {
            arguments.push(format!("--{name}"));
            match value {
                "" => arguments.push(String::new()),
                words => arguments.extend(words.split_whitespace().map(str::to_owned)),
            }
        }
        arguments
    }

    /// Whether it is this process that answers, not another on the same port, and it has loaded what it has to.
    fn is_ready(&self, process: u32) -> bool {
        let answers = |command: &[&str]| self.try_command(command).map(|reply| reply.to_string()).unwrap_or_default();
        let own = format!("process_id:{process}");
        answers(&["INFO", "server"]).lines().any(|line| line == own) && answers(&["PING"]) == "PONG"
    }

    /// Where it listens, as a client wants to have it.
    pub fn url(&self) -> String {
        let password = self.password().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{password}{}/", self.address())
    }

    /// Where it listens for TLS, beside: that is if it was given a certificate, with `tls-cert-file` among others.
    ///
    /// # Panics
    /// When it was given none.
    pub fn tls_url(&self) -> String {
        let port = self.tls_port.as_ref().expect("the server has a certificate");
        format!("rediss://{}/", port.address())
    }

    /// Starts a sentinel that names where this server listens for TLS as the master of this name. It speaks no TLS itself, so it
    /// cannot watch it, and does not mind for an hour.
    ///
    /// # Panics
    /// When it cannot be started, or this server has no certificate.
    pub fn tls_sentinel(&self, name: &str) -> Self {
        let port = self.tls_port.as_ref().expect("the server has a certificate").number();
        let text = format!(
            "sentinel monitor {name} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {name} 3600000\n"
        );
        let plan = Plan { sentinel: Some(text), ..Plan::of(&[("bind", "127.0.0.1"), ("protected-mode", "no")]) };
        Self::launch(&plan)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its port, on which it comes back when it is restarted.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Sends a command over a connection of its own and returns the answer as text, as [`Reply`] shows it: an error begins
    /// with `-`.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn command(&self, command: &[&str]) -> String {
        let reply = self.try_command(command);
        reply.unwrap_or_else(|error| panic!("the server on port {}: {command:?}: {error}", self.port())).to_string()
    }

    /// Sends a command over a connection of its own.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not answer within 10 seconds.
    pub fn try_command(&self, command: &[&str]) -> io::Result<Reply> {
        self.connect(ANSWER)?.call(command)
    }

    /// Opens a connection on which an answer may take as long as `timeout`.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn connect(&self, timeout: Duration) -> io::Result<Connection> {
        let mut connection = Connection::open(self.address(), timeout)?;
        if let Some(password) = self.password() {
            connection.call(&["AUTH", password])?;
        }
        Ok(connection)
    }

    /// What it has said since it was last started.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Kills it with SIGKILL, if it runs. It listens no more when this returns.
    pub fn kill(&self) {
        *self.running() = None;
    }

    /// Kills it, if it runs, and starts it again on the same port, with the same configuration and without any data. What it
    /// is in a cluster, or knows as a sentinel, it still is and knows.
    ///
    /// # Panics
    /// When it cannot be started, with its log.
    pub fn restart(&self) {
        self.start_again(true);
    }

    /// As [`restart`](Self::restart), with what it has written to files: nothing unless it was told to, with
    /// `("appendonly", "yes")`.
    ///
    /// # Panics
    /// When it cannot be started, with its log.
    pub fn restart_keeping_data(&self) {
        self.start_again(false);
    }

    fn start_again(&self, empty: bool) {
        let mut running = self.running();
        *running = None;
        if empty {
            fs::remove_dir_all(self.data()).expect("the data can be removed");
        }
        let mut outcome = self.begin();
        // Somebody may have taken the port who does not look whether it is held, and has it for a moment.
        for _ in 1..PORTS {
            if outcome.as_ref().is_err_and(|failure| is_taken(failure)) {
                wait::pause();
                outcome = self.begin();
            }
        }
        *running = Some(outcome.unwrap_or_else(|failure| panic!("{failure}")));
    }

    /// Stops it with SIGSTOP: connections stay, new ones come about, and nothing is answered. It does nothing more when this
    /// returns.
    ///
    /// # Panics
    /// When it was killed.
    pub fn pause(&self) {
        self.running().as_mut().expect("the server was not killed").stop();
    }

    /// Lets it go on with SIGCONT. It then answers what has come meanwhile.
    ///
    /// # Panics
    /// When it was killed.
    pub fn resume(&self) {
        self.running().as_mut().expect("the server was not killed").go_on();
    }

    /// Removes all keys.
    ///
    /// # Panics
    /// When it refuses.
    pub fn flush(&self) {
        assert_eq!(self.command(&["FLUSHALL"]), "OK");
    }

    /// Makes a replica a master. It is a replica again after a restart.
    ///
    /// # Panics
    /// When it refuses.
    pub fn promote(&self) {
        assert_eq!(self.command(&["REPLICAOF", "NO", "ONE"]), "OK");
    }

    /// Waits until a replica is connected to its master and has its data.
    ///
    /// # Panics
    /// When that does not come.
    pub fn wait_for_master(&self) {
        let is_up = || self.info("replication", "master_link_status").is_some_and(|status| status == "up");
        assert!(wait::poll(|| is_up().then_some(())).is_some(), "the replica has no master\n{}", self.log());
    }

    /// Waits until a replica has all that its master has written by now. That is no matter of course: a master does not wait
    /// for its replicas before it answers.
    ///
    /// # Panics
    /// When that does not come.
    pub fn catch_up_with(&self, master: &Self) {
        let offset = |server: &Self, field| server.info("replication", field)?.parse::<u64>().ok();
        let written = offset(master, "master_repl_offset").expect("the master answers");
        let has_it = || offset(self, "slave_repl_offset").is_some_and(|offset| offset >= written);
        assert!(wait::poll(|| has_it().then_some(())).is_some(), "the replica does not catch up\n{}", self.log());
    }

    /// A field of a section of `INFO`, if the server answers and it is there.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        let text = self.try_command(&["INFO", section]).ok()?.to_string();
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find_map(|(name, value)| (name == field).then(|| value.to_owned()))
    }

    /// What `requirepass` says; what is said last holds.
    fn password(&self) -> Option<&str> {
        let password = self.plan.config.iter().rfind(|(name, _)| name == "requirepass");
        password.map(|(_, value)| &**value)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn sentinel_file(&self) -> PathBuf {
        self.folder.path().join("sentinel.conf")
    }

    /// A test that failed in the midst leaves nothing half done.
    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server could not start because somebody else has its port.
fn is_taken(failure: &str) -> bool {
    failure.contains("Address already in use")
}
