//! First figures of the other operations, by size of fleet: registering a node, heartbeats, jobs.
//!
//! ```sh
//! cargo bench --bench register
//! cargo bench --bench register -- --quick register/1000
//! ```

#[path = "../fleet/mod.rs"]
mod fleet;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use slotyard::{Heartbeat, JobRequest, NodeHandle, Scheduler};

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Nodes registered before those of an earlier turn are taken out again.
const TURN: u32 = 256;
/// Different ids to ask for, so that no cache knows the answer.
const IDS: usize = 1 << 16;

fn main() {
    let mut criterion = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).configure_from_args();
    for nodes in SIZES {
        let (scheduler, _) = fleet::scheduler(nodes, 8);
        registration(&mut criterion, &scheduler, nodes);
        heartbeats(&mut criterion, &scheduler, nodes);
    }
    jobs(&mut criterion);
    criterion.final_summary();
}

/// One node more, beside so many; taken out again outside of the time measured.
fn registration(criterion: &mut Criterion, scheduler: &Scheduler, nodes: u32) {
    let capabilities = fleet::capabilities();
    let mut next = nodes;
    let mut group = criterion.benchmark_group("register");
    group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut left, mut time) = (iterations, Duration::ZERO);
            while left > 0 {
                let turn = left.min(u64::from(TURN)) as u32;
                let specs: Vec<_> = (next..next + turn).map(|number| fleet::spec(number, 8, &capabilities)).collect();
                let mut handles = Vec::with_capacity(specs.len());
                let start = Instant::now();
                handles.extend(specs.into_iter().map(|spec| scheduler.register(spec).expect("the id is new")));
                time += start.elapsed();
                for handle in &handles {
                    scheduler.deregister(handle).expect("it was just registered");
                }
                (left, next) = (left - u64::from(turn), next + turn);
            }
            time
        });
    });
}

/// A heartbeat that changes nothing, for nodes at random, beside one look-up in a concurrent map of the same ids.
fn heartbeats(criterion: &mut Criterion, scheduler: &Scheduler, nodes: u32) {
    let mut random = fastrand::Rng::with_seed(3);
    let ids: Vec<String> = (0..IDS).map(|_| fleet::node_id(random.u32(..nodes))).collect();
    let handle = |id: &String| scheduler.handle(id).expect("it is registered");
    let handles: Vec<NodeHandle> = ids.iter().map(handle).collect();
    let beat = Heartbeat::ready();
    let mut place = 0;
    let mut next = move || {
        place = (place + 1) % IDS;
        place
    };

    let mut group = criterion.benchmark_group("heartbeat");
    group.bench_function(BenchmarkId::new("handle", nodes), |bencher| {
        bencher.iter(|| scheduler.heartbeat(&handles[next()], &beat));
    });
    group.bench_function(BenchmarkId::new("id", nodes), |bencher| {
        bencher.iter(|| scheduler.heartbeat_by_id(&ids[next()], &beat));
    });
    let map: papaya::HashMap<String, u32, ahash::RandomState> =
        (0..nodes).map(|number| (fleet::node_id(number), number)).collect();
    group.bench_function(BenchmarkId::new("floor: papaya get", nodes), |bencher| {
        bencher.iter(|| map.pin().get(&ids[next()]).copied());
    });
}

/// A job created under a new request id and completed, beside a request id put into a concurrent map and removed, and
/// a slot reserved and released.
fn jobs(criterion: &mut Criterion) {
    // Short leases and few finished jobs, or what is remembered of millions of jobs would be measured.
    let builder = Scheduler::builder().seed(1).heartbeat_timeout(Duration::from_secs(24 * 3600));
    let builder = builder.default_lease(Duration::from_millis(500)).max_finished_jobs(1024);
    let scheduler = builder.build().expect("the configuration is valid");
    fleet::register(&scheduler, 0..1_000, 8);
    let demand = fleet::demand();
    let prepared = scheduler.prepare(&demand);
    let mut next = 0u64;
    let mut request_id = || {
        next += 1;
        format!("request-{next:016x}")
    };

    let mut group = criterion.benchmark_group("job");
    group.bench_function("create + complete", |bencher| {
        bencher.iter_batched_ref(
            || JobRequest::new(request_id(), demand.clone()),
            |request| {
                let job = scheduler.create_job(request).expect("a slot is free");
                scheduler.complete(job.id(), job.attempt()).expect("it has just been created");
            },
            criterion::BatchSize::SmallInput,
        );
    });
    let map: papaya::HashMap<String, u32, ahash::RandomState> = papaya::HashMap::default();
    group.bench_function("floor: papaya insert + remove, reserve + release", |bencher| {
        bencher.iter_batched(
            &mut request_id,
            |id| {
                map.pin().insert(id.clone(), 1);
                let reservation = black_box(scheduler.reserve_prepared(&prepared).expect("a slot is free"));
                map.pin().remove(&id);
                drop(reservation);
                id
            },
            criterion::BatchSize::SmallInput,
        );
    });
}
