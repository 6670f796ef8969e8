//! Both servers: a real one, and the model of one.

use std::collections::BTreeMap;
use std::fmt::Write;

use redis::{Connection, Value as Found};
use slotyard_servers::Server;

use super::super::client::{LONG, Request};
use super::super::commands::{self, formatted};
use super::super::data::{Answer, Data, Value};
use super::super::lua::{Given, Interpreter};
use crate::redis::call::{Call, Standing};
use crate::redis::keys::Keys;
use crate::redis::script;

/// Where scripts find the time on the real server: `MGET` answers what `TIME` does.
const CLOCK: [&str; 2] = ["clock:s", "clock:us"];
const HOUR: u64 = 3_600_000;

/// See the module's documentation.
pub(super) struct Both {
    connection: Connection,
    /// The hashes of scripts as the real server has them.
    loaded: BTreeMap<&'static str, String>,
    interpreter: Interpreter,
    pub(super) data: Data,
    /// In µs.
    pub(super) now: u64,
    pub(super) standing: Standing,
    keys: Keys,
}

/// A script that both have done, and what they have answered.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) request: Request,
    real: Answer,
    model: Answer,
}

impl Done {
    pub(super) fn answer(&self) -> &Answer {
        &self.model
    }
}

impl Both {
    pub(super) fn new(server: &Server) -> Self {
        let connection = redis::Client::open(server.url()).and_then(|client| client.get_connection());
        let mut connection = connection.expect("the server answers");
        let loaded = script::ALL.iter().map(|script| {
            let [seconds, micros] = CLOCK;
            let clock = format!("redis.call('MGET', '{seconds}', '{micros}')");
            let source = script.source.replace("redis.call('TIME')", &clock);
            (script.name, redis::cmd("SCRIPT").arg("LOAD").arg(source).query(&mut connection).expect("a script"))
        });
        Self {
            loaded: loaded.collect(),
            connection,
            interpreter: Interpreter::new(),
            data: Data::default(),
            now: 0,
            standing: Standing::default(),
            keys: Keys::new("", false),
        }
    }

    /// With nothing, at some time.
    pub(super) fn begin(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection).expect("it is ours");
        (self.data, self.now) = (Data::default(), 1_763_700_000_123_456);
        self.standing = Standing { epoch: 1_763_700_000, warm_until: 0 };
    }

    /// Has both do a script.
    pub(super) fn ask<C: Call>(&mut self, call: &C) -> Done {
        let request = Request::of(&self.keys, call, self.standing);
        let script = script::ALL.iter().find(|script| script.name == request.script).expect("it is listed");
        let Request { keys, arguments, beside, .. } = &request;
        let mut real = redis::pipe();
        let [seconds, micros] = CLOCK;
        real.cmd("MSET").arg(seconds).arg(self.now / 1_000_000).arg(micros).arg(self.now % 1_000_000);
        if let Some(command) = beside {
            real.cmd(&command[0]).arg(&command[1..]);
            commands::run(&mut self.data, self.now, command).expect("a plain command is done");
        }
        real.cmd("EVALSHA").arg(&self.loaded[script.name]).arg(keys.len()).arg(keys).arg(arguments);
        let answers: Vec<Found> =
            real.query(&mut self.connection).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        let real = found(answers.into_iter().next_back().expect("an answer for each"));
        let given = Given { keys, arguments, now: self.now };
        let (model, data) =
            self.interpreter.run(script.source, given, std::mem::take(&mut self.data)).expect("it works");
        self.data = data;
        Done { request, real, model }
    }

    /// The script, and how its answer begins: as far as that is words.
    pub(super) fn said(&self, Done { request, model, .. }: &Done) -> String {
        let mut said = request.script.to_owned();
        if let Answer::List(items) = model {
            for item in items.iter().take(2) {
                match item {
                    Answer::Text(text)
                        if !text.is_empty() && text.chars().all(|letter| letter.is_ascii_uppercase()) =>
                    {
                        let _ = write!(said, " {text}");
                    }
                    Answer::Text(text) if request.script == "renew" => {
                        let _ = write!(said, " {text}");
                        break;
                    }
                    Answer::Number(number @ 0..=1) if matches!(request.script, "give" | "restore") => {
                        let _ = write!(said, " {number}");
                        break;
                    }
                    _ => break,
                }
            }
        }
        said
    }

    /// Has the real server do a plain command.
    pub(super) fn ask_real(&mut self, command: &[String]) -> Result<Answer, String> {
        let mut real = redis::cmd(&command[0]);
        real.arg(&command[1..]).query(&mut self.connection).map(found).map_err(|error| error.to_string())
    }

    /// What is different after a script.
    pub(super) fn compare(&mut self, done: &Done) -> Result<(), String> {
        if done.real != done.model {
            return Err(format!("{done:?}"));
        }
        self.compare_data(&done.request)
    }

    pub(super) fn compare_data(&mut self, after: &impl std::fmt::Debug) -> Result<(), String> {
        let (real, model) = (self.real_data(), self.model_data());
        if real == model { Ok(()) } else { Err(format!("{after:?}\nreal:  {real:#?}\nmodel: {model:#?}")) }
    }

    fn real_data(&mut self) -> BTreeMap<String, String> {
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut self.connection).expect("keys");
        keys.retain(|key| !CLOCK.contains(&key.as_str()));
        if keys.is_empty() {
            return BTreeMap::new();
        }
        let mut pipeline = redis::pipe();
        for key in &keys {
            pipeline.cmd("TYPE").arg(key);
        }
        let kinds: Vec<String> = pipeline.query(&mut self.connection).expect("types");
        let mut pipeline = redis::pipe();
        for (key, kind) in keys.iter().zip(&kinds) {
            pipeline.cmd("PTTL").arg(key);
            match kind.as_str() {
                "zset" => pipeline.cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES"),
                "hash" => pipeline.cmd("HGETALL").arg(key),
                "stream" => pipeline.cmd("XRANGE").arg(key).arg("-").arg("+"),
                _ => pipeline.cmd("GET").arg(key),
            };
        }
        let answers: Vec<Found> = pipeline.query(&mut self.connection).expect("what they hold");
        let mut answers = answers.into_iter().map(found);
        let described = keys.into_iter().zip(kinds).map(|(key, kind)| {
            let ttl = match answers.next() {
                Some(Answer::Number(ms)) => u64::try_from(ms).ok(),
                other => panic!("{other:?}"),
            };
            let held = held_by_real(&kind, answers.next().expect("two for each"));
            (key, format!("{} {held}", kept(ttl)))
        });
        described.collect()
    }

    fn model_data(&self) -> BTreeMap<String, String> {
        let now = self.now / 1000;
        let described = self.data.keys.iter().map(|(key, entry)| {
            let ttl = entry.expires.map(|expires| expires.saturating_sub(now));
            (key.clone(), format!("{} {}", kept(ttl), held_by_model(&entry.value)))
        });
        described.collect()
    }
}

/// How long a key is kept, as far as that is compared.
fn kept(ttl: Option<u64>) -> String {
    match ttl {
        None => "for ever".to_owned(),
        Some(ms) if ms >= LONG / 2 => "for long".to_owned(),
        Some(ms) => format!("for {} h", ms.div_ceil(HOUR)),
    }
}

fn found(value: Found) -> Answer {
    match value {
        Found::Nil => Answer::Nil,
        Found::Int(number) => Answer::Number(number),
        Found::BulkString(bytes) => Answer::Text(String::from_utf8(bytes).expect("text")),
        Found::SimpleString(text) => Answer::Status(text),
        Found::Okay => Answer::Status("OK".to_owned()),
        Found::Array(items) => Answer::List(items.into_iter().map(found).collect()),
        other => panic!("no script answers this: {other:?}"),
    }
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Text(text) | Answer::Status(text) => text.clone(),
        other => panic!("no text: {other:?}"),
    }
}

fn texts(answer: Answer) -> Vec<String> {
    match answer {
        Answer::List(items) => items.iter().map(text).collect(),
        other => panic!("no list: {other:?}"),
    }
}

fn held_by_real(kind: &str, held: Answer) -> String {
    match kind {
        "string" => format!("text {}", text(&held)),
        "hash" => {
            let fields: BTreeMap<_, _> = texts(held).chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            format!("fields {fields:?}")
        }
        "zset" => {
            let members: Vec<_> = texts(held).chunks(2).map(|pair| (pair[1].clone(), pair[0].clone())).collect();
            format!("sorted {members:?}")
        }
        "stream" => {
            let Answer::List(entries) = held else { panic!("no list: {held:?}") };
            let entries = entries.into_iter().map(|entry| match entry {
                Answer::List(parts) => match <[Answer; 2]>::try_from(parts) {
                    Ok([id, fields]) => (text(&id), texts(fields)),
                    Err(parts) => panic!("no entry: {parts:?}"),
                },
                other => panic!("no entry: {other:?}"),
            });
            stream(entries.collect())
        }
        other => panic!("nothing of ours is a {other}"),
    }
}

fn held_by_model(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("text {text}"),
        Value::Fields(fields) => format!("fields {fields:?}"),
        Value::Sorted(members) => {
            let members = members.iter().map(|(score, member)| (formatted(*score).expect("a score"), member.clone()));
            format!("sorted {:?}", members.collect::<Vec<_>>())
        }
        Value::Stream(entries) => {
            stream(entries.iter().map(|((ms, number), fields)| (format!("{ms}-{number}"), fields.clone())).collect())
        }
    }
}

/// A stream, in which ids are told by their place.
fn stream(entries: Vec<(String, Vec<String>)>) -> String {
    let places: BTreeMap<_, _> = entries.iter().enumerate().map(|(place, (id, _))| (id.clone(), place)).collect();
    let with_places = |fields: &Vec<String>| {
        let field = |text: &String| places.get(text).map_or(text.clone(), |place| format!("the entry {place}"));
        fields.iter().map(field).collect::<Vec<_>>()
    };
    format!("stream {:?}", entries.iter().map(|(_, fields)| with_places(fields)).collect::<Vec<_>>())
}
