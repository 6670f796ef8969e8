//! Processes of a test, the server that they share, and what is true of them at the end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use slotyard::{Heartbeat, JobState, SharedNode, SharedScheduler};
use slotyard_servers::{Program, Server, wait_until};

use super::log::Check;
use super::worker::{Role, TOLD, Task, Terms, connect, request};
use crate::ready_node;

const NODES: usize = 3;
/// Slots of each.
const SLOTS: u32 = 2;

/// A server, nodes, and a log. The nodes are owned by an instance of this process, which does nothing else.
pub(super) struct Fleet {
    pub(super) server: Server,
    terms: Terms,
    owner: SharedScheduler,
    nodes: Vec<SharedNode>,
    folder: tempfile::TempDir,
    next: usize,
}

/// One process.
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) program: Program,
}

impl Member {
    /// Whether it has ended; how it has must be well.
    pub(super) fn is_done(&mut self) -> bool {
        let ended = self.program.ended();
        assert!(ended.is_none_or(|status| status.success()), "process {} has failed: {ended:?}", self.number);
        ended.is_some()
    }
}

impl Fleet {
    pub(super) fn start(terms: Terms) -> Self {
        let server = Server::start();
        let owner = connect(&server.url(), terms);
        let nodes = (0..NODES).map(|node| ready_node(&owner, &format!("n{node}"), SLOTS)).collect();
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("log")).unwrap();
        Self { server, terms, owner, nodes, folder, next: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    /// Writes a line of its own to the log, of a process.
    pub(super) fn say(&self, number: usize, what: &str) {
        let mut log = OpenOptions::new().append(true).open(self.path()).unwrap();
        log.write_all(format!("{number} {what}\n").as_bytes()).unwrap();
    }

    /// Starts a process, which may be told to crash or to stop somewhere: then it is away to begin with.
    pub(super) fn process(&mut self, url: &str, role: Role, crash: Option<&str>) -> Member {
        if crash.is_some() {
            self.say(self.next, "away");
        }
        let crash = crash.map(|crash| ("SLOTYARD_TEST_CRASH", crash.to_owned()));
        self.process_with(url, role, crash.as_slice())
    }

    pub(super) fn process_with(&mut self, url: &str, role: Role, environment: &[(&str, String)]) -> Member {
        let number = self.next;
        self.next += 1;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "processes::worker::one_process", "--quiet"]).stdout(Stdio::null());
        let task =
            Task { url: url.to_owned(), log: self.path().display().to_string(), number, role, terms: self.terms };
        command.env(TOLD, task.text()).envs(environment.iter().map(|(name, value)| (name, value)));
        Member { number, program: Program::start(command).unwrap() }
    }

    /// Starts processes that ask for every request.
    pub(super) fn processes(&mut self, count: usize) -> Vec<Member> {
        let url = self.server.url();
        (0..count).map(|_| self.process(&url, Role::Asks, None)).collect()
    }

    /// Has others take the place of those that are done.
    pub(super) fn replace_those_done(&mut self, members: &mut [Member]) {
        let url = self.server.url();
        for member in members.iter_mut().filter_map(|member| member.is_done().then_some(member)) {
            *member = self.process(&url, Role::Asks, None);
        }
    }

    /// Waits, and has heartbeats of the nodes come in meanwhile.
    pub(super) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        wait_until(what, || {
            self.beat();
            holds()
        });
    }

    pub(super) fn beat(&self) {
        self.nodes.iter().for_each(|node| self.owner.heartbeat(node, &Heartbeat::ready()).unwrap());
    }

    /// Leases on nodes, also those that have run out and were not taken by others: all that are whose.
    fn leases(&self, nodes: &str, instances: &[String]) -> Vec<String> {
        let keys = self.server.command(&["KEYS", &format!("slotyard:l:{nodes}*")]);
        let members =
            keys.lines().map(|key| self.server.command(&["ZRANGE", key, "1", "(inf", "BYSCORE"])).collect::<Vec<_>>();
        let members = members.iter().flat_map(|members| members.lines()).map(str::to_owned);
        let is_theirs = |lease: &String| instances.iter().any(|whose| lease.split(':').nth(2) == Some(whose));
        members.filter(is_theirs).collect()
    }

    /// The server's time, in ms.
    pub(super) fn time(&self) -> i64 {
        let time = self.server.command(&["TIME"]);
        let numbers: Vec<i64> = time.lines().map(|number| number.parse().unwrap()).collect();
        numbers[0] * 1000 + numbers[1] / 1000
    }

    /// Waits until others have the slots of these processes, which do nothing. Jobs that those had, and nobody was given.
    pub(super) fn wait_a_lease(&mut self, processes: &[usize], others: &mut [Member]) -> Vec<(usize, String)> {
        let past = self.time() + i64::try_from(self.terms.lease.as_millis()).unwrap();
        let instances: Vec<_> = processes.iter().filter_map(|number| self.instance(*number)).collect();
        let (held, log) = (self.leases("", &instances), self.log());
        wait_until("others have their slots", || {
            self.beat();
            self.replace_those_done(others);
            self.time() > past && self.leases("n", &instances).is_empty()
        });
        let lost = held.iter().filter_map(|lease| {
            let parts: Vec<_> = lease.split(':').collect();
            let job = format!("{} {}", parts[0], parts[1]);
            let whose = processes.iter().find(|number| self.instance(**number).as_deref() == Some(parts[2]))?;
            (!log.contains(&format!(" {job} "))).then_some((*whose, job))
        });
        lost.collect()
    }

    /// Which instance a process is, if it has got so far.
    pub(super) fn instance(&self, number: usize) -> Option<String> {
        let first = format!("{number} is ");
        self.log().lines().find_map(|line| line.strip_prefix(&first).map(str::to_owned))
    }

    /// What the log says, once all that was held has come free, and an instance that comes anew finds every request's job.
    pub(super) fn settle(&self) -> Settled {
        // At the latest when leases run out.
        self.until("all slots are free", || {
            (0..NODES * SLOTS as usize).all(|number| {
                let last = request(&format!("last {number}"), "embed");
                self.owner.blocking().create_job(&last).is_ok()
            })
        });
        for number in 0..NODES * SLOTS as usize {
            let last = self.owner.blocking().job_by_request(&format!("last {number}")).unwrap().unwrap();
            self.owner.blocking().complete(last.id(), last.attempt()).unwrap();
        }
        let log = self.log();
        let check = Check::of(&log).unwrap_or_else(|why| panic!("{why}\n{}", self.keep()));
        let fresh = connect(&self.server.url(), self.terms);
        for number in 0..self.terms.requests {
            let id = format!("r{number}");
            let ask = || {
                let mut job = None;
                self.until("there is a job", || {
                    job = fresh.blocking().create_job(&request(&id, "embed")).ok();
                    job.is_some()
                });
                job.unwrap()
            };
            let job = ask();
            assert_eq!(ask().id(), job.id(), "request {id} has two jobs");
            if let Some(known) = check.jobs.get(&*id) {
                assert_eq!(job.id().to_string(), *known, "request {id} has two jobs\n{}", self.keep());
                assert!(job.state().has_ended(), "request {id}: {job:?}");
                let completed = job.state() == JobState::Completed;
                assert!(
                    completed || !check.completed.contains_key(*known),
                    "it was completed: {job:?}\n{}",
                    self.keep()
                );
            } else if job.state() == JobState::Reserved {
                fresh.blocking().complete(job.id(), job.attempt()).unwrap();
            }
        }
        let Check { given, refused, taken_over, ended_in_vain, .. } = check;
        println!(
            "{given} jobs given, {taken_over} slots taken over, {refused} refused by their fences, {ended_in_vain} ended in vain"
        );
        Settled { given, taken_over, ended_in_vain }
    }

    /// Keeps the log for whoever looks for what went wrong, and says where.
    fn keep(&self) -> String {
        let kept = std::env::temp_dir().join(format!("slotyard-processes-{}.log", std::process::id()));
        let copied = std::fs::copy(self.path(), &kept);
        copied.map_or_else(|error| error.to_string(), |_| format!("the log is in {}", kept.display()))
    }
}

/// What there was in a log.
pub(super) struct Settled {
    pub(super) given: usize,
    pub(super) taken_over: usize,
    pub(super) ended_in_vain: usize,
}
