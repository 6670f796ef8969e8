//! Retries, and jobs whose node goes away.

mod common;

use std::collections::BTreeSet;

use common::*;
use slotyard::limits::MAX_EXCLUSIONS;
use slotyard::{
    Demand, Event, ExclusionMode, Job, JobError, JobId, JobRequest, JobState, NodeHandle, RetryError, Scheduler,
    SchedulerBuilder, SessionMode,
};

fn fleet(builder: SchedulerBuilder, ids: &[&str], capacity: u32) -> (Scheduler, Vec<NodeHandle>) {
    let scheduler = build(builder);
    let handles = add_workers(&scheduler, ids, capacity);
    (scheduler, handles)
}

fn total_in_flight(scheduler: &Scheduler) -> u32 {
    scheduler.nodes().iter().map(|view| view.in_flight).sum()
}

/// The nodes of so many attempts of a job, of which each fails but the last.
fn nodes_of_attempts(scheduler: &Scheduler, job: &Job, attempts: u32) -> Vec<String> {
    let mut nodes = vec![job.node_id().to_string()];
    for attempt in 1..attempts {
        scheduler.fail(job.id(), attempt).unwrap();
        nodes.push(scheduler.retry(job.id(), attempt).unwrap().node_id().to_string());
    }
    nodes
}

type End = fn(&Scheduler, &Job);

/// The ways in which an attempt may come to an end that allows another.
fn ends_that_allow_another() -> [(End, JobState); 4] {
    [
        (|s, job| s.fail(job.id(), job.attempt()).unwrap(), JobState::Failed),
        (|s, _| s.tick(secs(10)), JobState::Expired),
        (|s, job| s.deregister(&handle(s, job.node_id())).unwrap(), JobState::Orphaned),
        (|_, _| {}, JobState::Reserved),
    ]
}

#[test]
fn a_job_that_failed_expired_was_orphaned_or_is_active_may_be_tried_again_on_another_node() {
    for (end, state) in ends_that_allow_another() {
        for _ in 0..5 {
            let (scheduler, _) = fleet(builder().default_lease(secs(10)), &["a", "b"], 2);
            let job = create(&scheduler, "r", work());
            end(&scheduler, &job);
            assert_eq!(job_state(&scheduler, &job), state);
            let next = scheduler.retry(job.id(), 1).unwrap();
            assert_eq!((next.id(), next.attempt(), next.state()), (job.id(), 2, JobState::Reserved));
            assert_ne!(next.node_id(), job.node_id(), "after {state}");
            assert_eq!((total_in_flight(&scheduler), in_flight(&scheduler, next.node_id())), (1, 1));
            scheduler.complete(next.id(), 2).unwrap();
            assert_eq!(total_in_flight(&scheduler), 0);
        }
    }
}

#[test]
fn a_job_that_completed_or_was_cancelled_is_not_tried_again() {
    for (end, state) in [
        (Scheduler::complete as fn(&Scheduler, JobId, u32) -> Result<(), JobError>, JobState::Completed),
        (Scheduler::cancel, JobState::Cancelled),
    ] {
        let (scheduler, _) = fleet(builder(), &["a", "b"], 1);
        let job = create(&scheduler, "r", work());
        end(&scheduler, job.id(), 1).unwrap();
        let error = refuses(&scheduler, |s| s.retry(job.id(), 1));
        assert!(matches!(error, RetryError::Job(JobError::AlreadyEnded { job: id, attempt: 1, state: found })
            if id == job.id() && found == state));
    }
}

#[test]
fn a_retry_names_the_latest_attempt_of_a_known_job() {
    let (scheduler, _) = fleet(builder(), &["a"], 1);
    let job = create(&scheduler, "r", work());
    scheduler.fail(job.id(), 1).unwrap();
    let unknown = JobId::from_u128(7);
    let error = refuses(&scheduler, |s| s.retry(unknown, 1));
    assert!(matches!(error, RetryError::Job(JobError::UnknownJob { job }) if job == unknown));
    let error = refuses(&scheduler, |s| s.retry(job.id(), 2));
    assert!(matches!(error, RetryError::Job(JobError::StaleAttempt { attempt: 2, current: 1, .. })));
    scheduler.retry(job.id(), 1).unwrap();
    let error = refuses(&scheduler, |s| s.retry(job.id(), 1));
    assert!(matches!(error, RetryError::Job(JobError::StaleAttempt { attempt: 1, current: 2, .. })));
}

#[test]
fn attempts_are_bounded() {
    let (scheduler, _) = fleet(builder().max_attempts(3), &["a"], 1);
    let job = create(&scheduler, "r", work());
    for attempt in 1..3 {
        scheduler.fail(job.id(), attempt).unwrap();
        assert_eq!(scheduler.retry(job.id(), attempt).unwrap().attempt(), attempt + 1);
    }
    for state in [JobState::Reserved, JobState::Failed] {
        assert_eq!(job_state(&scheduler, &job), state);
        let error = refuses(&scheduler, |s| s.retry(job.id(), 3));
        assert!(matches!(error, RetryError::TooManyAttempts { job: id, limit: 3 } if id == job.id()));
        let _ = scheduler.fail(job.id(), 3);
    }
}

#[test]
fn every_node_is_tried_before_one_is_tried_again() {
    let (scheduler, _) = fleet(builder().max_attempts(10), &["a", "b", "c", "d", "e"], 1);
    let nodes = nodes_of_attempts(&scheduler, &create(&scheduler, "r", work()), 10);
    assert_eq!(nodes[..5].iter().collect::<BTreeSet<_>>().len(), 5, "{nodes:?}");
}

#[test]
fn of_the_nodes_tried_before_the_latest_32_are_kept_off() {
    let ids: Vec<String> = (0..33).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let configured = builder().max_attempts(100).retry_exclusion(ExclusionMode::Hard);
    let (scheduler, _) = fleet(configured, &ids, 1);
    let nodes = nodes_of_attempts(&scheduler, &create(&scheduler, "r", work()), 100);
    assert_eq!(nodes[..33].iter().collect::<BTreeSet<_>>().len(), 33);
    // Of all nodes that leaves one: that of 33 attempts ago.
    assert!(nodes.windows(34).all(|window| window[0] == window[33]), "{nodes:?}");
}

#[test]
fn excluded_nodes_those_tried_before_and_the_sessions_last_are_all_kept_off_at_once() {
    let configured = builder()
        .max_attempts(100)
        .retry_exclusion(ExclusionMode::Hard)
        .session_mode(SessionMode::Spread(ExclusionMode::Hard));
    let scheduler = build(configured);
    let excluded: Vec<String> = (0..MAX_EXCLUSIONS).map(|n| format!("excluded-{n}")).collect();
    add_workers(&scheduler, &excluded, 1);
    add_workers(&scheduler, (0..32).map(|n| format!("tried-{n}")), 1);
    let demand = work().exclude(&excluded, ExclusionMode::Hard);
    let job = scheduler.create_job(&JobRequest::new("r", demand).session("s")).unwrap();
    nodes_of_attempts(&scheduler, &job, 32);
    scheduler.fail(job.id(), 32).unwrap();
    add(&scheduler, worker("last", 2).service("special"));
    scheduler.create_job(&JobRequest::new("q", Demand::new().service("special")).session("s")).unwrap();
    let error = refuses(&scheduler, |s| s.retry(job.id(), 32));
    assert!(matches!(error, RetryError::NoNode(no_node) if no_node.kind() == "busy"));
    add(&scheduler, worker("new", 1));
    assert_eq!(scheduler.retry(job.id(), 32).unwrap().node_id(), "new");
}

#[test]
fn a_hard_rule_against_nodes_tried_before_holds() {
    let (scheduler, _) = fleet(builder().retry_exclusion(ExclusionMode::Hard), &["a", "b"], 1);
    let job = create(&scheduler, "r", work());
    scheduler.fail(job.id(), 1).unwrap();
    scheduler.retry(job.id(), 1).unwrap();
    scheduler.fail(job.id(), 2).unwrap();
    let error = refuses(&scheduler, |s| s.retry(job.id(), 2));
    assert!(matches!(error, RetryError::NoNode(no_node) if no_node.kind() == "busy"));
    // A new node may have it.
    add(&scheduler, worker("c", 1));
    assert_eq!(scheduler.retry(job.id(), 2).unwrap().node_id(), "c");
}

#[test]
fn a_node_that_the_demand_excludes_gets_no_retry_either() {
    let (scheduler, _) = fleet(builder(), &["a", "b", "c"], 1);
    let job = create(&scheduler, "r", work().exclude(["c"], ExclusionMode::Hard));
    scheduler.fail(job.id(), 1).unwrap();
    let next = scheduler.retry(job.id(), 1).unwrap();
    assert!(next.node_id() != "c" && next.node_id() != job.node_id());
}

#[test]
fn a_demands_hard_exclusion_does_not_bar_the_nodes_that_were_tried_before() {
    let (scheduler, _) = fleet(builder().retry_exclusion(ExclusionMode::Soft), &["a", "b"], 1);
    let job = create(&scheduler, "r", work().exclude(["b"], ExclusionMode::Hard));
    scheduler.fail(job.id(), 1).unwrap();
    let next = scheduler.retry(job.id(), 1);
    assert_eq!(next.map(|job| job.node_id().to_string()).map_err(|error| error.to_string()), Ok("a".to_owned()));
}

#[test]
fn a_hard_rule_against_nodes_tried_before_does_not_harden_the_demands_soft_exclusion() {
    let (scheduler, _) = fleet(builder().retry_exclusion(ExclusionMode::Hard), &["a", "b"], 1);
    let job = create(&scheduler, "r", work().exclude(["b"], ExclusionMode::Soft));
    assert_eq!(job.node_id(), "a");
    scheduler.fail(job.id(), 1).unwrap();
    let next = scheduler.retry(job.id(), 1);
    assert_eq!(next.map(|job| job.node_id().to_string()).map_err(|error| error.to_string()), Ok("b".to_owned()));
}

#[test]
fn a_retry_that_finds_no_node_leaves_an_active_attempt_its_slot() {
    let (scheduler, _) = fleet(builder(), &["a"], 1);
    let job = create(&scheduler, "r", work());
    scheduler.running(job.id(), 1).unwrap();
    let error = refuses(&scheduler, |s| s.retry(job.id(), 1));
    assert!(matches!(error, RetryError::NoNode(no_node) if no_node.kind() == "busy"));
    assert_eq!((job_state(&scheduler, &job), in_flight(&scheduler, "a")), (JobState::Running, 1));
    scheduler.complete(job.id(), 1).unwrap();
}

#[test]
fn a_retry_of_an_active_attempt_may_stay_on_its_node_where_there_is_no_other() {
    let (scheduler, _) = fleet(builder(), &["a"], 2);
    let job = create(&scheduler, "r", work());
    assert_eq!(scheduler.retry(job.id(), 1).unwrap().node_id(), "a");
    assert_eq!(in_flight(&scheduler, "a"), 1);
    scheduler.complete(job.id(), 2).unwrap();
    let counters = scheduler.stats().counters;
    assert_eq!((in_flight(&scheduler, "a"), counters.reserved, counters.released), (0, 2, 2));
}

#[test]
fn going_offline_orphans_the_retried_attempt_and_not_the_one_before() {
    let (scheduler, _) = fleet(builder().default_lease(secs(100)), &["a", "b"], 1);
    let job = create(&scheduler, "r", work());
    let next = scheduler.retry(job.id(), 1).unwrap();
    scheduler.deregister(&handle(&scheduler, job.node_id())).unwrap();
    assert_eq!(job_state(&scheduler, &next), JobState::Reserved);
    scheduler.deregister(&handle(&scheduler, next.node_id())).unwrap();
    assert_eq!(job_state(&scheduler, &next), JobState::Orphaned);
}

#[test]
fn a_retry_begins_a_lease_of_its_own() {
    let (scheduler, _) = fleet(builder().default_lease(secs(10)), &["a", "b"], 1);
    let job = create(&scheduler, "r", work());
    scheduler.tick(secs(8));
    scheduler.retry(job.id(), 1).unwrap();
    scheduler.tick(secs(14));
    assert_eq!(job_state(&scheduler, &job), JobState::Reserved);
}

#[test]
fn a_sessions_retry_keeps_to_the_sessions_pool_where_that_has_another_node() {
    for round in 0..8 {
        let scheduler = build(builder().seed(round));
        for n in 0..16 {
            add(&scheduler, worker(format!("n{n}"), 4).service(format!("s{}", n % 4)));
        }
        let job = scheduler.create_job(&JobRequest::new("r", work()).session("s")).unwrap();
        scheduler.fail(job.id(), 1).unwrap();
        let next = scheduler.retry(job.id(), 1).unwrap();
        assert_ne!(next.node_id(), job.node_id());
        assert_eq!(next.pool(), job.pool(), "round {round}");
    }
}

#[test]
fn a_spread_sessions_next_job_avoids_the_node_of_the_retry() {
    let mode = SessionMode::Spread(ExclusionMode::Hard);
    let (scheduler, _) = fleet(builder().session_mode(mode), &["a", "b"], 8);
    for round in 0..8 {
        let request = |n: u32| JobRequest::new(format!("r-{round}-{n}"), work()).session(format!("s-{round}"));
        let job = scheduler.create_job(&request(0)).unwrap();
        scheduler.fail(job.id(), 1).unwrap();
        let next = scheduler.retry(job.id(), 1).unwrap();
        scheduler.complete(next.id(), 2).unwrap();
        let after = scheduler.create_job(&request(1)).unwrap();
        assert_ne!(after.node_id(), next.node_id(), "round {round}");
        complete(&scheduler, &after);
    }
}

#[test]
fn an_orphan_is_told_once_with_node_and_request_and_takes_no_late_result() {
    let (scheduler, handles) = fleet(builder().default_lease(secs(100)), &["a"], 2);
    let events = scheduler.subscribe(16);
    let job = create(&scheduler, "r", work());
    let done = create(&scheduler, "done", work());
    complete(&scheduler, &done);
    scheduler.tick(secs(15));
    let orphaned = Event::JobOrphaned { job: job.id(), attempt: 1, node: "a".into(), request_id: "r".into() };
    let told: Vec<Event> = drain(&events).into_iter().filter(|e| matches!(e, Event::JobOrphaned { .. })).collect();
    assert_eq!(told, [orphaned]);
    let error = refuses(&scheduler, |s| s.complete(job.id(), 1));
    assert_eq!(error, JobError::AlreadyEnded { job: job.id(), attempt: 1, state: JobState::Orphaned });
    scheduler.heartbeat(&handles[0], &slotyard::Heartbeat::ready()).unwrap();
    assert_eq!((in_flight(&scheduler, "a"), job_state(&scheduler, &done)), (0, JobState::Completed));
}

#[test]
fn orphans_are_those_of_the_node_that_went_and_no_others() {
    let (scheduler, handles) = fleet(builder(), &["a", "b", "c"], 50);
    let jobs = fill(&scheduler, "r", &work());
    scheduler.deregister(&handles[1]).unwrap();
    for job in &jobs {
        let expected = if job.node_id() == "b" { JobState::Orphaned } else { JobState::Reserved };
        assert_eq!(job_state(&scheduler, job), expected);
    }
    assert_eq!((total_in_flight(&scheduler), scheduler.stats().counters.orphaned), (100, 50));
}

#[test]
fn an_orphan_may_be_tried_again_on_the_next_incarnation_of_its_node() {
    let (scheduler, _) = fleet(builder(), &["a"], 1);
    let job = create(&scheduler, "r", work());
    let again = add(&scheduler, worker("a", 1).replace_existing());
    let next = scheduler.retry(job.id(), 1).unwrap();
    assert_eq!((next.incarnation(), job.incarnation() < next.incarnation()), (again.incarnation(), true));
}

#[test]
fn a_job_that_was_retried_before_it_ended_is_forgotten_as_any_other() {
    let scheduler = build(builder().max_finished_jobs(0));
    add_workers(&scheduler, ["a", "b"], 4);
    for retries in 0..3 {
        for fails in [false, true] {
            let job = create(&scheduler, "r", work());
            (1..=retries).for_each(|attempt| _ = scheduler.retry(job.id(), attempt).unwrap());
            let end = if fails { Scheduler::fail } else { Scheduler::complete };
            end(&scheduler, job.id(), retries + 1).unwrap();
            assert!(scheduler.job(job.id()).is_none(), "after {retries} retries");
            let now = scheduler.stats().now;
            assert_eq!((now.jobs, now.finished_jobs), (0, 0), "after {retries} retries");
        }
    }
}

#[test]
fn of_jobs_that_ended_in_the_same_millisecond_one_that_has_ended_again_is_forgotten_last() {
    let scheduler = build(builder().max_finished_jobs(1));
    add_workers(&scheduler, ["a", "b"], 4);
    let again = create(&scheduler, "again", work());
    scheduler.fail(again.id(), 1).unwrap();
    complete(&scheduler, &scheduler.retry(again.id(), 1).unwrap());
    let remembered = |request: &str| {
        let job = create(&scheduler, request, work());
        complete(&scheduler, &job);
        [again.id(), job.id()].map(|id| scheduler.job(id).is_some())
    };
    assert_eq!(remembered("at the same time"), [true, false]);
    scheduler.tick(ms(1));
    assert_eq!(remembered("later"), [false, true]);
}
