//! Many threads at once, bounded by operations: what must hold at every moment, and what must be left at the end.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use common::*;
use fastrand::Rng;
use slotyard::{
    Capabilities, CreateJobError, Event, EventReceiver, ExclusionMode, Heartbeat, Job, JobId, JobRequest, NoNode,
    NodeSpec, Policy, PoolConfig, RegisterError, Scheduler, SchedulerBuilder, Service, SessionMode,
};

const MAX_SLOTS: u32 = 4;
const NODES: u32 = 16;

/// An attempt of a job.
type Attempt = (JobId, u32);

/// What one thread has done to jobs.
#[derive(Default)]
struct Ledger {
    begun: Vec<Attempt>,
    ended: Vec<Attempt>,
    created: u64,
    retried: u64,
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

fn any_id(random: &mut Rng) -> String {
    format!("n{}", random.u32(..NODES))
}

/// Does to nodes whatever can be done to them. What is refused because another thread was first is no matter.
fn manage_nodes(scheduler: &Scheduler, mut random: Rng, steps: u32) {
    for _ in 0..steps {
        let id = any_id(&mut random);
        let Some(handle) = scheduler.handle(&id).filter(|_| random.u8(..20) > 0) else {
            let spec = NodeSpec::new(&id).capabilities(any_capabilities(&mut random));
            let spec = spec.capacity(random.u32(1..=MAX_SLOTS)).ready();
            let _ = scheduler.register(if random.bool() { spec.replace_existing() } else { spec });
            continue;
        };
        let _ = match random.u8(..14) {
            0 => scheduler.deregister(&handle).is_ok(),
            1 => scheduler.drain(&handle).is_ok(),
            2 | 3 => scheduler.undrain(&handle).is_ok(),
            4 => scheduler.set_capacity(&handle, random.u32(1..=MAX_SLOTS)).is_ok(),
            5 => scheduler.set_weight(&handle, [0, 50, 100, 100][random.usize(..4)]).is_ok(),
            6 | 7 => scheduler.update(&handle, any_capabilities(&mut random)).is_ok(),
            8 => scheduler.mark_unavailable(&handle, &Service::from("x"), ms(random.u64(1..30))).is_ok(),
            9 => scheduler.heartbeat(&handle, &Heartbeat::alive().running(random.u32(..6))).is_ok(),
            10 => scheduler.heartbeat(&handle, &Heartbeat::not_ready()).is_ok(),
            11 => scheduler.heartbeat(&handle, &Heartbeat::ready().services(["work"])).is_ok(),
            _ => scheduler.heartbeat_by_id(&id, &Heartbeat::ready()).is_ok(),
        };
    }
}

/// Creates jobs, moves them on and ends them, each by this thread alone.
fn run_jobs(scheduler: &Scheduler, name: u64, mut random: Rng, steps: u32) -> Ledger {
    let mut ledger = Ledger::default();
    let mut open: Vec<Attempt> = Vec::new();
    for step in 0..steps {
        if open.is_empty() || random.u8(..5) < 2 {
            let mut request = JobRequest::new(format!("{name}-{step}"), work()).lease(ms(random.u64(5..200)));
            if random.bool() {
                let mode = [SessionMode::Affinity, SessionMode::Spread(ExclusionMode::Soft)][random.usize(..2)];
                request = request.session(format!("s{}", random.u8(..8))).session_mode(mode);
            }
            match scheduler.create_job(&request) {
                Ok(job) => {
                    open.push((job.id(), job.attempt()));
                    ledger.begun.push((job.id(), job.attempt()));
                    ledger.created += 1;
                }
                Err(CreateJobError::NoNode(_)) => {}
                Err(error) => panic!("{error}"),
            }
            continue;
        }
        let at = random.usize(..open.len());
        let (job, attempt) = open[at];
        match random.u8(..9) {
            0 => drop(scheduler.dispatched(job, attempt)),
            1 => drop(scheduler.running(job, attempt)),
            2 => drop(scheduler.renew(job, attempt)),
            3 | 4 => {
                // From whatever state it is in.
                if let Ok(next) = scheduler.retry(job, attempt) {
                    assert_eq!((next.id(), next.attempt()), (job, attempt + 1));
                    ledger.begun.push((job, attempt + 1));
                    ledger.retried += 1;
                    open[at] = (job, attempt + 1);
                }
            }
            end => {
                let end = [Scheduler::complete, Scheduler::fail, Scheduler::cancel][end as usize % 3];
                if end(scheduler, job, attempt).is_ok() {
                    ledger.ended.push((job, attempt));
                }
                // One that failed, expired or was orphaned may be left open, for a retry.
                if random.bool() {
                    open.swap_remove(at);
                }
            }
        }
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

/// Makes every node that is left fit for work, with nothing on it.
fn calm(scheduler: &Scheduler, now: u64) {
    scheduler.tick(ms(now + 1000));
    for view in scheduler.nodes() {
        let handle = scheduler.handle(&view.id).expect("nobody else is at work");
        let services: Vec<Service> = view.capabilities.services().cloned().collect();
        scheduler.heartbeat(&handle, &Heartbeat::ready().running(0).services(services)).unwrap();
        scheduler.undrain(&handle).unwrap();
        scheduler.set_weight(&handle, 100).unwrap();
        assert_eq!(state(scheduler, &view.id), slotyard::NodeState::Ready);
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
    assert_eq!(jobs.len() as u32, capacity);
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == view.capacity));
    jobs.iter().for_each(|job| complete(scheduler, job));
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
}

/// Everything at once.
fn churn(builder: SchedulerBuilder, seed: u64) {
    let scheduler = build(builder.heartbeat_timeout(ms(150)).offline_retention(ms(100)).default_lease(ms(100)));
    let events = scheduler.subscribe(1 << 16);
    let (managers, workers, steps) = (2, 4, 3000);
    let random = |n: u64| Rng::with_seed(seed << 8 | n);
    let working = AtomicU32::new(managers + workers);
    let mut now = 0;
    let ledgers: Vec<Ledger> = thread::scope(|scope| {
        let (scheduler, working) = (&scheduler, &working);
        for n in 0..managers {
            scope.spawn(move || {
                manage_nodes(scheduler, random(n.into()), steps);
                working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let workers = (0..workers).map(|n| {
            scope.spawn(move || {
                let ledger = run_jobs(scheduler, n.into(), random(100 + u64::from(n)), steps);
                working.fetch_sub(1, Ordering::Relaxed);
                ledger
            })
        });
        let workers: Vec<_> = workers.collect();
        while working.load(Ordering::Relaxed) > 0 && workers.iter().any(|worker| !worker.is_finished()) {
            now += 1;
            scheduler.tick(ms(now));
            observe(scheduler);
        }
        workers.into_iter().map(|worker| worker.join().expect("a worker's own assertions hold")).collect()
    });
    // A second later every lease has run out.
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

/// Runs `f` on as many threads as given, all let go at once in each round; returns what they returned, by round.
fn rounds<T: Send>(threads: usize, rounds: usize, f: impl Fn(usize, usize) -> T + Sync) -> Vec<Vec<T>> {
    let barrier = Barrier::new(threads);
    let by_thread: Vec<Vec<T>> = thread::scope(|scope| {
        let run = |thread| {
            let (barrier, f) = (&barrier, &f);
            scope.spawn(move || {
                let mut results = Vec::new();
                for round in 0..rounds {
                    barrier.wait();
                    results.push(f(thread, round));
                }
                results
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread's own assertions hold")).collect()
    });
    let mut by_round: Vec<Vec<T>> = (0..rounds).map(|_| Vec::new()).collect();
    for results in by_thread {
        results.into_iter().zip(&mut by_round).for_each(|(result, round)| round.push(result));
    }
    by_round
}

#[test]
fn eight_threads_that_create_one_request_at_once_get_one_job_with_one_slot() {
    let scheduler = scheduler();
    add_workers(&scheduler, (0..50).map(|n| n.to_string()), 20);
    let results = rounds(8, 400, |_, round| create(&scheduler, round.to_string(), work()));
    for jobs in &results {
        let same = |job: &Job| (job.id(), job.attempt(), job.node_id().clone(), job.incarnation());
        assert!(jobs.iter().all(|job| same(job) == same(&jobs[0])), "{jobs:?}");
    }
    let ids: BTreeSet<JobId> = results.iter().map(|jobs| jobs[0].id()).collect();
    let held: u32 = scheduler.nodes().iter().map(|view| view.in_flight).sum();
    let counted = scheduler.stats().counters;
    assert_eq!((ids.len(), held, scheduler.stats().now.jobs, counted.created), (400, 400, 400, 400));
    assert_eq!(counted.reserved - counted.released, 400);
    results.iter().for_each(|jobs| complete(&scheduler, &jobs[0]));
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
}

#[test]
fn eight_threads_that_create_one_request_for_the_last_slot_get_one_job_or_are_told_to_wait() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    for (round, results) in rounds(8, 1, |_, _| ()).iter().enumerate().flat_map(|(n, _)| [(n, 0); 1]) {
        assert_eq!((round, results), (0, 0));
    }
    for round in 0..300 {
        let request = format!("r{round}");
        let results = rounds(8, 1, |_, _| try_create(&scheduler, &request, work())).remove(0);
        let jobs: Vec<&Job> = results.iter().flatten().collect();
        assert!(!jobs.is_empty() && jobs.iter().all(|job| job.id() == jobs[0].id()), "{results:?}");
        assert!(results.iter().flat_map(|result| result.as_ref().err()).all(is_busy), "{results:?}");
        assert_eq!(in_flight(&scheduler, "a"), 1);
        complete(&scheduler, jobs[0]);
    }
    assert_eq!(scheduler.stats().counters.created, 300);
}

fn is_busy(error: &CreateJobError) -> bool {
    matches!(error, CreateJobError::NoNode(NoNode::Busy(_)))
}

#[test]
fn of_all_calls_that_would_end_an_attempt_one_does() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 8));
    let jobs: Vec<Job> = (0..400)
        .map(|n| (n, ()))
        .map(|(n, ())| {
            let job = create(&scheduler, n.to_string(), work());
            complete(&scheduler, &job);
            scheduler.job(job.id()).map(|_| job).expect("it is remembered")
        })
        .collect();
    assert!(jobs.len() == 400);
}
