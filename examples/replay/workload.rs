//! What is replayed: files where they are given, embedded parts where not, joined into one workload.

use std::fmt;

use rand::seq::SliceRandom;

use crate::args::Args;
use crate::demands::Demands;
use crate::embedded;
use crate::input::{Arrival, CLASSES, InputError, Languages, MAX_SPAN, Machine, Pairs, Perf, Source, Tokens};
use crate::random::{Purpose, stream};
use crate::teams::Teams;

/// As many nodes as a scheduler takes by default.
const MAX_NODES: usize = 1 << 21;
/// No request is served for longer than a day, in microseconds, whatever the tables say.
const LONGEST_SERVICE: f64 = 86_400e6;

/// Everything that a replay needs to know beforehand.
#[derive(Debug)]
pub(crate) struct Workload {
    /// Of one copy of the trace, sorted by time; not empty.
    pub(crate) arrivals: Vec<Arrival>,
    /// How many copies of each arrival come.
    pub(crate) copies: u32,
    /// The fleet, and which team each machine is in.
    pub(crate) fleet: Vec<(Machine, usize)>,
    pub(crate) demands: Demands,
    pub(crate) teams: Teams,
    pub(crate) pairs: Pairs,
    pub(crate) perf: Perf,
    /// Requests a second.
    rate: f64,
    /// Mean slots in use if nothing was refused, in slots.
    pub(crate) offered_slots: f64,
    pub(crate) incidents: Incidents,
}

/// How often something happens to a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incidents {
    /// Mean time from one incident of a node to the next, in seconds.
    pub(crate) mean_gap: f64,
}

/// Often enough in half an hour to see every kind of incident many times.
const EMBEDDED_GAP: f64 = 2400.0;
/// A modest rate: a trace is about something else.
const TRACE_GAP: f64 = 3600.0;

/// Why there is nothing to replay.
#[derive(Debug)]
pub(crate) enum WorkloadError {
    Input(InputError),
    /// The input is well-formed, but an argument does not go with it.
    Argument(String),
}

impl fmt::Display for WorkloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(error) => error.fmt(f),
            Self::Argument(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for WorkloadError {}

impl From<InputError> for WorkloadError {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

/// How many microseconds a unit of work takes, before the node that it lands on is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    Tokens(Tokens),
    /// Seconds on the fastest hardware.
    Speech(f32),
}

impl Workload {
    pub(crate) fn new(args: &Args) -> Result<Self, WorkloadError> {
        let open = |path: &Option<_>| path.as_deref().map(Source::read).transpose();
        let arrivals = match open(&args.trace)? {
            Some(source) => Arrival::read(&source)?,
            None => embedded::arrivals(args.seed),
        };
        let arrivals = sped_up(arrivals, args.speed)?;
        let languages = match open(&args.languages)? {
            Some(source) => Languages::read(&source)?,
            None => embedded::languages(),
        };
        let pairs = match open(&args.pairs)? {
            Some(source) => Pairs::read(&source)?,
            None => embedded::pairs(),
        };
        let Some(demands) = Demands::new(&languages, &pairs) else {
            let message = "--languages and --pairs: expected a pair of languages that both name, found none";
            return Err(WorkloadError::Argument(message.to_owned()));
        };
        let mut machines = match open(&args.nodes)? {
            Some(source) => Machine::read(&source)?,
            None => embedded::machines(args.seed),
        };
        let perf = match open(&args.perf)? {
            Some(source) => {
                let perf = Perf::read(&source)?;
                perf.check(&source, &machines)?;
                perf
            }
            None => embedded::perf(),
        };
        // A share of the list should be a sample of it, and lists come sorted by kind.
        machines.shuffle(&mut stream(args.seed, Purpose::FleetOrder));
        let offered = Offered::new(&arrivals, args.scale, &demands, &perf);
        let machines = fleet(&machines, args, &offered)?;
        let teams = Teams::new(&demands, &pairs);
        let dealt = teams.deal(&machines);
        let mean_gap = if args.trace.is_some() { TRACE_GAP } else { EMBEDDED_GAP };
        Ok(Self {
            rate: offered.rate,
            offered_slots: offered.slots(&machines),
            fleet: machines.into_iter().zip(dealt).collect(),
            copies: args.scale,
            incidents: Incidents { mean_gap },
            arrivals,
            demands,
            teams,
            pairs,
            perf,
        })
    }

    /// How long work takes on a class of hardware, in microseconds.
    pub(crate) fn service_time(&self, class: usize, work: Work) -> u64 {
        let ms = match work {
            Work::Tokens(tokens) => self.perf.tokens_ms(class, tokens),
            Work::Speech(seconds) => f64::from(seconds) * 1e3 * self.perf.slowness(class),
        };
        (ms * 1e3).clamp(1.0, LONGEST_SERVICE) as u64
    }

    /// How many requests arrive within so many seconds on average.
    pub(crate) fn requests_within(&self, seconds: f64) -> u64 {
        (self.rate * seconds) as u64
    }

    /// How many requests will arrive.
    pub(crate) fn requests(&self) -> u64 {
        self.arrivals.len() as u64 * u64::from(self.copies)
    }
}

/// The arrivals with the time between them divided by `speed`.
fn sped_up(mut arrivals: Vec<Arrival>, speed: f64) -> Result<Vec<Arrival>, WorkloadError> {
    for arrival in &mut arrivals {
        arrival.at = (arrival.at as f64 / speed) as u64;
    }
    match arrivals.last() {
        Some(last) if last.at > MAX_SPAN => Err(WorkloadError::Argument(format!(
            "--speed {speed}: the requests would take more than 31 days to arrive"
        ))),
        _ => Ok(arrivals),
    }
}

/// What is asked of the fleet.
struct Offered {
    /// Requests a second.
    rate: f64,
    /// Mean service time by class, in seconds; meaningless for a class that no machine is of.
    seconds: Vec<f64>,
}

impl Offered {
    fn new(arrivals: &[Arrival], copies: u32, demands: &Demands, perf: &Perf) -> Self {
        let span = arrivals.last().map_or(0, |last| last.at).max(1_000_000) as f64 / 1e6;
        let speech = arrivals.iter().filter(|arrival| arrival.tokens.is_none()).count() as f64;
        let clip = demands.mean_clip_seconds();
        let mean = |class: usize| {
            let tokens: f64 =
                arrivals.iter().filter_map(|arrival| arrival.tokens).map(|t| perf.tokens_ms(class, t) / 1e3).sum();
            (tokens + speech * clip * perf.slowness(class)) / arrivals.len() as f64
        };
        let seconds = (0..CLASSES.len()).map(mean).collect();
        Self { rate: arrivals.len() as f64 * f64::from(copies) / span, seconds }
    }

    /// Mean slots in use on these machines, when each slot gets its share of the requests.
    fn slots(&self, machines: &[Machine]) -> f64 {
        let slots: f64 = machines.iter().map(|machine| f64::from(machine.slots)).sum();
        let weighted = machines.iter().map(|machine| f64::from(machine.slots) * self.seconds[machine.class]);
        self.rate * weighted.sum::<f64>() / slots
    }
}

/// As many machines of the list as the arguments ask for; copies get new names.
fn fleet(list: &[Machine], args: &Args, offered: &Offered) -> Result<Vec<Machine>, WorkloadError> {
    let copy = |number: usize| list[number % list.len()].copy(number / list.len() + 1);
    let wanted = match args.load {
        None => list.len().saturating_mul(args.scale as usize),
        Some(load) => {
            // Slots, and slots weighted with the time that a request takes on them.
            let (mut slots, mut weighted) = (0.0, 0.0);
            let mut before = f64::INFINITY;
            let enough = (1..=MAX_NODES).find_map(|nodes| {
                let machine = &list[(nodes - 1) % list.len()];
                slots += f64::from(machine.slots);
                weighted += f64::from(machine.slots) * offered.seconds[machine.class];
                let share = offered.rate * weighted / slots / slots;
                let without = std::mem::replace(&mut before, share);
                // Whichever is nearer, with this node or without.
                let nodes = if load - share < without - load { nodes } else { nodes - 1 };
                (share <= load).then_some(nodes)
            });
            enough.unwrap_or(usize::MAX)
        }
    };
    if wanted > MAX_NODES {
        let asked = match args.load {
            Some(load) => format!("--load {load} at --scale {}", args.scale),
            None => format!("--scale {}", args.scale),
        };
        return Err(WorkloadError::Argument(format!("{asked}: expected at most {MAX_NODES} nodes to be needed")));
    }
    Ok((0..wanted).map(copy).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn workload(args: &[&str]) -> Result<Workload, String> {
        let args = Args::parse_from([&["replay"], args].concat());
        Workload::new(&args).map_err(|error| error.to_string())
    }

    fn slots(workload: &Workload) -> f64 {
        workload.fleet.iter().map(|(machine, _)| f64::from(machine.slots)).sum()
    }

    #[test]
    fn load_decides_the_fleet() {
        for load in ["0.5", "0.9", "1.2"] {
            let workload = workload(&["--load", load]).unwrap();
            let share = workload.offered_slots / slots(&workload);
            let load: f64 = load.parse().unwrap();
            assert!((share / load - 1.0).abs() < 0.01, "{share}");
        }
    }

    #[test]
    fn copies_have_new_names() {
        let workload = workload(&["--scale", "2"]).unwrap();
        let names: std::collections::BTreeSet<_> = workload.fleet.iter().map(|(machine, _)| &machine.name).collect();
        assert_eq!(names.len(), workload.fleet.len());
        assert_eq!(workload.requests(), 2 * workload.arrivals.len() as u64);
    }

    #[test]
    fn arguments_that_ask_too_much_are_refused() {
        assert!(workload(&["--scale", "100000"]).unwrap_err().starts_with("--scale 100000: expected at most"));
        assert!(workload(&["--load", "0.00001"]).unwrap_err().starts_with("--load 0.00001 at --scale 1: expected"));
        assert!(workload(&["--speed", "0.0001"]).unwrap_err().starts_with("--speed 0.0001: the requests"));
    }
}
