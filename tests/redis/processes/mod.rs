//! Instances that are processes of their own, some of them killed at any time: over the log of all of them no request has
//! two jobs and no slot is held twice.
//!
//! A process is this very program, told by its environment what to do. It writes a line to the log when it has been given
//! a job, and one before it ends it; the system appends lines one after the other. So a job holds its slot for longer than
//! from the one line to the other, and where two such stretches of one slot overlap, it was held twice.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use slotyard::{Demand, JobRequest, SharedScheduler};
use slotyard_servers::Server;

use crate::{PATIENCE, ready_node};

const PROCESSES: usize = 8;
const REQUESTS: usize = 400;
const NODES: usize = 3;
/// Jobs that a process has at once.
const IN_HAND: usize = 2;
/// Slots of each.
const SLOTS: u32 = 2;
const LEASE: Duration = Duration::from_millis(1000);
/// What a process is told: the server's URL, the log, its number, and how many requests to ask for.
const TOLD: [&str; 4] = ["SLOTYARD_TEST_URL", "SLOTYARD_TEST_LOG", "SLOTYARD_TEST_PROCESS", "SLOTYARD_TEST_REQUESTS"];

fn shared(url: &str) -> SharedScheduler {
    let builder = SharedScheduler::builder(url).default_lease(LEASE).max_lease(LEASE);
    let shared = builder.call_timeout(PATIENCE).connect_timeout(PATIENCE).build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    shared
}

/// What a process does: asks for every request, in an order of its own, and ends what it was given. Nothing, if this is not
/// one.
#[test]
fn one_process() {
    let Ok([url, log, number, requests]): Result<[String; 4], _> =
        TOLD.iter().map(std::env::var).collect::<Result<Vec<_>, _>>().map(|told| told.try_into().unwrap())
    else {
        return;
    };
    let (number, requests): (usize, usize) = (number.parse().unwrap(), requests.parse().unwrap());
    let mut log = OpenOptions::new().append(true).open(log).unwrap();
    let shared = shared(&url);
    let mut held = VecDeque::new();
    for turn in 0..requests {
        // Neighbours are a few requests apart, so that most are asked for by several at once.
        let request = (turn + number) % requests;
        let asked = JobRequest::new(format!("r{request}"), Demand::new().service("embed"));
        // All together want more slots than there are.
        if let Ok(job) = shared.blocking().create_job(&asked) {
            let line = format!("{request} {} {} {} {}", job.id(), job.node_id(), job.slot(), job.fence());
            say(&mut log, &format!("{number} given {line}"));
            held.push_back((job, line));
        }
        while held.len() > IN_HAND || turn + 1 == requests && !held.is_empty() {
            let (job, line) = held.pop_front().unwrap();
            // Whoever was given it may end it, and it is ended once.
            say(&mut log, &format!("{number} ends {line}"));
            if shared.blocking().complete(job.id(), job.attempt()).is_ok() {
                say(&mut log, &format!("{number} ended {line}"));
            }
        }
    }
}

/// In one piece, so that lines of several processes do not mix.
fn say(log: &mut File, line: &str) {
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn start(server: &Server, log: &Path, number: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::one_process", "--quiet"]);
    let told = [server.url(), log.display().to_string(), number.to_string(), REQUESTS.to_string()];
    command.envs(TOLD.iter().zip(told)).stdout(std::process::Stdio::null()).spawn().unwrap()
}

/// What the log says of jobs.
#[derive(Debug, Default)]
struct Check {
    /// By request.
    jobs: HashMap<String, String>,
    /// How often each was ended.
    ended: HashMap<String, usize>,
    given: usize,
}

impl Check {
    fn line(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let [_, what, request, job, ..] = words[..] else { panic!("not a line of the log: {line}") };
        let known = self.jobs.entry(request.to_owned()).or_insert_with(|| job.to_owned());
        assert_eq!(known, job, "request {request} has two jobs: {line}");
        match what {
            "given" => self.given += 1,
            "ended" => *self.ended.entry(job.to_owned()).or_default() += 1,
            _ => {}
        }
    }

    fn all(log: &str) -> Self {
        let mut check = Self::default();
        log.lines().for_each(|line| check.line(line));
        assert!(check.ended.values().all(|ends| *ends <= 1), "a job was ended twice");
        check
    }
}

/// No two leases of one slot overlap, but for those of processes that were killed.
fn no_slot_is_held_twice(log: &str, killed: &[usize]) {
    let mut holding: HashMap<(&str, &str), (&str, &str)> = HashMap::new();
    // The latest fence that somebody was about to end, of each slot. Whoever was given that job, too, may say so later.
    let mut ended: HashMap<(&str, &str), &str> = HashMap::new();
    for line in log.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [process, what, _, _, node, slot, fence] = words[..] else { panic!("not a line of the log: {line}") };
        let at = (node, slot);
        let is_over = ended.get(&at).is_some_and(|ended| fence <= *ended);
        match what {
            "given" if !is_over => match holding.get(&at) {
                Some((before, _)) if *before == fence => {}
                Some((before, by)) => {
                    let has_died = killed.iter().any(|number| by.parse() == Ok(*number));
                    assert!(has_died, "slot {slot} of {node} is held twice: by process {by}, and {line}");
                    assert!(fence > *before, "a fence came again: {line}");
                    holding.insert(at, (fence, process));
                }
                None => drop(holding.insert(at, (fence, process))),
            },
            "ends" if !is_over => {
                ended.insert(at, fence);
                holding.remove(&at);
            }
            _ => {}
        }
    }
}

fn run(kill: impl Fn(usize, usize) -> bool) -> (String, Vec<usize>, Server) {
    let server = Server::start();
    let owner = shared(&server.url());
    let nodes: Vec<_> = (0..NODES).map(|node| ready_node(&owner, &format!("n{node}"), SLOTS)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    File::create(&path).unwrap();
    let mut processes: Vec<_> = (0..PROCESSES).map(|number| (number, start(&server, &path, number))).collect();
    let (mut killed, mut next) = (Vec::new(), PROCESSES);
    let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
    slotyard_servers::wait_until("all processes are done", || {
        nodes.iter().for_each(|node| owner.heartbeat(node, &slotyard::Heartbeat::ready()).unwrap());
        if kill(killed.len(), lines()) {
            let (number, mut process) = processes.remove(0);
            process.kill().unwrap();
            process.wait().unwrap();
            killed.push(number);
            processes.push((next, start(&server, &path, next)));
            next += 1;
        }
        processes.iter_mut().all(|(_, process)| process.try_wait().unwrap().is_some())
    });
    assert!(processes.iter_mut().all(|(_, process)| process.wait().unwrap().success()));
    let log = std::fs::read_to_string(&path).unwrap();
    // All that was held comes free, at the latest when leases run out.
    slotyard_servers::wait_until("all slots are free", || {
        nodes.iter().for_each(|node| owner.heartbeat(node, &slotyard::Heartbeat::ready()).unwrap());
        (0..NODES * SLOTS as usize).all(|number| {
            let request = JobRequest::new(format!("last {number}"), Demand::new().service("embed"));
            owner.blocking().create_job(&request).is_ok()
        })
    });
    (log, killed, server)
}

#[test]
fn processes_that_ask_for_the_same_requests_share_the_jobs_and_no_slot_is_held_twice() {
    let (log, killed, _server) = run(|_, _| false);
    let check = Check::all(&log);
    assert!(check.given > REQUESTS / 2, "only {} jobs were given", check.given);
    no_slot_is_held_twice(&log, &killed);
}

#[test]
fn processes_that_are_killed_leave_nothing_behind_for_longer_than_a_lease() {
    let (log, killed, _server) = run(|killed, lines| killed < 6 && lines > 100 * (killed + 1));
    assert!(!killed.is_empty(), "none was killed");
    Check::all(&log);
    no_slot_is_held_twice(&log, &killed);
}
