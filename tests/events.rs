//! Events, counters, and the maintenance thread.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use slotyard::{Candidate, Choose, Drawing, Event, Heartbeat, NodeSpec, NodeState, Policy, Scheduler};

#[test]
fn events_tell_the_life_of_a_node_in_order() {
    let scheduler = scheduler();
    let events = scheduler.subscribe(64);
    let handle = add(&scheduler, NodeSpec::new("a").service("work"));
    let (node, incarnation) = (handle.id().clone(), handle.incarnation());
    let up = || Event::NodeUp { node: node.clone(), incarnation };
    let down = || Event::NodeDown { node: node.clone(), incarnation };
    assert_eq!(drain(&events), [Event::PoolMade { pool: "work".into() }]);
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    assert_eq!(drain(&events), [up()]);
    // What changes nothing is no event.
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    scheduler.undrain(&handle).unwrap();
    assert_eq!(drain(&events), []);
    scheduler.set_capacity(&handle, 2).unwrap();
    assert_eq!(drain(&events), []);
    scheduler.drain(&handle).unwrap();
    assert_eq!(drain(&events), [Event::NodeDrained { node: node.clone(), incarnation }]);
    scheduler.drain(&handle).unwrap();
    assert_eq!(drain(&events), []);
    scheduler.undrain(&handle).unwrap();
    assert_eq!(drain(&events), [up()]);
    scheduler.tick(secs(15));
    assert_eq!(drain(&events), [down()]);
    scheduler.heartbeat(&handle, &Heartbeat::alive()).unwrap();
    assert_eq!(drain(&events), [up()]);
    scheduler.deregister(&handle).unwrap();
    assert_eq!(drain(&events), [down(), Event::PoolDropped { pool: "work".into() }]);
}

#[test]
fn replacing_a_node_takes_the_old_incarnation_down_and_brings_the_new_one_up() {
    let scheduler = scheduler();
    let old = add(&scheduler, worker("a", 1));
    let events = scheduler.subscribe(64);
    let new = add(&scheduler, worker("a", 1).replace_existing());
    let down = Event::NodeDown { node: "a".into(), incarnation: old.incarnation() };
    let up = Event::NodeUp { node: "a".into(), incarnation: new.incarnation() };
    assert_eq!(drain(&events), [down, up]);
}

#[test]
fn a_full_queue_keeps_the_first_events_and_counts_the_others() {
    let scheduler = scheduler();
    let (small, large) = (scheduler.subscribe(3), scheduler.subscribe(100));
    add_workers(&scheduler, (0..10).map(|n| n.to_string()), 1);
    let all = drain(&large);
    assert_eq!((all.len(), large.dropped()), (11, 0));
    assert_eq!((drain(&small), small.dropped()), (all[..3].to_vec(), 8));
    assert_eq!(scheduler.stats().now.events_dropped, 8);
    // There is room again.
    scheduler.tick(secs(15));
    assert_eq!((drain(&small).len(), small.dropped()), (3, 8 + 7));
}

#[test]
fn a_queue_has_room_for_at_least_one_event() {
    let scheduler = scheduler();
    let events = scheduler.subscribe(0);
    add_workers(&scheduler, ["a", "b"], 1);
    assert_eq!((drain(&events).len(), events.dropped()), (1, 2));
}

#[test]
fn a_subscriber_who_has_left_costs_nothing_and_drops_nothing() {
    let scheduler = scheduler();
    let stays = scheduler.subscribe(100);
    drop(scheduler.subscribe(1));
    add_workers(&scheduler, (0..10).map(|n| n.to_string()), 1);
    assert_eq!((drain(&stays).len(), scheduler.stats().now.events_dropped), (11, 0));
}

#[test]
fn a_subscriber_hears_what_happens_after_it_has_subscribed() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let events = scheduler.subscribe(8);
    let b = add(&scheduler, worker("b", 1));
    assert_eq!(drain(&events), [Event::NodeUp { node: "b".into(), incarnation: b.incarnation() }]);
}

#[test]
fn a_queue_outlives_its_scheduler_and_then_ends() {
    let scheduler = scheduler();
    let events = scheduler.subscribe(8);
    add(&scheduler, worker("a", 1));
    drop(scheduler);
    assert_eq!(drain(&events).len(), 2);
    // Ended, so this does not wait.
    assert_eq!(events.recv_timeout(Duration::MAX), None);
}

#[test]
fn the_counters_add_up() {
    let scheduler = build(builder().default_lease(secs(10)).heartbeat_timeout(secs(20)));
    let handle = add(&scheduler, worker("a", 8));
    let jobs = fill(&scheduler, "r", &work());
    let [done, failed, cancelled, retried] = [0, 1, 2, 3].map(|n| (jobs[n].id(), 1));
    scheduler.complete(done.0, 1).unwrap();
    scheduler.fail(failed.0, 1).unwrap();
    scheduler.cancel(cancelled.0, 1).unwrap();
    scheduler.fail(retried.0, 1).unwrap();
    scheduler.retry(retried.0, 1).unwrap();
    assert!(scheduler.complete(done.0, 1).is_err());
    create(&scheduler, "r-0", work());
    scheduler.tick(secs(5));
    scheduler.renew(retried.0, 2).unwrap();
    scheduler.tick(secs(10));
    scheduler.deregister(&handle).unwrap();
    assert_eq!(kind(&scheduler, &work()), "unsupported");

    let counted = scheduler.stats().counters;
    assert_eq!((counted.created, counted.repeated, counted.retried), (8, 1, 1));
    assert_eq!((counted.completed, counted.failed, counted.cancelled), (1, 2, 1));
    assert_eq!((counted.expired, counted.orphaned), (4, 1));
    let attempts = counted.created + counted.retried;
    let ends = counted.completed + counted.failed + counted.cancelled + counted.expired + counted.orphaned;
    assert_eq!((attempts, ends), (9, 9));
    assert_eq!((counted.selected, counted.reserved, counted.released, counted.double_released), (9, 9, 9, 0));
    assert_eq!((counted.refused_busy, counted.refused_gone, counted.refused_unsupported), (1, 0, 1));
}

#[test]
fn the_gauges_say_what_there_is() {
    let scheduler = scheduler();
    let empty = scheduler.stats().now;
    assert_eq!((empty.nodes, empty.jobs, empty.finished_jobs, empty.sessions, empty.routes), (0, 0, 0, 0, 0));
    assert_eq!(empty.pools, scheduler.pools().len());
    add_workers(&scheduler, ["a", "b"], 3);
    let jobs = fill(&scheduler, "r", &work());
    complete(&scheduler, &jobs[0]);
    let now = scheduler.stats().now;
    assert_eq!((now.nodes, now.pools, now.jobs, now.finished_jobs), (2, empty.pools + 1, 6, 1));
    assert_eq!((now.routes, now.snapshot_version), (1, scheduler.snapshot().version()));
}

#[test]
fn writer_locks_are_measured() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let stats = scheduler.stats();
    assert!(stats.writer_lock_wait.count > 0 && stats.writer_lock_hold.count == stats.writer_lock_wait.count);
    assert!(stats.writer_lock_hold.p50 <= stats.writer_lock_hold.max);
    // Each lock is measured the first time, then one in sixty-four, for all of them.
    let handles: Vec<_> = (0..256).map(|number| add(&scheduler, worker(format!("n{number}"), 1))).collect();
    handles.iter().for_each(|handle| scheduler.deregister(handle).unwrap());
    let more = scheduler.stats();
    let counted = more.writer_lock_wait.count - stats.writer_lock_wait.count;
    assert!((256..=1024).contains(&counted), "{counted} of 1,024 were counted");
    assert_eq!(more.writer_lock_hold.count, more.writer_lock_wait.count);
}

/// Not a limit that anything is measured by: only how long a test that has gone wrong hangs.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_maintenance_thread_moves_time_on_by_itself() {
    let scheduler = Scheduler::builder()
        .tick_interval(ms(1))
        .heartbeat_timeout(ms(40))
        .offline_retention(ms(20))
        .default_lease(ms(5))
        .build()
        .unwrap();
    let events = scheduler.subscribe(64);
    let handle = add(&scheduler, worker("a", 1));
    let job = create(&scheduler, "r", work());
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Event::NodeForgotten { .. })) {
        seen.push(events.recv_timeout(LONG).expect("the next event comes"));
    }
    let expected_end = [
        Event::NodeDown { node: handle.id().clone(), incarnation: handle.incarnation() },
        Event::PoolDropped { pool: "work".into() },
        Event::NodeForgotten { node: handle.id().clone(), incarnation: handle.incarnation() },
    ];
    assert_eq!(seen[seen.len() - 3..], expected_end);
    // The lease is much the shorter, but a machine that stands still may see both run out at once.
    let ended = scheduler.job(job.id()).unwrap().state;
    assert!(ended.has_ended(), "{ended}");
}

#[test]
fn a_node_that_is_heard_of_stays_up_under_the_maintenance_thread() {
    let scheduler = Scheduler::builder().tick_interval(ms(1)).heartbeat_timeout(secs(3600)).build().unwrap();
    let events = scheduler.subscribe(64);
    add(&scheduler, worker("a", 1));
    let tracer = scheduler.create_job(&slotyard::JobRequest::new("r", work()).lease(ms(5))).unwrap();
    // When the lease has run out, time has passed.
    while !matches!(events.recv_timeout(LONG).expect("the job expires"), Event::JobExpired { .. }) {}
    assert!(scheduler.job(tracer.id()).unwrap().state.has_ended());
    assert_eq!(state(&scheduler, "a"), NodeState::Ready);
}

/// Tells by its count of references whether the scheduler that it was given to is still there.
#[derive(Debug)]
struct Probe {
    _alive: Arc<()>,
}

impl Choose for Probe {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        drawing.draw()
    }
}

#[test]
fn the_maintenance_thread_has_ended_when_the_last_clone_is_dropped() {
    let alive = Arc::new(());
    let probe = Probe { _alive: alive.clone() };
    let scheduler = Scheduler::builder()
        .policy(Policy::custom(probe))
        .tick_interval(secs(3600))
        .heartbeat_timeout(secs(4 * 3600))
        .build()
        .unwrap();
    let clone = scheduler.clone();
    drop(scheduler);
    add(&clone, worker("a", 1));
    assert_eq!(selected(&clone, &work()), "a");
    assert_eq!(Arc::strong_count(&alive), 2);
    // Does not wait for the next tick, which is an hour off.
    drop(clone);
    assert_eq!(Arc::strong_count(&alive), 1, "the thread still holds the engine");
}

#[test]
fn clones_are_one_scheduler() {
    let scheduler = scheduler();
    let clone = scheduler.clone();
    add(&scheduler, worker("a", 1));
    let job = create(&clone, "r", work());
    complete(&scheduler, &job);
    assert_eq!(clone.stats(), scheduler.stats());
}
