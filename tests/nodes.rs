//! Nodes: registered, heard of, taken out of use, replaced, forgotten.

mod common;

use common::*;
use slotyard::{
    Capabilities, Event, Heartbeat, HeartbeatError, JobState, NodeError, NodeHandle, NodeSpec, NodeState,
    RegisterError, ResourceUse, Scheduler, Service,
};

const TIMEOUT: u64 = 15;
const RETENTION: u64 = 300;

#[test]
fn a_node_gets_no_jobs_until_a_heartbeat_says_that_it_is_ready() {
    let scheduler = scheduler();
    let handle = add(&scheduler, NodeSpec::new("a").service("work"));
    assert_eq!((state(&scheduler, "a"), kind(&scheduler, &work())), (NodeState::Registering, "gone"));
    scheduler.heartbeat(&handle, &Heartbeat::alive()).unwrap();
    assert_eq!((state(&scheduler, "a"), kind(&scheduler, &work())), (NodeState::Registering, "gone"));
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    assert_eq!((state(&scheduler, "a"), kind(&scheduler, &work())), (NodeState::Ready, "selected"));
}

#[test]
fn a_node_that_registers_as_ready_gets_jobs_at_once() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    let selection = scheduler.select(&work()).unwrap();
    assert_eq!((selection.node_id(), selection.incarnation()), ("a", handle.incarnation()));
    assert_eq!((selection.in_flight(), selection.capacity()), (0, 1));
}

/// What may be done to a node, in the table below.
#[derive(Debug, Clone, Copy)]
enum Step {
    Beat(fn() -> Heartbeat),
    Drain,
    Undrain,
    Weight(u16),
    Silence,
}

/// Takes one step; returns the time then.
fn take(scheduler: &Scheduler, handle: &NodeHandle, step: Step, now: u64) -> u64 {
    match step {
        Step::Beat(beat) => scheduler.heartbeat(handle, &beat()).unwrap(),
        Step::Drain => scheduler.drain(handle).unwrap(),
        Step::Undrain => scheduler.undrain(handle).unwrap(),
        Step::Weight(weight) => scheduler.set_weight(handle, weight).unwrap(),
        Step::Silence => {
            scheduler.tick(secs(now + TIMEOUT));
            return now + TIMEOUT;
        }
    }
    now
}

#[test]
fn every_step_leads_from_every_state_to_the_one_that_it_should() {
    use NodeState::{Degraded, Draining, Offline, Ready, Registering};
    let steps = [
        Step::Beat(Heartbeat::ready),
        Step::Beat(Heartbeat::not_ready),
        Step::Beat(Heartbeat::alive),
        Step::Drain,
        Step::Undrain,
        Step::Weight(0),
        Step::Weight(50),
        Step::Silence,
    ];
    let ready = Step::Beat(Heartbeat::ready);
    // How a state is come by, and what each of the steps above makes of it.
    let table: [(NodeState, &[Step], [NodeState; 8]); 6] = [
        (Registering, &[], [Ready, Registering, Registering, Draining, Registering, Draining, Registering, Offline]),
        (Ready, &[ready], [Ready, Degraded, Ready, Draining, Ready, Draining, Ready, Offline]),
        (
            Degraded,
            &[ready, Step::Beat(Heartbeat::not_ready)],
            [Ready, Degraded, Degraded, Draining, Degraded, Draining, Degraded, Offline],
        ),
        (Draining, &[ready, Step::Drain], [Draining, Draining, Draining, Draining, Ready, Draining, Draining, Offline]),
        (
            Draining,
            &[ready, Step::Weight(0)],
            [Draining, Draining, Draining, Draining, Draining, Draining, Ready, Offline],
        ),
        (Offline, &[ready, Step::Silence], [Ready, Degraded, Ready, Offline, Offline, Offline, Offline, Offline]),
    ];
    for (from, way, outcomes) in table {
        for (step, outcome) in steps.into_iter().zip(outcomes) {
            let scheduler = scheduler();
            let handle = add(&scheduler, NodeSpec::new("a").service("work"));
            let now = way.iter().fold(0, |now, step| take(&scheduler, &handle, *step, now));
            assert_eq!(state(&scheduler, "a"), from);
            take(&scheduler, &handle, step, now);
            assert_eq!(state(&scheduler, "a"), outcome, "{step:?} from {from}");
            let expected = if outcome == Ready { "selected" } else { "gone" };
            assert_eq!(kind(&scheduler, &work()), expected, "{step:?} from {from}");
        }
    }
}

#[test]
fn a_node_is_offline_when_it_was_not_heard_of_for_the_timeout_and_not_a_millisecond_before() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    scheduler.tick(secs(5));
    scheduler.heartbeat(&handle, &Heartbeat::alive()).unwrap();
    scheduler.tick(secs(5 + TIMEOUT) - ms(1));
    assert_eq!(state(&scheduler, "a"), NodeState::Ready);
    scheduler.tick(secs(5 + TIMEOUT));
    assert_eq!(state(&scheduler, "a"), NodeState::Offline);
}

#[test]
fn each_node_has_its_own_timeout() {
    let scheduler = scheduler();
    let handles: Vec<_> = (0..10).map(|n| add(&scheduler, worker(format!("n{n}"), 1))).collect();
    // Node n is heard of last at second n.
    for now in 1..=(9 + TIMEOUT) {
        scheduler.tick(secs(now));
        handles.iter().skip(now as usize).for_each(|handle| {
            scheduler.heartbeat(handle, &Heartbeat::alive()).unwrap();
        });
        for (n, view) in scheduler.nodes().iter().enumerate() {
            assert_eq!(view.state == NodeState::Offline, n as u64 + TIMEOUT <= now, "node {n} at {now} s");
        }
    }
}

#[test]
fn going_offline_orphans_the_jobs_and_frees_their_slots() {
    let scheduler = build(builder().default_lease(secs(1000)));
    add(&scheduler, worker("a", 3));
    let jobs = fill(&scheduler, "r", &work());
    scheduler.tick(secs(TIMEOUT));
    assert!(jobs.iter().all(|job| job_state(&scheduler, job) == JobState::Orphaned));
    assert_eq!(in_flight(&scheduler, "a"), 0);
}

#[test]
fn an_offline_node_is_up_again_by_a_heartbeat_as_the_same_incarnation() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2));
    create(&scheduler, "r", work());
    scheduler.tick(secs(TIMEOUT));
    assert_eq!(state(&scheduler, "a"), NodeState::Offline);
    scheduler.heartbeat_by_id("a", &Heartbeat::alive()).unwrap();
    let view = node(&scheduler, "a");
    assert_eq!((view.state, view.incarnation, view.in_flight), (NodeState::Ready, handle.incarnation(), 0));
    assert_eq!(fill(&scheduler, "s", &work()).len(), 2);
    // It has a whole timeout again.
    scheduler.tick(secs(2 * TIMEOUT) - ms(1));
    assert_eq!(state(&scheduler, "a"), NodeState::Ready);
}

#[test]
fn an_offline_node_is_forgotten_after_the_retention_time() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    let events = scheduler.subscribe(16);
    scheduler.tick(secs(TIMEOUT));
    scheduler.tick(secs(TIMEOUT + RETENTION) - ms(1));
    assert_eq!(state(&scheduler, "a"), NodeState::Offline);
    scheduler.tick(secs(TIMEOUT + RETENTION));
    assert!(scheduler.node("a").is_none() && scheduler.handle("a").is_none());
    let (node, incarnation) = (handle.id().clone(), handle.incarnation());
    let forgotten = Event::NodeForgotten { node: node.clone(), incarnation };
    let down = Event::NodeDown { node, incarnation };
    assert_eq!(drain(&events), [down, Event::PoolDropped { pool: "work".into() }, forgotten]);
    assert_eq!(scheduler.stats().now.nodes, 0);
    let again = add(&scheduler, worker("a", 1));
    assert!(again.incarnation() > handle.incarnation());
}

#[test]
fn a_node_that_was_up_in_between_has_the_whole_retention_time_again() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    scheduler.tick(secs(TIMEOUT));
    scheduler.tick(secs(100));
    scheduler.heartbeat(&handle, &Heartbeat::alive()).unwrap();
    scheduler.tick(secs(100 + TIMEOUT));
    assert_eq!(state(&scheduler, "a"), NodeState::Offline);
    scheduler.tick(secs(100 + TIMEOUT + RETENTION) - ms(1));
    assert_eq!(state(&scheduler, "a"), NodeState::Offline);
    scheduler.tick(secs(100 + TIMEOUT + RETENTION));
    assert!(scheduler.node("a").is_none());
}

#[test]
fn a_drained_node_finishes_its_jobs_and_gets_no_more_until_undrained() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2));
    let job = create(&scheduler, "r", work());
    scheduler.drain(&handle).unwrap();
    assert_eq!((kind(&scheduler, &work()), in_flight(&scheduler, "a")), ("gone", 1));
    scheduler.running(job.id(), 1).unwrap();
    complete(&scheduler, &job);
    assert_eq!((kind(&scheduler, &work()), in_flight(&scheduler, "a")), ("gone", 0));
    scheduler.undrain(&handle).unwrap();
    assert_eq!(fill(&scheduler, "s", &work()).len(), 2);
}

#[test]
fn a_drain_outlasts_an_outage() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    scheduler.drain(&handle).unwrap();
    scheduler.tick(secs(TIMEOUT));
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    assert_eq!(state(&scheduler, "a"), NodeState::Draining);
}

#[test]
fn a_node_of_weight_0_is_legal_and_gets_no_jobs() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2).weight(0));
    assert_eq!((state(&scheduler, "a"), kind(&scheduler, &work())), (NodeState::Draining, "gone"));
    scheduler.set_weight(&handle, 1).unwrap();
    assert_eq!((state(&scheduler, "a"), node(&scheduler, "a").weight), (NodeState::Ready, 1));
    let jobs = fill(&scheduler, "r", &work());
    scheduler.set_weight(&handle, 0).unwrap();
    jobs.iter().for_each(|job| complete(&scheduler, job));
    assert_eq!((kind(&scheduler, &work()), in_flight(&scheduler, "a")), ("gone", 0));
}

#[test]
fn a_known_id_is_refused_and_the_error_names_the_incarnation_that_there_is() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    create(&scheduler, "r", work());
    let error = refuses(&scheduler, |s| s.register(worker("a", 9)));
    let expected = RegisterError::AlreadyRegistered { id: "a".into(), incarnation: handle.incarnation() };
    assert_eq!(error, expected);
}

#[test]
fn an_offline_node_still_has_its_id() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    scheduler.tick(secs(TIMEOUT));
    let error = refuses(&scheduler, |s| s.register(worker("a", 1)));
    assert!(matches!(error, RegisterError::AlreadyRegistered { .. }));
}

#[test]
fn replacing_starts_a_larger_incarnation_with_the_new_spec_and_orphans_the_old_jobs() {
    let scheduler = scheduler();
    let old = add(&scheduler, worker("a", 3));
    let jobs = fill(&scheduler, "r", &work());
    let new = add(&scheduler, worker("a", 2).service("other").replace_existing());
    assert!(new.incarnation() > old.incarnation());
    for job in &jobs {
        assert_eq!(job_state(&scheduler, job), JobState::Orphaned);
        assert_eq!(scheduler.job(job.id()).unwrap().incarnation, old.incarnation());
    }
    let view = node(&scheduler, "a");
    assert_eq!((view.incarnation, view.capacity, view.in_flight), (new.incarnation(), 2, 0));
    assert!(view.capabilities.offers(&Service::from("other")));
    assert_eq!((scheduler.nodes().len(), fill(&scheduler, "s", &work()).len()), (1, 2));
}

#[test]
fn replacing_a_node_that_there_is_not_just_registers_it() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1).replace_existing());
    assert_eq!(selected(&scheduler, &work()), "a");
}

type Change = fn(&Scheduler, &NodeHandle) -> Result<(), NodeError>;

/// All that a node says of itself, most often.
fn in_full() -> Heartbeat {
    let usage = ResourceUse { cpu: 0.4, memory: 0.5, gpu: 0.6, gpu_memory: 0.7 };
    Heartbeat::ready().running(0).resources(usage)
}

/// Every call that takes a handle must refuse this one, and change nothing.
fn assert_stale(scheduler: &Scheduler, handle: &NodeHandle) {
    let (id, incarnation) = (handle.id().clone(), handle.incarnation());
    let stale = NodeError::StaleHandle { id: id.clone(), incarnation };
    let calls: [Change; 7] = [
        |s, h| s.update(h, Capabilities::new().service("other")),
        |s, h| s.set_capacity(h, 7),
        |s, h| s.set_weight(h, 7),
        Scheduler::drain,
        Scheduler::undrain,
        Scheduler::deregister,
        |s, h| s.mark_unavailable(h, &Service::from("work"), secs(1)),
    ];
    for call in calls {
        assert_eq!(refuses(scheduler, |s| call(s, handle)), stale);
    }
    for beat in
        [Heartbeat::alive(), Heartbeat::not_ready(), Heartbeat::ready().running(1).services(["work"]), in_full()]
    {
        let stale = HeartbeatError::StaleHandle { id: id.clone(), incarnation };
        assert_eq!(refuses(scheduler, |s| s.heartbeat(handle, &beat)), stale);
    }
}

#[test]
fn the_handle_of_a_node_that_was_replaced_is_stale_everywhere() {
    let scheduler = scheduler();
    let old = add(&scheduler, worker("a", 1));
    add(&scheduler, worker("a", 1).replace_existing());
    assert_stale(&scheduler, &old);
}

#[test]
fn the_handle_of_a_node_that_was_deregistered_is_stale_everywhere() {
    let scheduler = scheduler();
    let old = add(&scheduler, worker("a", 1));
    scheduler.deregister(&old).unwrap();
    assert_stale(&scheduler, &old);
    // Even when the id is taken again, and with it perhaps the memory.
    add(&scheduler, worker("a", 1));
    assert_stale(&scheduler, &old);
}

#[test]
fn the_handle_of_a_node_that_was_forgotten_is_stale_everywhere() {
    let scheduler = scheduler();
    let old = add(&scheduler, worker("a", 1));
    scheduler.tick(secs(TIMEOUT));
    scheduler.tick(secs(TIMEOUT + RETENTION));
    assert_stale(&scheduler, &old);
}

#[test]
fn the_handle_of_another_scheduler_is_stale_everywhere() {
    let (here, there) = (scheduler(), scheduler());
    add(&here, worker("a", 1));
    let foreign = add(&there, worker("a", 1));
    assert_stale(&here, &foreign);
    assert_eq!(state(&there, "a"), NodeState::Ready);
}

#[test]
fn a_heartbeat_by_id_reaches_the_incarnation_that_there_is() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    add(&scheduler, NodeSpec::new("a").service("work").replace_existing());
    scheduler.heartbeat_by_id("a", &Heartbeat::ready()).unwrap();
    assert_eq!(state(&scheduler, "a"), NodeState::Ready);
}

#[test]
fn a_batch_of_heartbeats_names_those_that_were_not_taken_and_takes_the_others() {
    let scheduler = scheduler();
    let specs = ["a", "b", "c"].map(|id| NodeSpec::new(id).service("work"));
    let [a, b, c] = specs.map(|spec| add(&scheduler, spec));
    scheduler.deregister(&b).unwrap();
    let ready = Heartbeat::ready();
    let failed = scheduler.heartbeat_batch([(&a, &ready), (&b, &ready), (&c, &ready)]);
    let stale = HeartbeatError::StaleHandle { id: "b".into(), incarnation: b.incarnation() };
    assert_eq!(failed, [(1, stale)]);
    assert_eq!((state(&scheduler, "a"), state(&scheduler, "c")), (NodeState::Ready, NodeState::Ready));
    assert_eq!(scheduler.stats().counters.heartbeats, 2);
}

#[test]
fn deregistering_orphans_the_jobs_and_leaves_nothing_of_the_node() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2));
    let job = create(&scheduler, "r", work());
    scheduler.deregister(&handle).unwrap();
    assert_eq!(job_state(&scheduler, &job), JobState::Orphaned);
    assert!(scheduler.nodes().is_empty() && peopled_pools(&scheduler).is_empty());
    assert_eq!(kind(&scheduler, &work()), "unsupported");
}

#[test]
fn handles_are_found_by_id() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    let found = scheduler.handle("a").unwrap();
    assert_eq!((found.id(), found.incarnation()), (handle.id(), handle.incarnation()));
    assert!(scheduler.handle("b").is_none());
}
