//! What one thread does: it draws what comes next, does it, and times that alone.

use std::collections::VecDeque;

use fastrand::Rng;
use slotyard::{Capabilities, Demand, Heartbeat, JobError, JobId, JobRequest, JobState, NodeHandle, Scheduler};

use super::SLOTS;
use crate::fleet;
use crate::harness::clock::Clock;
use crate::harness::crew::Signal;
use crate::harness::latencies::Latencies;

/// Operations that are told apart.
pub(crate) const KINDS: usize = Kind::ALL.len();

#[derive(Clone, Copy)]
enum Kind {
    Create,
    Complete,
    Heartbeat,
    Drain,
    Undrain,
    Register,
    Deregister,
}

impl Kind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Create, "create"),
        (Self::Complete, "complete"),
        (Self::Heartbeat, "heartbeat"),
        (Self::Drain, "drain"),
        (Self::Undrain, "undrain"),
        (Self::Register, "register"),
        (Self::Deregister, "deregister"),
    ];
}

/// Of so many draws, how many are heartbeats, drains or their ends, arrivals or departures of nodes; the rest are jobs,
/// created or completed. A gateway has far fewer of the rare ones; with fewer here, there would be little to see of
/// them.
const DRAWS: u32 = 1000;
const HEARTBEATS: u32 = 200;
const DRAINS: u32 = 8;
const ARRIVALS: u32 = 4;

/// Nodes of a thread's own that are there at once, at most.
const GUESTS: usize = 64;
/// Nodes that are drained by a thread at once, at most.
const DRAINED: usize = 16;
/// Numbers that each thread has for them.
const GUEST_NUMBERS: u32 = 10_000_000;

/// How long operations took, by kind.
#[derive(Default)]
pub(crate) struct Times([Option<Latencies>; KINDS]);

impl Times {
    fn of(&mut self, kind: Kind) -> &mut Latencies {
        self.0[kind as usize].get_or_insert_with(Latencies::new)
    }

    pub(crate) fn absorb(&mut self, others: &Self) {
        for (mine, others) in self.0.iter_mut().zip(&others.0) {
            if let Some(others) = others {
                mine.get_or_insert_with(Latencies::new).absorb(others);
            }
        }
    }

    /// Those kinds of which there were any, with their names.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, &Latencies)> {
        Kind::ALL.iter().zip(&self.0).filter_map(|((_, name), latencies)| Some((*name, latencies.as_ref()?)))
    }

    /// In ticks; `None` for a kind of which there was none.
    pub(crate) fn medians(&self) -> [Option<u64>; KINDS] {
        self.0.each_ref().map(|latencies| latencies.as_ref().map(|latencies| latencies.ticks_at(0.5)))
    }
}

/// See the module's documentation.
pub(crate) struct Player<'s> {
    scheduler: &'s Scheduler,
    fleet: &'s [NodeHandle],
    demand: Demand,
    capabilities: Capabilities,
    random: Rng,
    /// Jobs to have at once; and those there are, the oldest first.
    target: usize,
    jobs: VecDeque<(JobId, u32)>,
    drained: VecDeque<&'s NodeHandle>,
    guests: VecDeque<NodeHandle>,
    number: usize,
    /// Requests so far.
    requests: u64,
    /// The number of its next guest.
    next_guest: u32,
    /// The sizes of `jobs`, `drained` and `guests` that doing nothing has come to, so that it draws the same.
    pretended: [usize; 3],
}

impl<'s> Player<'s> {
    /// The thread of this number, which keeps up `jobs` jobs.
    pub(crate) fn new(scheduler: &'s Scheduler, fleet: &'s [NodeHandle], number: usize, jobs: usize) -> Self {
        Self {
            scheduler,
            fleet,
            demand: fleet::demand(),
            capabilities: fleet::capabilities(),
            random: Rng::with_seed(number as u64),
            target: jobs,
            jobs: VecDeque::with_capacity(jobs + 1),
            drained: VecDeque::new(),
            guests: VecDeque::new(),
            number,
            requests: 0,
            next_guest: (number as u32 + 1) * GUEST_NUMBERS,
            pretended: [jobs, DRAINED / 2, GUESTS / 2],
        }
    }

    /// Creates the jobs that there should be.
    pub(crate) fn fill(&mut self) {
        let mut untold = Latencies::new();
        while self.jobs.len() < self.target {
            self.act(Kind::Create, &mut untold);
        }
    }

    /// What comes next, with so many jobs, drained nodes and guests.
    fn draw(&mut self, [jobs, drained, guests]: [usize; 3]) -> Kind {
        let random = &mut self.random;
        let draw = random.u32(..DRAWS);
        // Up and down by chance, between nothing and the limit.
        let mut more = |have: usize, limit: usize| random.usize(..limit) >= have;
        let (grow, kinds) = match draw {
            _ if draw < ARRIVALS => (more(guests, GUESTS), [Kind::Register, Kind::Deregister]),
            _ if draw < ARRIVALS + DRAINS => (more(drained, DRAINED), [Kind::Drain, Kind::Undrain]),
            _ if draw < ARRIVALS + DRAINS + HEARTBEATS => return Kind::Heartbeat,
            _ => (jobs < self.target, [Kind::Create, Kind::Complete]),
        };
        if grow { kinds[0] } else { kinds[1] }
    }

    /// The real operations, until the turn ends.
    pub(crate) fn play(&mut self, signal: &Signal) -> Times {
        let mut times = Times::default();
        while signal.is_on() {
            let kind = self.draw([self.jobs.len(), self.drained.len(), self.guests.len()]);
            self.act(kind, times.of(kind));
        }
        times
    }

    fn act(&mut self, kind: Kind, times: &mut Latencies) {
        let scheduler = self.scheduler;
        match kind {
            Kind::Create => {
                let request =
                    JobRequest::new(format!("request-{}-{}", self.number, self.requests), self.demand.clone());
                self.requests += 1;
                let job = times.time(|| scheduler.create_job(&request)).expect("half of the slots are free");
                self.jobs.push_back((job.id(), job.attempt()));
            }
            Kind::Complete => {
                let (job, attempt) = self.jobs.pop_front().expect("there are as many as there should be");
                let completed = times.time(|| scheduler.complete(job, attempt));
                // A guest has left with it, maybe.
                let orphaned = |error| matches!(error, JobError::AlreadyEnded { state: JobState::Orphaned, .. });
                assert!(completed.is_ok() || completed.clone().is_err_and(orphaned), "{completed:?}");
            }
            Kind::Heartbeat => {
                let node = &self.fleet[self.random.usize(..self.fleet.len())];
                let beat = Heartbeat::ready();
                times.time(|| scheduler.heartbeat(node, &beat)).expect("it is registered");
            }
            Kind::Drain => {
                let node = &self.fleet[self.random.usize(..self.fleet.len())];
                times.time(|| scheduler.drain(node)).expect("it is registered");
                self.drained.push_back(node);
            }
            Kind::Undrain => {
                let node = self.drained.pop_front().expect("drawn only if there is one");
                times.time(|| scheduler.undrain(node)).expect("it is registered");
            }
            Kind::Register => {
                let spec = fleet::spec(self.next_guest, SLOTS, &self.capabilities);
                self.next_guest += 1;
                let node = times.time(|| scheduler.register(spec)).expect("the id is new");
                self.guests.push_back(node);
            }
            Kind::Deregister => {
                let node = self.guests.pop_front().expect("drawn only if there is one");
                times.time(|| scheduler.deregister(&node)).expect("it is registered");
            }
        }
    }

    /// The same draws, but instead of each operation only a wait of so many ticks, by kind.
    pub(crate) fn idle(&mut self, signal: &Signal, waits: &[u64; KINDS]) -> Times {
        let mut times = Times::default();
        while signal.is_on() {
            let kind = self.draw(self.pretended);
            let [jobs, drained, guests] = &mut self.pretended;
            match kind {
                Kind::Create => *jobs += 1,
                Kind::Complete => *jobs -= 1,
                Kind::Heartbeat => {}
                Kind::Drain => *drained += 1,
                Kind::Undrain => *drained -= 1,
                Kind::Register => *guests += 1,
                Kind::Deregister => *guests -= 1,
            }
            let wait = waits[kind as usize];
            times.of(kind).time(|| {
                if wait > 0 {
                    Clock::wait(wait)
                }
            });
        }
        times
    }
}
