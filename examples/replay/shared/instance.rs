//! What a process does that is one of several: registers its part of the nodes and sends their heartbeats, serves its part of
//! the requests, and does as it is told by the lines that it reads.

use std::collections::HashSet;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slotyard::{Heartbeat, NodeSpec, NodeState, Scheduler, SharedNode, SharedScheduler};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::args::Told;
use super::client::{Client, Gateway, Part};
use super::log::{self, Clock, Event, Log};
use crate::args::Args;
use crate::input::{Machine, Source};
use crate::requests::{Conduct, Request, Requests, request_id};
use crate::workload::Workload;

/// How long a slot stays held when its process was killed.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// Of the slots that are taken at the end, all at once.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(60);
/// How often a node sends a heartbeat, and how often a process writes down what it has counted.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A call may take so long: on a machine with much else to do that is no failure.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long requests are bound to their jobs: longer than a run takes. It is what is left of one on the server.
const BOUND: Duration = Duration::from_secs(600);

/// What the process that starts the others says, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The trace begins at this time of the log's clock.
    Open(u64),
    /// The heartbeats of the nodes of this place arrive here from now on.
    Take(u32),
    /// All are done.
    End,
}

impl Order {
    pub(super) fn line(self) -> String {
        match self {
            Self::Open(at) => format!("open {at}\n"),
            Self::Take(place) => format!("take {place}\n"),
            Self::End => "end\n".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("open", at) => at.parse().ok().map(Self::Open),
            ("take", place) => place.parse().ok().map(Self::Take),
            ("end", "") => Some(Self::End),
            _ => None,
        }
    }
}

/// What a process says, a line each: that it knows all nodes, and that its requests are done.
pub(super) const READY: &str = "ready";
pub(super) const DONE: &str = "done";

/// An instance of the scheduler, connected.
pub(super) fn connect(
    args: &Args,
    url: &str,
    prefix: &str,
    nodes: usize,
    process: u32,
    within: Duration,
) -> Result<SharedScheduler, String> {
    let policy = args.policy.policy.clone();
    let seed = args.seed.wrapping_add(process.into());
    let scheduler = Scheduler::builder().policy(policy).seed(seed).max_nodes(nodes.max(1));
    let builder = SharedScheduler::builder(url).prefix(prefix).scheduler(scheduler).binding_retention(BOUND);
    let builder = builder.default_lease(LEASE).max_lease(LONGEST_LEASE).call_timeout(PATIENCE);
    let shared = builder.build().map_err(|error| format!("--redis: {error}"))?;
    let connected = shared.blocking().wait_connected(within);
    connected.map_err(|error| format!("--redis: expected a server that can be used, found {error}"))?;
    Ok(shared)
}

/// Is one of several processes, until it is told to end.
pub(super) fn run(args: &Args, url: &str, told: &Told) -> Result<(), Box<dyn Error>> {
    let workload = Workload::new(args)?;
    let log = Log::open(&told.log, told.process, Clock::new(Some(told.began)))?;
    let shared = connect(args, url, &told.prefix, workload.fleet.len(), told.process, PATIENCE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(serve(args, told, workload, log, shared))
}

/// The nodes whose heartbeats arrive here.
type Nodes = Arc<Mutex<Vec<SharedNode>>>;

async fn serve(
    args: &Args,
    told: &Told,
    workload: Workload,
    log: Log,
    shared: SharedScheduler,
) -> Result<(), Box<dyn Error>> {
    let (instances, fleet) = (args.shared.instances, workload.fleet.len());
    let log = Arc::new(log);
    let (nodes, mut orders) = (Nodes::default(), orders());
    let beats = tokio::spawn(keep_beating(shared.clone(), nodes.clone(), log.clone()));
    if !told.resumes {
        for (machine, team) in dealt(told.place, instances, &workload) {
            let capabilities = workload.teams.capabilities(*team, &workload.pairs);
            let spec = NodeSpec::new(&machine.name).capacity(machine.slots).capabilities(capabilities).ready();
            let node = shared.register(spec).await?;
            log.say(Event::Node { node: machine.name.clone(), slots: machine.slots });
            lock(&nodes).push(node);
        }
    }
    // What the others have registered is heard of soon.
    let is_ready = |node: &&slotyard::NodeView| node.state == NodeState::Ready;
    while shared.scheduler().nodes().iter().filter(is_ready).count() < fleet {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{READY}");
    let machines = workload.fleet.iter().map(|(machine, team)| (machine.name.clone(), (machine.class, *team)));
    let gateway = Gateway {
        machines: machines.collect(),
        pace: args.shared.pace,
        lease: LEASE,
        seed: args.seed,
        shared,
        log: log.clone(),
        workload,
    };
    let gateway = Arc::new(gateway);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Open(at) => {
                let settled = if told.resumes { settled(&told.log)? } else { HashSet::new() };
                let requests = due(&gateway.workload, args);
                let parts = requests.flat_map(|request| {
                    parts(&request, told.place, instances).map(move |part| (request.clone(), part))
                });
                let arrivals = parts.collect();
                tokio::spawn(all_requests(gateway.clone(), at, arrivals, told.resumes, settled));
            }
            Order::Take(place) => {
                let taken = dealt(place, instances, &gateway.workload);
                let taken = taken.filter_map(|(machine, _)| gateway.shared.node(&machine.name));
                lock(&nodes).extend(taken);
                beat(&gateway.shared, &nodes, &log);
            }
            Order::End => break,
        }
    }
    beats.abort();
    log.say(Event::Counted { stats: gateway.shared.stats().into() });
    Ok(())
}

/// The nodes of a place.
fn dealt(place: u32, instances: u32, workload: &Workload) -> impl Iterator<Item = &(Machine, usize)> {
    workload.fleet.iter().skip(place as usize).step_by(instances as usize)
}

fn lock(nodes: &Nodes) -> MutexGuard<'_, Vec<SharedNode>> {
    nodes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_beating(shared: SharedScheduler, nodes: Nodes, log: Arc<Log>) {
    loop {
        beat(&shared, &nodes, &log);
        log.say(Event::Counted { stats: shared.stats().into() });
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// All nodes whose heartbeats arrive here say that they are well.
fn beat(shared: &SharedScheduler, nodes: &Nodes, log: &Log) {
    for node in lock(nodes).iter() {
        if let Err(error) = shared.heartbeat(node, &Heartbeat::ready()) {
            log.say(Event::Unexpected { what: format!("heartbeat: {error}") });
        }
    }
}

/// What this process is told, by a thread that waits for it. When the process that gives the orders has ended, so does this
/// one, whatever it is at.
fn orders() -> mpsc::UnboundedReceiver<Order> {
    let (told, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let order = Order::parse(&line);
            if order.is_some_and(|order| told.send(order).is_err() || order == Order::End) {
                return;
            }
        }
        std::process::exit(2);
    });
    orders
}

/// Requests that have come to an end before this process began, as the log of the others has it.
fn settled(log: &Path) -> Result<HashSet<String>, Box<dyn Error>> {
    let log = Source::read(log)?;
    // The last line may just be being written.
    let settled = log::lines(&log).filter_map(|line| match line.ok()?.1.event {
        Event::Settled { request, .. } => Some(request),
        _ => None,
    });
    Ok(settled.collect())
}

/// Serves the requests of this place as they arrive, up to the last one's end.
async fn all_requests(
    gateway: Arc<Gateway>,
    opened: u64,
    arrivals: Vec<(Request, Part)>,
    resumes: bool,
    settled: HashSet<String>,
) {
    let clock = gateway.log.clock();
    let mut clients = JoinSet::new();
    for (request, part) in arrivals {
        let at = opened + (request.at as f64 / gateway.pace) as u64;
        // Of those that arrived before, the clients have lost the gateway that they had, and come to this one.
        let resumes = resumes && at <= clock.now();
        if resumes && settled.contains(&request_id(request.number)) {
            continue;
        }
        tokio::time::sleep(clock.until(at)).await;
        clients.spawn(Client::new(gateway.clone(), request, part, resumes).run());
        while clients.try_join_next().is_some() {}
    }
    while let Some(ended) = clients.join_next().await {
        if let Err(error) = ended {
            gateway.log.say(Event::Unexpected { what: format!("a client ended: {error}") });
        }
    }
    println!("{DONE}");
}

/// The requests that arrive within the time that there is.
pub(super) fn due<'w>(workload: &'w Workload, args: &Args) -> impl Iterator<Item = Request> + use<'w> {
    let last = (args.shared.seconds * args.shared.pace * 1e6) as u64;
    Requests::new(workload, args.seed).take_while(move |request| request.at <= last)
}

/// What this place has to do with a request.
fn parts(request: &Request, place: u32, instances: u32) -> impl Iterator<Item = Part> + use<> {
    let first = (request.number % u64::from(instances)) as u32;
    let is_other = place == (first + 1) % instances;
    let twice = request.doubled || request.number.is_multiple_of(10);
    let main = (place == first).then_some(Part::Main);
    let calls_off = (is_other && request.conduct == Conduct::Vanishes).then_some(Part::CallsOff);
    let second = (is_other && instances > 1 && twice && calls_off.is_none()).then_some(Part::Second);
    main.into_iter().chain(calls_off).chain(second)
}
