//! One state of everything: the server, the clients, what is on its way between them and to the nodes, and what the checks
//! remember. A value: two orders of steps that lead to the same state are gone on from once.

use super::interner::Place;
use super::scenario::Bounds;

/// By the time of the model, in ms since it began.
pub(super) type Time = u64;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) time: Time,
    pub(super) server: ServerState,
    pub(super) clients: Vec<Client>,
    /// Requests that nobody waits for any more: each may come in at any time, or never.
    pub(super) late: Vec<Place>,
    /// The nodes' processes, and what is on its way to them.
    pub(super) site: Place,
    /// What may happen yet.
    pub(super) left: Bounds,
    /// What the checks remember.
    pub(super) ghost: Place,
}

/// The server that answers now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ServerState {
    pub(super) data: Place,
    /// What it was before each of the last commands that have changed it, the last one first: as many as a replica may be
    /// behind.
    pub(super) before: Vec<Place>,
    pub(super) run: u32,
    /// Its clock is so far ahead of the model's.
    pub(super) ahead: u64,
}

/// How far a client has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client {
    /// What it has been told; none before it begins, and when it is over.
    pub(super) history: Option<Place>,
    pub(super) phase: Phase,
}

/// What a client is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// It goes on when it likes to.
    Paused,
    /// Its request is on its way.
    Asks(Place),
    /// The answer is, from this run of the server.
    Answered(Place, u32),
    /// The connection is broken, and it has not seen that yet.
    Broken,
    Done,
    Crashed,
}

impl World {
    /// Whether nobody does anything any more, but what is late may come.
    pub(super) fn is_quiet(&self) -> bool {
        self.clients.iter().all(|client| matches!(client.phase, Phase::Done | Phase::Crashed))
    }

    /// By the server's clock.
    pub(super) fn server_time(&self) -> u64 {
        self.server.ahead + self.time
    }
}

/// A client's clock shows this more than the model's: processes count from when they began.
pub(super) fn clock_of(client: usize) -> u64 {
    70_000 * (client as u64 + 1)
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A client begins, goes on after a pause, or gets its answer; or is told that nobody knows what has come of its
    /// request. That it crashes next is a part of the step: in between it would do nothing, whoever else did something.
    GoOn { client: usize, lost: bool, crashes: bool },
    /// The server does what a client asks.
    Do(usize),
    /// The server does what a client has asked for that waits no more.
    DoLate(usize),
    /// A node gets a job.
    Arrive(usize),
    /// Until then nothing happens.
    Pass(Time),
    /// Another server takes the place of this one: an empty one, or one that lacks so many of the last commands. Its clock
    /// is so far ahead of the model's.
    Replace { behind: Option<usize>, ahead: u64 },
}
