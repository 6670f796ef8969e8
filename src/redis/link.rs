//! The connection to the server: made, watched, made again.
//!
//! On each new connection it is asked which server this is before anything else is sent, so whatever is sent later knows of
//! the server's past what there is to know (see [`Standing`]). Nothing is sent a second time here: who asks decides.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, ServerErrorKind, Value};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::call::{Arguments, Call, Hello, Reply, Standing};
use super::config::Sentinels;
use super::error::CoordinatorError;
use super::keys::Keys;
use super::lease::Malformed;
use super::script::Script;
use crate::stats::Times;
use crate::sync::{Ordering, Statistic};

/// The waits between attempts to connect: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// So many calls in a row without an answer, and the connection is given up.
const PATIENCE: u64 = 3;

/// What there is to know for connecting.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) source: Source,
    pub(super) keys: Keys,
    pub(super) connect_timeout: Duration,
    /// In ms.
    pub(super) longest_lease: u64,
    /// How long the epoch is kept, in ms.
    pub(super) epoch_kept: u64,
}

/// Where the server is.
pub(super) enum Source {
    Single(Client),
    /// Sentinels say which is the master.
    Sentinel(Box<Mutex<SentinelClient>>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No password.
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Sentinel(_) => "Sentinel",
        })
    }
}

impl Source {
    /// The server of a URL. With sentinels, it is the master that they name, and the URL says how to talk to it.
    pub(super) fn of(url: &str, sentinels: Option<&Sentinels>) -> Result<Self, CoordinatorError> {
        let parse = |url: &str| url.into_connection_info().map_err(|error| refused(&error));
        let info = parse(url)?;
        // What there is to send is sent at once.
        let settings = info.tcp_settings().clone().set_nodelay(true);
        let Some(Sentinels { urls, master }) = sentinels else {
            return Client::open(info.set_tcp_settings(settings)).map(Self::Single).map_err(|error| refused(&error));
        };
        let urls = urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        let node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(info.redis_settings().clone())
            .set_tcp_settings(settings);
        let client = SentinelClient::build(urls, master.clone(), Some(node), SentinelServerType::Master);
        client.map(|client| Self::Sentinel(Box::new(Mutex::new(client)))).map_err(|error| refused(&error))
    }

    async fn client(&self) -> redis::RedisResult<Client> {
        match self {
            Self::Single(client) => Ok(client.clone()),
            Self::Sentinel(client) => client.lock().await.async_get_client().await,
        }
    }
}

fn refused(error: &redis::RedisError) -> CoordinatorError {
    CoordinatorError::Refused { detail: error.to_string() }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Link {
    target: Target,
    state: watch::Sender<State>,
    /// The latest epoch that was heard of.
    epoch: Statistic,
    /// Connections made.
    pub(super) connections: Statistic,
    /// Requests sent, and how many of them were to have a script loaded.
    pub(super) requests: Statistic,
    pub(super) loads: Statistic,
    /// How long the server took to answer scripts.
    pub(super) script_time: Times,
}

#[derive(Debug, Clone)]
enum State {
    Down(CoordinatorError),
    Up(Arc<Live>),
}

/// One connection.
struct Live {
    connection: MultiplexedConnection,
    standing: Standing,
    /// Calls in a row that had no answer.
    unanswered: Statistic,
    broken: Notify,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(target: Target) -> Self {
        let none_yet = CoordinatorError::Unreachable { detail: "the first connection is being made".into() };
        let (state, _) = watch::channel(State::Down(none_yet));
        let [epoch, connections, requests, loads] = std::array::from_fn(|_| Statistic::new(0));
        Self { target, state, epoch, connections, requests, loads, script_time: Times::new() }
    }

    /// Connects, and connects again whenever the connection is lost. Does not end by itself.
    pub(super) async fn keep(&self) {
        let mut wait = BACKOFF.0;
        loop {
            match self.connect().await {
                Ok(live) => {
                    let live = Arc::new(live);
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    self.state.send_replace(State::Up(live.clone()));
                    tracing::info!(standing = ?live.standing, "connected to the coordinator");
                    wait = BACKOFF.0;
                    live.broken.notified().await;
                }
                Err(error) => {
                    tracing::warn!(%error, ?wait, "no connection to the coordinator");
                    self.state.send_replace(State::Down(error));
                    sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF.1);
                }
            }
        }
    }

    async fn connect(&self) -> Result<Live, CoordinatorError> {
        let within = self.target.connect_timeout;
        // How long an answer may take is each call's to say.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(within)).set_response_timeout(None);
        let connecting = async {
            let client = self.target.source.client().await?;
            client.get_multiplexed_async_connection_with_config(&config).await
        };
        let connected = timeout(within, connecting).await;
        let mut connection = match connected {
            Err(_) => return Err(CoordinatorError::Unreachable { detail: format!("no answer within {within:?}") }),
            Ok(Err(error)) => {
                return Err(match CoordinatorError::of(&error) {
                    CoordinatorError::Lost { detail } => CoordinatorError::Unreachable { detail },
                    other => other,
                });
            }
            Ok(Ok(connection)) => connection,
        };
        let deadline = Instant::now() + within;
        let run = who(&mut connection, deadline, within).await?;
        let hello = Hello {
            run: &run,
            known: self.epoch.load(Ordering::Relaxed),
            longest_lease: self.target.longest_lease,
            kept: self.target.epoch_kept,
        };
        let live =
            Live { connection, standing: Standing::default(), unanswered: Statistic::new(0), broken: Notify::new() };
        let standing = self.ask(&live, &hello, deadline).await?;
        self.epoch.fetch_max(standing.epoch, Ordering::Relaxed);
        Ok(Live { standing, ..live })
    }

    /// The connection that there is, or is by `deadline`.
    pub(super) async fn connected(&self, deadline: Instant) -> Result<(), CoordinatorError> {
        self.live(deadline).await.map(drop)
    }

    async fn live(&self, deadline: Instant) -> Result<Arc<Live>, CoordinatorError> {
        if let State::Up(live) = &*self.state.borrow() {
            return Ok(live.clone());
        }
        let mut changes = self.state.subscribe();
        let up = changes.wait_for(|state| matches!(state, State::Up(_)));
        if let Ok(Ok(state)) = timeout_at(deadline, up).await
            && let State::Up(live) = &*state
        {
            return Ok(live.clone());
        }
        match &*self.state.borrow() {
            State::Up(live) => Ok(live.clone()),
            State::Down(error) => Err(error.clone()),
        }
    }

    /// Asks the server, once.
    ///
    /// # Errors
    /// Whether anything was done is told by [`CoordinatorError::outcome_is_unknown`].
    pub(super) async fn call<C: Call>(&self, call: &C, deadline: Instant) -> Result<C::Answer, CoordinatorError> {
        let live = self.live(deadline).await?;
        let answer = self.ask(&live, call, deadline).await;
        self.heed(&live, &answer);
        answer
    }

    /// The latest epoch that was heard of; 0 before the first connection.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Gives the connection up, if what came of a call says so: nobody else waits for an answer there.
    fn heed<T>(&self, live: &Arc<Live>, answer: &Result<T, CoordinatorError>) {
        let is_lost = match answer {
            Ok(_) => {
                live.unanswered.store(0, Ordering::Relaxed);
                false
            }
            Err(CoordinatorError::Lost { .. } | CoordinatorError::ReadOnly { .. }) => true,
            Err(CoordinatorError::TimedOut { .. }) => live.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE,
            Err(_) => false,
        };
        if is_lost {
            self.state.send_if_modified(|state| {
                let is_that = matches!(state, State::Up(there) if Arc::ptr_eq(there, live));
                if is_that {
                    *state = State::Down(CoordinatorError::Unreachable { detail: "the connection was lost".into() });
                }
                is_that
            });
            live.broken.notify_one();
        }
    }

    /// Sends plain commands that may be done twice, until it is known what each is answered.
    pub(super) async fn plain(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, CoordinatorError> {
        loop {
            match self.plain_once(pipeline, deadline).await {
                Err(error) if error.outcome_is_unknown() && Instant::now() < deadline => {}
                answer => return answer,
            }
        }
    }

    async fn plain_once(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, CoordinatorError> {
        let live = self.live(deadline).await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (mut connection, since) = (live.connection.clone(), Instant::now());
        let sent = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let answers = match timeout_at(deadline, sent).await {
            Err(_) => Err(CoordinatorError::TimedOut { after: since.elapsed() }),
            Ok(Err(error)) => Err(CoordinatorError::of(&error)),
            Ok(Ok(answers)) => answers
                .into_iter()
                .map(|answer| answer.extract_error().map_err(|error| CoordinatorError::of(&error)))
                .collect(),
        };
        self.heed(&live, &answers);
        answers
    }

    /// The text under a key.
    pub(super) async fn get(&self, key: &str, deadline: Instant) -> Result<Option<String>, CoordinatorError> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("GET").arg(key);
        let answer = self.plain(&pipeline, deadline).await?.pop().unwrap_or(Value::Nil);
        redis::from_redis_value(answer).map_err(|error| CoordinatorError::Malformed { detail: error.to_string() })
    }

    async fn ask<C: Call>(&self, live: &Live, call: &C, deadline: Instant) -> Result<C::Answer, CoordinatorError> {
        let mut arguments = Arguments::default();
        call.write(&self.target.keys, live.standing, &mut arguments);
        let mut pipeline = Pipeline::new();
        if let Some(beside) = call.beside(&self.target.keys) {
            pipeline.add_command(beside);
        }
        pipeline.add_command(evaluate(C::SCRIPT, &arguments));
        let since = Instant::now();
        let send = async |pipeline: &Pipeline| send(live.connection.clone(), pipeline, deadline).await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut answer = send(&pipeline).await;
        let unknown = |error: &redis::RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
        if let Err(NoAnswer::But(error)) = &answer
            && unknown(error)
        {
            let mut loading = Pipeline::new();
            loading.cmd("SCRIPT").arg("LOAD").arg(C::SCRIPT.source);
            self.requests.fetch_add(2, Ordering::Relaxed);
            self.loads.fetch_add(1, Ordering::Relaxed);
            answer = match send(&loading).await {
                Ok(_) => send(&pipeline).await,
                Err(error) => Err(error),
            };
        }
        self.script_time.record(since.elapsed());
        tracing::trace!(script = C::SCRIPT.name, took = ?since.elapsed(), "asked the coordinator");
        let malformed = |Malformed(detail)| CoordinatorError::Malformed { detail };
        match answer {
            Ok(value) => C::read(Reply::new(value).map_err(malformed)?).map_err(malformed),
            Err(NoAnswer::InTime) => Err(CoordinatorError::TimedOut { after: since.elapsed() }),
            Err(NoAnswer::But(error)) => Err(CoordinatorError::of(&error)),
        }
    }
}

fn evaluate(script: &Script, Arguments { keys, arguments }: &Arguments) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.hash.as_str()).arg(keys.len()).arg(keys).arg(arguments);
    command
}

enum NoAnswer {
    InTime,
    But(redis::RedisError),
}

/// What the last of these commands is answered.
async fn send(mut connection: MultiplexedConnection, pipeline: &Pipeline, by: Instant) -> Result<Value, NoAnswer> {
    let commands = pipeline.len();
    let answers = timeout_at(by, connection.send_packed_commands(pipeline, 0, commands)).await;
    let last = answers.map_err(|_| NoAnswer::InTime)?.map(|mut answers| answers.pop().unwrap_or(Value::Nil));
    last.and_then(Value::extract_error).map_err(NoAnswer::But)
}

/// The run id of the server, if that is one that leases can be granted by.
async fn who(
    connection: &mut MultiplexedConnection,
    deadline: Instant,
    within: Duration,
) -> Result<String, CoordinatorError> {
    let mut info = Pipeline::new();
    info.cmd("INFO").arg("server").cmd("ROLE");
    let unanswered = |_| CoordinatorError::Unreachable { detail: format!("no answer within {within:?}") };
    let asked = timeout_at(deadline, connection.send_packed_commands(&info, 0, 2)).await.map_err(unanswered)?;
    let answers = asked.map_err(|error| CoordinatorError::of(&error))?;
    let mut answers = answers.into_iter().map(|answer| answer.extract_error().map_err(|e| CoordinatorError::of(&e)));
    let malformed = |what: &str| CoordinatorError::Malformed { detail: format!("{what} of INFO or ROLE") };
    let mut next = || answers.next().unwrap_or_else(|| Err(malformed("no answer")));
    let info: String = redis::from_redis_value(next()?).map_err(|_| malformed("the text"))?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let version = field("redis_version").ok_or_else(|| malformed("redis_version"))?;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < 7) {
        return Err(CoordinatorError::WrongVersion { found: version.to_owned() });
    }
    let run = field("run_id").ok_or_else(|| malformed("run_id"))?.to_owned();
    let role: Vec<Value> = redis::from_redis_value(next()?).map_err(|_| malformed("the list"))?;
    match role.into_iter().next().map(redis::from_redis_value::<String>) {
        Some(Ok(role)) if role == "master" => Ok(run),
        Some(Ok(role)) => Err(CoordinatorError::ReadOnly { detail: format!("its role is {role}") }),
        _ => Err(malformed("the role")),
    }
}
