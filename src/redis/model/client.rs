//! A client: a program over the code of `protocol`, polled by hand. What it does next is worked out of nothing but what it
//! has been told so far, so it is run again from its beginning for each step, and each such history only once.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::data::Answer;
use super::interner::{Interner, Place};
use crate::id::JobId;
use crate::job::JobState;
use crate::redis::call::{Call, Hello, Moved, Reply, Standing};
use crate::redis::error::CoordinatorError;
use crate::redis::keys::Keys;
use crate::redis::lease::Instance;
use crate::redis::protocol::{Granted, Moment, Server};
use crate::sync::PlainMutex;

/// How long a lease lasts, in ms, and how long one may at most.
pub(super) const LEASE: u64 = 1000;
/// Longer than any history.
pub(super) const LONG: u64 = 1_000_000_000;

/// What a client does: it is begun anew again and again, and has to do the same whenever it is told the same.
pub(super) type Program = Box<dyn Fn(Process) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A request as it is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    /// A plain command that goes before it.
    pub(super) beside: Option<Vec<String>>,
    /// Or only the plain command: then this is empty.
    pub(super) script: &'static str,
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<String>,
}

impl Request {
    pub(super) fn of<C: Call>(keys: &Keys, call: &C, standing: Standing) -> Self {
        let written = call.arguments(keys, standing);
        let beside = call.beside(keys).map(|command| words(&command));
        Self { beside, script: C::SCRIPT.name, keys: written.keys, arguments: written.arguments }
    }

    fn plain(command: Vec<String>) -> Self {
        Self { beside: Some(command), script: "", keys: Vec::new(), arguments: Vec::new() }
    }
}

fn words(command: &redis::Cmd) -> Vec<String> {
    let words = command.args_iter().map(|argument| match argument {
        redis::Arg::Simple(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
        other => panic!("a plain command has plain arguments: {other:?}"),
    });
    words.collect()
}

/// What is said first on a connection.
pub(super) fn hello<'a>(run: &'a str, known: u64) -> Hello<'a> {
    Hello { key: "epoch", run, known, longest_lease: LEASE, kept: LONG }
}

/// What an answer says.
pub(super) fn read<C: Call>(answer: &Answer) -> C::Answer {
    let reply = Reply::new(answer.clone().into());
    reply.and_then(C::read).unwrap_or_else(|error| panic!("{}: {error:?}: {answer:?}", C::SCRIPT.name))
}

/// What a client waits for is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum News {
    /// It goes on after a pause.
    Go,
    /// Nobody knows what has come of its request.
    Lost,
    Answered(Place),
}

/// What a client is told: by its own clock, if it looks at that, and while this run of the server is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Told {
    pub(super) news: News,
    pub(super) now: Option<Moment>,
    pub(super) run: u32,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    ToGoOn,
    ForAnswer(Place),
    /// It is done.
    ForNothing,
}

/// What a client does that others than the server see, and what it says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// It has been handed a job, or has had one and goes by that it has its lease since.
    Holds { request: &'static str, granted: Granted },
    /// It has learned that a job of its own is gone, or that nobody knows whether it is there.
    Learns { job: JobId, attempt: u32 },
    /// It does not go by its lease any more; if the job has ended, so has what its node ran for it.
    LetsGo { job: JobId, attempt: u32, ended: bool },
    /// It sends a job to the node.
    Starts { granted: Granted },
    /// It has ended a job, or tried to.
    Finished { job: JobId, attempt: u32, end: JobState, answer: Moved },
    /// A node's process begins anew.
    Restarts { node: usize },
    /// What a model must have come to.
    Saw(&'static str),
}

/// What a client did when it was told something.
#[derive(Debug)]
pub(super) struct Burst {
    pub(super) events: Vec<Event>,
    pub(super) waits: Waits,
    /// All the times at which it has looked at its clock so far.
    pub(super) reads: Vec<Moment>,
}

/// A client's end of the wire, for its program.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) instance: Instance,
    keys: Arc<Keys>,
    mind: Arc<PlainMutex<Mind>>,
}

#[derive(Default)]
struct Mind {
    feed: VecDeque<(Told, Option<Answer>)>,
    now: Option<Moment>,
    run: u32,
    looked: bool,
    reads: Vec<Moment>,
    events: Vec<Event>,
    wants: Option<Wants>,
    /// The run of the server that it is connected to, and what it said.
    link: (u32, Standing),
    patience: Option<u32>,
    /// A clock that stands, for a program that is to go wrong.
    frozen: bool,
}

enum Wants {
    ToGoOn,
    Answer(Request),
}

impl Process {
    fn mind<T>(&self, look: impl FnOnce(&mut Mind) -> T) -> T {
        look(&mut self.mind.lock().unwrap())
    }

    pub(super) fn tell(&self, event: Event) {
        self.mind(|mind| mind.events.push(event));
    }

    pub(super) fn saw(&self, what: &'static str) {
        self.tell(Event::Saw(what));
    }

    /// Anything may happen meanwhile.
    pub(super) async fn pause(&self) {
        self.step(Wants::ToGoOn).await;
    }

    /// Asks this often at most from here on, and gives up then.
    pub(super) fn has_patience_for(&self, asks: u32) {
        self.mind(|mind| mind.patience = Some(asks));
    }

    pub(super) fn freeze_clock(&self) {
        self.mind(|mind| mind.frozen = true);
    }

    /// Connects if the server has been lost, as `link` does, and says whether that was so.
    pub(super) async fn reconnect(&self) -> bool {
        let lost = self.mind(|mind| mind.run != mind.link.0);
        self.connected().await;
        lost
    }

    async fn connected(&self) -> Standing {
        loop {
            let (run, link) = self.mind(|mind| (mind.run, mind.link));
            if link.0 == run {
                return link.1;
            }
            let name = run_id(run);
            let answer = self.ask(&hello(&name, link.1.epoch), Standing::default()).await;
            if let Ok(standing) = answer {
                self.mind(|mind| mind.link = (run, standing));
            }
        }
    }

    /// Sends a plain command, until it is answered.
    pub(super) async fn plain<const N: usize>(&self, command: [String; N]) -> Answer {
        loop {
            self.connected().await;
            if let Some(answer) = self.step(Wants::Answer(Request::plain(command.to_vec()))).await {
                return answer;
            }
        }
    }

    async fn ask<C: Call + Sync>(&self, call: &C, standing: Standing) -> Result<C::Answer, CoordinatorError> {
        match self.step(Wants::Answer(Request::of(&self.keys, call, standing))).await {
            Some(answer) => Ok(read::<C>(&answer)),
            None => Err(CoordinatorError::Lost { detail: "the model says so".to_owned() }),
        }
    }

    /// Waits for the next thing that the client is told.
    fn step(&self, wants: Wants) -> impl Future<Output = Option<Answer>> + Send {
        let mind = self.mind.clone();
        let mut wants = Some(wants);
        std::future::poll_fn(move |_| {
            let mut mind = mind.lock().unwrap();
            match mind.feed.pop_front() {
                Some((told, answer)) => {
                    mind.wants = None;
                    (mind.now, mind.run, mind.looked) = (told.now, told.run, false);
                    mind.events.clear();
                    Poll::Ready(answer)
                }
                None => {
                    mind.wants = wants.take();
                    Poll::Pending
                }
            }
        })
    }
}

pub(super) fn run_id(run: u32) -> String {
    format!("run-{run}")
}

impl Server for Process {
    async fn call<C: Call + Sync>(&self, call: &C) -> Result<C::Answer, CoordinatorError> {
        let standing = self.connected().await;
        self.mind(|mind| mind.patience = mind.patience.map(|asks| asks.saturating_sub(1)));
        self.ask(call, standing).await
    }

    async fn command(&self, command: redis::Cmd, _: Option<redis::Cmd>) -> Result<redis::Value, CoordinatorError> {
        self.connected().await;
        self.mind(|mind| mind.patience = mind.patience.map(|asks| asks.saturating_sub(1)));
        match self.step(Wants::Answer(Request::plain(words(&command)))).await {
            Some(answer) => Ok(answer.into()),
            None => Err(CoordinatorError::Lost { detail: "the model says so".to_owned() }),
        }
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn now(&self) -> Moment {
        self.mind(|mind| {
            if mind.frozen {
                return 0;
            }
            mind.looked = true;
            let now = mind.now.expect("whoever looks at the clock is told the time");
            mind.reads.push(now);
            now
        })
    }

    fn may_ask_again(&self) -> bool {
        self.mind(|mind| mind.patience != Some(0))
    }
}

/// One client's histories, and what it did at the end of each.
pub(super) struct Histories {
    program: Program,
    keys: Arc<Keys>,
    instance: Instance,
    standing: Standing,
    histories: Vec<History>,
    next: HashMap<(Option<Place>, Told), Place>,
}

struct History {
    before: Option<Place>,
    told: Told,
    burst: Arc<Burst>,
}

/// What histories have in common: the answers and requests that there are.
#[derive(Default)]
pub(super) struct Said {
    pub(super) answers: Interner<Answer>,
    pub(super) requests: Interner<Request>,
}

impl Histories {
    /// Of a client that is connected to the first run.
    pub(super) fn new(program: Program, keys: Arc<Keys>, instance: Instance, standing: Standing) -> Self {
        Self { program, keys, instance, standing, histories: Vec::new(), next: HashMap::new() }
    }

    pub(super) fn burst(&self, at: Place) -> Arc<Burst> {
        self.histories[at.index()].burst.clone()
    }

    /// Whether it makes no difference to anybody when this was told: the client has not looked at its clock, and but for its
    /// next request it was about nothing that others see.
    pub(super) fn is_private(&self, at: Place) -> bool {
        let History { told, burst, .. } = &self.histories[at.index()];
        let is_private = |event: &Event| matches!(event, Event::Saw(_) | Event::Learns { .. } | Event::Finished { .. });
        told.now.is_none() && burst.events.iter().all(is_private)
    }

    /// The history that goes on with this. `told` has the time; histories have it only where it was looked at.
    pub(super) fn go_on(&mut self, before: Option<Place>, told: Told, said: &mut Said) -> Place {
        let timeless = Told { now: None, ..told };
        for told in [timeless, told] {
            if let Some(&place) = self.next.get(&(before, told)) {
                return place;
            }
        }
        let (burst, looked) = self.replay(before, told, said);
        let told = if looked { told } else { timeless };
        let place = Place::of(self.histories.len());
        self.histories.push(History { before, told, burst: Arc::new(burst) });
        self.next.insert((before, told), place);
        place
    }

    fn replay(&self, before: Option<Place>, told: Told, said: &mut Said) -> (Burst, bool) {
        let mut all = vec![told];
        let mut at = before;
        while let Some(History { before, told, .. }) = at.map(|at| &self.histories[at.index()]) {
            all.push(*told);
            at = *before;
        }
        let with_answer = |told: Told| match told.news {
            News::Answered(answer) => (told, Some((*said.answers.at(answer)).clone())),
            News::Go | News::Lost => (told, None),
        };
        let feed = all.into_iter().rev().map(with_answer).collect();
        let mind = Mind { feed, link: (0, self.standing), ..Mind::default() };
        let process =
            Process { instance: self.instance, keys: self.keys.clone(), mind: Arc::new(PlainMutex::new(mind)) };
        let begun = process.clone();
        let mut program = std::pin::pin!(async {
            begun.pause().await;
            (self.program)(begun.clone()).await;
        });
        let poll = program.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        process.mind(|mind| {
            assert!(mind.feed.is_empty(), "the program is over, or does not do the same again");
            let waits = match (poll, mind.wants.take()) {
                (Poll::Ready(()), _) => Waits::ForNothing,
                (Poll::Pending, Some(Wants::ToGoOn)) => Waits::ToGoOn,
                (Poll::Pending, Some(Wants::Answer(request))) => Waits::ForAnswer(said.requests.place(request)),
                (Poll::Pending, None) => panic!("a program waits for what no model gives it"),
            };
            let burst =
                Burst { events: std::mem::take(&mut mind.events), waits, reads: std::mem::take(&mut mind.reads) };
            (burst, mind.looked)
        })
    }
}
