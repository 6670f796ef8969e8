//! The process that starts the others, tells them when to begin, kills one if it is to, and sees to it at the end that all
//! slots are free again.

use std::collections::HashSet;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use slotyard::{JobRequest, NodeId, SharedScheduler};
use tokio::task::JoinSet;

use super::args::Told;
use super::instance::{DONE, LEASE, LONGEST_LEASE, Order, READY, connect, due};
use super::log::{Call, Clock, Event, Log};
use super::{LAST, SharedReport, client};
use crate::args::Args;
use crate::output::Setting;
use crate::workload::Workload;

/// How long the server may take to let us in.
const CONNECT: Duration = Duration::from_secs(5);
/// From when all are ready to the first request: all have heard of it by then.
const HEADSTART: u64 = 200_000;
/// How often it is looked whether slots are free that should be, and for how long at most: what an instance knows of
/// the jobs of the others is up to a second old.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 100;
/// So many slots are taken at once.
const AT_ONCE: usize = 32;

/// What a process says: a line, or nothing any more.
type Said = (u32, Option<String>);

/// A process that was started.
struct Instance {
    process: u32,
    place: u32,
    child: Child,
    orders: ChildStdin,
    is_done: bool,
}

/// All of them.
struct Fleet<'a> {
    args: &'a Args,
    told: Told,
    running: Vec<Instance>,
    next: u32,
    says: Sender<Said>,
    said: Receiver<Said>,
    log: Log,
}

/// Replays with several processes, and checks what they have written down.
pub(super) fn run(args: &Args, url: &str) -> Result<SharedReport, Box<dyn Error>> {
    let workload = Workload::new(args)?;
    let clock = Clock::new(None);
    // Of no other run, be it on another machine.
    let prefix = format!("slotyard-replay-{:x}-{:x}:", clock.began(), std::process::id());
    let shared = connect(args, url, &prefix, workload.fleet.len(), 0, CONNECT)?;
    let file = Place::new(args.shared.log.as_deref())?;
    let log = Log::open(file.path(), 0, clock)?;
    log.say(Event::Began {
        setting: Setting::new(args, &workload, 0.0),
        instances: args.shared.instances,
        pace: args.shared.pace,
        requests: due(&workload, args).count() as u64,
        lease: LEASE.as_micros() as u64,
    });
    let told = Told { process: 0, place: 0, prefix, log: file.path().to_owned(), began: clock.began(), resumes: false };
    let (says, said) = mpsc::channel();
    let mut fleet = Fleet { args, told, running: Vec::new(), next: 1, says, said, log };
    fleet.serve()?;
    let (held, taken) = left(&workload, &shared, &fleet.log)?;
    fleet.end()?;
    fleet.log.say(Event::Left { held, taken });
    clear(&shared)?;
    let report = super::checked(file.path())?;
    file.close(report.holds())?;
    Ok(report)
}

impl Fleet<'_> {
    /// Starts all, and waits until they have served all requests.
    fn serve(&mut self) -> Result<(), Box<dyn Error>> {
        for place in 0..self.args.shared.instances {
            self.start(place, false)?;
        }
        for _ in 0..self.args.shared.instances {
            self.wait_for_one(READY)?;
        }
        let clock = self.log.clock();
        let opened = clock.now() + HEADSTART;
        self.log.say(Event::Open { at: opened });
        for place in 0..self.args.shared.instances {
            self.order(place, Order::Open(opened))?;
        }
        if self.args.shared.kill {
            self.kill(opened)?;
        }
        while self.running.iter().any(|instance| !instance.is_done) {
            self.wait_for_one(DONE)?;
        }
        Ok(())
    }

    fn start(&mut self, place: u32, resumes: bool) -> Result<(), Box<dyn Error>> {
        let process = self.next;
        self.next += 1;
        let told = Told { process, place, resumes, ..self.told.clone() };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).arg("--told").arg(serde_json::to_string(&told)?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process was started without pipes".into());
        };
        let says = self.says.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = says.send((process, Some(line)));
            }
            let _ = says.send((process, None));
        });
        self.running.push(Instance { process, place, child, orders, is_done: false });
        Ok(())
    }

    fn order(&mut self, place: u32, order: Order) -> Result<(), Box<dyn Error>> {
        for instance in self.running.iter_mut().filter(|instance| instance.place == place) {
            instance.orders.write_all(order.line().as_bytes())?;
        }
        Ok(())
    }

    /// Waits until one of them says this.
    fn wait_for_one(&mut self, what: &str) -> Result<(), Box<dyn Error>> {
        loop {
            let said = self.said.recv()?;
            if self.heard(said)?.as_deref() == Some(what) {
                return Ok(());
            }
        }
    }

    /// Takes in what a process says.
    fn heard(&mut self, (process, line): Said) -> Result<Option<String>, Box<dyn Error>> {
        let Some(instance) = self.running.iter_mut().find(|instance| instance.process == process) else {
            return Ok(None);
        };
        match line {
            Some(line) => {
                instance.is_done |= line == DONE;
                Ok(Some(line))
            }
            None => {
                let status = instance.child.wait()?;
                Err(format!("process {process} has ended before its time: {status}").into())
            }
        }
    }

    /// In the middle of the run one is killed.
    fn kill(&mut self, opened: u64) -> Result<(), Box<dyn Error>> {
        let middle = opened + (self.args.shared.seconds * 5e5) as u64;
        loop {
            match self.said.recv_timeout(self.log.clock().until(middle)) {
                Ok(said) => drop(self.heard(said)?),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        let mut victim = self.running.remove(self.running.len() / 2);
        victim.child.kill()?;
        victim.child.wait()?;
        // With nobody else there, the nodes come to the one that takes its place.
        let place = victim.place;
        let heir = (place + 1) % self.args.shared.instances;
        let heir_process = self.running.iter().find(|instance| instance.place == heir).map(|instance| instance.process);
        let heir_process = heir_process.unwrap_or(self.next);
        self.log.say(Event::Killed { process: victim.process, heir: heir_process });
        self.start(place, true)?;
        self.order(heir, Order::Take(place))?;
        self.order(place, Order::Open(opened))
    }

    /// Ends all.
    fn end(&mut self) -> Result<(), Box<dyn Error>> {
        for mut instance in std::mem::take(&mut self.running) {
            instance.orders.write_all(Order::End.line().as_bytes())?;
            let status = instance.child.wait()?;
            if !status.success() {
                return Err(format!("process {} has failed: {status}", instance.process).into());
            }
        }
        Ok(())
    }
}

/// What is left when all jobs have ended: slots that are held, by the server's account, and how many can be taken.
fn left(workload: &Workload, shared: &SharedScheduler, log: &Log) -> Result<(u64, u64), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let held = || shared.scheduler().nodes().iter().map(|node| u64::from(node.in_flight + node.external)).sum();
        let mut looks = 0;
        // Leases of a process that was killed have yet to run out.
        while held() > 0u64 && looks < LOOKS {
            tokio::time::sleep(LOOK).await;
            looks += 1;
        }
        let held = held();
        let slots: u64 = workload.fleet.iter().map(|(machine, _)| u64::from(machine.slots)).sum();
        let all = 0..workload.demands.all().count();
        // Who can do one of these is full, when none of them is given a slot any more.
        let of_teams =
            (0..workload.teams.len()).filter_map(|team| all.clone().find(|of| workload.teams.serves(team, *of)));
        let demands: Vec<_> = of_teams.collect();
        // Slots, and not jobs: on a machine with much else to do a lease may run out meanwhile, and its slot be given again.
        let (mut taken, mut number) = (HashSet::new(), 0);
        for _ in 0..LOOKS {
            for demand in &demands {
                fill(workload, shared, log, *demand, &mut number, &mut taken).await;
            }
            if taken.len() as u64 >= slots {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let taken = taken.len() as u64;
        Ok((held, taken))
    })
}

/// Takes slots until no further one is given.
async fn fill(
    workload: &Workload,
    shared: &SharedScheduler,
    log: &Log,
    demand: usize,
    number: &mut u64,
    taken: &mut HashSet<(NodeId, u32)>,
) {
    loop {
        let mut calls = JoinSet::new();
        for _ in 0..AT_ONCE {
            let asks = JobRequest::new(format!("{LAST}{number}"), workload.demands.demand(demand).clone());
            *number += 1;
            log.say(Event::Asked { request: asks.request_id().to_owned() });
            let (shared, asked) = (shared.clone(), log.clock().now());
            calls.spawn(async move { (shared.create_job(&asks.lease(LONGEST_LEASE)).await, asked) });
        }
        let before = taken.len();
        while let Some(answer) = calls.join_next().await {
            if let Ok((Ok(job), asked)) = answer {
                taken.insert((job.node_id(), job.slot()));
                let (lease, took) = (client::lease(&job), log.clock().now() - asked);
                log.say(Event::Given { lease, call: Call::Create, took });
            }
        }
        // Not: until none is given. A slot that can be taken for ever is to be found, and not waited for.
        if taken.len() == before {
            return;
        }
    }
}

/// Removes what the run has left on the server, but for what is kept for ten minutes of each request.
fn clear(shared: &SharedScheduler) -> Result<(), Box<dyn Error>> {
    for node in shared.scheduler().nodes() {
        if let Some(node) = shared.node(node.id.as_str()) {
            shared.blocking().deregister(&node)?;
        }
    }
    Ok(())
}

/// Where the log is.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::NamedTempFile),
}

impl Place {
    fn new(kept: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        match kept {
            None => {
                let named = tempfile::Builder::new().prefix("slotyard-replay-").suffix(".jsonl").tempfile()?;
                Ok(Self::Temporary(named))
            }
            Some(path) => {
                let created = std::fs::File::create_new(path);
                created.map_err(|error| format!("{}: cannot be written: {error}", path.display()))?;
                Ok(Self::Kept(path.canonicalize()?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(file) => file.path(),
        }
    }

    /// The log is not written any more. It is kept if there is something to look up in it.
    fn close(self, holds: bool) -> Result<(), Box<dyn Error>> {
        if let (Self::Temporary(file), false) = (self, holds) {
            let (_, path) = file.keep()?;
            eprintln!("replay: the log is {}", path.display());
        }
        Ok(())
    }
}
