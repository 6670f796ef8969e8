//! The requests: every arrival of the trace in as many copies as asked for, each with what its client will do.

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, LogNormal};
use slotyard::{ExclusionMode, JobRequest, SessionMode};

use crate::demands::Demands;
use crate::input::{Arrival, Tokens};
use crate::random::{Purpose, stream};
use crate::workload::{Work, Workload};

/// When the first request arrives: the fleet has had time to register. Microseconds, as all times here.
const FIRST: u64 = 1_000_000;
/// How much the length of speech varies: sigma of the log-normal distribution around a language's mean clip.
const CLIP_SIGMA: f64 = 0.8;
/// How long clients wait for a slot before they give up, in seconds: uniform between these.
const PATIENCE: (f64, f64) = (20.0, 60.0);
/// Share of the requests that belong to a conversation, and of those that go on with one.
const IN_SESSION: f64 = 0.5;
const SAME_SESSION: f64 = 0.7;
/// Share of the conversations that avoid the last node instead of keeping to its pool.
const SPREADING: f64 = 0.2;
/// Conversations that go on at the same time, for each copy of the trace.
const SESSIONS: usize = 64;
/// Shares of the requests whose client sends them twice at once, and once more when they are done.
const DOUBLED: f64 = 0.02;
const REPEATED: f64 = 0.01;
/// Shares of the requests whose client vanishes without a word, cancels, or asks for another node while one works.
const VANISHING: f64 = 0.002;
const CANCELLING: f64 = 0.005;
const SWITCHING: f64 = 0.001;

/// From a slot to the start of the work on the node.
pub(crate) const TRANSFER: std::ops::Range<u64> = 1_000..20_000;
/// From a failed or orphaned attempt to the next.
pub(crate) const REACTION: std::ops::Range<u64> = 5_000..50_000;
/// A refused client waits about this long before it asks again, twice as long each time, up to the longest.
const BACKOFF: u64 = 200_000;
const LONGEST_BACKOFF: u64 = 5_000_000;
/// Share of the attempts that fail on the node.
pub(crate) const FAILING: f64 = 0.01;

/// How long a client waits that was refused so often without a slot in between, and was told to wait for `hint`.
pub(crate) fn backoff(refusals: u32, hint: u64, random: &mut StdRng) -> u64 {
    let delay = (BACKOFF << (refusals - 1).min(16)).max(hint).min(LONGEST_BACKOFF);
    (delay as f64 * random.random_range(0.5..1.5)) as u64
}

/// A share of a time, and not nothing.
pub(crate) fn part(whole: u64, share: f64) -> u64 {
    ((whole as f64 * share) as u64).max(1)
}

/// One request, and what its client will do.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// From 0, in the order of arrival.
    pub(crate) number: u64,
    pub(crate) at: u64,
    /// How long the client waits for a slot.
    pub(crate) patience: u64,
    /// Index of its demand.
    pub(crate) demand: usize,
    pub(crate) work: Work,
    pub(crate) session: Option<(u32, SessionMode)>,
    /// Its client sends it twice at once.
    pub(crate) doubled: bool,
    /// Its client sends it again when it is done.
    pub(crate) repeated: bool,
    pub(crate) conduct: Conduct,
}

impl Request {
    /// What the scheduler is asked for.
    pub(crate) fn asks(&self, demands: &Demands) -> JobRequest {
        let asks = JobRequest::new(request_id(self.number), demands.demand(self.demand).clone());
        match self.session {
            Some((session, mode)) => asks.session(format!("s{session}")).session_mode(mode),
            None => asks,
        }
    }
}

/// The id of the request of this number.
pub(crate) fn request_id(number: u64) -> String {
    format!("r{number}")
}

/// What a client does while its job runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Conduct {
    /// Waits for the end.
    Waits,
    /// Is never heard of again.
    Vanishes,
    /// Cancels after this share of the job's time.
    Cancels(f64),
    /// Takes another node after this share of the job's time.
    Switches(f64),
}

#[derive(Debug, Clone, Copy)]
struct Session {
    id: u32,
    direction: usize,
    mode: SessionMode,
}

/// The requests, in the order of their arrival.
pub(crate) struct Requests<'a> {
    arrivals: &'a [Arrival],
    demands: &'a Demands,
    copies: u32,
    random: StdRng,
    sessions: Vec<Session>,
    next_session: u32,
    next_number: u64,
    /// Which arrival is being copied, and when its copies come; the next is the last.
    current: usize,
    due: Vec<u64>,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(workload: &'a Workload, seed: u64) -> Self {
        Self {
            arrivals: &workload.arrivals,
            demands: &workload.demands,
            copies: workload.copies,
            random: stream(seed, Purpose::Requests),
            sessions: Vec::new(),
            next_session: 0,
            next_number: 0,
            current: 0,
            due: Vec::new(),
        }
    }

    /// When the next request arrives.
    pub(crate) fn next_at(&mut self) -> Option<u64> {
        if self.due.is_empty() {
            let at = self.arrivals.get(self.current)?.at;
            // Copies are spread over the time until the next arrival: the trace's bursts stay what they are.
            let gap = self.arrivals.get(self.current + 1).map_or(0, |next| next.at - at);
            self.due.push(FIRST + at);
            self.due.extend((1..self.copies).map(|_| FIRST + at + self.random.random_range(0..=gap)));
            self.due.sort_unstable_by(|a, b| b.cmp(a));
        }
        self.due.last().copied()
    }

    fn work(&mut self, tokens: Option<Tokens>, demand: usize) -> Work {
        match tokens {
            Some(tokens) => Work::Tokens(tokens),
            None => {
                let mean = self.demands.clip_seconds(demand);
                let lengths = LogNormal::new(mean.ln() - CLIP_SIGMA * CLIP_SIGMA / 2.0, CLIP_SIGMA);
                Work::Speech(lengths.map_or(mean, |lengths| lengths.sample(&mut self.random)) as f32)
            }
        }
    }

    /// A conversation to go on with, or a new one that takes the place of another.
    fn session(&mut self) -> Session {
        let room = SESSIONS * self.copies as usize;
        let place = self.random.random_range(0..room);
        if let Some(session) = self.sessions.get(place).filter(|_| self.random.random_bool(SAME_SESSION)) {
            return *session;
        }
        let mode = if self.random.random_bool(SPREADING) {
            SessionMode::Spread(ExclusionMode::Soft)
        } else {
            SessionMode::Affinity
        };
        let session = Session { id: self.next_session, direction: self.demands.direction(&mut self.random), mode };
        self.next_session = self.next_session.wrapping_add(1);
        match self.sessions.get_mut(place) {
            Some(other) => *other = session,
            None => self.sessions.push(session),
        }
        session
    }

    fn conduct(&mut self) -> Conduct {
        let draw: f64 = self.random.random();
        let share = self.random.random();
        match draw {
            _ if draw < VANISHING => Conduct::Vanishes,
            _ if draw < VANISHING + CANCELLING => Conduct::Cancels(share),
            _ if draw < VANISHING + CANCELLING + SWITCHING => Conduct::Switches(share),
            _ => Conduct::Waits,
        }
    }
}

impl Iterator for Requests<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let at = self.next_at()?;
        let tokens = self.arrivals[self.current].tokens;
        self.due.pop();
        if self.due.is_empty() {
            self.current += 1;
        }
        let session = self.random.random_bool(IN_SESSION).then(|| self.session());
        let direction = match session {
            Some(session) => session.direction,
            None => self.demands.direction(&mut self.random),
        };
        let demand = self.demands.in_direction(direction, self.random.random());
        let number = self.next_number;
        self.next_number += 1;
        Some(Request {
            number,
            at,
            patience: (self.random.random_range(PATIENCE.0..PATIENCE.1) * 1e6) as u64,
            demand,
            work: self.work(tokens, demand),
            session: session.map(|session| (session.id, session.mode)),
            doubled: self.random.random_bool(DOUBLED),
            repeated: self.random.random_bool(REPEATED),
            conduct: self.conduct(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    #[test]
    fn copies_keep_the_order_and_the_ends_of_the_trace() {
        let workload = Workload::new(&Args::parse_from(["replay", "--scale", "3", "--speed", "100"])).unwrap();
        let requests: Vec<Request> = Requests::new(&workload, 1).collect();
        assert_eq!(requests.len() as u64, workload.requests());
        assert!(requests.is_sorted_by_key(|request| request.at));
        assert!(requests.iter().zip(0..).all(|(request, number)| request.number == number));
        assert_eq!(requests[0].at, FIRST);
        assert_eq!(requests[requests.len() - 1].at, FIRST + workload.arrivals[workload.arrivals.len() - 1].at);
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let workload = Workload::new(&Args::parse_from(["replay", "--speed", "100"])).unwrap();
        let all = |seed| Requests::new(&workload, seed).map(|r| format!("{r:?}")).take(1000).collect::<Vec<_>>();
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn speech_is_as_long_as_its_clips_on_average() {
        let workload = Workload::new(&Args::parse_from(["replay", "--speed", "100"])).unwrap();
        let seconds = Requests::new(&workload, 1).take(100_000).map(|request| match request.work {
            Work::Speech(seconds) => f64::from(seconds),
            Work::Tokens(_) => panic!("the embedded trace has no tokens"),
        });
        let mean = seconds.sum::<f64>() / 1e5;
        let expected = workload.demands.mean_clip_seconds();
        assert!((mean / expected - 1.0).abs() < 0.02, "{mean}, {expected}");
    }
}
