//! Contenders timed in turns, so that whatever the machine does meanwhile hits them alike.
//!
//! As in the benchmark of the selection, a turn is short, and is preceded by an untimed one of an eighth of it, for the
//! caches that another contender left; of one operation at least. Unlike there, an operation may take a nanosecond or half a second; so each
//! contender has a share of time instead of a number of turns, and the next turn is always for the one that has used
//! the least of it: whoever is cheap has many turns all over the time that the expensive ones take.

use std::time::{Duration, Instant};

/// Runs an operation so many times, and says how long that took.
pub(crate) type Contender<'a> = Box<dyn FnMut(u32) -> Duration + 'a>;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Of one contender.
    pub(crate) share: Duration,
    /// One turn: long enough that reading the clock does not show, short enough that a disturbance spoils some turns
    /// and not all. A single operation may take longer.
    pub(crate) turn: Duration,
}

/// Time of one operation, in ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    pub(crate) min: f64,
    pub(crate) median: f64,
}

/// Before a turn is timed this share of it is run.
const WARM_UP: u32 = 8;
/// Unless an operation takes more than this part of all the time there is: then what it finds in the caches is little.
const TOO_LONG: u32 = 8;
/// An operation that takes more than the share has so many turns nevertheless.
const LEAST_TURNS: usize = 3;

/// Times the contenders until each has used up its share.
pub(crate) fn compare(contenders: Vec<Contender<'_>>, effort: Effort) -> Vec<Figures> {
    let mut all: Vec<Timed<'_>> = contenders.into_iter().map(|run| Timed::new(run, effort)).collect();
    let open = |timed: &Timed<'_>| timed.used < effort.share || timed.times.len() < LEAST_TURNS;
    while let Some(next) = all.iter_mut().filter(|timed| open(timed)).min_by_key(|timed| timed.used) {
        next.turn();
    }
    all.into_iter().map(|timed| Figures::of(timed.times)).collect()
}

struct Timed<'a> {
    run: Contender<'a>,
    /// So many operations take a turn.
    operations: u32,
    /// So many come before.
    warm_up: u32,
    used: Duration,
    times: Vec<f64>,
}

impl<'a> Timed<'a> {
    fn new(mut run: Contender<'a>, effort: Effort) -> Self {
        let mut operations = 1;
        let single = loop {
            let time = run(operations).max(Duration::from_nanos(1));
            if time >= effort.turn / 4 {
                break time.as_secs_f64() / f64::from(operations);
            }
            operations *= 2;
        };
        let operations = ((effort.turn.as_secs_f64() / single) as u32).max(1);
        let too_long = single > effort.share.as_secs_f64() / f64::from(TOO_LONG);
        let warm_up = if too_long { 0 } else { (operations / WARM_UP).max(1) };
        Self { run, operations, warm_up, used: Duration::ZERO, times: Vec::new() }
    }

    fn turn(&mut self) {
        let start = Instant::now();
        if self.warm_up > 0 {
            (self.run)(self.warm_up);
        }
        let time = (self.run)(self.operations);
        self.times.push(time.as_secs_f64() * 1e9 / f64::from(self.operations));
        self.used += start.elapsed();
    }
}

impl Figures {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self { min: times[0], median: times[times.len() / 2] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_operation() {
        let pretend = |nanos: u64| -> Contender<'static> {
            Box::new(move |count| {
                std::thread::sleep(Duration::from_micros(20));
                Duration::from_nanos(nanos * u64::from(count))
            })
        };
        let effort = Effort { share: Duration::from_millis(2), turn: Duration::from_micros(50) };
        let figures = compare(vec![pretend(10), pretend(1_000_000)], effort);
        assert!((figures[0].min - 10.0).abs() < 1e-6 && (figures[0].median - 10.0).abs() < 1e-6, "{figures:?}");
        assert!((figures[1].median - 1e6).abs() < 1.0, "{figures:?}");
    }

    #[test]
    fn what_takes_longer_than_its_share_has_a_few_turns_and_no_more() {
        let mut turns = 0;
        let slow: Contender<'_> = Box::new(|count| {
            turns += count;
            std::thread::sleep(Duration::from_millis(2));
            Duration::from_millis(2)
        });
        compare(vec![slow], Effort { share: Duration::from_millis(1), turn: Duration::from_micros(50) });
        // One of them said how many make a turn.
        assert_eq!(turns as usize, 1 + LEAST_TURNS);
    }
}
