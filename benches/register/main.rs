//! Registering a node, by size of fleet.
//!
//! ```sh
//! cargo bench --bench register
//! cargo bench --bench register -- --quick register/1000
//! ```

#[path = "../fleet/mod.rs"]
mod fleet;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use slotyard::Scheduler;

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Nodes registered before those of an earlier turn are taken out again.
const TURN: u32 = 256;

fn main() {
    let mut criterion = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).configure_from_args();
    for nodes in SIZES {
        let (scheduler, _) = fleet::scheduler(nodes, 8);
        registration(&mut criterion, &scheduler, nodes);
    }
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
