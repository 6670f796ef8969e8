//! Where it is played: a server, the way to it, an instance with its nodes, and callers as a gateway has them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};
use slotyard::{Heartbeat, Scheduler, SharedScheduler};
use slotyard_servers::{Proxy, Server};
use tokio::runtime::{Builder, Runtime};

use crate::contenders;
use crate::fleet;
use crate::harness::crew::cores;

/// What an instance does by itself is kept out of the turns: how often depends on time, and not on what is measured. No lease is
/// as old as to be renewed.
const SELDOM: Duration = Duration::from_secs(3600);
/// A machine that is busy is no reason to give up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a turn has shown.
pub(crate) struct Turn {
    /// How often it was done.
    pub(crate) done: u64,
    pub(crate) took: Duration,
    /// How long each took, in us.
    pub(crate) latencies: Vec<f64>,
    /// What the server's main thread has used of its processor, in us: what its ceiling is made of.
    pub(crate) processor: f64,
    /// What this process has used of its processors, in us: callers, instance, and proxy.
    pub(crate) client: f64,
    /// The server's time in commands that clients have sent, in us, for each time that it was done.
    pub(crate) in_commands: f64,
    /// Requests of the instance.
    pub(crate) round_trips: u64,
}

impl Turn {
    /// Each time several were done at once: of each of them.
    pub(crate) fn of_each(self, at_once: u64) -> Self {
        Self { done: self.done * at_once, in_commands: self.in_commands / at_once as f64, ..self }
    }
}

/// Commands that clients send for each time that something is done, by their names in the server's statistics. Those that
/// scripts call are counted there, too, under the same names; their time is that of the script.
pub(crate) type Sent = &'static [(&'static str, f64)];

/// The command that scripts are sent with.
const SCRIPT: &str = "evalsha";

/// See the module's documentation.
pub(crate) struct Stage {
    pub(crate) shared: SharedScheduler,
    /// For those who do not use an instance: as its own, one that all callers share, and nothing sent waits for more.
    pub(crate) connection: MultiplexedConnection,
    runtime: Runtime,
    next: Arc<AtomicU64>,
    // Last, for what is above uses them.
    _proxy: Option<Proxy>,
    server: Server,
}

impl Stage {
    /// A server so far away, there and back, and an instance that has registered so many nodes with it.
    pub(crate) fn new(away: Duration, nodes: u32, slots: u32) -> Self {
        let server = Server::start();
        let proxy = (!away.is_zero()).then(|| Proxy::to(server.address()));
        let url = proxy.as_ref().map_or_else(|| server.url(), Proxy::url);
        let runtime = Builder::new_multi_thread().worker_threads(cores()).enable_all().build().expect("threads");
        let scheduler = Scheduler::builder().seed(1).heartbeat_timeout(3 * SELDOM);
        let shared = SharedScheduler::builder(&url).scheduler(scheduler).flush_interval(SELDOM).poll_interval(SELDOM);
        let shared = shared.call_timeout(PATIENCE).connect_timeout(PATIENCE).build().expect("it can be configured so");
        let connection = runtime.block_on(async {
            let capabilities = fleet::capabilities();
            for number in 0..nodes {
                let node = shared.register(fleet::spec(number, slots, &capabilities)).await.expect("the ids are new");
                shared.heartbeat(&node, &Heartbeat::ready()).expect("it was just registered");
            }
            // The first end of a job has the server told of all nodes once more.
            let job = contenders::create(shared.clone(), contenders::request(u64::MAX, &fleet::demand())).await;
            contenders::complete(&shared, vec![job]).await;
            connect(&url).await
        });
        if let Some(proxy) = &proxy {
            proxy.delay(away / 2);
        }
        Self { shared, connection, runtime, next: Arc::default(), _proxy: proxy, server }
    }

    /// Outside of a turn.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Lets so many callers do something again and again, each with a number that no other has, and returns what has come of
    /// it. None begins anew after `time`; the turn lasts until the last has ended.
    pub(crate) fn turn<T, F>(
        &self,
        callers: usize,
        time: Duration,
        sent: Sent,
        once: impl Fn(u64) -> F + Clone + Send + 'static,
    ) -> (Turn, Vec<T>)
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.server.command(&["CONFIG", "RESETSTAT"]);
        let (processor, client) = (self.processor(), processors());
        let round_trips = self.shared.stats().round_trips;
        let start = Instant::now();
        let tasks = (0..callers).map(|_| self.runtime.spawn(repeat(self.next.clone(), start + time, once.clone())));
        let tasks: Vec<_> = tasks.collect();
        let parts = self.runtime.block_on(async {
            let mut parts = Vec::new();
            for task in tasks {
                parts.push(task.await.expect("no caller panics"));
            }
            parts
        });
        let took = start.elapsed();
        let (client, processor) = (processors() - client, self.processor() - processor);
        let round_trips = self.shared.stats().round_trips - round_trips;
        let (mut latencies, mut made) = (Vec::new(), Vec::new());
        for (times, results) in parts {
            latencies.extend(times);
            made.extend(results);
        }
        let done = latencies.len() as u64;
        let share = |(command, often): &(&str, f64)| match *command {
            // No script sends it; and there may be others than one for each.
            SCRIPT => self.statistic(SCRIPT, "usec") / done as f64,
            command => often * self.statistic(command, "usec_per_call"),
        };
        let in_commands = sent.iter().map(share).sum();
        (Turn { done, took, latencies, processor, client, in_commands, round_trips }, made)
    }

    /// What the server's main thread has used of its processor so far, in us.
    fn processor(&self) -> f64 {
        let field = |name| self.server.info("cpu", name).and_then(|text| text.trim().parse::<f64>().ok());
        let parts = [field("used_cpu_user_main_thread"), field("used_cpu_sys_main_thread")];
        parts.into_iter().map(|part| part.expect("a server tells this from version 6.2 on") * 1e6).sum()
    }

    /// What the server tells of a command: of all of them, or of one; nothing if there was none in this turn.
    fn statistic(&self, command: &str, name: &str) -> f64 {
        let Some(text) = self.server.info("commandstats", &format!("cmdstat_{command}")) else { return 0.0 };
        let mut fields = text.split(',').filter_map(|part| part.split_once('='));
        let (_, number) = fields.find(|(field, _)| *field == name).expect("the server says so of each command");
        number.trim().parse().expect("a number")
    }
}

/// What this process has used of its processors so far, in us; nothing where Linux does not tell it.
fn processors() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let of_thread = |path: PathBuf| {
        let told = std::fs::read_to_string(path.join("schedstat")).ok()?;
        told.split_whitespace().next()?.parse::<f64>().ok()
    };
    threads.flatten().filter_map(|thread| of_thread(thread.path())).sum::<f64>() / 1e3
}

/// Does something until then, and once at least; how long each time took, in us, and what came of it.
async fn repeat<T, F: Future<Output = T>>(
    next: Arc<AtomicU64>,
    end: Instant,
    once: impl Fn(u64) -> F,
) -> (Vec<f64>, Vec<T>) {
    let (mut latencies, mut made) = (Vec::new(), Vec::new());
    let mut begun = Instant::now();
    loop {
        // Relaxed: only distinctness matters.
        made.push(once(next.fetch_add(1, Ordering::Relaxed)).await);
        let ended = Instant::now();
        latencies.push((ended - begun).as_secs_f64() * 1e6);
        if ended >= end {
            return (latencies, made);
        }
        begun = ended;
    }
}

/// As an instance does.
async fn connect(url: &str) -> MultiplexedConnection {
    let info = url.into_connection_info().expect("a server's own URL");
    let settings = info.tcp_settings().clone().set_nodelay(true);
    let client = Client::open(info.set_tcp_settings(settings)).expect("a server's own URL");
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await.expect("the server is there")
}
