//! One connection, and what is asked on it.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::call::{Arguments, Call, Reply, Standing};
use super::crash::{When, crash_point};
use super::error::CoordinatorError;
use super::keys::Keys;
use super::lease::Malformed;
use super::link::Declined;
use super::script::Script;
use super::target::Traffic;
use super::together::{self, Together, Waits};
use crate::sync::{Ordering, Statistic};

/// See the module's documentation.
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    pub(super) standing: Standing,
    /// Calls in a row that had no answer.
    pub(super) unanswered: Statistic,
    pub(super) broken: Notify,
    together: Together,
    traffic: Arc<Traffic>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Live {
    pub(super) fn new(connection: MultiplexedConnection, standing: Standing, traffic: Arc<Traffic>) -> Self {
        let (unanswered, broken, together) = (Statistic::new(0), Notify::new(), Together::default());
        Self { connection, standing, unanswered, broken, together, traffic }
    }

    /// Asks, once. `asking`: the keys are at their slot's next server already.
    pub(super) async fn ask<C: Call>(
        self: &Arc<Self>,
        call: &C,
        keys: &Keys,
        deadline: Instant,
        asking: bool,
    ) -> Result<C::Answer, Declined> {
        let (arguments, beside) = (call.arguments(keys, self.standing), call.beside(keys));
        let since = Instant::now();
        crash_point(C::SCRIPT.name, When::Before);
        let answer = match C::MANY.filter(|_| !asking) {
            Some(many) => self.ask_together((C::SCRIPT, many), arguments, beside, deadline).await,
            None => {
                let pipeline = pipeline(beside.as_ref(), C::SCRIPT, &arguments);
                let pipeline = if asking { self::asking(&pipeline) } else { pipeline };
                self.evaluate(C::SCRIPT, &pipeline, deadline).await.and_then(whole)
            }
        };
        crash_point(C::SCRIPT.name, When::After);
        self.traffic.script_time.record(since.elapsed());
        tracing::trace!(script = C::SCRIPT.name, took = ?since.elapsed(), "asked the coordinator");
        let malformed = |Malformed(detail)| CoordinatorError::Malformed { detail };
        Ok(C::read(Reply::new(answer?).map_err(malformed)?).map_err(malformed)?)
    }

    /// Asks with others that come at the same time.
    async fn ask_together(
        self: &Arc<Self>,
        (one, many): (&'static Script, &'static Script),
        arguments: Arguments,
        beside: Option<Cmd>,
        deadline: Instant,
    ) -> Result<Value, Declined> {
        let since = Instant::now();
        let (told, sends) = self.together.put(arguments, beside, deadline);
        if sends {
            tokio::task::yield_now().await;
            let mut calls = self.together.take();
            if let [Waits { arguments, beside, .. }] = &*calls {
                let pipeline = pipeline(beside.as_ref(), one, arguments);
                return self.evaluate(one, &pipeline, deadline).await.and_then(whole);
            }
            while !calls.is_empty() {
                let next = calls.split_off(calls.len().min(together::MOST));
                tokio::spawn(self.clone().send_together(many, std::mem::replace(&mut calls, next)));
            }
        }
        match timeout_at(deadline, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CoordinatorError::Lost { detail: "whoever was to send it has ended".to_owned() }.into()),
            Err(_) => Err(CoordinatorError::TimedOut { after: since.elapsed() }.into()),
        }
    }

    /// As long as one of them waits for it.
    async fn send_together(self: Arc<Self>, many: &'static Script, calls: Vec<Waits>) {
        let Some(deadline) = calls.iter().map(|call| call.deadline).max() else { return };
        let besides = calls.iter().filter_map(|call| call.beside.as_ref());
        let pipeline = pipeline(besides, many, &together::joined(calls.iter().map(|call| &call.arguments)));
        match self.evaluate(many, &pipeline, deadline).await {
            Ok(Value::Array(answers)) if answers.len() == calls.len() => {
                calls.into_iter().zip(answers).for_each(|(call, answer)| call.tell(whole(answer)));
            }
            Ok(other) => {
                let detail = format!("not an answer for each: {other:?}").chars().take(200).collect();
                let malformed = Declined::from(CoordinatorError::Malformed { detail });
                calls.into_iter().for_each(|call| call.tell(Err(malformed.clone())));
            }
            Err(declined) => calls.into_iter().for_each(|call| call.tell(Err(declined.clone()))),
        }
    }

    /// Sends what ends with this script, which is loaded if the server does not have it; what the script has answered.
    async fn evaluate(&self, script: &Script, pipeline: &Pipeline, deadline: Instant) -> Result<Value, Declined> {
        let since = Instant::now();
        let unknown = |error: &redis::RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        let mut answer = self.send(pipeline, deadline).await;
        if let Err(NoAnswer::But(error)) = &answer
            && unknown(error)
        {
            let mut loading = Pipeline::new();
            loading.cmd("SCRIPT").arg("LOAD").arg(script.source);
            self.traffic.requests.fetch_add(2, Ordering::Relaxed);
            self.traffic.loads.fetch_add(1, Ordering::Relaxed);
            answer = match self.send(&loading, deadline).await {
                Ok(_) => self.send(pipeline, deadline).await,
                Err(error) => Err(error),
            };
        }
        answer.map_err(|no_answer| match no_answer {
            NoAnswer::InTime => CoordinatorError::TimedOut { after: since.elapsed() }.into(),
            NoAnswer::But(error) => Declined::of(&error),
        })
    }

    /// What the last of these commands is answered.
    async fn send(&self, pipeline: &Pipeline, by: Instant) -> Result<Value, NoAnswer> {
        let mut connection = self.connection.clone();
        let answers = timeout_at(by, connection.send_packed_commands(pipeline, 0, pipeline.len())).await;
        let answers = answers.map_err(|_| NoAnswer::InTime)?.map_err(NoAnswer::But)?;
        match answers.into_iter().next_back().unwrap_or(Value::Nil) {
            Value::ServerError(error) => Err(NoAnswer::But(error.into())),
            answer => Ok(answer),
        }
    }
}

enum NoAnswer {
    InTime,
    But(redis::RedisError),
}

/// An answer without an error in it.
fn whole(answer: Value) -> Result<Value, Declined> {
    answer.extract_error().map_err(|error| Declined::of(&error))
}

/// These, and then the script.
fn pipeline<'c>(beside: impl IntoIterator<Item = &'c Cmd>, script: &Script, arguments: &Arguments) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in beside {
        pipeline.add_command(command.clone());
    }
    pipeline.add_command(evaluate(script, arguments));
    pipeline
}

fn evaluate(script: &Script, Arguments { keys, arguments }: &Arguments) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.hash.as_str()).arg(keys.len()).arg(keys).arg(arguments);
    command
}

/// For commands whose keys are at their slot's next server already: it has to be told before each.
pub(super) fn asking(pipeline: &Pipeline) -> Pipeline {
    let mut asking = Pipeline::with_capacity(2 * pipeline.len());
    for command in pipeline.cmd_iter() {
        asking.cmd("ASKING").add_command(command.clone());
    }
    asking
}
