//! Other ways to create a job, and the steps of ours, each sent as it is: what they cost the server.
//!
//! - The script of a create, cut off after each of its steps.
//! - Many creates by one script.
//! - Slots leased ahead of their jobs, some of each node at a time, and then one plain `SET NX` a create. That is the least
//!   there is. But a slot that an instance has leased ahead is refused to all others while it is free; or they may take it,
//!   and then a create has to look whether it is still there: by a script.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Script, Value, cmd, pipe};

use crate::contenders::{Contender, request_id};
use crate::stage::{Sent, Stage, Turn};

/// With so many slots each, all creates of a turn fit.
const NODES: u64 = 4_000;
const SLOTS: u64 = 16;
/// Creates by one script.
const BATCH: u64 = 16;
/// Slots that are leased ahead by one script: so many of each of so many nodes.
const AHEAD: (u64, u64) = (8, 4);

const EPOCH: &str = "1763700000";
const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef";
const INSTANCE: &str = "0011223344556677";
const LEASE: u64 = 30_000;
const KEPT: u64 = 24 * 3_600_000;

/// Where a script is cut off.
pub(crate) const STEPS: [&str; 7] = [
    "an empty script, as many keys and arguments",
    "and GET of the binding",
    "and TIME",
    "and ZPOPMIN of a slot",
    "and reading its member and writing the lease",
    "and ZADD of the lease",
    "and SET of the binding",
];

/// The other ways.
pub(crate) const WAYS: [&str; 4] =
    ["create.lua", "16 creates a script", "leased ahead, a look and SET NX", "leased ahead, plain SET NX"];

type Once = Arc<dyn Fn(MultiplexedConnection, u64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// One of them.
pub(crate) struct Tried {
    once: Once,
    sent: Sent,
    /// Creates that callers make at once.
    at_once: u64,
    /// What is leased ahead: the node, and the lease.
    leased: Leased,
}

type Leased = Arc<Mutex<Vec<(u64, String)>>>;

impl Tried {
    /// The steps of a create up to this one.
    pub(crate) fn steps(stage: &Stage, last: usize) -> Self {
        let source: Vec<_> = include_str!("steps.lua").split("-- cut\n").take(last + 2).collect();
        Self::script(stage, &(source.concat() + "return {}"))
    }

    pub(crate) fn way(stage: &Stage, way: usize) -> Self {
        const REDIS: [&str; 4] = [
            include_str!("../../../src/redis/reserve.lua"),
            include_str!("../../../src/redis/time.lua"),
            include_str!("../../../src/redis/create.lua"),
            "",
        ];
        match way {
            0 => Self::script(stage, &REDIS.concat()),
            1 => Self::batch(stage),
            2 => Self::ahead(stage, Some(load(stage, include_str!("bind.lua")))),
            _ => Self::ahead(stage, None),
        }
    }

    /// A script that is given what create.lua is, of one candidate.
    fn script(stage: &Stage, source: &str) -> Self {
        let hash = load(stage, source);
        let once = move |connection, number| {
            let mut evaluate = cmd("EVALSHA");
            evaluate
                .arg(&hash)
                .arg(2)
                .arg(binding(number))
                .arg(slots(node(number)))
                .arg(FINGERPRINT)
                .arg(holder(number));
            evaluate.arg(LEASE).arg(KEPT).arg(EPOCH).arg(0).arg(name(node(number)));
            boxed(ask(connection, evaluate))
        };
        Self { once: Arc::new(once), sent: &[("evalsha", 1.0)], at_once: 1, leased: Arc::default() }
    }

    fn batch(stage: &Stage) -> Self {
        let hash = load(stage, include_str!("batch.lua"));
        let once = move |connection, number| {
            let numbers = || number * BATCH..(number + 1) * BATCH;
            let mut evaluate = cmd("EVALSHA");
            evaluate.arg(&hash).arg(2 * BATCH);
            for number in numbers() {
                evaluate.arg(binding(number)).arg(slots(node(number)));
            }
            evaluate.arg(FINGERPRINT).arg(LEASE).arg(KEPT).arg(EPOCH);
            for number in numbers() {
                evaluate.arg(holder(number)).arg(name(node(number)));
            }
            boxed(ask(connection, evaluate))
        };
        Self { once: Arc::new(once), sent: &[("evalsha", 1.0)], at_once: BATCH, leased: Arc::default() }
    }

    /// Whoever finds nothing leased ahead leases more.
    fn ahead(stage: &Stage, bind: Option<String>) -> Self {
        // What scripts call is counted with what is sent.
        let sent: Sent = if bind.is_some() { &[("evalsha", 1.0)] } else { &[("set", 1.0), ("evalsha", 1.0)] };
        let (hash, bind) = (load(stage, include_str!("ahead.lua")), bind.map(Arc::new));
        let (leased, calls) = (Leased::default(), Arc::new(AtomicU64::new(0)));
        let from = leased.clone();
        let once = move |connection: MultiplexedConnection, number| {
            let (hash, bind, leased, calls) = (hash.clone(), bind.clone(), from.clone(), calls.clone());
            boxed(async move {
                let next = || leased.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let (node, lease) = match next() {
                    Some(lease) => lease,
                    None => {
                        let call = calls.fetch_add(1, Ordering::Relaxed);
                        let more = lease_ahead(connection.clone(), &hash, call).await;
                        let mut leased = leased.lock().unwrap_or_else(PoisonError::into_inner);
                        leased.extend(more);
                        leased.pop().expect("slots are free")
                    }
                };
                let mut create = match &bind {
                    Some(hash) => cmd("EVALSHA").arg(hash.as_str()).arg(2).take(),
                    None => cmd("SET"),
                };
                create.arg(binding(number));
                match bind {
                    Some(_) => {
                        create.arg(slots(node)).arg(&lease).arg(FINGERPRINT).arg(name(node)).arg(LEASE).arg(KEPT);
                    }
                    None => {
                        create.arg(format!("{FINGERPRINT} reserved {lease} {}", name(node)));
                        create.arg("NX").arg("GET").arg("PX").arg(KEPT);
                    }
                }
                ask(connection, create).await;
            })
        };
        Self { once: Arc::new(once), sent, at_once: 1, leased }
    }
}

impl Contender for Tried {
    /// Creates, not scripts, are counted. All slots are free when it begins, and there are enough of them.
    fn turn(&mut self, stage: &Stage, callers: usize, time: Duration) -> Turn {
        stage.block_on(set_up(stage.connection.clone()));
        self.leased.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (connection, once) = (stage.connection.clone(), self.once.clone());
        let (turn, _) = stage.turn(callers, time, self.sent, move |number| once(connection.clone(), number));
        turn.of_each(self.at_once)
    }
}

/// Has every slot of every node free, beside one with a lease: so the server keeps them as it does those of a node in use.
async fn set_up(mut connection: MultiplexedConnection) {
    for node in 0..NODES {
        let mut all = pipe();
        all.cmd("DEL").arg(slots(node)).ignore();
        let add = all.cmd("ZADD").arg(slots(node)).arg("inf").arg(format!("node:1763700000000000:{}", SLOTS + 1));
        add.arg("9999999999999").arg(format!("{}:{SLOTS}:1763700000000001:{EPOCH}", holder(node)));
        for slot in 0..SLOTS {
            add.arg(0).arg(format!("free:{slot}:1763700000000000:{EPOCH}"));
        }
        let _: Vec<Value> = all.query_async(&mut connection).await.expect("the server answers");
    }
}

async fn lease_ahead(mut connection: MultiplexedConnection, hash: &str, call: u64) -> Vec<(u64, String)> {
    let (of_each, nodes) = AHEAD;
    let nodes: Vec<_> = (0..nodes).map(|place| node(call * nodes + place)).collect();
    let mut take = cmd("EVALSHA");
    take.arg(hash).arg(nodes.len());
    for node in &nodes {
        take.arg(slots(*node));
    }
    take.arg(of_each).arg(EPOCH).arg(INSTANCE).arg(call << 8);
    let leases: Vec<String> = take.query_async(&mut connection).await.expect("the server answers");
    assert_eq!(leases.len() as u64, of_each * AHEAD.1, "there are too few slots");
    let of = nodes.iter().flat_map(|node| (0..of_each).map(|_| *node));
    of.zip(leases).collect()
}

async fn ask(mut connection: MultiplexedConnection, command: Cmd) {
    let answer: Value = command.query_async(&mut connection).await.expect("the server answers");
    // What a slot that is gone is answered, or one that is not there.
    let is_refused =
        matches!(&answer, Value::Array(items) if items.first() == Some(&Value::BulkString(b"NONE".to_vec())));
    assert!(!is_refused, "no slot was free");
}

fn boxed(asking: impl Future<Output = ()> + Send + 'static) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(asking)
}

/// Loads a script; its hash.
fn load(stage: &Stage, source: &str) -> String {
    let script = Script::new(source);
    stage.block_on(script.prepare_invoke().load_async(&mut stage.connection.clone())).expect("it is one")
}

/// One after the other, so that none is out of slots before all are.
fn node(number: u64) -> u64 {
    number % NODES
}

fn name(node: u64) -> String {
    format!("node-{node}")
}

fn slots(node: u64) -> String {
    format!("tried:l:{}", name(node))
}

fn binding(number: u64) -> String {
    format!("tried:r:{}", request_id(number))
}

fn holder(number: u64) -> String {
    format!("{INSTANCE}{number:016x}:1:{INSTANCE}")
}
