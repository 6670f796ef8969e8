//! What a process does that is one of several: asks for jobs, and ends those that it was given.
//!
//! It writes a line to the log when it has been given a job, and one before it ends it; `log.rs` says what they are.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use slotyard::{
    Demand, Heartbeat, JobRequest, JobState, NodeSpec, Scheduler, SharedError, SharedJob, SharedNode, SharedScheduler,
    SharedStats,
};
use slotyard_servers::{Connection, wait_until};

use crate::PATIENCE;

/// Names what a process is told; see [`Task::text`].
pub(super) const TOLD: &str = "SLOTYARD_TEST_PROCESS";
/// Jobs that a process has at once.
const IN_HAND: usize = 2;

/// What all processes of a test have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) lease: Duration,
    /// How long a call may take.
    pub(super) call: Duration,
    /// Requests that all ask for.
    pub(super) requests: usize,
}

/// What a process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Asks for every request, in an order of its own, and for some that nobody else asks for.
    Asks,
    /// Everything that an instance does, with a node of its own: each script is run twice at least.
    Lives,
}

/// What a process is told.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) url: String,
    pub(super) log: String,
    pub(super) number: usize,
    pub(super) role: Role,
    pub(super) terms: Terms,
}

impl Task {
    /// A word a line.
    pub(super) fn text(&self) -> String {
        let Self { url, log, number, role, terms: Terms { lease, call, requests } } = self;
        let role = if *role == Role::Asks { "asks" } else { "lives" };
        format!("{url}\n{log}\n{number}\n{role}\n{}\n{}\n{requests}", lease.as_millis(), call.as_millis())
    }

    fn from_text(text: &str) -> Self {
        let words: Vec<_> = text.lines().collect();
        let [url, log, number, role, lease, call, requests] = words[..] else { panic!("not a task: {text}") };
        let ms = |text: &str| Duration::from_millis(text.parse().unwrap());
        let role = if role == "asks" { Role::Asks } else { Role::Lives };
        let terms = Terms { lease: ms(lease), call: ms(call), requests: requests.parse().unwrap() };
        Self { url: url.to_owned(), log: log.to_owned(), number: number.parse().unwrap(), role, terms }
    }
}

pub(super) fn connect(url: &str, terms: Terms) -> SharedScheduler {
    let builder = SharedScheduler::builder(url).default_lease(terms.lease).max_lease(terms.lease);
    let builder = builder.poll_interval(Duration::from_millis(20)).flush_interval(Duration::from_millis(50));
    let builder = builder.scheduler(Scheduler::builder().max_attempts(9));
    let shared = builder.call_timeout(terms.call).connect_timeout(PATIENCE).build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    shared
}

pub(super) fn request(id: &str, service: &str) -> JobRequest {
    JobRequest::new(id, Demand::new().service(service))
}

/// What a process does. Nothing, if this is not one.
#[test]
fn one_process() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let mut worker = Worker::begin(Task::from_text(&told));
    match worker.task.role {
        Role::Asks => worker.asks(),
        Role::Lives => worker.lives(),
    }
}

struct Worker {
    task: Task,
    log: File,
    shared: SharedScheduler,
    /// What the ids of its jobs begin with.
    own: String,
    held: VecDeque<SharedJob>,
}

impl Worker {
    fn begin(task: Task) -> Self {
        let log = OpenOptions::new().append(true).open(&task.log).unwrap();
        let shared = connect(&task.url, task.terms);
        // What the ids of its jobs begin with; the rest is a number.
        let shown: String = format!("{shared:?}").chars().filter(char::is_ascii_digit).collect();
        let own = format!("{:016x}", shown.parse::<u64>().unwrap());
        let mut worker = Self { log, shared, own, held: VecDeque::new(), task };
        worker.say(&format!("is {}", worker.own));
        worker
    }

    /// In one piece, so that lines of several processes do not mix.
    fn say(&mut self, what: &str) {
        self.log.write_all(format!("{} {what}\n", self.task.number).as_bytes()).unwrap();
    }

    fn say_of(&mut self, what: &str, job: &SharedJob) {
        let (request, id, attempt) = (job.request_id(), job.id(), job.attempt());
        self.say(&format!("{what} {request} {id} {attempt} {} {} {}", job.node_id(), job.slot(), job.fence()));
    }

    /// Asks for a request; whether there was an answer with a job.
    fn take(&mut self, id: &str, service: &str) -> bool {
        match self.shared.blocking().create_job(&request(id, service)) {
            Ok(job) => self.took(job),
            Err(SharedError::Coordinator(error)) if error.outcome_is_unknown() => {
                self.say(&format!("unknown {id}"));
                return false;
            }
            // All together want more slots than there are.
            Err(_) => return false,
        }
        true
    }

    fn took(&mut self, job: SharedJob) {
        let is_ours = job.attempt() == 1 && job.id().to_string().starts_with(&self.own);
        if is_ours && job.state() == JobState::Reserved {
            self.say_of("given", &job);
            let _ = self.shared.blocking().dispatched(job.id(), job.attempt());
            self.held.push_back(job);
        } else {
            self.say_of("shown", &job);
            if matches!(job.state(), JobState::Expired | JobState::Failed) {
                self.retry(&job);
            } else if !job.state().has_ended() {
                self.held.push_back(job);
            }
        }
    }

    fn retry(&mut self, job: &SharedJob) {
        if let Ok(next) = self.shared.blocking().retry(job.id(), job.attempt()) {
            self.say_of("given", &next);
            self.held.push_back(next);
        }
    }

    /// Whoever was given a job, or shown it, may end it, and each attempt is ended once.
    fn end(&mut self, job: &SharedJob, end: JobState) {
        self.say_of("ends", job);
        // What has to wait for the server is told it later, and what was asked twice may have been ended so by another
        // meanwhile: then it is not known whether it was done by this.
        let stats = self.shared.stats();
        let doubts =
            |stats: SharedStats| stats.outbox as u64 + stats.outbox_delivered + stats.outbox_lost + stats.connections;
        let (blocking, before) = (self.shared.blocking(), doubts(stats));
        let done = match end {
            JobState::Failed => blocking.fail(job.id(), job.attempt()),
            _ => blocking.complete(job.id(), job.attempt()),
        };
        if done.is_ok() && doubts(self.shared.stats()) == before {
            self.say_of(if end == JobState::Failed { "failed" } else { "ended" }, job);
        }
    }

    fn end_all_but(&mut self, left: usize) {
        while self.held.len() > left {
            let job = self.held.pop_front().unwrap();
            if job.id().to_u128().is_multiple_of(5) && job.attempt() < 2 {
                self.end(&job, JobState::Failed);
                self.retry(&job);
            } else {
                self.end(&job, JobState::Completed);
            }
        }
    }

    fn asks(&mut self) {
        let Task { number, terms: Terms { requests, .. }, .. } = self.task;
        for turn in 0..requests {
            // Neighbours are a few requests apart, so that most are asked for by several at once.
            self.take(&format!("r{}", (turn + number) % requests), "embed");
            let own = format!("p{number}-{turn}");
            if turn % 3 == 0 && !self.take(&own, "embed") {
                // Who waits holds nothing that others wait for.
                self.end_all_but(0);
                wait_until("a slot is free", || self.take(&own, "embed"));
            }
            self.end_all_but(IN_HAND);
        }
        self.end_all_but(0);
    }

    fn lives(&mut self) {
        let Task { number, terms, .. } = self.task;
        let service = format!("own{number}");
        let nodes = ["a", "b"].map(|name| {
            let spec = NodeSpec::new(format!("{service}{name}")).service(&*service).capacity(1).ready();
            self.shared.blocking().register(spec).unwrap()
        });
        for turn in 0..4 {
            self.take(&format!("r{}", (turn + number) % terms.requests), "embed");
            self.end_all_but(IN_HAND);
        }
        // What is to come must not hang on others' jobs.
        for node in &nodes {
            self.shared.blocking().set_capacity(node, 2).unwrap();
        }
        let own = format!("p{number}-own");
        self.until("its own node has taken a job", &nodes, |worker| worker.take(&own, &service));
        for _ in 0..2 {
            let job = self.held.pop_back().unwrap();
            let _ = self.shared.blocking().running(job.id(), job.attempt());
            self.end(&job, JobState::Failed);
            self.until("it is tried again", &nodes, |worker| {
                let held = worker.held.len();
                // It may have been made, and lost again, if the process was stopped meanwhile.
                let job = worker.shared.blocking().job_by_request(&own).unwrap().unwrap();
                worker.retry(&job);
                worker.held.len() > held
            });
        }
        let job = self.held.pop_back().unwrap();
        self.end_all_but(0);
        let address = self.task.url.trim_start_matches("redis://").trim_end_matches('/').parse().unwrap();
        let mut server = Connection::open(address, PATIENCE).unwrap();
        let [node, slots] = ["n", "l"].map(|kind| format!("slotyard:{kind}:{}", job.node_id()));
        let lease_of = |server: &mut Connection| {
            let slots = server.call(&["ZRANGE", &slots, "0", "-1", "WITHSCORES"]).unwrap().to_string();
            let mut lines = slots.lines().skip_while(|line| !line.starts_with(&job.id().to_string()));
            lines.nth(1).map(str::to_owned)
        };
        for _ in 0..2 {
            let before = lease_of(&mut server);
            self.until("the lease has begun anew", &nodes, |worker| {
                lease_of(&mut server) != before || worker.shared.stats().held_jobs == 0
            });
        }
        drop(connect(&self.task.url, terms));
        for _ in 0..2 {
            server.call(&["DEL", &node, &slots]).unwrap();
            self.until("the server was told again", &nodes, |worker| {
                let is_there = server.call(&["EXISTS", &node]).unwrap().to_string() == "1";
                is_there && (lease_of(&mut server).is_some() || worker.shared.stats().held_jobs == 0)
            });
        }
        self.end(&job, JobState::Completed);
        for node in &nodes {
            self.shared.blocking().deregister(node).unwrap();
        }
    }

    /// Waits, and has heartbeats of its own nodes come in meanwhile.
    fn until(&mut self, what: &str, nodes: &[SharedNode], mut holds: impl FnMut(&mut Self) -> bool) {
        wait_until(what, || {
            nodes.iter().for_each(|node| self.shared.heartbeat(node, &Heartbeat::ready()).unwrap());
            holds(self)
        });
    }
}
