//! Contenders timed in turns, so that whatever the machine does meanwhile hits them alike.

use std::time::{Duration, Instant};

/// Runs a contender's operation so many times.
pub(crate) type Contender<'a> = &'a mut dyn FnMut(u32);

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// All contenders together.
    pub(crate) time: Duration,
    /// One turn of a contender: long enough that reading the clock does not show, short enough that a disturbance
    /// spoils some turns and not all.
    pub(crate) turn: Duration,
}

/// Time of one operation, in ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) min: f64,
    pub(crate) median: f64,
}

/// Before a turn is timed this share of it is run, for the caches and the branch predictor that another one left.
const WARM_UP: u32 = 8;

/// Times the contenders in turns, first to last and then last to first.
pub(crate) fn compare<const N: usize>(contenders: [Contender<'_>; N], effort: Effort) -> [Figures; N] {
    let mut contenders = contenders;
    let operations: [u32; N] = std::array::from_fn(|one| calibrate(contenders[one], effort.turn));
    let mut times: [Vec<f64>; N] = [const { Vec::new() }; N];
    let start = Instant::now();
    let mut forwards = true;
    while start.elapsed() < effort.time {
        for place in 0..N {
            let one = if forwards { place } else { N - 1 - place };
            contenders[one](operations[one] / WARM_UP);
            let time = time(contenders[one], operations[one]);
            times[one].push(time.as_secs_f64() * 1e9 / f64::from(operations[one]));
        }
        forwards = !forwards;
    }
    times.map(Figures::of)
}

/// How many operations take a turn.
fn calibrate(contender: Contender<'_>, turn: Duration) -> u32 {
    let mut operations = 64;
    loop {
        let time = time(contender, operations).max(Duration::from_nanos(1));
        if time >= turn / 4 {
            let scaled = f64::from(operations) * turn.as_secs_f64() / time.as_secs_f64();
            return (scaled as u32).max(WARM_UP);
        }
        operations *= 2;
    }
}

fn time(contender: Contender<'_>, operations: u32) -> Duration {
    let start = Instant::now();
    contender(operations);
    start.elapsed()
}

impl Figures {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self { min: times[0], median: times[times.len() / 2] }
    }
}
