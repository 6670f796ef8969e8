//! With a seed, a run on one thread repeats itself: choices, ids, events and figures.

mod common;

use std::fmt::Write;
use std::process::Command;

use common::*;
use slotyard::{
    Capabilities, Demand, ExclusionMode, Heartbeat, JobRequest, NodeSpec, Policy, Scheduler, SchedulerBuilder,
    SessionMode,
};

/// A history with something of everything, written down; with demands that carry routing keys, if `keys`.
fn run(builder: SchedulerBuilder, keys: bool) -> String {
    let scheduler =
        build(builder.heartbeat_timeout(secs(20)).default_lease(secs(6)).max_finished_jobs(40).max_jobs(500));
    let events = scheduler.subscribe(100_000);
    let mut log = String::new();
    // Nothing here is random but the scheduler: the history is a fixed tangle of steps.
    let mut tangle = 12_345u64;
    let mut next = |n: u64| {
        tangle = tangle.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (tangle >> 33) % n
    };
    for step in 0..3000u64 {
        let id = format!("n{}", next(30));
        match next(12) {
            0 => {
                let spec = NodeSpec::new(&id).service("work").service(format!("s{}", next(5)));
                let result = scheduler.register(spec.capacity(1 + next(4) as u32).ready().replace_existing());
                writeln!(log, "{step} {:?}", result.map(|handle| handle.incarnation())).unwrap();
            }
            1 => {
                if let Some(handle) = scheduler.handle(&id) {
                    let capabilities = Capabilities::new().service("work").service(format!("s{}", next(5)));
                    scheduler.update(&handle, capabilities).unwrap();
                }
            }
            2 => drop(scheduler.heartbeat_by_id(&id, &Heartbeat::ready().running(next(3) as u32))),
            3 => scheduler.tick(ms(step * 20)),
            4 => {
                let key = next(50).to_le_bytes();
                let demand = if keys { work().routing_key(key) } else { work() };
                writeln!(log, "{step} {:?}", choice(&scheduler, &demand)).unwrap();
            }
            5 => {
                let demand = work().exclude([id], ExclusionMode::Soft);
                writeln!(log, "{step} {:?}", choice(&scheduler, &demand)).unwrap();
            }
            6 => {
                if let Some(job) = scheduler.job_by_request(&format!("r{}", next(step + 1))) {
                    let end = [Scheduler::complete, Scheduler::fail][next(2) as usize];
                    let ended = end(&scheduler, job.id, job.attempt);
                    let retried = scheduler.retry(job.id, job.attempt).map(|job| job.node_id().to_string());
                    writeln!(log, "{step} {ended:?} {retried:?}").unwrap();
                }
            }
            _ => {
                let mode = [SessionMode::Affinity, SessionMode::Spread(ExclusionMode::Soft)][next(2) as usize];
                let request = JobRequest::new(format!("r{step}"), work()).session_mode(mode);
                match scheduler.create_job(&request.session(format!("session-{}", next(20)))) {
                    Ok(job) => writeln!(log, "{step} {} {} {}", job.id(), job.node_id(), job.pool()).unwrap(),
                    Err(error) => writeln!(log, "{step} {error}").unwrap(),
                }
            }
        }
    }
    let stats = scheduler.stats();
    writeln!(log, "{:?} {:?} {:?}", stats.counters, stats.now, scheduler.nodes()).unwrap();
    drain(&events).iter().for_each(|event| writeln!(log, "{event:?}").unwrap());
    log
}

fn choice(scheduler: &Scheduler, demand: &Demand) -> Result<String, String> {
    match scheduler.select(demand) {
        Ok(selection) => Ok(format!("{} {}", selection.node_id(), selection.incarnation())),
        Err(error) => Err(error.to_string()),
    }
}

/// The first line in which two runs differ.
fn difference<'a>(one: &'a str, other: &'a str) -> Option<(&'a str, &'a str)> {
    let same_length = one.lines().count() == other.lines().count();
    one.lines().zip(other.lines()).find(|(a, b)| a != b).or(if same_length { None } else { Some(("length", "length")) })
}

#[test]
fn the_same_seed_gives_the_same_run_whatever_the_policy() {
    let policies = [Policy::power_of_two(), Policy::random(), Policy::round_robin(), Policy::least_loaded(3)];
    for policy in policies {
        let run = || run(builder().seed(99).policy(policy.clone()), true);
        let first = run();
        assert!(first.lines().count() > 2000);
        assert_eq!(difference(&first, &run()), None, "{policy:?}");
    }
}

#[test]
fn another_scheduler_at_work_on_the_same_thread_does_not_disturb_a_run() {
    let alone = choices(&[3]);
    assert_eq!(choices(&[3, 4])[0], alone[0]);
}

/// The choices of schedulers that are asked in turn.
fn choices(seeds: &[u64]) -> Vec<Vec<String>> {
    let schedulers: Vec<Scheduler> = seeds.iter().map(|seed| build(builder().seed(*seed))).collect();
    schedulers.iter().for_each(|scheduler| drop(add_workers(scheduler, (0..50).map(|n| n.to_string()), 1)));
    let mut choices = vec![Vec::new(); seeds.len()];
    for _ in 0..200 {
        for (scheduler, choices) in schedulers.iter().zip(&mut choices) {
            choices.push(selected(scheduler, &work()));
        }
    }
    choices
}

#[test]
fn another_seed_gives_another_run() {
    let runs = choices(&[1, 2]);
    assert_ne!(runs[0], runs[1]);
}

#[test]
fn schedulers_without_a_seed_differ_in_choices_and_ids() {
    let [one, other] = [(); 2].map(|()| {
        let scheduler = build(Scheduler::builder().manual_maintenance());
        add_workers(&scheduler, (0..50).map(|n| n.to_string()), 1);
        (0..50).map(|n| create(&scheduler, n.to_string(), work())).map(|job| job.id()).collect::<Vec<_>>()
    });
    assert!(one.iter().all(|id| !other.contains(id)));
}

/// Set for a process that is to write a run down and do no more.
const WRITE: &str = "SLOTYARD_TEST_WRITE_A_RUN";

/// Has the test of this name written its run down by two processes of its own, and compares.
fn same_in_every_process(name: &str, keys: bool) {
    if std::env::var_os(WRITE).is_some() {
        run(builder().seed(5), keys).lines().for_each(|line| println!("run: {line}"));
        return;
    }
    let written = || {
        let program = std::env::current_exe().expect("a test has a program");
        let output = Command::new(program).args(["--exact", name, "--nocapture"]).env(WRITE, "1").output();
        let text = String::from_utf8(output.expect("the program can be started").stdout).expect("UTF-8");
        text.lines().filter(|line| line.starts_with("run: ")).collect::<Vec<_>>().join("\n")
    };
    let (first, second) = (written(), written());
    assert!(first.lines().count() > 2000);
    assert_eq!(difference(&first, &second), None);
}

#[test]
fn the_same_seed_gives_the_same_run_in_every_process() {
    same_in_every_process("the_same_seed_gives_the_same_run_in_every_process", false);
}

#[test]
fn routing_keys_lead_to_the_same_pools_in_every_process() {
    same_in_every_process("routing_keys_lead_to_the_same_pools_in_every_process", true);
}
