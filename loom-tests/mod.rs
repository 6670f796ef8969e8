//! probe
use crate::core::Core;
use crate::{Demand, JobRequest, NodeSpec, SchedulerConfig};
use loom::thread;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn config() -> SchedulerConfig {
    SchedulerConfig {
        manual_maintenance: true,
        seed: Some(7),
        max_pools: 2,
        shards: 1,
        max_jobs: 4,
        max_finished_jobs: 2,
        ..Default::default()
    }
}

static N: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[test]
fn probe_core() {
    let mut b = loom::model::Builder::new();
    b.preemption_bound = Some(std::env::var("PB").map(|v| v.parse().unwrap()).unwrap_or(1));
    b.max_branches = 20_000;
    let start = Instant::now();
    b.check(|| {
        let n = N.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if n % 1000 == 0 {
            eprintln!("{n}");
        }
        let core = Arc::new(Core::new(config()));
        core.register(NodeSpec::new("n").capacity(2).ready()).unwrap();
        let request = JobRequest::new("r", Demand::new());
        let (c2, r2) = (core.clone(), request.clone());
        let t = thread::spawn(move || c2.create_job(&r2).unwrap().id());
        let mine = core.create_job(&request).unwrap().id();
        assert_eq!(mine, t.join().unwrap());
    });
    eprintln!("{} executions, {:?}", N.load(std::sync::atomic::Ordering::Relaxed), start.elapsed());
    let _ = Duration::ZERO;
}
