//! One call with its arguments.

use std::fmt;

use slotyard::{ExclusionMode, JobState, SessionMode};

use super::ability::{Ability, LANGUAGES, Needs, SERVICES};

/// How many nodes, requests and sessions there are to name.
pub(crate) const NODES: u8 = 6;
pub(crate) const REQUESTS: u8 = 12;
pub(crate) const SESSIONS: u8 = 3;
/// Calls whose arguments are malformed, see `Step::Malformed`.
pub(crate) const MALFORMED: u8 = 12;

/// So many bytes make a step.
pub(crate) const STEP_BYTES: usize = 12;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Register {
        node: u8,
        capacity: u32,
        weight: u16,
        ability: Ability,
        ready: bool,
        replace: bool,
    },
    Deregister(Named),
    Beat(Named, Beat),
    /// Of all nodes that there are, and of the handles that there were.
    BeatAll(Beat),
    Drain(Named, bool),
    Capacity(Named, u32),
    Weight(Named, u16),
    Update(Named, Ability),
    Unavailable(Named, u8, u64),
    Create(u8, Ask),
    /// So many requests in a row, from this one on.
    CreateMany(u8, u8, Ask),
    Move(u8, Which, Move),
    CompleteMany(u8, u8),
    Retry(u8, Which),
    Select {
        ask: Ask,
        prepared: bool,
    },
    Reserve {
        ask: Ask,
        prepared: bool,
    },
    /// Drops one of the reservations that are kept.
    GiveBack(u8),
    /// A further queue of events, of this length; the one before is dropped.
    Subscribe(u8),
    /// So many events are taken from it.
    Receive(u8),
    Tick(u64),
    /// The time at which so many things have come due, or so many ms before or after it.
    TickDue(u8, i64),
    /// A time that has been.
    TickBack(u64),
    /// One of the calls with something wrong in them.
    Malformed(u8),
}

/// A node, as it is called.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Named {
    /// By its handle.
    Node(u8),
    /// By the handle of an incarnation that has ended.
    Ended(u8),
    /// By its id, where that can be.
    Id(u8),
}

/// An attempt of a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Which {
    Current,
    Before,
    Next,
}

/// What a select or create wants.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Ask {
    pub(crate) needs: Needs,
    /// Nodes to keep off, a bit each.
    pub(crate) excluded: u8,
    pub(crate) exclusion: ExclusionMode,
    /// A routing key.
    pub(crate) key: Option<u8>,
    pub(crate) session: Option<u8>,
    pub(crate) mode: Option<SessionMode>,
    pub(crate) lease: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Move {
    Dispatched,
    Running,
    Renew,
    End(JobState),
}

/// What a heartbeat says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beat {
    pub(crate) ready: Option<bool>,
    pub(crate) running: Option<u32>,
    /// Of the processor and the accelerator. May be more than there is.
    pub(crate) usage: Option<(f32, f32)>,
    /// The services that are ready, a bit each. May be ones that the node does not offer.
    pub(crate) services: Option<u8>,
}

impl Ask {
    /// For these needs, and nothing beyond.
    pub(crate) fn of(needs: Needs) -> Self {
        let exclusion = ExclusionMode::Hard;
        Self { needs, excluded: 0, exclusion, key: None, session: None, mode: None, lease: None }
    }
}

/// Only what is asked for, so that a history can be read.
impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needs, excluded, exclusion, key, session, mode, lease } = self;
        let mut shown = f.debug_struct("Ask");
        shown.field("services", &format_args!("{:04b}", needs.services));
        if let Some(pair) = needs.pair {
            shown.field("pair", &pair);
        }
        if needs.zone != 0 {
            shown.field("zone", &needs.zone);
        }
        if needs.tenant {
            shown.field("tenant", &true);
        }
        if *excluded != 0 {
            shown.field("excluded", &format_args!("{excluded:06b}")).field("exclusion", exclusion);
        }
        if let Some(key) = key {
            shown.field("key", key);
        }
        if let Some(session) = session {
            shown.field("session", session);
        }
        if let Some(mode) = mode {
            shown.field("mode", mode);
        }
        if let Some(lease) = lease {
            shown.field("lease", lease);
        }
        shown.finish()
    }
}

/// Bytes read one after the other. The smaller they are, the plainer is what is made of them.
struct Bytes([u8; STEP_BYTES], usize);

impl Bytes {
    fn next(&mut self) -> u8 {
        let byte = self.0.get(self.1).copied().unwrap_or(0);
        self.1 += 1;
        byte
    }

    fn below(&mut self, n: u8) -> u8 {
        self.next() % n
    }

    fn long(&mut self) -> u64 {
        u64::from(self.next()) << 8 | u64::from(self.next())
    }

    /// One of these; the first in most cases.
    fn mostly<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        match self.next() {
            byte @ 192.. => others[byte as usize % others.len()],
            _ => first,
        }
    }

    fn ability(&mut self) -> Ability {
        let (services, other) = (self.next(), self.next());
        // Most often some of the plain ones.
        let services = if services < 192 { services % 8 } else { services % (1 << SERVICES) };
        Ability { services, languages: other % 8, zone: [0, 0, 1, 2][other as usize >> 3 & 3] }.tidied()
    }

    /// `usual`: the services that are asked for in most cases.
    fn needs(&mut self, usual: u8) -> Needs {
        let (services, other) = (self.next(), self.next());
        if services < 176 {
            return Needs { services: usual, ..Needs::default() };
        }
        let services = services % (1 << SERVICES);
        let language = |bits: u8| bits % LANGUAGES.len() as u8;
        let pair = (other & 1 == 1).then_some((language(other >> 1 & 3), language(other >> 3 & 3)));
        let zone = if other >= 224 { 1 + (other >> 5 & 1) } else { 0 };
        Needs { services, pair, zone, tenant: (192..224).contains(&other) }.tidied()
    }

    fn ask(&mut self, usual: u8) -> Ask {
        let needs = self.needs(usual);
        let (history, excluded) = (self.next(), self.next());
        let modes = [
            None,
            None,
            Some(SessionMode::Affinity),
            Some(SessionMode::Spread(ExclusionMode::Hard)),
            Some(SessionMode::Spread(ExclusionMode::Soft)),
        ];
        Ask {
            needs,
            excluded: if excluded < 160 { 0 } else { excluded & ((1 << NODES) - 1) },
            exclusion: if excluded.is_multiple_of(2) { ExclusionMode::Hard } else { ExclusionMode::Soft },
            key: self.mostly(None, &[None, Some(1), None, Some(2)]),
            session: (history >= 96).then_some(history % SESSIONS),
            mode: modes[history as usize / 4 % modes.len()],
            lease: self.mostly(None, &[Some(1), Some(500), Some(8_000), Some(20_000)]),
        }
    }

    fn named(&mut self) -> Named {
        match self.next() {
            byte @ 0..208 => Named::Node(byte % NODES),
            byte @ 208..232 => Named::Id(byte % NODES),
            byte => Named::Ended(byte % NODES),
        }
    }

    fn beat(&mut self) -> Beat {
        let (ready, running, usage, services) = (self.next(), self.next(), self.next(), self.next());
        let shares = [0.1, 0.8, 0.95, 0.3, 0.8, 0.95, 0.1, 1.5, f32::NAN];
        let share = |n: u8| shares[n as usize % shares.len()];
        Beat {
            ready: [Some(true), Some(true), None, Some(true), None, Some(true), Some(false)][ready as usize % 7],
            running: (running >= 200).then_some(u32::from(running % 5)),
            usage: (usage >= 192).then(|| (share(usage), share(usage / 9))),
            services: (services >= 230).then_some(services % (1 << SERVICES)),
        }
    }

    /// Now and then none.
    fn time(&mut self) -> u64 {
        let time = self.long() % 20_000 + 1;
        self.mostly(time, &[time, 0])
    }

    fn capacity(&mut self) -> u32 {
        let usual = u32::from(self.below(4)) + 1;
        self.mostly(usual, &[usual, usual, usual, 17, 0, 16_383, 16_384])
    }

    /// Some are named more often than others, so that several calls in a row are about one.
    fn request(&mut self) -> u8 {
        match self.next() {
            byte @ 0..112 => byte % REQUESTS,
            byte => byte % 4,
        }
    }

    fn which(&mut self) -> Which {
        self.mostly(Which::Current, &[Which::Current, Which::Before, Which::Next])
    }
}

impl Step {
    /// The step that these bytes stand for; any do.
    pub(crate) fn of(bytes: [u8; STEP_BYTES]) -> Self {
        let mut bytes = Bytes(bytes, 0);
        let next = &mut bytes;
        match next.next() {
            0..60 => {
                // The same request most often asks for the same.
                let request = next.request();
                Self::Create(request, next.ask(request % 4))
            }
            60..64 => Self::CreateMany(next.request(), 1 + next.below(5), next.ask(0)),
            64..84 => Self::Register {
                node: next.below(NODES),
                capacity: next.capacity(),
                ability: next.ability(),
                ready: next.mostly(true, &[false]),
                replace: next.mostly(false, &[true]),
                weight: next.mostly(100, &[50, 0, 200, 100]),
            },
            84..87 => Self::Deregister(next.named()),
            87..103 => Self::Beat(next.named(), next.beat()),
            103..113 => Self::BeatAll(next.beat()),
            113..119 => Self::Drain(next.named(), next.below(3) == 1),
            119..125 => Self::Capacity(next.named(), next.capacity()),
            125..129 => Self::Weight(next.named(), next.mostly(100, &[50, 0, 0])),
            129..136 => Self::Update(next.named(), next.ability()),
            136..141 => Self::Unavailable(next.named(), next.below(SERVICES), next.time()),
            141..181 => {
                let (request, which) = (next.request(), next.which());
                let moves = [
                    Move::Dispatched,
                    Move::End(JobState::Failed),
                    Move::Running,
                    Move::End(JobState::Completed),
                    Move::Dispatched,
                    Move::Renew,
                    Move::End(JobState::Cancelled),
                    Move::Running,
                    Move::Dispatched,
                    Move::Renew,
                ];
                Self::Move(request, which, moves[next.next() as usize % moves.len()])
            }
            181..184 => Self::CompleteMany(next.request(), 1 + next.below(20)),
            184..212 => Self::Retry(next.request(), next.which()),
            212..216 => Self::Select { prepared: next.below(2) == 1, ask: next.ask(1) },
            216..226 => Self::Reserve { prepared: next.below(2) == 1, ask: next.ask(0) },
            226..234 => Self::GiveBack(next.next()),
            234..236 => Self::Subscribe(next.below(4)),
            236..238 => Self::Receive(next.below(6)),
            238..239 => Self::TickBack(next.long()),
            239..241 => Self::Malformed(next.below(MALFORMED)),
            241..247 => Self::TickDue(next.mostly(0, &[1, 2, 3]), next.mostly(0, &[-1, 0, 1])),
            247.. => Self::Tick(match next.next() {
                // Most often less than a lease.
                0..200 => next.long() % 1_500,
                200..246 => next.long() % 40_000,
                246..253 => next.long() << 10,
                // Beyond 32 bits of milliseconds.
                _ => next.long() << 24,
            }),
        }
    }
}
