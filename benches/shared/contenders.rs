//! Who takes turns.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Script, Value, cmd, pipe};
use slotyard::{Demand, JobRequest, SharedJob, SharedScheduler};
use tokio::task::JoinSet;

use crate::fleet;
use crate::lock_flow::{self, LockFlow};
use crate::stage::{Sent, Stage, Turn};

/// At a time, jobs are ended and counts taken back.
const AT_ONCE: usize = 64;
/// Requests that are asked for again.
const REPEATED: u64 = 256;
/// How long locks are kept that nobody gives back.
const KEPT: Duration = Duration::from_secs(1);

/// Something that callers do again and again.
pub(crate) trait Contender {
    /// What the callers do for so long. What they leave is cleared away outside of the turn.
    fn turn(&mut self, stage: &Stage, callers: usize, time: Duration) -> Turn;
}

/// Creates under request ids that are new. The jobs are completed when the turn is over, as the lock flow's are.
pub(crate) struct New;

impl Contender for New {
    fn turn(&mut self, stage: &Stage, callers: usize, time: Duration) -> Turn {
        let (shared, demand) = (stage.shared.clone(), fleet::demand());
        let once = move |number| create(shared.clone(), request(number, &demand));
        let (turn, jobs) = stage.turn(callers, time, &[("set", 1.0), ("evalsha", 1.0)], once);
        stage.block_on(complete(&stage.shared, jobs));
        turn
    }
}

/// Creates under request ids that have a job.
pub(crate) struct Existing {
    demand: Demand,
    /// Numbers that no new request has.
    first: u64,
}

impl Existing {
    pub(crate) fn new(stage: &Stage) -> Self {
        let (demand, first) = (fleet::demand(), u64::MAX - REPEATED);
        stage.block_on(async {
            let creating = (first..u64::MAX).map(|number| create(stage.shared.clone(), request(number, &demand)));
            creating.collect::<JoinSet<_>>().join_all().await;
        });
        Self { demand, first }
    }
}

impl Contender for Existing {
    fn turn(&mut self, stage: &Stage, callers: usize, time: Duration) -> Turn {
        let (shared, demand, first) = (stage.shared.clone(), self.demand.clone(), self.first);
        let once = move |number| create(shared.clone(), request(first + number % REPEATED, &demand));
        let sent = &[("set", 1.0), ("evalsha", 1.0), ("zscore", 1.0), ("time", 1.0)];
        stage.turn(callers, time, sent, once).0
    }
}

pub(crate) fn request(number: u64, demand: &Demand) -> JobRequest {
    JobRequest::new(request_id(number), demand.clone())
}

/// As long as the request ids that gateways make.
pub(crate) fn request_id(number: u64) -> String {
    format!("request-{number:016x}")
}

pub(crate) async fn create(shared: SharedScheduler, request: JobRequest) -> SharedJob {
    shared.create_job(&request).await.expect("a slot is free")
}

pub(crate) async fn complete(shared: &SharedScheduler, jobs: Vec<SharedJob>) {
    let mut ending = JoinSet::new();
    for job in jobs {
        if ending.len() == AT_ONCE {
            ending.join_next().await;
        }
        let shared = shared.clone();
        ending.spawn(async move { shared.complete(job.id(), job.attempt()).await.expect("its lease runs") });
    }
    while let Some(ended) = ending.join_next().await {
        ended.expect("it does not panic");
    }
}

/// Creates as it was done before.
pub(crate) struct Old {
    flow: LockFlow,
}

impl Old {
    pub(crate) fn new(stage: &Stage, slots: u32) -> Self {
        let (connection, shared) = (stage.connection.clone(), stage.shared.clone());
        Self { flow: LockFlow { connection, shared, demand: fleet::demand(), slots, unlock: lock_flow::unlock() } }
    }
}

impl Contender for Old {
    fn turn(&mut self, stage: &Stage, callers: usize, time: Duration) -> Turn {
        let flow = self.flow.clone();
        let once = move |number| flow.clone().create(request_id(number));
        let (turn, nodes) = stage.turn(callers, time, lock_flow::SENT, once);
        let mut taken: BTreeMap<String, i64> = BTreeMap::new();
        nodes.into_iter().for_each(|node| *taken.entry(node).or_default() += 1);
        let mut back = pipe();
        for (node, jobs) in taken {
            back.add_command(lock_flow::count_down(&node, jobs));
        }
        let mut connection = self.flow.connection.clone();
        let _: Vec<i64> = stage.block_on(back.query_async(&mut connection)).expect("the server answers");
        turn
    }
}

/// One command, which costs as little as one can.
pub(crate) struct Plain {
    sent: Sent,
    command: fn(u64) -> Cmd,
}

impl Plain {
    pub(crate) fn ping() -> Self {
        Self { sent: &[("ping", 1.0)], command: |_| cmd("PING") }
    }

    /// A key that is new, which is gone soon: the least that keeps a request for one caller.
    pub(crate) fn set() -> Self {
        let command = |number| {
            let mut set = cmd("SET");
            set.arg(format!("plain:{number:016x}")).arg("1").arg("NX").arg("PX").arg(KEPT.as_millis() as u64);
            set
        };
        Self { sent: &[("set", 1.0)], command }
    }

    /// A script that does nothing.
    pub(crate) fn script(stage: &Stage) -> Self {
        let script = bare();
        let loaded: String =
            stage.block_on(script.prepare_invoke().load_async(&mut stage.connection.clone())).expect("it is one");
        assert_eq!(loaded, script.get_hash());
        let command = |_| {
            let mut evaluate = cmd("EVALSHA");
            evaluate.arg(HASH.as_str()).arg(0);
            evaluate
        };
        Self { sent: &[("evalsha", 1.0)], command }
    }
}

static HASH: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| bare().get_hash().to_owned());

fn bare() -> Script {
    Script::new("return 1")
}

impl Contender for Plain {
    fn turn(&mut self, stage: &Stage, callers: usize, time: Duration) -> Turn {
        let (connection, command) = (stage.connection.clone(), self.command);
        let once = move |number| ask(connection.clone(), command(number));
        stage.turn(callers, time, self.sent, once).0
    }
}

async fn ask(mut connection: MultiplexedConnection, command: Cmd) {
    let _: Value = command.query_async(&mut connection).await.expect("the server answers");
}
