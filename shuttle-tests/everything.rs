//! **Everything at once**: nodes come, go, move, drain and fall silent while jobs are made, moved on, retried and ended, and
//! maintenance ticks. At the end no slot is held, each was released once, all is told, and what is known in several places is
//! the same in all of them.
//!
//! Six threads, two of them for the nodes, one for maintenance, three for jobs of four request ids and two sessions.
//!
//! Seen to fail with, in the iteration said:
//! - `Pool::join` not looking whether the pool is closed: first scenario, 58;
//! - `Core::begin` without `let_go` for whoever enters second: first scenario, 1.
//!
//! Not seen to fail with `Cell::release` without the look at the generation (`slot_word` does), `Core::bound` not looking at
//! the flags (`one_job`), nor `Core::take_offline` orphaning no jobs (loom's `heartbeat`).

use std::time::Duration;

use super::*;
use crate::job::End;
use crate::{Capabilities, Heartbeat, PoolConfig, SchedulerBuilder};

const ITERATIONS: usize = 4000;
const IDS: [&str; 4] = ["a", "b", "c", "d"];

fn capabilities() -> Capabilities {
    if draw(0..2) == 0 { asr() } else { asr().service(Service::TTS) }
}

fn act_on_nodes(core: &Core) {
    let id = format!("node-{}", draw(0..3));
    let known = handle(core, &id);
    match (draw(0..7), known) {
        (0, Some(node)) => drop(core.deregister(&node)),
        (1, Some(node)) => drop(core.update(&node, capabilities())),
        (2, Some(node)) => drop(core.set_draining(&node, draw(0..2) == 0)),
        (3, Some(node)) => drop(core.set_capacity(&node, draw(1..4) as u32)),
        (4, _) => drop(core.heartbeat_by_id(&id, &Heartbeat::ready().running(draw(0..3) as u32))),
        _ => {
            let spec = NodeSpec::new(id).capacity(2).capabilities(capabilities()).ready();
            drop(core.register(if draw(0..2) == 0 { spec } else { spec.replace_existing() }));
        }
    }
}

fn act_on_jobs(core: &Core, seen: &Seen) {
    let id = IDS[draw(0..4)];
    let mut wish = request(id).lease(Duration::from_millis(10_000));
    if draw(0..2) == 0 {
        wish = wish.session(["one", "two"][draw(0..2)]);
    }
    let Ok(job) = core.create_job(&wish, &pin()) else { return seen.note("a create was refused") };
    let (id, attempt) = (job.id(), job.attempt());
    match draw(0..6) {
        0 => drop(core.end(id, attempt, End::Completed, &pin())),
        1 => drop(core.end(id, attempt, End::Cancelled, &pin())),
        2 => drop(core.renew(id, attempt)),
        3 => drop(core.dispatched(id, attempt).and_then(|()| core.running(id, attempt))),
        _ => {
            let _ = core.end(id, attempt, End::Failed, &pin());
            if core.retry(id, attempt).is_ok() {
                seen.note("a job was retried");
            }
        }
    }
}

fn everything(configure: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder, seen: &Seen) {
    let core = scheduler(|builder| configure(builder.max_jobs(8).max_finished_jobs(2)));
    (0..3).for_each(|node| drop(core.register(spec(&format!("node-{node}"), 2)).unwrap()));
    let noted = seen.clone();
    together(&core, 6, move |core, number| match number {
        0 => (1..4).for_each(|turn| core.tick(Duration::from_secs(8 * turn))),
        1 | 2 => (0..5).for_each(|_| act_on_nodes(core)),
        _ => (0..4).for_each(|_| act_on_jobs(core, &noted)),
    });
    let counters = core.stats().counters;
    for (outcome, count) in [("a job expired", counters.expired), ("a job was orphaned", counters.orphaned)] {
        if count > 0 {
            seen.note(outcome);
        }
    }
    end_all(&core, IDS);
    assert_settled(&core);
}

const OUTCOMES: [&str; 4] = ["a create was refused", "a job was retried", "a job expired", "a job was orphaned"];

#[test]
fn everything_at_once() {
    explore(ITERATIONS, &OUTCOMES, |seen| everything(|builder| builder, seen));
}

#[test]
fn everything_at_once_in_configured_pools() {
    explore(ITERATIONS, &OUTCOMES, |seen| {
        let pool = |name, service| PoolConfig::new(name).requires(Capabilities::new().service(service));
        everything(|builder| builder.pool(pool("hears", Service::ASR)).pool(pool("speaks", Service::TTS)), seen);
    });
}
