//! Limits: what is refused when one is reached, and that it goes on when there is room again.

mod common;

use common::*;
use slotyard::limits::MAX_CAPACITY;
use slotyard::{CreateJobError, Demand, Event, Job, JobRequest, NodeSpec, RegisterError, RetryError};

#[test]
fn past_max_nodes_a_registration_is_refused_until_one_has_left() {
    let scheduler = build(builder().max_nodes(2));
    let a = add(&scheduler, worker("a", 1));
    add(&scheduler, worker("b", 1));
    let error = refuses(&scheduler, |s| s.register(worker("c", 1)));
    assert_eq!(error, RegisterError::TooManyNodes { id: "c".into(), limit: 2 });
    // A node that is there already may be replaced, or refused for what it is.
    add(&scheduler, worker("b", 1).replace_existing());
    assert!(matches!(refuses(&scheduler, |s| s.register(worker("a", 1))), RegisterError::AlreadyRegistered { .. }));
    scheduler.deregister(&a).unwrap();
    add(&scheduler, worker("c", 1));
    assert!(matches!(scheduler.register(worker("a", 1)), Err(RegisterError::TooManyNodes { .. })));
}

#[test]
fn offline_nodes_count_until_they_are_forgotten() {
    let scheduler = build(builder().max_nodes(1));
    add(&scheduler, worker("a", 1));
    scheduler.tick(secs(15));
    assert!(matches!(scheduler.register(worker("b", 1)), Err(RegisterError::TooManyNodes { .. })));
    scheduler.tick(secs(315));
    add(&scheduler, worker("b", 1));
}

#[test]
fn a_registration_that_was_refused_does_not_count() {
    let scheduler = build(builder().max_nodes(1));
    assert!(scheduler.register(worker("a", 0)).is_err());
    assert!(scheduler.register(NodeSpec::new("a").service("")).is_err());
    let a = add(&scheduler, worker("a", 1));
    (0..5).for_each(|_| assert!(scheduler.register(worker("b", 1)).is_err()));
    scheduler.deregister(&a).unwrap();
    add(&scheduler, worker("b", 1));
}

#[test]
fn past_max_jobs_a_create_is_refused_until_one_has_ended() {
    let scheduler = build(builder().max_jobs(2).max_finished_jobs(1));
    add(&scheduler, worker("a", 9));
    let first = create(&scheduler, "1", work());
    create(&scheduler, "2", work());
    let error = refuses(&scheduler, |s| try_create(s, "3", work()));
    assert!(matches!(error, CreateJobError::TooManyJobs { limit: 2 }), "{error}");
    // One that there is already is no further job.
    assert_eq!(create(&scheduler, "1", work()).id(), first.id());
    complete(&scheduler, &first);
    create(&scheduler, "3", work());
    assert!(scheduler.job(first.id()).is_none());
}

#[test]
fn a_create_that_was_refused_does_not_count() {
    let scheduler = build(builder().max_jobs(2).max_finished_jobs(2));
    add(&scheduler, worker("a", 1));
    let job = create(&scheduler, "1", work());
    (0..10).for_each(|n| assert_eq!(refused(try_create(&scheduler, &format!("n{n}"), work())).kind(), "busy"));
    complete(&scheduler, &job);
    create(&scheduler, "2", work());
}

#[test]
fn past_max_sessions_a_new_session_is_refused_and_those_that_there_are_go_on() {
    let scheduler = build(builder().max_sessions(2).session_ttl(secs(10)).heartbeat_timeout(secs(99)));
    add(&scheduler, worker("a", 9));
    let ask = |request: &str, session: &str| scheduler.create_job(&JobRequest::new(request, work()).session(session));
    ask("1", "s").unwrap();
    ask("2", "t").unwrap();
    let error = refuses(&scheduler, |_| ask("3", "u"));
    let CreateJobError::TooManySessions { session, limit } = error else { panic!("{error}") };
    assert_eq!((session.as_str(), limit), ("u", 2));
    ask("4", "t").unwrap();
    create(&scheduler, "5", work());
    scheduler.tick(secs(12));
    ask("6", "u").unwrap();
}

#[test]
fn past_max_attempts_a_retry_is_refused() {
    let scheduler = build(builder().max_attempts(1));
    add_workers(&scheduler, ["a", "b"], 1);
    let job = create(&scheduler, "r", work());
    let error = refuses(&scheduler, |s| s.retry(job.id(), 1));
    assert!(matches!(error, RetryError::TooManyAttempts { job: id, limit: 1 } if id == job.id()), "{error}");
    complete(&scheduler, &job);
}

#[test]
fn past_max_routes_a_demand_is_served_all_the_same() {
    let scheduler = build(builder().max_routes(3));
    for n in 0..8 {
        add(&scheduler, NodeSpec::new(format!("n{n}")).service(format!("s{n}")).ready());
    }
    for _ in 0..3 {
        for n in 0..8 {
            let demand = Demand::new().service(format!("s{n}"));
            assert_eq!(selected(&scheduler, &demand), format!("n{n}"));
            assert!(scheduler.stats().now.routes <= 3);
        }
    }
    let counters = scheduler.stats().counters;
    assert_eq!((counters.routes_computed, counters.routes_not_kept), (3 + 15, 15));
}

#[test]
fn past_max_pools_a_node_goes_to_the_mixed_pool_and_the_event_names_the_limit() {
    let scheduler = build(builder().max_pools(1));
    add(&scheduler, worker("a", 1));
    let events = scheduler.subscribe(8);
    add(&scheduler, NodeSpec::new("b").service("other"));
    assert_eq!(drain(&events), [Event::PoolsExhausted { node: "b".into(), limit: 1 }]);
}

#[test]
fn a_node_of_the_largest_capacity_gives_each_of_its_slots_once() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", MAX_CAPACITY));
    for round in 0..2 {
        let jobs = fill(&scheduler, &format!("r{round}"), &work());
        assert_eq!((jobs.len() as u32, in_flight(&scheduler, "a")), (MAX_CAPACITY, MAX_CAPACITY));
        jobs.iter().for_each(|job| complete(&scheduler, job));
    }
}

#[test]
fn a_cell_that_was_used_very_often_is_as_good_as_new() {
    let scheduler = scheduler();
    let mut last = 0;
    for round in 0..5000 {
        let handle = add(&scheduler, worker("a", 2));
        assert!(handle.incarnation() > last);
        last = handle.incarnation();
        let job = create(&scheduler, format!("r{round}"), work());
        assert_eq!(job.incarnation(), last);
        scheduler.deregister(&handle).unwrap();
        assert_eq!(kind(&scheduler, &work()), "unsupported");
    }
    assert_eq!(scheduler.stats().counters.orphaned, 5000);
}

#[test]
fn batches_of_any_length_are_completed_and_what_is_refused_is_told_by_its_place() {
    let scheduler = build(builder());
    add(&scheduler, worker("n", 100));
    for number in [0, 1, 15, 16, 17, 32, 40] {
        let jobs: Vec<_> = (0..number).map(|n| create(&scheduler, format!("{number}-{n}"), work())).collect();
        // Every third is completed twice.
        let twice = jobs
            .iter()
            .enumerate()
            .flat_map(|(n, job)| std::iter::repeat_n((job.id(), 1), 1 + usize::from(n % 3 == 0)));
        let refused = scheduler.complete_jobs(twice).into_iter().map(|(place, _)| place);
        assert!(refused.eq((0..number).step_by(3).map(|n| n + n / 3 + 1)));
        assert_eq!(in_flight(&scheduler, "n"), 0);
    }
}

#[test]
fn past_max_jobs_a_create_is_refused_also_where_memory_for_it_is_at_hand() {
    let scheduler = build(builder().max_jobs(100).max_finished_jobs(0).heartbeat_timeout(secs(99)));
    add(&scheduler, worker("a", 200));
    // Memory that jobs have left is handed on by the 64: soon there is some for 28 more.
    for round in 0..10 {
        let jobs: Vec<Job> = (0..100).map(|n| create(&scheduler, format!("{round}-{n}"), work())).collect();
        let error = refuses(&scheduler, |s| try_create(s, "one-more", work()));
        assert!(matches!(error, CreateJobError::TooManyJobs { limit: 100 }), "{error}");
        jobs.iter().for_each(|job| complete(&scheduler, job));
        (0..3).for_each(|n| scheduler.tick(secs(round) + ms(n)));
    }
}
