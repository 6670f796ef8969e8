//! Threads that come late, when many others have used the scheduler before and ended: what a gateway has that keeps
//! starting threads. The library knows threads by numbers and keeps some things for the first ones apart.

use std::thread;
use std::time::Duration;

use super::throughput::{Done, figures, ours, warn};
use crate::harness::crew::{Crew, Signal};
use crate::harness::{About, Suite};
use crate::load::Fleet;

/// Threads that came before.
const EARLIER: usize = 256;

pub(super) fn measure(suite: &mut Suite) {
    let (nodes, rounds, time) =
        if Suite::is_bench() { (10_000, 32, Duration::from_millis(50)) } else { (100, 1, Duration::from_millis(2)) };
    let case = format!("{nodes} nodes, after {EARLIER} other threads");
    if !suite.wants(&case) {
        return;
    }
    let fleets = [(); 2].map(|()| Fleet::new(nodes, super::SLOTS));
    let [late, _] = &fleets;
    let reserve = || drop(late.scheduler.reserve_prepared(&late.prepared).expect("slots are free"));
    for _ in 0..EARLIER {
        thread::scope(|scope| scope.spawn(reserve).join()).expect("it does not panic");
    }
    let counts = super::counts(1);
    thread::scope(|scope| {
        let crew = Crew::new(scope, *counts.last().expect("one at least"));
        for threads in counts {
            let mut rates = [Vec::new(), Vec::new()];
            for turn in 0..2 * rounds {
                // Neither is always the first of two.
                let place = [0, 1, 1, 0][turn % 4];
                let fleet = &fleets[place];
                let done = crew.turn(threads, time, move |_, signal: &Signal| ours(fleet, signal));
                rates[place].push(Done::of(&done));
            }
            let subject = format!("{threads} threads, together");
            warn(&case, &rates);
            let [late, early] = rates.map(|turns| figures(&turns, |done| done.rate));
            let about = About { case: &case, subject: &subject, floor: "the first threads", budget: None };
            suite.record_ratio(about, "M/s", late, early);
        }
    });
}
