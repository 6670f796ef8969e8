//! The maintenance thread: that time goes on after a panic on it, and that a scheduler ends well wherever its last clone
//! is dropped, on that thread itself too.
//!
//! What is asked of it runs on it by what others in the process may do: a subscriber of `tracing`, and what is deferred to
//! the end of pins, which whoever pins next may have to run.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use common::*;
use slotyard::{Candidate, Choose, CreateJobError, Drawing, Event, NoNode, Policy, Scheduler, SchedulerBuilder};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

/// One at a time: other threads that pin would run what is meant for the one of maintenance.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Only how long a test that has gone wrong hangs.
const LONG: Duration = Duration::from_secs(60);

/// The name of a maintenance thread.
const UPKEEP: &str = "slotyard-upkeep";

fn is_upkeep() -> bool {
    thread::current().name() == Some(UPKEEP)
}

fn ticking() -> SchedulerBuilder {
    Scheduler::builder().tick_interval(ms(1)).seed(7)
}

/// Panics as often as it is told to, in the middle of a tick.
struct Panics;

/// So many times yet.
static PANICS: AtomicU32 = AtomicU32::new(0);

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        // What is told when a node has gone offline, behind all that is done for it.
        let last_word = *event.metadata().level() == tracing::Level::INFO && is_upkeep();
        let less = |left: u32| left.checked_sub(1);
        if last_word && PANICS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            panic!("the subscriber panics, as the test wants");
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn subscribe_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Panics).expect("nobody else subscribes"));
}

#[test]
fn time_goes_on_after_a_panic_in_a_tick() {
    let _alone = alone();
    subscribe_panics();
    let scheduler =
        ticking().heartbeat_timeout(ms(40)).offline_retention(ms(20)).default_lease(secs(100)).build().unwrap();
    let events = scheduler.subscribe(1 << 10);
    for round in 0..3u32 {
        PANICS.store(round, Ordering::Relaxed);
        let ids: Vec<String> = (0..8).map(|n| format!("{round}-{n}")).collect();
        ids.iter().for_each(|id| drop(add(&scheduler, worker(id, 2))));
        let job = create(&scheduler, format!("r{round}"), work());
        // Each goes offline, orphans its job, and is forgotten: by ticks after those that have panicked.
        let mut forgotten = 0;
        let mut orphaned = 0;
        while forgotten < ids.len() {
            match events.recv_timeout(LONG).expect("time goes on") {
                Event::NodeForgotten { .. } => forgotten += 1,
                Event::JobOrphaned { job: orphan, .. } => orphaned += u32::from(orphan == job.id()),
                _ => {}
            }
        }
        assert_eq!((orphaned, PANICS.load(Ordering::Relaxed)), (1, 0), "in round {round}");
        assert!(scheduler.nodes().is_empty());
    }
    let stats = scheduler.stats();
    assert_eq!((stats.counters.orphaned, stats.counters.double_released), (3, 0));
}

/// Tells by which thread it is dropped, and panics then if it is told to.
#[derive(Debug)]
struct Last {
    told: Mutex<Sender<Option<String>>>,
    panics: bool,
}

impl Choose for Last {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        drawing.draw()
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        let name = thread::current().name().map(str::to_owned);
        self.told.lock().unwrap().send(name).expect("the test waits");
        assert!(!self.panics, "the policy panics, as the test wants");
    }
}

fn last(panics: bool) -> (Policy, impl Fn() -> Option<String>) {
    let (told, tells) = channel();
    let policy = Policy::custom(Last { told: Mutex::new(told), panics });
    (policy, move || tells.recv_timeout(LONG).expect("the scheduler ends"))
}

/// Panics that were told of, beside those of the tests themselves.
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn begin() -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let to = told.clone();
        std::panic::set_hook(Box::new(move |panic| to.lock().unwrap().push(panic.to_string())));
        Self(told)
    }

    fn end(self) -> Vec<String> {
        drop(std::panic::take_hook());
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What a structure of the embedder's does that frees by the same epochs and has a scheduler in it.
#[test]
fn the_last_clone_may_be_dropped_on_the_maintenance_thread_itself() {
    let _alone = alone();
    let (policy, dropped) = last(false);
    let scheduler = ticking().policy(policy).build().unwrap();
    add(&scheduler, worker("a", 1));
    let (done, is_done) = channel();
    let told = Told::begin();
    let pin = crossbeam_epoch::pin();
    pin.defer(move || {
        let here = is_upkeep();
        let outcome = catch_unwind(AssertUnwindSafe(|| drop(scheduler)));
        done.send((here, outcome.is_ok())).expect("the test waits");
    });
    pin.flush();
    drop(pin);
    // This thread pins no more, so it is for the other one.
    let (here, ended_well) = is_done.recv_timeout(LONG).expect("a thread that ticks runs what is deferred");
    assert!(here, "it was another thread that dropped it, so this has shown nothing");
    assert_eq!(dropped().as_deref(), Some(UPKEEP));
    let told = told.end();
    assert!(ended_well && told.is_empty(), "{told:?}");
}

#[test]
fn the_last_clone_may_be_dropped_by_who_waits_for_its_events() {
    let _alone = alone();
    let (policy, dropped) = last(false);
    let scheduler = ticking().policy(policy).default_lease(ms(5)).heartbeat_timeout(secs(99)).build().unwrap();
    let events = scheduler.subscribe(16);
    let looping = thread::spawn(move || {
        add(&scheduler, worker("a", 1));
        create(&scheduler, "r", work());
        let (mut scheduler, mut seen) = (Some(scheduler), Vec::new());
        // With the expiry the scheduler goes, and with it the loop ends.
        while let Some(event) = events.recv_timeout(LONG) {
            if matches!(event, Event::JobExpired { .. }) {
                drop(scheduler.take().expect("there is one lease"));
            }
            seen.push(event);
        }
        seen
    });
    let seen = looping.join().expect("it ends well");
    assert!(matches!(seen.last(), Some(Event::JobExpired { .. })), "{seen:?}");
    assert_eq!(dropped().as_deref(), Some(UPKEEP));
}

#[test]
fn clones_may_be_dropped_while_others_are_in_the_middle_of_calls() {
    let _alone = alone();
    for round in 0..20 {
        let (policy, dropped) = last(false);
        let scheduler = ticking().policy(policy).heartbeat_timeout(secs(99)).build().unwrap();
        add_workers(&scheduler, ["a", "b"], 4);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let scheduler = scheduler.clone();
                thread::spawn(move || {
                    // Each goes at another time, and the first of them at once.
                    for n in 0..thread * 50 {
                        match try_create(&scheduler, &format!("{thread}-{n}"), work()) {
                            Ok(job) => complete(&scheduler, &job),
                            Err(CreateJobError::NoNode(NoNode::Busy(_))) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        drop(scheduler);
        threads.into_iter().for_each(|thread| thread.join().expect("its calls are served to the end"));
        assert_eq!(dropped().as_deref(), Some(UPKEEP), "in round {round}");
    }
}

#[test]
fn a_policy_that_panics_when_it_is_dropped_keeps_no_scheduler_from_ending() {
    let _alone = alone();
    let (policy, dropped) = last(true);
    let scheduler = ticking().policy(policy).build().unwrap();
    let events = scheduler.subscribe(4);
    let told = Told::begin();
    // On the thread of maintenance, which has all to itself by then: the hook is told, and nobody else.
    drop(scheduler);
    let told = told.end();
    assert!(told.len() == 1 && told[0].contains("as the test wants"), "{told:?}");
    assert_eq!(dropped().as_deref(), Some(UPKEEP));
    assert_eq!(events.recv_timeout(LONG), None, "the queue has ended with the rest");

    // Where the embedder ticks, it is he who drops it.
    let (policy, dropped) = last(true);
    let scheduler = build(builder().policy(policy));
    let events = scheduler.subscribe(4);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(scheduler))).is_err());
    assert_ne!(dropped().as_deref(), Some(UPKEEP));
    assert_eq!(events.recv_timeout(LONG), None);
}

#[test]
fn what_is_deferred_by_others_and_panics_on_the_maintenance_thread_does_not_end_it() {
    let _alone = alone();
    let scheduler = ticking().heartbeat_timeout(secs(99)).default_lease(ms(50)).build().unwrap();
    add(&scheduler, worker("a", 1));
    let events = scheduler.subscribe(64);
    let has_run = Arc::new(AtomicBool::new(false));
    let told = Told::begin();
    let pin = crossbeam_epoch::pin();
    let (runs, (done, is_done)) = (has_run.clone(), channel());
    pin.defer(move || {
        runs.store(is_upkeep(), Ordering::Relaxed);
        done.send(()).expect("the test waits");
        panic!("what was deferred panics, as the test wants");
    });
    pin.flush();
    drop(pin);
    is_done.recv_timeout(LONG).expect("a thread that ticks runs what is deferred");
    assert!(has_run.load(Ordering::Relaxed), "it was another thread that ran it, so this has shown nothing");
    create(&scheduler, "r", work());
    while !matches!(events.recv_timeout(LONG).expect("time goes on"), Event::JobExpired { .. }) {}
    assert_eq!(told.end().len(), 1);
}
