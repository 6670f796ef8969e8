//! Everything that the library can do, by more threads than there are cores, with stops at which everything is checked.
//!
//! Threads draw calls at random (`work.rs`) while another lets time pass. Now and then all of them meet; then nothing
//! moves, and what the threads have to tell is held against what the scheduler shows (`stops.rs`): each slot held is a
//! job's or a reservation's, each attempt has begun and ended once, each free slot is found, nothing is above its bound.
//! At the end everything is given back or runs out, and nothing may be left.
//!
//! As a test each configuration is run for so many calls. With `SLOTYARD_STRESS_SECONDS` all of them are run in turn for so
//! long, again and again with other seeds (`cargo xtask stress`), and what is allocated must not grow.

mod meeting;
mod refusals;
mod setups;
mod stops;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{panic, thread};

use fastrand::Rng;
use slotyard::{NodeSpec, Scheduler};

use crate::common::*;
use crate::counting;
use meeting::{Attending, Meeting};
use setups::Setup;
use stops::Books;
use work::{Counts, Operation, Report, Worker};

/// Calls of all threads together in a millisecond of virtual time.
const PACE: u64 = 20;
/// Between two stops, of a run that goes by the clock.
const STOP_EVERY: Duration = Duration::from_millis(300);

/// How long one run is.
#[derive(Clone, Copy)]
enum Length {
    /// So many stops, with so many calls before each.
    Calls { stops: u64, calls: u64 },
    /// By the clock: a test asserts no time, but may be told how long to go on.
    For(Duration),
}

/// What runs have done, together.
#[derive(Default)]
struct Done {
    counts: Counts,
    reached: BTreeMap<&'static str, u64>,
    stops: u64,
    runs: u64,
}

/// What all threads of a run share.
struct Floor<'s> {
    scheduler: &'s Scheduler,
    setup: &'s Setup,
    meeting: Meeting,
    /// To meet as soon as possible.
    pause: AtomicBool,
    /// To give everything back and end, after that.
    over: AtomicBool,
    calls: AtomicU64,
    reports: Vec<Mutex<Report>>,
}

fn work(floor: &Floor<'_>, number: usize, random: Rng) {
    let _attending = Attending(&floor.meeting);
    let mut worker = Worker::new(floor.scheduler, floor.setup, number, random);
    #[cfg(slotyard_sanitize_thread)]
    crate::seen::begin();
    // All of them are there before the first begins.
    floor.meeting.wait();
    let mut over = false;
    while !over {
        while !floor.pause.load(Ordering::Relaxed) && !floor.meeting.is_broken() {
            worker.do_something();
            floor.calls.fetch_add(1, Ordering::Relaxed);
        }
        over = floor.over.load(Ordering::Relaxed);
        if over {
            worker.let_go();
        }
        *floor.reports[number].lock().expect("nobody fails with it in hand") = worker.report();
        floor.meeting.wait();
        // The check is made here.
        floor.meeting.wait();
    }
}

/// The thread that lets time pass, and checks.
struct Leader<'f, 's> {
    floor: &'f Floor<'s>,
    books: Books<'s>,
    random: Rng,
    /// Virtual time beyond what the calls make of it, in ms.
    jumped: u64,
    stops: u64,
    memory: Vec<i64>,
}

impl Leader<'_, '_> {
    fn now(&self) -> Duration {
        ms(self.floor.calls.load(Ordering::Relaxed) / PACE + self.jumped)
    }

    fn lead(&mut self, length: Length) {
        let _attending = Attending(&self.floor.meeting);
        let begin = Instant::now();
        self.floor.meeting.wait();
        loop {
            self.let_pass(length);
            let over = match length {
                Length::Calls { stops, .. } => self.stops + 1 >= stops,
                Length::For(time) => begin.elapsed() >= time,
            };
            self.stop(over);
            if over {
                return;
            }
        }
    }

    /// Lets time pass until the next stop is due.
    fn let_pass(&mut self, length: Length) {
        let (begin, before) = (Instant::now(), self.floor.calls.load(Ordering::Relaxed));
        loop {
            match self.random.u32(..1000) {
                0 => self.jumped += self.random.u64(1..600),
                1..10 => self.jumped += self.random.u64(1..40),
                // A tick that comes late.
                10..15 => thread::sleep(Duration::from_millis(5)),
                // One that comes too late to count.
                15..20 => self.floor.scheduler.tick(self.now().mul_f64(0.5)),
                _ => thread::yield_now(),
            }
            self.floor.scheduler.tick(self.now());
            self.books.listen();
            self.floor.meeting.go_on();
            let due = match length {
                Length::Calls { calls, .. } => self.floor.calls.load(Ordering::Relaxed) - before >= calls,
                Length::For(_) => begin.elapsed() >= STOP_EVERY,
            };
            if due {
                return;
            }
        }
    }

    fn stop(&mut self, over: bool) {
        self.floor.over.store(over, Ordering::Relaxed);
        self.floor.pause.store(true, Ordering::Relaxed);
        self.floor.meeting.wait();
        let take = |report: &Mutex<Report>| std::mem::take(&mut *report.lock().expect("nobody fails with it in hand"));
        let reports: Vec<Report> = self.floor.reports.iter().map(take).collect();
        self.books.check(&reports);
        let workers: i64 = reports.iter().map(|report| report.memory).sum();
        drop(reports);
        self.memory.push(workers + counting::so_far().held);
        self.stops += 1;
        self.floor.pause.store(false, Ordering::Relaxed);
        self.floor.meeting.wait();
    }

    /// After the threads have gone: lets everything run out, and everybody leave.
    fn wind_up(&mut self) {
        let scheduler = self.floor.scheduler;
        for (number, view) in scheduler.nodes().into_iter().enumerate() {
            // Half of them leave by themselves, the others are forgotten when they are not heard of any more.
            if number % 2 == 0 {
                scheduler.deregister(&handle(scheduler, &view.id)).expect("it is there");
            }
        }
        // Steps, since what one tick makes due is done by the next.
        for _ in 0..40 {
            self.jumped += 200;
            scheduler.tick(self.now());
        }
        self.books.check_that_nothing_is_left();
    }
}

/// One configuration with one seed.
fn run(setup: &Setup, seed: u64, threads: usize, length: Length, done: &mut Done) -> Vec<i64> {
    let _told = Told { setup, seed, threads };
    let before = counting::so_far().held;
    let scheduler = build(setup.builder.clone().seed(seed));
    if let Length::For(_) = length {
        use_up_pool_numbers(&scheduler);
    }
    let floor = Floor {
        scheduler: &scheduler,
        setup,
        meeting: Meeting::new(threads + 1),
        pause: AtomicBool::new(false),
        over: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        reports: (0..threads).map(|_| Mutex::default()).collect(),
    };
    let mut random = Rng::with_seed(seed);
    let books = Books::new(&scheduler, setup, threads);
    let mut leader = Leader { floor: &floor, books, random: random.fork(), jumped: 0, stops: 0, memory: Vec::new() };
    thread::scope(|scope| {
        let floor = &floor;
        let begin = |number: usize| {
            let random = random.fork();
            scope.spawn(move || work(floor, number, random))
        };
        let workers: Vec<_> = (0..threads).map(begin).collect();
        leader.lead(length);
        workers.into_iter().for_each(|worker| worker.join().expect("a thread's own assertions hold"));
    });
    leader.wind_up();
    done.counts.add(&leader.books.counts);
    leader.books.reached().into_iter().for_each(|(what, times)| *done.reached.entry(what).or_default() += times);
    done.stops += leader.stops;
    done.runs += 1;
    leader.memory.iter().map(|held| held - before).collect()
}

/// Makes and drops so many pools that their numbers come again: until then each of them takes memory of its own.
fn use_up_pool_numbers(scheduler: &Scheduler) {
    for number in 0..9000 {
        let spec = NodeSpec::new("first").service(format!("p{}", number % 64));
        let handle = scheduler.register(spec).expect("there is nobody yet");
        scheduler.deregister(&handle).expect("it is there");
    }
}

/// Says, when a run fails, how to have it again.
struct Told<'s> {
    setup: &'s Setup,
    seed: u64,
    threads: usize,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { setup, seed, threads } = self;
            eprintln!("the stress has failed: {setup}; seed {seed}, {threads} threads");
        }
    }
}

/// Half of them are always held up by the others.
fn usual_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from) + 3
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} = {value:?} is not a number")))
}

/// What a long run has to reach, beside every call: the bounds.
const REFUSALS: [&str; 10] = [
    "too many nodes",
    "too many jobs",
    "too many sessions",
    "too many attempts",
    "id too long",
    "another demand",
    "stale handle",
    "busy",
    "gone",
    "unsupported",
];

impl Done {
    fn assert_that_all_was_reached(&self) {
        for (operation, _) in Operation::ALL {
            assert!(self.counts.of(*operation) > 0, "{operation:?} was never done");
        }
        for refusal in REFUSALS {
            assert!(self.counts.why.contains_key(refusal), "never refused for: {refusal}");
        }
        for (what, times) in &self.reached {
            assert!(*times > 0, "never: {what}");
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, reached, stops, runs } = self;
        for (operation, _) in Operation::ALL {
            let (done, refused) = (counts.of(*operation), counts.refused[*operation as usize]);
            writeln!(
                f,
                "{done:>12}  {operation:?}{}",
                if refused > 0 { format!(" (refused: {refused})") } else { String::new() }
            )?;
        }
        let why: Vec<String> = counts.why.iter().map(|(why, times)| format!("{why} {times}")).collect();
        let reached: Vec<String> = reached.iter().map(|(what, times)| format!("{what} {times}")).collect();
        writeln!(f, "refusals: {}", why.join(", "))?;
        writeln!(f, "{}", reached.join(", "))?;
        write!(f, "{} calls in {runs} runs, {stops} stops, at each of which everything held", counts.operations())
    }
}

/// More than so many bytes a call, from one stop to the next, in half of them, is growth.
const GROWTH: u64 = 8;

/// What is allocated at each stop varies, grows until the bounds are reached, and by a table that is made twice as large
/// now and then; but what is never freed makes it grow from stop to stop.
fn grows(memory: &[i64], calls_a_stop: u64) -> bool {
    let mut steps: Vec<i64> = memory[memory.len() / 3..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    // Of fewer, nothing is to be said.
    steps.len() >= 5 && steps[steps.len() / 2] > (GROWTH * calls_a_stop) as i64
}

#[test]
fn growth_is_told_from_variation() {
    let mib = |memory: &[i64]| grows(&memory.iter().map(|mib| mib << 20).collect::<Vec<_>>(), 10_000);
    assert!(!mib(&[]) && !mib(&[5]) && !mib(&[1, 9, 5, 10, 9, 8]) && !mib(&[1, 2, 2, 4, 4, 4, 4, 4, 4]));
    assert!(mib(&[1, 2, 3, 4, 5, 6, 7, 8]) && mib(&[1, 2, 4, 3, 4, 5, 5, 6, 7, 7, 8]));
}

/// Each configuration once, for so many calls or, all together, for so long.
fn run_all(seed: u64, threads: usize, length: impl Fn() -> Length, done: &mut Done) {
    for (number, setup) in setups::all().iter().enumerate() {
        let (length, calls, stops) = (length(), done.counts.operations(), done.stops);
        let memory = run(setup, seed.wrapping_add(number as u64), threads, length, done);
        // Other tests at the same time would free what is allocated here, and not be counted.
        if let Length::For(_) = length {
            let calls = (done.counts.operations() - calls) / (done.stops - stops).max(1);
            let grown = "what is allocated grows, in bytes at each stop";
            assert!(!grows(&memory, calls), "{setup}: {grown}, of some {calls} calls: {memory:?}");
        }
    }
}

#[test]
fn everything_at_once_keeps_every_promise_at_every_stop() {
    let mut done = Done::default();
    let threads = setting("SLOTYARD_STRESS_THREADS").unwrap_or_else(usual_threads);
    let Some(seconds) = setting("SLOTYARD_STRESS_SECONDS").map(Duration::from_secs) else {
        let calls = setting("SLOTYARD_STRESS_CALLS").unwrap_or(2500);
        run_all(0, threads, || Length::Calls { stops: 6, calls }, &mut done);
        return;
    };
    let mut seed = setting("SLOTYARD_STRESS_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let end = Instant::now() + seconds;
    // Each configuration has its turn, and again when there is time for that.
    let turn = (seconds / setups::all().len() as u32).min(Duration::from_secs(20));
    while Instant::now() < end {
        eprintln!("stress: seed {seed}, {threads} threads, {turn:?} for each of the configurations");
        run_all(seed, threads, || Length::For(turn), &mut done);
        seed = seed.wrapping_add(1 << 8);
    }
    eprintln!("{done}");
    done.assert_that_all_was_reached();
}
