//! Sessions: jobs that keep to one pool, and jobs that keep off the last node.

mod common;

use std::collections::BTreeSet;

use common::*;
use slotyard::{CreateJobError, ExclusionMode, Job, JobRequest, Scheduler, SchedulerBuilder, SessionMode};

/// A fleet of `pools` pools of `nodes` nodes each, all of which do `work`.
fn fleet(builder: SchedulerBuilder, pools: usize, nodes: usize, capacity: u32) -> Scheduler {
    let scheduler = build(builder);
    for n in 0..pools * nodes {
        add(&scheduler, worker(format!("n{n}"), capacity).service(format!("s{}", n % pools)));
    }
    scheduler
}

fn ask(scheduler: &Scheduler, session: &str, request: &str) -> Result<Job, CreateJobError> {
    scheduler.create_job(&JobRequest::new(request, work()).session(session))
}

fn spread(mode: ExclusionMode) -> SessionMode {
    SessionMode::Spread(mode)
}

#[test]
fn a_sessions_jobs_keep_to_the_pool_of_the_first() {
    let scheduler = fleet(builder(), 6, 3, 10);
    let mut pools = BTreeSet::new();
    for session in 0..30 {
        let jobs: Vec<Job> =
            (0..4).map(|n| ask(&scheduler, &format!("s{session}"), &format!("{session}-{n}")).unwrap()).collect();
        assert!(jobs.iter().all(|job| job.pool() == jobs[0].pool()), "session {session}");
        pools.insert(jobs[0].pool().to_owned());
        jobs.iter().for_each(|job| complete(&scheduler, job));
    }
    assert!(pools.len() > 3, "30 sessions over 6 pools of equal size: {pools:?}");
    assert_eq!(scheduler.stats().now.sessions, 30);
}

#[test]
fn a_session_whose_pool_is_full_goes_elsewhere_and_comes_back_when_it_has_room() {
    let scheduler = fleet(builder(), 3, 1, 2);
    let jobs: Vec<Job> = (0..6).map(|n| ask(&scheduler, "s", &n.to_string()).unwrap()).collect();
    let home = jobs[0].pool();
    assert!(jobs[1].pool() == home && jobs[2..].iter().all(|job| job.pool() != home));
    assert_eq!(refused(ask(&scheduler, "s", "6")).kind(), "busy");
    complete(&scheduler, &jobs[5]);
    complete(&scheduler, &jobs[0]);
    assert_eq!(ask(&scheduler, "s", "7").unwrap().pool(), home);
}

#[test]
fn a_session_whose_pool_is_gone_keeps_to_the_pool_of_its_next_job() {
    let scheduler = fleet(builder(), 8, 1, 10);
    let first = ask(&scheduler, "s", "first").unwrap();
    scheduler.deregister(&handle(&scheduler, first.node_id())).unwrap();
    let jobs: Vec<Job> = (0..5).map(|n| ask(&scheduler, "s", &n.to_string()).unwrap()).collect();
    assert!(jobs.iter().all(|job| job.pool() == jobs[0].pool()) && jobs[0].pool() != first.pool());
}

#[test]
fn a_session_whose_pool_cannot_do_a_job_sends_that_elsewhere_and_stays() {
    let scheduler = fleet(builder(), 4, 1, 10);
    let first = ask(&scheduler, "s", "first").unwrap();
    let other = if first.pool() == "s0-work" { "s1" } else { "s0" };
    let elsewhere = JobRequest::new("elsewhere", slotyard::Demand::new().service(other)).session("s");
    assert_ne!(scheduler.create_job(&elsewhere).unwrap().pool(), first.pool());
    assert_eq!(ask(&scheduler, "s", "back").unwrap().pool(), first.pool());
}

#[test]
fn sessions_do_not_bind_jobs_without_one() {
    let scheduler = fleet(builder(), 6, 1, 20);
    ask(&scheduler, "s", "bound").unwrap();
    let pools: BTreeSet<String> =
        (0..40).map(|n| create(&scheduler, n.to_string(), work()).pool().to_owned()).collect();
    assert!(pools.len() > 3, "{pools:?}");
}

#[test]
fn a_spread_session_never_has_two_jobs_in_a_row_on_one_node() {
    for mode in [ExclusionMode::Hard, ExclusionMode::Soft] {
        let scheduler = fleet(builder().session_mode(spread(mode)), 2, 2, 100);
        let jobs: Vec<Job> = (0..60).map(|n| ask(&scheduler, "s", &n.to_string()).unwrap()).collect();
        assert!(jobs.windows(2).all(|pair| pair[0].node_id() != pair[1].node_id()), "{mode:?}");
    }
}

#[test]
fn spreading_hard_refuses_the_last_node_even_when_there_is_no_other() {
    let scheduler = fleet(builder().session_mode(spread(ExclusionMode::Hard)), 1, 1, 5);
    ask(&scheduler, "s", "1").unwrap();
    assert_eq!(refused(ask(&scheduler, "s", "2")).kind(), "busy");
    // Another session has not been there.
    ask(&scheduler, "t", "3").unwrap();
}

#[test]
fn spreading_softly_takes_the_last_node_when_there_is_no_other() {
    let scheduler = fleet(builder().session_mode(spread(ExclusionMode::Soft)), 1, 1, 5);
    (0..5).for_each(|n| assert_eq!(ask(&scheduler, "s", &n.to_string()).unwrap().node_id(), "n0"));
}

#[test]
fn spreading_softly_takes_the_last_node_also_when_the_demand_excludes_all_others_hard() {
    let scheduler = fleet(builder().session_mode(spread(ExclusionMode::Soft)), 1, 2, 5);
    let demand = work().exclude(["n1"], ExclusionMode::Hard);
    for n in 0..5 {
        let request = JobRequest::new(n.to_string(), demand.clone()).session("s");
        let node = scheduler.create_job(&request).map(|job| job.node_id().to_string());
        assert_eq!(node.map_err(|error| error.to_string()), Ok("n0".to_owned()), "job {n}");
    }
}

#[test]
fn the_next_incarnation_of_the_last_node_is_another_node() {
    let scheduler = fleet(builder().session_mode(spread(ExclusionMode::Hard)), 1, 1, 5);
    ask(&scheduler, "s", "1").unwrap();
    add(&scheduler, worker("n0", 5).replace_existing());
    ask(&scheduler, "s", "2").unwrap();
}

#[test]
fn a_request_may_ask_for_another_mode_than_the_configured() {
    let scheduler = fleet(builder().session_mode(SessionMode::Affinity), 1, 1, 5);
    ask(&scheduler, "s", "1").unwrap();
    let request = JobRequest::new("2", work()).session("s").session_mode(spread(ExclusionMode::Hard));
    assert_eq!(refused(scheduler.create_job(&request)).kind(), "busy");
    ask(&scheduler, "s", "3").unwrap();
}

#[test]
fn a_session_without_a_job_for_its_time_is_forgotten_and_its_jobs_are_not() {
    let scheduler =
        build(builder().session_ttl(secs(80)).session_mode(spread(ExclusionMode::Hard)).heartbeat_timeout(secs(9999)));
    add(&scheduler, worker("a", 5));
    let job = ask(&scheduler, "s", "1").unwrap();
    scheduler.tick(secs(79));
    assert_eq!((scheduler.stats().now.sessions, refused(ask(&scheduler, "s", "2")).kind()), (1, "busy"));
    // What was refused was use all the same; the session is looked for at every eighth of its time.
    scheduler.tick(secs(79 + 79));
    assert_eq!(scheduler.stats().now.sessions, 1);
    scheduler.tick(secs(79 + 90));
    assert_eq!(scheduler.stats().now.sessions, 0);
    assert!(scheduler.job(job.id()).is_some());
    ask(&scheduler, "s", "3").unwrap();
}

#[test]
fn a_job_that_is_refused_begins_no_session() {
    let scheduler = build(builder().max_sessions(1).max_jobs(2).max_finished_jobs(0));
    let error = refuses(&scheduler, |s| ask(s, "refused", "r"));
    assert_eq!(refused(Err(error)).kind(), "unsupported");
    add(&scheduler, worker("a", 2));
    create(&scheduler, "known", work().routing_key("other"));
    let error = refuses(&scheduler, |s| ask(s, "refused", "known"));
    assert!(matches!(error, CreateJobError::RequestMismatch { .. }));
    create(&scheduler, "last", work());
    let error = refuses(&scheduler, |s| ask(s, "refused", "one too many"));
    assert!(matches!(error, CreateJobError::TooManyJobs { .. }));
}

#[test]
fn a_repeated_request_finds_its_job_also_when_its_session_is_forgotten_and_there_is_no_room_for_another() {
    let scheduler =
        build(builder().max_sessions(1).session_ttl(secs(10)).default_lease(secs(100)).heartbeat_timeout(secs(1000)));
    add(&scheduler, worker("a", 5));
    let job = ask(&scheduler, "s", "r").unwrap();
    scheduler.tick(secs(20));
    ask(&scheduler, "t", "other").unwrap();
    let again = ask(&scheduler, "s", "r").map(|job| job.id()).map_err(|error| error.to_string());
    assert_eq!(again, Ok(job.id()));
}

#[test]
fn a_session_keeps_to_its_pool_also_with_a_routing_key_that_points_elsewhere() {
    let scheduler = fleet(builder(), 8, 1, 40);
    let first = ask(&scheduler, "s", "first").unwrap();
    for key in 0..20u8 {
        let request = JobRequest::new(key.to_string(), work().routing_key([key])).session("s");
        assert_eq!(scheduler.create_job(&request).unwrap().pool(), first.pool());
    }
}
