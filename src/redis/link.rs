//! The connection to the server: made, watched, made again.
//!
//! On each new connection it is asked which server this is before anything else is sent, so whatever is sent later knows of
//! the server's past what there is to know (see [`Standing`]). Nothing is sent a second time here: who asks decides.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ErrorKind, Pipeline, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::call::{Call, Hello, Standing};
use super::crash::{When, crash_point};
use super::error::CoordinatorError;
use super::live::{self, Live};
use super::slot_map::{SlotMap, slot_of};
use super::target::{Source, Target, Traffic};
use crate::sync::{Mutex as PlainMutex, Ordering, Statistic};

/// The waits between attempts to connect: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// So many numbers are tried for the key of a cluster's server that has its epoch.
const MOST_NUMBERS: u32 = 100_000;
/// So many calls in a row without an answer, and the connection is given up.
const PATIENCE: u64 = 3;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Link {
    target: Target,
    state: watch::Sender<State>,
    /// The latest epoch that was heard of, and the key that has it.
    epoch: Statistic,
    epoch_key: PlainMutex<Option<String>>,
    /// Of a cluster: who has which slot, as the server has said when it was last connected to.
    slots: PlainMutex<Option<SlotMap>>,
}

/// Why a server has not done what it was asked.
#[derive(Debug, Clone)]
pub(super) enum Declined {
    /// Another has the key's slot, at this address: nothing was done.
    Moved(String),
    /// The key is there already, while its slot is being moved: nothing was done.
    Ask(String),
    /// Some of the keys are there already: nothing was done.
    NotYet,
    Failed(CoordinatorError),
}

impl Declined {
    pub(super) fn of(error: &redis::RedisError) -> Self {
        let elsewhere = || error.redirect_node().map(|(address, _)| address.to_owned());
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => elsewhere().map(Self::Moved),
            ErrorKind::Server(ServerErrorKind::Ask) => elsewhere().map(Self::Ask),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Some(Self::NotYet),
            _ => None,
        }
        .unwrap_or_else(|| Self::Failed(CoordinatorError::of(error)))
    }
}

impl From<CoordinatorError> for Declined {
    fn from(error: CoordinatorError) -> Self {
        Self::Failed(error)
    }
}

impl From<Declined> for CoordinatorError {
    /// Of a server that is no part of a cluster.
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Failed(error) => error,
            other => Self::Refused { detail: format!("it answers as one of a cluster: {other:?}") },
        }
    }
}

#[derive(Debug, Clone)]
enum State {
    Down(CoordinatorError),
    Up(Arc<Live>),
}

impl Link {
    pub(super) fn new(target: Target) -> Self {
        let none_yet = CoordinatorError::Unreachable { detail: "the first connection is being made".into() };
        let (state, _) = watch::channel(State::Down(none_yet));
        let (epoch_key, slots) = (PlainMutex::default(), PlainMutex::default());
        Self { target, state, epoch: Statistic::new(0), epoch_key, slots }
    }

    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.target.traffic
    }

    /// The key that has the epoch, once that is known.
    pub(super) fn epoch_key(&self) -> Option<String> {
        self.epoch_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(_))
    }

    /// Why it is not.
    pub(super) fn down(&self) -> Option<CoordinatorError> {
        match &*self.state.borrow() {
            State::Up(_) => None,
            State::Down(error) => Some(error.clone()),
        }
    }

    /// Connects, and connects again whenever the connection is lost. Does not end by itself.
    pub(super) async fn keep(&self) {
        let mut wait = BACKOFF.0;
        loop {
            match self.connect().await {
                Ok(live) => {
                    let live = Arc::new(live);
                    self.target.traffic.connections.fetch_add(1, Ordering::Relaxed);
                    self.state.send_replace(State::Up(live.clone()));
                    tracing::info!(standing = ?live.standing, "connected to the coordinator");
                    wait = BACKOFF.0;
                    live.broken.notified().await;
                }
                Err(error) => {
                    let error = error.of_connecting();
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
        let is_member = matches!(self.target.source, Source::Member(_));
        let run = who(&mut connection, is_member, deadline, within).await?;
        let key =
            if is_member { self.find_epoch(&mut connection, deadline).await? } else { self.target.keys.epoch(None) };
        *self.epoch_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        let hello = Hello {
            key: &key,
            run: &run,
            known: self.epoch.load(Ordering::Relaxed),
            longest_lease: self.target.longest_lease,
            kept: self.target.epoch_kept,
        };
        let unknown = Arc::new(Live::new(connection, Standing::default(), self.target.traffic.clone()));
        let standing = unknown.ask(&hello, &self.target.keys, deadline, false).await?;
        if self.epoch.fetch_max(standing.epoch, Ordering::Relaxed) < standing.epoch {
            self.target.traffic.epochs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Live::new(unknown.connection.clone(), standing, self.target.traffic.clone()))
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
    pub(super) async fn call<C: Call>(&self, call: &C, deadline: Instant, asking: bool) -> Result<C::Answer, Declined> {
        let live = self.live(deadline).await?;
        let answer = live.ask(call, &self.target.keys, deadline, asking).await;
        self.heed(&live, &answer);
        answer
    }

    /// Of a cluster: the map as this server has it now, or as it had it when it was connected to.
    pub(super) async fn slots(&self, deadline: Instant) -> Option<SlotMap> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("CLUSTER").arg("SLOTS");
        let answers = self.plain(&pipeline, deadline, false).await.ok()?;
        SlotMap::read(answers.into_iter().next()?, &self.host())
    }

    pub(super) fn last_slots(&self) -> Option<SlotMap> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn host(&self) -> String {
        match &self.target.source {
            Source::Single(client) | Source::Member(client) => match client.get_connection_info().addr() {
                ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
                _ => String::new(),
            },
            Source::Sentinel(_) => String::new(),
        }
    }

    /// The key of a cluster's server that has its epoch: in one of the slots that it has.
    async fn find_epoch(
        &self,
        connection: &mut MultiplexedConnection,
        deadline: Instant,
    ) -> Result<String, CoordinatorError> {
        let mut asked = Pipeline::new();
        asked.cmd("CLUSTER").arg("MYID").cmd("CLUSTER").arg("SLOTS");
        let answers = timeout_at(deadline, connection.send_packed_commands(&asked, 0, 2)).await;
        let answers = answers.map_err(|_| CoordinatorError::TimedOut { after: self.target.connect_timeout })?;
        let answers = answers.map_err(|error| CoordinatorError::of(&error))?.into_iter();
        let answers = answers.map(|answer| answer.extract_error().map_err(|error| CoordinatorError::of(&error)));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        let malformed = || CoordinatorError::Malformed { detail: "CLUSTER MYID or SLOTS".to_owned() };
        let Ok::<[Value; 2], _>([id, slots]) = answers.try_into() else { return Err(malformed()) };
        let id: String = redis::from_redis_value(id).map_err(|_| malformed())?;
        let map = SlotMap::read(slots, &self.host()).ok_or_else(malformed)?;
        *self.slots.lock().unwrap_or_else(PoisonError::into_inner) = Some(map.clone());
        let keys = &self.target.keys;
        let is_there = |key: &String| map.is_of(slot_of(key.as_bytes()), &id);
        // A server with one slot in a thousand is found a number for, all but always.
        let key = if keys.are_spread() {
            (0..MOST_NUMBERS).map(|number| keys.epoch(Some(number))).find(is_there)
        } else {
            Some(keys.epoch(None)).filter(is_there)
        };
        let none = || CoordinatorError::Refused { detail: "it has none of the slots that are needed".to_owned() };
        key.ok_or_else(none)
    }

    /// Gives the connection up, if what came of a call says so: nobody else waits for an answer there.
    fn heed<T>(&self, live: &Arc<Live>, answer: &Result<T, Declined>) {
        let is_lost = match answer {
            Ok(_) | Err(Declined::Moved(_) | Declined::Ask(_) | Declined::NotYet) => {
                live.unanswered.store(0, Ordering::Relaxed);
                false
            }
            Err(Declined::Failed(CoordinatorError::Lost { .. } | CoordinatorError::ReadOnly { .. })) => true,
            Err(Declined::Failed(CoordinatorError::TimedOut { .. })) => {
                live.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE
            }
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

    /// Sends plain commands, once.
    pub(super) async fn plain(
        &self,
        pipeline: &Pipeline,
        deadline: Instant,
        asking: bool,
    ) -> Result<Vec<Value>, Declined> {
        let live = self.live(deadline).await?;
        self.target.traffic.requests.fetch_add(1, Ordering::Relaxed);
        let (mut connection, since) = (live.connection.clone(), Instant::now());
        let sent = if asking { live::asking(pipeline) } else { pipeline.clone() };
        let each = if asking { 2 } else { 1 };
        crash_point("plain", When::Before);
        let answered = timeout_at(deadline, connection.send_packed_commands(&sent, 0, sent.len())).await;
        crash_point("plain", When::After);
        let answers = match answered {
            Err(_) => Err(Declined::Failed(CoordinatorError::TimedOut { after: since.elapsed() })),
            Ok(Err(error)) => Err(Declined::of(&error)),
            Ok(Ok(answers)) => answers
                .into_iter()
                .skip(each - 1)
                .step_by(each)
                .map(|answer| answer.extract_error().map_err(|error| Declined::of(&error)))
                .collect(),
        };
        self.heed(&live, &answers);
        answers
    }
}

/// The run id of the server, if that is one that leases can be granted by.
async fn who(
    connection: &mut MultiplexedConnection,
    is_member: bool,
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
    match (field("redis_mode").or(field("server_mode")) == Some("cluster"), is_member) {
        (true, false) => {
            let detail = "it is one of a cluster: name its servers with SharedBuilder::cluster".to_owned();
            return Err(CoordinatorError::Refused { detail });
        }
        (false, true) => return Err(CoordinatorError::Refused { detail: "it is not one of a cluster".to_owned() }),
        _ => {}
    }
    let run = field("run_id").ok_or_else(|| malformed("run_id"))?.to_owned();
    let role: Vec<Value> = redis::from_redis_value(next()?).map_err(|_| malformed("the list"))?;
    match role.into_iter().next().map(redis::from_redis_value::<String>) {
        Some(Ok(role)) if role == "master" => Ok(run),
        Some(Ok(role)) => Err(CoordinatorError::ReadOnly { detail: format!("its role is {role}") }),
        _ => Err(malformed("the role")),
    }
}
