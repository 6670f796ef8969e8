//! Every bound reached by several threads at once: what is refused gets an error with the limit in it, nothing grows past
//! the bound (or past what is documented of it), and when the pressure ends all is as before.
//!
//! [`BOUNDS`] says which test reaches which knob of the configuration, [`LIMITS`] the same of what no configuration lifts.
//! A knob that is in neither [`BOUNDS`] nor [`NOT_BOUNDS`] fails `every_knob_is_told_of`. One thread at a time, and at the
//! edges of each bound, is in `limits` and `bad_input`.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod events;
mod jobs;
mod nodes;
mod pools;

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::*;
use slotyard::{Gauges, Scheduler};

type Test = fn();

const BOUNDS: [(&str, Test); 9] = [
    ("max_nodes", nodes::nodes_that_crowd_in_are_refused_and_come_in_when_others_leave),
    ("max_jobs", jobs::jobs_that_crowd_in_are_refused_and_come_in_when_others_end),
    ("max_finished_jobs", jobs::no_more_finished_jobs_are_remembered_however_fast_they_end),
    ("max_sessions", jobs::sessions_that_crowd_in_are_refused_and_begin_when_others_are_forgotten),
    ("max_attempts", jobs::a_job_that_all_retry_has_no_more_attempts_than_it_may),
    ("max_lease", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
    ("max_pools", pools::kinds_of_nodes_that_crowd_in_share_the_mixed_pool_and_have_their_own_when_there_is_room),
    ("max_routes", pools::demands_that_crowd_in_are_served_without_their_routes_being_kept),
    ("max_id_len", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
];

/// What else is configured, and why there is no reaching it.
const NOT_BOUNDS: [(&str, &str); 19] = [
    ("heartbeat_timeout", "a time"),
    ("offline_retention", "a time"),
    ("tick_interval", "a time"),
    ("external_load_decay", "a time"),
    ("default_lease", "a time"),
    ("finished_retention", "a time"),
    ("session_ttl", "a time"),
    ("manual_maintenance", "a choice"),
    ("seed", "a choice"),
    ("policy", "a choice"),
    ("fallback", "a choice"),
    ("session_mode", "a choice"),
    ("retry_exclusion", "a choice"),
    ("homes", "a choice"),
    ("thresholds", "what each node is held against by itself"),
    ("routing_labels", "checked when the scheduler is built"),
    ("pools", "as many as there are, from the beginning"),
    ("hash_pools", "as many as there are, from the beginning"),
    ("shards", "as many as there are, whoever comes"),
];

/// Of `slotyard::limits`.
const LIMITS: [(&str, Test); 9] = [
    ("MAX_CAPACITY", nodes::the_largest_node_is_filled_by_all_to_the_last_slot),
    ("MAX_POOLS", pools::pools_that_are_dropped_under_a_pin_use_up_the_numbers_until_it_ends),
    ("MAX_EXCLUSIONS", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
    ("MAX_LABELS", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
    ("MAX_LABEL_LEN", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
    ("MAX_LANGUAGES", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
    ("MAX_SERVICES", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
    ("MAX_SERVICE_LEN", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
    ("MAX_TAG_LEN", calls::calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing),
];

#[test]
fn every_knob_is_told_of() {
    // Its fields as they are shown, those within fields being further to the right.
    let shown = format!("{:#?}", scheduler().config());
    let knobs: BTreeSet<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    assert!(knobs.len() >= 28, "{knobs:?}");
    let told = BOUNDS.iter().map(|(name, _)| *name).chain(NOT_BOUNDS.iter().map(|(name, _)| *name));
    assert_eq!(knobs, told.collect::<BTreeSet<_>>());

    let library = include_str!("../../src/lib.rs");
    let (_, limits) = library.split_once("pub mod limits {").expect("there is such a module");
    let (limits, _) = limits.split_once("\n}").expect("it ends");
    let names = limits.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).filter(|name| name.starts_with("MAX_"));
    assert_eq!(names.collect::<BTreeSet<_>>(), LIMITS.iter().map(|(name, _)| *name).collect());
}

/// Runs `f` on as many threads, let go at once, each with its number; `check` looks at the gauges all the while.
fn under_load<T: Send>(
    scheduler: &Scheduler,
    threads: usize,
    f: impl Fn(usize) -> T + Sync,
    check: impl Fn(&Gauges) + Sync,
) -> Vec<T> {
    let (barrier, done) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let done_anyway = Done(&done);
    thread::scope(|scope| {
        let run = |thread| {
            let (barrier, f) = (&barrier, &f);
            scope.spawn(move || {
                barrier.wait();
                f(thread)
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        scope.spawn(|| {
            barrier.wait();
            while !done.load(Ordering::Relaxed) {
                check(&scheduler.stats().now);
                thread::yield_now();
            }
        });
        let results = running.into_iter().map(|thread| thread.join().expect("its own assertions hold")).collect();
        drop(done_anyway);
        results
    })
}

/// Ends the watching, also when a thread has failed.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Threads in most of the tests; more than a machine of CI has cores.
const THREADS: usize = 4;

/// Slots held, by the nodes themselves.
fn held(scheduler: &Scheduler) -> usize {
    scheduler.nodes().iter().map(|node| node.in_flight as usize).sum()
}

/// Asserts that nothing is held, and that no slot was given back twice.
fn assert_idle(scheduler: &Scheduler) {
    let counters = scheduler.stats().counters;
    assert_eq!((held(scheduler), counters.double_released), (0, 0));
    assert_eq!(counters.reserved, counters.released);
}
