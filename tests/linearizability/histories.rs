//! Short histories of a few threads on a few slots, each of which some order must explain.

use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use slotyard::{Candidate, Choose, Drawing, Event, Policy, PoolConfig, Scheduler, SchedulerBuilder};

use crate::from_environment;
use crate::history::{Call, Did, Step, is_linearizable, steps};
use crate::worker::{Shared, Worker};

/// Lets others go on between a node's being drawn and a slot of it being taken.
#[derive(Debug)]
struct Dawdle;

impl Choose for Dawdle {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let candidate = drawing.draw();
        (0..fastrand::u32(..3)).for_each(|_| thread::yield_now());
        candidate
    }
}

/// Longer histories would take the search too long, and explain less.
const CALLS: std::ops::Range<u32> = 4..8;

struct Kind {
    nodes: u8,
    requests: u8,
    changes: u8,
    configure: fn(SchedulerBuilder) -> SchedulerBuilder,
}

/// Records one history; what was done, and how often something was seen.
fn record(kind: &Kind, seed: u64) -> (Vec<Call>, Vec<Event>, Scheduler) {
    let mut random = Rng::with_seed(seed);
    let builder = Scheduler::builder().manual_maintenance().seed(seed).max_attempts(1000);
    let builder = builder.heartbeat_timeout(Duration::from_secs(1_000_000));
    let scheduler = (kind.configure)(builder).build().expect("the configuration is valid");
    let events = scheduler.subscribe(1 << 10);
    let (clock, names, begun) = (AtomicU64::new(1), AtomicU64::new(0), AtomicU64::new(0));
    let mut calls;
    let mut orphans = Vec::new();
    {
        let Kind { nodes, requests, changes, .. } = *kind;
        let (steps, abreast) = (random.u32(CALLS), if random.bool() { u64::from(CALLS.start) } else { 0 });
        let (scheduler, clock, names, begun) = (&scheduler, &clock, &names, &begun);
        let shared = Shared { scheduler, clock, names, begun, abreast, nodes, requests, changes };
        let mut first = Worker::new(&shared, random.fork(), None);
        (0..nodes).for_each(|node| first.register(node, false));
        calls = first.calls;
        let threads = random.usize(2..5);
        let barrier = Barrier::new(threads);
        let workers: Vec<_> = (0..threads).map(|n| (n, random.fork())).collect();
        thread::scope(|scope| {
            let run = |(n, random): (usize, Rng)| {
                let (shared, barrier, events) = (&shared, &barrier, (n == 0).then_some(&events));
                scope.spawn(move || {
                    let mut worker = Worker::new(shared, random, events);
                    barrier.wait();
                    for step in 0..steps {
                        worker.wait_for(threads as u64, step.into());
                        worker.act();
                    }
                    worker.finish();
                    (worker.calls, worker.orphans)
                })
            };
            let running: Vec<_> = workers.into_iter().map(run).collect();
            for thread in running {
                let (more, told) = thread.join().expect("a thread's own assertions hold");
                calls.extend(more);
                orphans.extend(told);
            }
        });
    }
    orphans.extend((&events).filter(|event| matches!(event, Event::JobOrphaned { .. })));
    (calls, orphans, scheduler)
}

/// In the order of their calls.
fn in_words(mut steps: Vec<Step>) -> String {
    steps.sort_by_key(|step| (step.from, step.to));
    let lines: Vec<String> =
        steps.iter().map(|step| format!("{:>4} to {:>4}: {:?}", step.from, step.to, step.op)).collect();
    lines.join("\n")
}

/// Ends every job that is left: then nothing is held, and all that was taken was given back once.
fn assert_nothing_is_left(scheduler: &Scheduler, calls: &[Call]) {
    for call in calls {
        if let Did::Create { job, .. } = call.did
            && let Some(view) = scheduler.job(job)
        {
            // Whoever was in the middle of creating it on a node that went has seen to it himself.
            let there = scheduler.node(&view.node_id).is_some_and(|node| node.incarnation == view.incarnation);
            assert!(view.state.has_ended() || there, "{view:?} is active on a node that has gone");
            let _ = scheduler.cancel(job, view.attempt);
        }
    }
    let counted = scheduler.stats().counters;
    assert_eq!((counted.reserved, counted.double_released), (counted.released, 0), "{counted:?}");
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0), "{:?}", scheduler.nodes());
    let ended = counted.completed + counted.failed + counted.cancelled + counted.expired + counted.orphaned;
    assert!(ended >= counted.created, "{counted:?}");
}

/// What has been seen over all histories, so that it is known what they reach.
#[derive(Default, Debug)]
struct Seen {
    refused: u32,
    repeated: u32,
    denied: u32,
    expired: u32,
    orphaned: u32,
    stale: u32,
    retried: u32,
    replaced: u32,
    renewed: u32,
    moved: u32,
    shown_ended: u32,
    named: u32,
}

impl Seen {
    fn add(&mut self, calls: &[Call], orphans: &[Event], scheduler: &Scheduler) {
        for call in calls {
            match &call.did {
                Did::Refused | Did::CreateRefused(_) | Did::RetryRefused => self.refused += 1,
                Did::Denied(_) | Did::RetryDenied(_) => self.denied += 1,
                Did::Tick(expired) => self.expired += expired.len() as u32,
                Did::Stale(_) => self.stale += 1,
                Did::Retry(..) => self.retried += 1,
                Did::Renew(..) => self.renewed += 1,
                Did::Move(..) => self.moved += 1,
                Did::Shown(.., state) => self.shown_ended += u32::from(state.has_ended()),
                Did::Named(_, job) => self.named += u32::from(job.is_some()),
                _ => {}
            }
        }
        self.orphaned += orphans.len() as u32;
        self.repeated += scheduler.stats().counters.repeated as u32;
        let comes = calls.iter().filter(|call| matches!(call.did, Did::Register { .. })).count() as u32;
        let leaves = calls.iter().filter(|call| matches!(call.did, Did::Deregister(_))).count() as u32;
        self.replaced += comes.saturating_sub(leaves + scheduler.stats().now.nodes as u32);
    }
}

fn explained(kind: &Kind, salt: u64) -> Seen {
    let mut seen = Seen::default();
    for number in 0..from_environment("SLOTYARD_HISTORIES", 3000) {
        let (calls, orphans, scheduler) = record(kind, salt << 48 | number);
        let steps = steps(&calls, &orphans);
        assert!(is_linearizable(&steps), "no order explains history {number}:\n{}", in_words(steps));
        assert_nothing_is_left(&scheduler, &calls);
        seen.add(&calls, &orphans, &scheduler);
    }
    seen
}

fn one_pool(builder: SchedulerBuilder) -> SchedulerBuilder {
    builder.pool(PoolConfig::new("all"))
}

#[test]
fn jobs_on_one_node_are_explained_by_some_order() {
    let kind = Kind { nodes: 1, requests: 2, changes: 0, configure: |builder| builder };
    let seen = explained(&kind, 1);
    assert!(seen.refused > 100 && seen.repeated > 100 && seen.denied > 100 && seen.expired > 10, "{seen:?}");
    assert!(seen.retried > 10, "{seen:?}");
    assert!(seen.renewed > 100 && seen.moved > 100 && seen.shown_ended > 100 && seen.named > 100, "{seen:?}");
}

#[test]
fn jobs_on_nodes_that_change_are_explained_by_some_order() {
    let kind = Kind { nodes: 2, requests: 3, changes: 40, configure: one_pool };
    let seen = explained(&kind, 2);
    assert!(seen.refused > 100 && seen.orphaned > 10 && seen.stale > 10 && seen.replaced > 10, "{seen:?}");
}

#[test]
fn jobs_in_pools_that_come_and_go_are_explained_by_some_order() {
    let kind = Kind { nodes: 3, requests: 4, changes: 50, configure: |builder| builder };
    let seen = explained(&kind, 3);
    assert!(seen.refused > 100 && seen.orphaned > 10 && seen.stale > 10 && seen.replaced > 10, "{seen:?}");
}

#[test]
fn jobs_whose_choices_are_held_up_are_explained_by_some_order() {
    let dawdle = |builder: SchedulerBuilder| one_pool(builder).policy(Policy::custom(Dawdle));
    let kind = Kind { nodes: 2, requests: 2, changes: 25, configure: dawdle };
    let seen = explained(&kind, 4);
    assert!(seen.refused > 100 && seen.repeated > 100 && seen.denied > 100, "{seen:?}");
}
