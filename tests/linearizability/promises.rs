//! Longer runs, in which no order is looked for, and each promise is checked at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use slotyard::{
    Demand, Event, EventReceiver, Heartbeat, JobId, JobRequest, NodeHandle, NodeSpec, NodeState, PoolConfig, Scheduler,
};

use crate::from_environment;

/// Threads that take slots and give them back.
const WORKERS: u64 = 3;
/// Nodes that are put out of use and taken back into it.
const NODES: usize = 6;
const CAPACITY: u32 = 2;
/// A node that is always in use, with a slot for each worker.
const STEADY: &str = "steady";
const TIMEOUT: u64 = 1000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What can be said of a node at any time: odd while it is out of use, from when the call that put it out has returned until
/// before the call that takes it back; another number each time.
#[derive(Default)]
struct Epochs([AtomicU64; NODES]);

impl Epochs {
    fn read(&self) -> [u64; NODES] {
        std::array::from_fn(|node| self.0[node].load(Ordering::SeqCst))
    }

    /// To be called when a node was put out of use, and before it is taken back.
    fn turn(&self, node: usize) {
        self.0[node].fetch_add(1, Ordering::SeqCst);
    }

    /// The node was chosen by a call that began when the epochs were these.
    fn assert_in_use(&self, before: &[u64; NODES], chosen: &str) {
        if let Ok(node) = chosen.parse::<usize>() {
            let (before, after) = (before[node], self.0[node].load(Ordering::SeqCst));
            assert!(before != after || before.is_multiple_of(2), "node {chosen} was chosen while it was out of use");
        }
    }
}

/// Tells the others that this thread is done, also when it fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn spec(node: usize) -> NodeSpec {
    NodeSpec::new(node.to_string()).capacity(CAPACITY).ready()
}

/// Puts nodes out of use in every way there is, and back.
struct Keeper<'s> {
    scheduler: &'s Scheduler,
    epochs: &'s Epochs,
    handles: Vec<NodeHandle>,
    steady: NodeHandle,
    now: u64,
}

impl Keeper<'_> {
    /// Puts the node out of use in this way, and says so when that is done; lets some time pass; and takes it back.
    fn turn(&mut self, node: usize, way: u8) {
        let (scheduler, handle) = (self.scheduler, self.handles[node].clone());
        match way {
            0 => scheduler.drain(&handle).expect("it is there"),
            1 => scheduler.deregister(&handle).expect("it is there"),
            2 => scheduler.set_weight(&handle, 0).expect("it is there"),
            3 => scheduler.heartbeat(&handle, &Heartbeat::not_ready()).expect("it is there"),
            // All the others are heard of.
            _ => {
                self.now += TIMEOUT;
                for other in self.handles.iter().chain([&self.steady]).filter(|other| other.id() != handle.id()) {
                    scheduler.heartbeat(other, &Heartbeat::alive()).expect("it is there");
                }
                // They must not be found silent: at half of the time, then at the whole.
                scheduler.tick(ms(self.now - TIMEOUT / 2));
                for other in self.handles.iter().chain([&self.steady]).filter(|other| other.id() != handle.id()) {
                    scheduler.heartbeat(other, &Heartbeat::alive()).expect("it is there");
                }
                scheduler.tick(ms(self.now));
                assert_eq!(scheduler.node(&node.to_string()).expect("it is there").state, NodeState::Offline);
            }
        }
        self.epochs.turn(node);
        (0..5).for_each(|_| thread::yield_now());
        self.epochs.turn(node);
        match way {
            0 => scheduler.undrain(&handle).expect("it is there"),
            1 => self.handles[node] = scheduler.register(spec(node)).expect("it is not there"),
            2 => scheduler.set_weight(&handle, 100).expect("it is there"),
            _ => scheduler.heartbeat(&handle, &Heartbeat::ready()).expect("it is there"),
        }
    }
}

/// What all workers see.
struct Work<'s> {
    scheduler: &'s Scheduler,
    epochs: &'s Epochs,
    /// Makes names of requests that workers create together, and the job of each.
    names: &'s AtomicU64,
    shared: &'s Mutex<BTreeMap<u64, JobId>>,
    done: &'s AtomicBool,
    /// Attempts ended by workers.
    ended: &'s AtomicU32,
}

impl Work<'_> {
    fn run(&self, worker: u64, mut random: Rng) -> u64 {
        let (scheduler, demand) = (self.scheduler, Demand::new());
        let mut turn = 0;
        while !self.done.load(Ordering::SeqCst) {
            turn += 1;
            let before = self.epochs.read();
            match random.u8(..4) {
                // Never refused: the steady node has a slot for each worker, and each holds one at a time.
                0 => {
                    let held = scheduler.reserve(&demand).expect("a slot is free");
                    self.epochs.assert_in_use(&before, &held.node_id());
                }
                1 => {
                    let chosen = scheduler.select(&demand).expect("a slot is free");
                    self.epochs.assert_in_use(&before, chosen.node_id());
                }
                2 => {
                    let request = JobRequest::new(format!("{worker}-{turn}"), demand.clone());
                    let job = scheduler.create_job(&request).expect("a slot is free");
                    self.epochs.assert_in_use(&before, job.node_id());
                    // Or its node went first.
                    let ended = scheduler.complete(job.id(), job.attempt()).is_ok();
                    self.ended.fetch_add(u32::from(ended), Ordering::Relaxed);
                }
                // One that others create, too, at about the same time.
                _ => {
                    let number = self.names.fetch_add(1, Ordering::Relaxed) / WORKERS;
                    let request = JobRequest::new(format!("shared-{number}"), demand.clone());
                    let job = scheduler.create_job(&request).expect("a slot is free");
                    // Whoever came first may have had his slot before this call: where it landed says nothing here.
                    let mut shared = self.shared.lock().expect("nobody panics with it");
                    assert_eq!(*shared.entry(number).or_insert(job.id()), job.id(), "request {number} has two jobs");
                    drop(shared);
                    let ended = scheduler.complete(job.id(), job.attempt()).is_ok();
                    self.ended.fetch_add(u32::from(ended), Ordering::Relaxed);
                }
            }
        }
        turn
    }
}

/// No node may ever hold more than its slots.
fn observe(scheduler: &Scheduler, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        for view in scheduler.nodes() {
            assert!(view.in_flight <= view.capacity, "{view:?}");
        }
        assert_eq!(scheduler.stats().counters.double_released, 0);
        thread::yield_now();
    }
}

/// Every attempt has ended once: by a worker, or orphaned.
fn assert_all_ended(scheduler: &Scheduler, events: &EventReceiver, ended: u32) {
    assert_eq!(events.dropped(), 0);
    let orphaned: Vec<JobId> = events
        .filter_map(|event| match event {
            Event::JobOrphaned { job, .. } => Some(job),
            _ => None,
        })
        .collect();
    assert_eq!(orphaned.iter().collect::<BTreeSet<_>>().len(), orphaned.len(), "orphaned twice");
    let counted = scheduler.stats().counters;
    assert_eq!(counted.created, u64::from(ended) + orphaned.len() as u64, "{counted:?}");
    assert_eq!((counted.reserved, counted.double_released), (counted.released, 0), "{counted:?}");
    assert_eq!((counted.refused_gone, counted.refused_unsupported), (0, 0), "{counted:?}");
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0), "{:?}", scheduler.nodes());
}

#[test]
fn a_node_that_is_out_of_use_is_not_chosen_and_nobody_is_refused_while_a_slot_is_free() {
    let builder = Scheduler::builder().manual_maintenance().seed(1).pool(PoolConfig::new("all"));
    let builder = builder.heartbeat_timeout(ms(TIMEOUT)).offline_retention(Duration::from_secs(1_000_000));
    // All jobs are remembered, so that each request is one job to the end.
    let builder =
        builder.default_lease(Duration::from_secs(80_000)).finished_retention(Duration::from_secs(30_000_000));
    let scheduler = builder.max_finished_jobs(1 << 21).build().expect("the configuration is valid");
    let events = scheduler.subscribe(1 << 20);
    // Those who create the same request at once may each hold a slot for a moment.
    let steady = NodeSpec::new(STEADY).capacity(2 * WORKERS as u32).ready();
    let steady = scheduler.register(steady).expect("it is not there");
    let handles = (0..NODES).map(|node| scheduler.register(spec(node)).expect("it is not there")).collect();
    let (epochs, done, ended, shared) =
        (Epochs::default(), AtomicBool::new(false), AtomicU32::new(0), Mutex::default());
    let barrier = Barrier::new(WORKERS as usize + 1);
    let names = AtomicU64::new(0);
    let work =
        Work { scheduler: &scheduler, epochs: &epochs, names: &names, shared: &shared, done: &done, ended: &ended };
    let turns = thread::scope(|scope| {
        let (work, barrier, scheduler, done) = (&work, &barrier, &scheduler, &done);
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    let _done = Done(done);
                    barrier.wait();
                    work.run(worker, Rng::with_seed(worker))
                })
            })
            .collect();
        scope.spawn(move || observe(scheduler, done));
        let mut keeper = Keeper { scheduler, epochs: work.epochs, handles, steady, now: 0 };
        let mut random = Rng::with_seed(7);
        {
            let _done = Done(done);
            barrier.wait();
            for _ in 0..from_environment("SLOTYARD_TURNS", 300) {
                keeper.turn(random.usize(..NODES), random.u8(..5));
            }
        }
        workers.into_iter().map(|worker| worker.join().expect("a worker's own assertions hold")).sum::<u64>()
    });
    assert!(turns > 1000, "{turns} turns of the workers");
    assert_all_ended(&scheduler, &events, ended.into_inner());
}
