//! Everything that can be done to nodes and jobs, by many threads at once, with a ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use slotyard::{
    Capabilities, CreateJobError, Event, EventReceiver, ExclusionMode, Heartbeat, JobId, JobRequest, NodeSpec,
    NodeState, Policy, PoolConfig, Scheduler, SchedulerBuilder, Service, SessionMode,
};

use crate::common::*;

const MAX_SLOTS: u32 = 4;
const NODES: u32 = 16;
const THREADS: u64 = 5;
/// Steps of each thread.
const STEPS: u64 = 3000;
/// Steps of all threads together in a millisecond of virtual time.
const PACE: u64 = 20;

/// An attempt of a job.
type Attempt = (JobId, u32);

/// What one thread has done to jobs.
#[derive(Default)]
struct Ledger {
    begun: Vec<Attempt>,
    ended: Vec<Attempt>,
    created: u64,
    retried: u64,
    /// Jobs that it may still do something to, each with its latest attempt.
    open: Vec<Attempt>,
}

fn any_capabilities(random: &mut Rng) -> Capabilities {
    let capabilities = Capabilities::new().service("work");
    match random.u8(..4) {
        0 => capabilities,
        1 => capabilities.service("x"),
        2 => capabilities.service("y"),
        _ => capabilities.service("x").service("y"),
    }
}

/// Does to a node one of the things that can be done to it. What is refused because another thread was first is no matter.
fn change_a_node(scheduler: &Scheduler, random: &mut Rng) {
    let id = format!("n{}", random.u32(..NODES));
    let Some(handle) = scheduler.handle(&id).filter(|_| random.u8(..20) > 0) else {
        let spec = NodeSpec::new(&id).capabilities(any_capabilities(random));
        let spec = spec.capacity(random.u32(1..=MAX_SLOTS)).ready();
        let _ = scheduler.register(if random.bool() { spec.replace_existing() } else { spec });
        return;
    };
    let _ = match random.u8(..14) {
        0 => scheduler.deregister(&handle).is_ok(),
        1 => scheduler.drain(&handle).is_ok(),
        2 | 3 => scheduler.undrain(&handle).is_ok(),
        4 => scheduler.set_capacity(&handle, random.u32(1..=MAX_SLOTS)).is_ok(),
        5 => scheduler.set_weight(&handle, [0, 50, 100, 100][random.usize(..4)]).is_ok(),
        6 | 7 => scheduler.update(&handle, any_capabilities(random)).is_ok(),
        8 => scheduler.mark_unavailable(&handle, &Service::from("x"), ms(random.u64(1..30))).is_ok(),
        9 => scheduler.heartbeat(&handle, &Heartbeat::alive().running(random.u32(..6))).is_ok(),
        10 => scheduler.heartbeat(&handle, &Heartbeat::not_ready()).is_ok(),
        11 => scheduler.heartbeat(&handle, &Heartbeat::ready().services(["work"])).is_ok(),
        _ => scheduler.heartbeat_by_id(&id, &Heartbeat::ready()).is_ok(),
    };
}

impl Ledger {
    fn create_a_job(&mut self, scheduler: &Scheduler, id: String, random: &mut Rng) {
        let mut request = JobRequest::new(id, work()).lease(ms(random.u64(5..200)));
        if random.bool() {
            let mode = [SessionMode::Affinity, SessionMode::Spread(ExclusionMode::Soft)][random.usize(..2)];
            request = request.session(format!("s{}", random.u8(..8))).session_mode(mode);
        }
        match scheduler.create_job(&request) {
            Ok(job) => {
                self.open.push((job.id(), job.attempt()));
                self.begun.push((job.id(), job.attempt()));
                self.created += 1;
            }
            Err(CreateJobError::NoNode(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Moves on, retries or ends one of the open jobs, whatever state that is in.
    fn change_a_job(&mut self, scheduler: &Scheduler, random: &mut Rng) {
        let at = random.usize(..self.open.len());
        let (job, attempt) = self.open[at];
        match random.u8(..9) {
            0 => drop(scheduler.dispatched(job, attempt)),
            1 => drop(scheduler.running(job, attempt)),
            2 => drop(scheduler.renew(job, attempt)),
            3 | 4 => {
                if let Ok(next) = scheduler.retry(job, attempt) {
                    assert_eq!((next.id(), next.attempt()), (job, attempt + 1));
                    self.begun.push((job, attempt + 1));
                    self.retried += 1;
                    self.open[at] = (job, attempt + 1);
                }
            }
            end => {
                let end = [Scheduler::complete, Scheduler::fail, Scheduler::cancel][end as usize % 3];
                if end(scheduler, job, attempt).is_ok() {
                    self.ended.push((job, attempt));
                }
                // Left open, it may be retried; let go while active, its lease runs out.
                if random.bool() {
                    self.open.swap_remove(at);
                }
            }
        }
    }
}

fn work_on(scheduler: &Scheduler, name: u64, mut random: Rng, steps: &AtomicU64) -> Ledger {
    let mut ledger = Ledger::default();
    for step in 0..STEPS {
        match random.u8(..10) {
            0..3 => change_a_node(scheduler, &mut random),
            3..6 => ledger.create_a_job(scheduler, format!("{name}-{step}"), &mut random),
            _ if ledger.open.is_empty() => {}
            _ => ledger.change_a_job(scheduler, &mut random),
        }
        steps.fetch_add(1, Ordering::Relaxed);
    }
    ledger
}

/// No node may ever hold more than the most slots that a node ever had.
fn observe(scheduler: &Scheduler) {
    for view in scheduler.nodes() {
        assert!(view.in_flight <= MAX_SLOTS, "{view:?}");
    }
    assert_eq!(scheduler.stats().counters.double_released, 0);
}

/// Every attempt has ended once, or was replaced by the next.
fn balance(ledgers: &[Ledger], events: &EventReceiver) {
    assert_eq!(events.dropped(), 0);
    let begun: BTreeSet<Attempt> = ledgers.iter().flat_map(|ledger| &ledger.begun).copied().collect();
    assert_eq!(begun.len(), ledgers.iter().map(|ledger| ledger.begun.len()).sum::<usize>(), "an attempt begun twice");
    let mut ended: BTreeMap<Attempt, u32> = BTreeMap::new();
    ledgers.iter().flat_map(|ledger| &ledger.ended).for_each(|attempt| *ended.entry(*attempt).or_default() += 1);
    for event in drain(events) {
        if let Event::JobExpired { job, attempt, .. } | Event::JobOrphaned { job, attempt, .. } = event {
            *ended.entry((job, attempt)).or_default() += 1;
        }
    }
    for (attempt, times) in &ended {
        assert!(*times == 1 && begun.contains(attempt), "{attempt:?} has ended {times} times");
    }
    for (job, attempt) in begun.iter().filter(|attempt| !ended.contains_key(attempt)) {
        assert!(begun.contains(&(*job, attempt + 1)), "attempt {attempt} of {job} has no end");
    }
}

/// Makes every node that is left fit for work, and waits until the last lease has run out.
fn calm(scheduler: &Scheduler, now: u64) {
    for step in 1..=4 {
        for view in scheduler.nodes() {
            let handle = handle(scheduler, &view.id);
            let services: Vec<Service> = view.capabilities.services().cloned().collect();
            scheduler.heartbeat(&handle, &Heartbeat::ready().running(0).services(services)).unwrap();
            scheduler.undrain(&handle).unwrap();
            scheduler.set_weight(&handle, 100).unwrap();
            assert_eq!(state(scheduler, &view.id), NodeState::Ready);
        }
        // Less than makes a node go offline.
        scheduler.tick(ms(now + step * 100));
    }
}

/// What is shown of pools must be what their nodes make of it.
fn assert_pools_agree_with_nodes(scheduler: &Scheduler) {
    let nodes = scheduler.nodes();
    for pool in scheduler.pools() {
        let members: Vec<_> = nodes.iter().filter(|view| view.pools.contains(&pool.name)).collect();
        let capacity: u64 = members.iter().map(|view| u64::from(view.capacity)).sum();
        assert_eq!((pool.nodes, pool.ready, pool.capacity), (members.len(), members.len(), capacity), "{pool:?}");
        let free = members.iter().any(|view| view.in_flight < view.capacity);
        assert!(pool.available || !free, "{pool:?} has free slots: {members:?}");
    }
}

/// Takes every slot there is, to exactly the sum of the capacities, and gives all back.
fn fill_to_the_last_slot(scheduler: &Scheduler, round: u32) {
    let capacity: u32 = scheduler.nodes().iter().map(|view| view.capacity).sum();
    let jobs = fill(scheduler, &format!("fill-{round}"), &work());
    assert_eq!(jobs.len() as u32, capacity, "{capacity} slots");
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == view.capacity));
    jobs.iter().for_each(|job| complete(scheduler, job));
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
}

/// Everything at once.
fn churn(builder: SchedulerBuilder, seed: u64) {
    let scheduler = build(builder.heartbeat_timeout(ms(150)).offline_retention(ms(100)).default_lease(ms(100)));
    let events = scheduler.subscribe(1 << 16);
    let random = |n: u64| Rng::with_seed(seed << 8 | n);
    let steps = AtomicU64::new(0);
    let ledgers: Vec<Ledger> = thread::scope(|scope| {
        let (scheduler, steps) = (&scheduler, &steps);
        let workers: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || work_on(scheduler, n, random(n), steps))).collect();
        // Time goes with the work, so that as much of it passes on any machine.
        while !workers.iter().all(|worker| worker.is_finished()) {
            scheduler.tick(ms(steps.load(Ordering::Relaxed) / PACE));
            observe(scheduler);
        }
        workers.into_iter().map(|worker| worker.join().expect("a worker's own assertions hold")).collect()
    });
    let now = steps.into_inner() / PACE;
    calm(&scheduler, now);
    observe(&scheduler);
    balance(&ledgers, &events);
    let counted = scheduler.stats().counters;
    assert_eq!(counted.created, ledgers.iter().map(|ledger| ledger.created).sum::<u64>());
    assert_eq!(counted.retried, ledgers.iter().map(|ledger| ledger.retried).sum::<u64>());
    assert_eq!(counted.reserved, counted.released, "{counted:?}");
    assert!(
        counted.created > 100 && counted.retried > 10 && counted.expired > 10 && counted.orphaned > 10,
        "{counted:?}"
    );
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0), "{:?}", scheduler.nodes());
    assert_pools_agree_with_nodes(&scheduler);
    assert!(scheduler.nodes().len() > 3);
    for round in 0..3 {
        fill_to_the_last_slot(&scheduler, round);
    }
    assert_pools_agree_with_nodes(&scheduler);
    assert_eq!(scheduler.stats().counters.double_released, 0);
}

#[test]
fn churn_loses_no_slot_in_automatic_pools() {
    churn(builder(), 1);
    churn(builder().policy(Policy::random()).shards(1), 2);
}

#[test]
fn churn_loses_no_slot_when_nodes_share_the_mixed_pool() {
    churn(builder().max_pools(2), 3);
}

#[test]
fn churn_loses_no_slot_when_nodes_are_in_several_configured_pools() {
    let requires = |service| PoolConfig::new(service).requires(Capabilities::new().service(service));
    churn(builder().pool(requires("x")).pool(requires("y")).pool(PoolConfig::new("rest")), 4);
}

#[test]
fn churn_loses_no_slot_by_round_robin_and_with_few_jobs_remembered() {
    churn(builder().policy(Policy::round_robin()).max_finished_jobs(50).max_jobs(5000), 5);
}
