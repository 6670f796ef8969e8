//! An allocator that refuses: what is said to allocate nothing goes on without it; everything else ends the process, as
//! programs in Rust do, with the message that says so, and neither hangs nor goes on with half of something.

mod common;
#[path = "common/retired.rs"]
mod retired;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::*;
use retired::free_what_was_retired;
use slotyard::{
    Capabilities, Demand, ExclusionMode, Heartbeat, Job, JobRequest, NodeSpec, ResourceUse, Scheduler, Service,
};

/// Asks the system, unless the thread has used up what it may.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

// Constant and without a destructor, so that looking at them allocates nothing.
thread_local! {
    /// Allocations that this thread may still make.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    /// The largest of them, in bytes.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Whether the thread may have so much. That counts as one.
fn is_granted(size: usize) -> bool {
    let left = LEFT.get();
    LEFT.set(left.saturating_sub(1));
    left > 0 && size <= LARGEST.get()
}

// SAFETY: the system's allocator, or null, which says that there is no memory.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        if is_granted(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        if is_granted(layout.size()) { unsafe { System.alloc_zeroed(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises. What is refused stays as it was.
        if is_granted(size) { unsafe { System.realloc(memory, layout, size) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Runs `call` without any memory for this thread. Should it ask for some, the process ends.
fn without_memory<T>(call: impl FnOnce() -> T) -> T {
    LEFT.set(0);
    let result = call();
    LEFT.set(u64::MAX);
    result
}

/// For as long as it takes pins to come round many times.
const TURNS: u32 = 20_000;

/// What others retire is freed by whoever pins, and that may take memory, see the limitations: so here nobody retires
/// anything, and what there was before is freed first.
fn calmly() -> MutexGuard<'static, ()> {
    static CALM: Mutex<()> = Mutex::new(());
    CALM.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn without_memory_nodes_are_chosen_and_reserved_and_heard_of() {
    let _calm = calmly();
    let scheduler = scheduler();
    let handles = add_workers(&scheduler, (0..40).map(|n| format!("a{n}")), 2);
    let (plain, keyed) = (work(), work().routing_key("key"));
    let prepared = scheduler.prepare(&plain);
    let (beat, id) = (Heartbeat::ready(), "a7");
    let full = Heartbeat::ready().running(0).resources(ResourceUse { cpu: 0.5, ..Default::default() });
    let all = |turn: u32| {
        scheduler.select(&plain).is_ok()
            && scheduler.select(&keyed).is_ok()
            && scheduler.select_prepared(&prepared).is_ok()
            && scheduler.reserve(&plain).is_ok()
            && scheduler.reserve_prepared(&prepared).is_ok()
            && scheduler.heartbeat(&handles[3], &beat).is_ok()
            && scheduler.heartbeat(&handles[4], &full).is_ok()
            && scheduler.heartbeat(&handles[5], &Heartbeat::alive().running(turn % 3)).is_ok()
            && scheduler.heartbeat_by_id(id, &beat).is_ok()
            && scheduler.heartbeat_batch(handles.iter().map(|handle| (handle, &beat))).is_empty()
    };
    let warm = Barrier::new(2);
    let run = || {
        // What a thread makes when it first comes, and what is made of a demand at its first use.
        assert!(all(0));
        free_what_was_retired();
        warm.wait();
        assert!(without_memory(|| (0..TURNS / 4).all(all)));
    };
    thread::scope(|scope| {
        scope.spawn(run);
        run();
    });
}

#[test]
fn without_memory_jobs_are_moved_on_and_ended() {
    let _calm = calmly();
    let scheduler = build(builder().max_finished_jobs(500).heartbeat_timeout(secs(99)));
    add_workers(&scheduler, (0..10).map(|n| format!("a{n}")), TURNS / 5);
    type Move = fn(&Scheduler, &Job) -> bool;
    let ends: [Move; 3] = [
        |s, job| s.complete(job.id(), 1).is_ok(),
        |s, job| s.fail(job.id(), 1).is_ok(),
        |s, job| s.cancel(job.id(), 1).is_ok(),
    ];
    let (created, warm) = (Barrier::new(2), Barrier::new(2));
    let run = |thread: u32| {
        let request = |n| JobRequest::new(format!("{thread}-{n}"), work());
        let jobs: Vec<Job> = (0..TURNS)
            .map(|n| if n % 2 == 0 { request(n) } else { request(n).session(format!("{thread}-{}", n % 9)) })
            .map(|request| scheduler.create_job(&request).expect("a slot is free"))
            .collect();
        created.wait();
        free_what_was_retired();
        warm.wait();
        let ended = without_memory(|| {
            jobs.iter().zip((0..3).cycle()).all(|(job, end): (_, usize)| {
                scheduler.dispatched(job.id(), 1).is_ok()
                    && scheduler.running(job.id(), 1).is_ok()
                    && scheduler.renew(job.id(), 1).is_ok()
                    && ends[end](&scheduler, job)
            })
        });
        assert!(ended);
        // Handles go, and what they kept goes with them.
        without_memory(|| drop(jobs));
    };
    thread::scope(|scope| {
        scope.spawn(|| run(1));
        run(2);
    });
    assert!(scheduler.nodes().iter().all(|node| node.in_flight == 0));
    // Most of them have been forgotten, too.
    assert!(scheduler.stats().now.jobs < 1_000, "{:?}", scheduler.stats().now);
}

/// Says to the program that is run as a child how many allocations it may make.
const ALLOWED: &str = "SLOTYARD_TEST_ALLOCATIONS";
/// And how large they may be.
const NO_LARGER: &str = "SLOTYARD_TEST_LARGEST";
/// What the child says when it has come through.
const THROUGH: &str = "came through with";

/// A bit of everything that allocates.
fn live() {
    let scheduler = build(builder().max_jobs(64).max_finished_jobs(2).default_lease(secs(5)));
    let events = scheduler.subscribe(8);
    let a = add(&scheduler, worker("a", 3));
    let b = add(&scheduler, NodeSpec::new("b").service("work").asr(["zh", "en"]).capacity(40).label("l", "1").ready());
    scheduler.heartbeat(&a, &Heartbeat::ready().running(1).services(["work"])).unwrap();
    scheduler.mark_unavailable(&b, &Service::ASR, secs(1)).unwrap();
    let jobs: Vec<Job> = (0..20)
        .map(|n| JobRequest::new(format!("a request of a length that is kept apart from its record {n}"), work()))
        .map(|request| scheduler.create_job(&request.session("s")).unwrap())
        .collect();
    scheduler.fail(jobs[0].id(), 1).unwrap();
    let again = scheduler.retry(jobs[0].id(), 1).unwrap();
    let excluded = work().label("l", "1").exclude(["a"], ExclusionMode::Hard);
    assert_eq!(scheduler.select(&excluded).unwrap().node_id(), "b");
    assert!(scheduler.select(&Demand::translate("en", "fr")).is_err());
    drop((scheduler.explain(&work()), scheduler.nodes(), scheduler.pools(), scheduler.snapshot(), scheduler.stats()));
    scheduler.update(&b, Capabilities::new().service("work").service("other")).unwrap();
    scheduler.complete(again.id(), 2).unwrap();
    assert_eq!(scheduler.complete_jobs(jobs[1..10].iter().map(|job| (job.id(), 1))), []);
    scheduler.tick(secs(2));
    scheduler.tick(secs(6));
    scheduler.deregister(&b).unwrap();
    scheduler.tick(secs(1_000));
    assert!(events.count() > 0);
}

/// Not a test by itself: the program that the others run.
#[test]
fn child() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (allowed, largest) = (number(ALLOWED), number(NO_LARGER));
    if allowed.is_none() && largest.is_none() {
        return;
    }
    #[cfg(target_os = "linux")]
    // SAFETY: nothing is done but to say that this process, which is to be aborted, leaves no image of its memory.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
    }
    let allowed = allowed.unwrap_or(u64::MAX);
    if let Some(largest) = largest {
        LARGEST.set(largest as usize);
        let scheduler = build(builder().homes(false));
        match allowed {
            0 => drop(scheduler.subscribe(usize::MAX)),
            _ => (0..100_000).for_each(|n| drop(add(&scheduler, worker(n.to_string(), 1)))),
        }
    } else {
        LEFT.set(allowed);
        live();
    }
    let used = allowed - LEFT.get();
    LEFT.set(u64::MAX);
    LARGEST.set(usize::MAX);
    println!("{THROUGH} {used} allocations");
}

/// How a child ended.
struct Ended {
    success: bool,
    /// By being aborted.
    aborted: bool,
    stdout: String,
    stderr: String,
}

fn run_child(limits: &[(&str, u64)]) -> Ended {
    let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).stdin(Stdio::null());
    let limits = limits.iter().map(|(name, limit)| (name, limit.to_string()));
    let mut child =
        command.envs(limits).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run once more");
    let read = |mut from: Box<dyn Read + Send>| {
        let (all, is_all) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            from.read_to_string(&mut text).expect("it is text");
            all.send(text)
        });
        is_all
    };
    let stdout = read(Box::new(child.stdout.take().expect("it is piped")));
    let stderr = read(Box::new(child.stderr.take().expect("it is piped")));
    // Only how long one that hangs is waited for.
    let long = Duration::from_secs(120);
    let (Ok(stderr), Ok(stdout)) = (stderr.recv_timeout(long), stdout.recv_timeout(long)) else {
        child.kill().expect("it is there");
        panic!("it hangs");
    };
    let status = child.wait().expect("it has ended");
    #[cfg(unix)]
    let aborted = {
        const SIGABRT: i32 = 6;
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(SIGABRT)
    };
    #[cfg(not(unix))]
    let aborted = !status.success();
    Ended { success: status.success(), aborted, stdout, stderr }
}

/// Asserts that the child was ended by the standard library for want of memory; of how many bytes.
fn assert_refused(ended: &Ended, what: &str) -> usize {
    assert!(ended.aborted, "{what}: {} {}", ended.stdout, ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
    let told = ended.stderr.split_once("memory allocation of ").and_then(|(_, rest)| rest.split_once(" bytes failed"));
    let told = told.and_then(|(bytes, _)| bytes.parse().ok());
    told.unwrap_or_else(|| panic!("{what}: {}", ended.stderr))
}

#[test]
fn whichever_allocation_is_refused_the_process_ends_and_says_so() {
    let whole = run_child(&[(ALLOWED, u64::MAX)]);
    assert!(whole.success, "{} {}", whole.stdout, whole.stderr);
    let used =
        whole.stdout.split_once(THROUGH).and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u64>().ok());
    let used = used.expect("it says how many it has made");
    assert!(used > 100, "only {used} allocations");
    let children = 150;
    for number in 0..children {
        // Not quite to the last: how maps lie in memory differs from run to run.
        let allowed = number * used * 19 / 20 / children;
        assert_refused(&run_child(&[(ALLOWED, allowed)]), &format!("with {allowed} of {used} allocations"));
    }
}

#[test]
fn when_a_large_one_is_refused_the_process_ends_and_says_so() {
    // A chunk of cells, and the queue of a subscriber who wants all there is.
    for (allowed, largest) in [(u64::MAX, 100_000), (u64::MAX, 1 << 20), (0, 1 << 20)] {
        let bytes = assert_refused(&run_child(&[(NO_LARGER, largest), (ALLOWED, allowed)]), "the large one");
        assert!(bytes as u64 > largest, "{bytes} bytes are no more than {largest}");
    }
}
