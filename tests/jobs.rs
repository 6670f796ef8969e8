//! Jobs: created once for a request, moved on, ended once.

mod common;

use std::collections::BTreeSet;

use common::*;
use slotyard::{CreateJobError, Demand, Job, JobError, JobId, JobRequest, JobState, NodeSpec, Scheduler, Service};

type Move = fn(&Scheduler, JobId, u32) -> Result<(), JobError>;

/// The ends by a caller's word, and the state that each leads to.
const ENDS: [(Move, JobState); 3] = [
    (Scheduler::complete, JobState::Completed),
    (Scheduler::fail, JobState::Failed),
    (Scheduler::cancel, JobState::Cancelled),
];

/// Every call that needs an active attempt.
const MOVES: [Move; 6] = [
    Scheduler::dispatched,
    Scheduler::running,
    Scheduler::renew,
    Scheduler::complete,
    Scheduler::fail,
    Scheduler::cancel,
];

fn with_node(capacity: u32) -> Scheduler {
    let scheduler = scheduler();
    add(&scheduler, worker("a", capacity));
    scheduler
}

#[test]
fn a_job_goes_from_reserved_over_dispatched_and_running_to_its_end() {
    for (end, ended) in ENDS {
        let scheduler = with_node(1);
        let job = create(&scheduler, "r", work());
        assert_eq!((job.attempt(), job.node_id().as_str(), job.pool(), job.request_id()), (1, "a", "work", "r"));
        let at = |expected: JobState, held: u32| {
            assert_eq!((job_state(&scheduler, &job), job.state()), (expected, expected));
            assert_eq!((in_flight(&scheduler, "a"), expected.has_ended()), (held, held == 0));
        };
        at(JobState::Reserved, 1);
        scheduler.dispatched(job.id(), 1).unwrap();
        at(JobState::Dispatched, 1);
        scheduler.running(job.id(), 1).unwrap();
        at(JobState::Running, 1);
        end(&scheduler, job.id(), 1).unwrap();
        at(ended, 0);
    }
}

#[test]
fn a_job_may_end_from_any_active_state_and_run_without_having_been_dispatched() {
    let ways: [&[Move]; 4] =
        [&[], &[Scheduler::dispatched], &[Scheduler::running], &[Scheduler::dispatched, Scheduler::running]];
    for way in ways {
        for (end, ended) in ENDS {
            let scheduler = with_node(1);
            let job = create(&scheduler, "r", work());
            way.iter().for_each(|step| step(&scheduler, job.id(), 1).unwrap());
            end(&scheduler, job.id(), 1).unwrap();
            assert_eq!((job_state(&scheduler, &job), in_flight(&scheduler, "a")), (ended, 0));
        }
    }
}

#[test]
fn a_step_back_or_twice_is_an_invalid_transition() {
    let table: [(&[Move], Move, JobState, JobState); 3] = [
        (&[Scheduler::dispatched], Scheduler::dispatched, JobState::Dispatched, JobState::Dispatched),
        (&[Scheduler::running], Scheduler::dispatched, JobState::Running, JobState::Dispatched),
        (&[Scheduler::running], Scheduler::running, JobState::Running, JobState::Running),
    ];
    for (way, step, state, wanted) in table {
        let scheduler = with_node(1);
        let job = create(&scheduler, "r", work());
        way.iter().for_each(|step| step(&scheduler, job.id(), 1).unwrap());
        let error = refuses(&scheduler, |s| step(s, job.id(), 1));
        assert_eq!(error, JobError::InvalidTransition { job: job.id(), attempt: 1, state, wanted });
        assert_eq!(job_state(&scheduler, &job), state);
    }
}

#[test]
fn a_job_that_has_ended_refuses_every_further_word_and_says_how_it_ended() {
    for (end, state) in ENDS {
        let scheduler = with_node(2);
        let job = create(&scheduler, "r", work());
        create(&scheduler, "other", work());
        end(&scheduler, job.id(), 1).unwrap();
        for again in MOVES {
            let error = refuses(&scheduler, |s| again(s, job.id(), 1));
            assert_eq!(error, JobError::AlreadyEnded { job: job.id(), attempt: 1, state });
        }
        assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().counters.double_released), (1, 0));
    }
}

#[test]
fn an_unknown_job_is_refused_by_every_call() {
    let scheduler = with_node(2);
    let job = create(&scheduler, "r", work());
    for unknown in [JobId::from_u128(0), JobId::from_u128(u128::MAX), JobId::from_u128(job.id().to_u128() ^ 1 << 32)] {
        for call in MOVES {
            assert_eq!(refuses(&scheduler, |s| call(s, unknown, 1)), JobError::UnknownJob { job: unknown });
        }
        assert!(scheduler.job(unknown).is_none());
    }
}

#[test]
fn an_attempt_that_is_not_the_latest_is_refused_by_every_call() {
    let scheduler = with_node(2);
    let job = create(&scheduler, "r", work());
    scheduler.fail(job.id(), 1).unwrap();
    scheduler.retry(job.id(), 1).unwrap();
    for attempt in [0, 1, 3, u32::MAX] {
        for call in MOVES {
            let error = refuses(&scheduler, |s| call(s, job.id(), attempt));
            assert_eq!(error, JobError::StaleAttempt { job: job.id(), attempt, current: 2 });
        }
    }
    scheduler.complete(job.id(), 2).unwrap();
}

#[test]
fn the_same_request_gives_the_same_job_and_holds_one_slot() {
    let scheduler = with_node(3);
    let first = create(&scheduler, "r", work());
    for moved in [Scheduler::dispatched as Move, Scheduler::running] {
        moved(&scheduler, first.id(), 1).unwrap();
        let again = create(&scheduler, "r", work());
        assert_eq!((again.id(), again.attempt(), again.state()), (first.id(), 1, first.state()));
    }
    assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().now.jobs), (1, 1));
    let counters = scheduler.stats().counters;
    assert_eq!((counters.created, counters.repeated), (1, 2));
}

#[test]
fn the_same_request_gives_the_same_job_also_when_nothing_is_free() {
    let scheduler = with_node(1);
    let job = create(&scheduler, "r", work());
    assert_eq!(create(&scheduler, "r", work()).id(), job.id());
    scheduler.drain(&handle(&scheduler, "a")).unwrap();
    assert_eq!(create(&scheduler, "r", work()).id(), job.id());
}

#[test]
fn a_request_whose_job_has_ended_gives_that_job_and_takes_no_slot() {
    for (end, state) in ENDS {
        let scheduler = with_node(1);
        let job = create(&scheduler, "r", work());
        end(&scheduler, job.id(), 1).unwrap();
        let again = create(&scheduler, "r", work());
        assert_eq!((again.id(), again.attempt(), again.state()), (job.id(), 1, state));
        assert_eq!(in_flight(&scheduler, "a"), 0);
    }
}

#[test]
fn a_repeated_request_gives_the_latest_attempt() {
    let scheduler = with_node(1);
    let job = create(&scheduler, "r", work());
    scheduler.fail(job.id(), 1).unwrap();
    scheduler.retry(job.id(), 1).unwrap();
    let again = create(&scheduler, "r", work());
    assert_eq!((again.id(), again.attempt(), job.attempt()), (job.id(), 2, 1));
}

#[test]
fn another_demand_under_a_known_request_id_is_refused() {
    let scheduler = with_node(9);
    let demand = || work().source("zh");
    let job = create(&scheduler, "r", demand());
    let others = [
        work(),
        demand().target("en"),
        demand().service(Service::ASR),
        demand().label("tier", "gold"),
        demand().tenant("acme"),
        demand().routing_key("key"),
        demand().source("zh-CN"),
        demand().source("auto"),
    ];
    for other in others {
        let error = refuses(&scheduler, |s| try_create(s, "r", other.clone()));
        let CreateJobError::RequestMismatch { request_id, job: known } = error else { panic!("{other:?}: {error}") };
        assert_eq!((request_id.as_str(), known), ("r", job.id()));
    }
    complete(&scheduler, &job);
    // Not even when the job has ended.
    assert!(matches!(try_create(&scheduler, "r", work()), Err(CreateJobError::RequestMismatch { .. })));
}

#[test]
fn a_demand_is_the_same_in_whatever_order_it_is_put() {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("a").service("x").service("y").label("l", "1").label("m", "2").capacity(3).ready());
    let one = Demand::new().service("x").service("y").label("l", "1").label("m", "2");
    let other = Demand::new().label("m", "2").label("l", "1").services(["y", "x", "y"]);
    let job = create(&scheduler, "r", one);
    assert_eq!(create(&scheduler, "r", other).id(), job.id());
}

#[test]
fn a_request_that_was_refused_leaves_nothing_and_may_come_again() {
    let scheduler = with_node(1);
    let holder = create(&scheduler, "holder", work());
    let no_node = refused(Err(refuses(&scheduler, |s| try_create(s, "r", work()))));
    assert_eq!(no_node.kind(), "busy");
    assert!(scheduler.job_by_request("r").is_none());
    complete(&scheduler, &holder);
    // Under the same id another demand is no mismatch, for there is no job.
    assert_eq!(create(&scheduler, "r", work().routing_key("other")).attempt(), 1);
}

#[test]
fn a_job_is_found_by_its_id_and_by_its_request() {
    let scheduler = with_node(1);
    let request = JobRequest::new("r", work()).session("s");
    let job = scheduler.create_job(&request).unwrap();
    let view = scheduler.job(job.id()).unwrap();
    assert_eq!(scheduler.job_by_request("r").as_ref(), Some(&view));
    assert_eq!((view.id, view.request_id.as_str(), view.session_id.as_deref()), (job.id(), "r", Some("s")));
    assert_eq!((view.state, view.attempt, view.node_id.as_str()), (JobState::Reserved, 1, "a"));
    assert_eq!((view.pool.as_str(), view.incarnation), ("work", job.incarnation()));
    assert_eq!((job.session_id(), request.request_id()), (Some("s"), "r"));
    assert!(scheduler.job_by_request("q").is_none());
}

#[test]
fn job_ids_are_unique_and_are_read_back_as_they_were_written() {
    let scheduler = build(builder().max_finished_jobs(0));
    add(&scheduler, worker("a", 3));
    let mut ids = BTreeSet::new();
    for n in 0..500 {
        let job = create(&scheduler, n.to_string(), work());
        assert_eq!(job.id().to_string().parse::<JobId>(), Ok(job.id()));
        assert!(ids.insert(job.id()), "an id was used twice");
        complete(&scheduler, &job);
    }
    for bad in [
        "",
        "0",
        "g0000000000000000000000000000000",
        "000000000000000000000000000000000",
        "+000000000000000000000000000002a",
    ] {
        let error = bad.parse::<JobId>().unwrap_err();
        assert!(error.to_string().contains(bad), "{error}");
    }
}

#[test]
fn a_handle_tells_how_its_job_ended_even_after_that_was_forgotten() {
    for (end, state) in ENDS {
        let scheduler = build(builder().finished_retention(secs(1)));
        add(&scheduler, worker("a", 1));
        let job = create(&scheduler, "r", work());
        end(&scheduler, job.id(), 1).unwrap();
        scheduler.tick(secs(1));
        assert!(scheduler.job(job.id()).is_none());
        assert_eq!(job.state(), state);
    }
}

#[test]
fn a_handle_is_good_when_other_jobs_have_come_and_gone_where_its_own_was() {
    let scheduler = build(builder().max_finished_jobs(0));
    add(&scheduler, worker("a", 100));
    let kept: Vec<Job> = (0..50).map(|n| create(&scheduler, format!("kept {n}"), work())).collect();
    let clones: Vec<Job> = kept.iter().step_by(2).cloned().collect();
    kept.iter().for_each(|job| complete(&scheduler, job));
    let others: Vec<Job> = (0..2000)
        .map(|n| {
            let job = create(&scheduler, format!("other {n}"), work());
            complete(&scheduler, &job);
            job
        })
        .step_by(100)
        .collect();
    assert_eq!(scheduler.stats().now.jobs, 0);
    for (n, job) in kept.iter().enumerate() {
        assert_eq!((job.request_id(), job.state()), (format!("kept {n}").as_str(), JobState::Completed));
        assert_eq!((job.node_id().as_str(), job.pool(), job.attempt()), ("a", "work", 1));
    }
    // Handles outlive the scheduler.
    drop((scheduler, kept));
    assert!(clones.iter().enumerate().all(|(n, job)| job.request_id() == format!("kept {}", 2 * n)));
    assert!(others.iter().enumerate().all(|(n, job)| job.request_id() == format!("other {}", 100 * n)));
}

#[test]
fn a_jobs_slot_is_freed_on_the_node_that_it_was_reserved_on() {
    let scheduler = scheduler();
    add_workers(&scheduler, (0..10).map(|n| format!("n{n}")), 5);
    let jobs: Vec<Job> = fill(&scheduler, "r", &work());
    for job in jobs.iter().filter(|job| job.node_id() == "n3") {
        complete(&scheduler, job);
    }
    let held: Vec<u32> = scheduler.nodes().iter().map(|view| view.in_flight).collect();
    assert_eq!(held, [5, 5, 5, 0, 5, 5, 5, 5, 5, 5]);
}

#[test]
fn the_time_from_reservation_to_dispatch_is_measured() {
    let scheduler = with_node(1);
    let job = create(&scheduler, "r", work());
    scheduler.tick(ms(200));
    scheduler.dispatched(job.id(), 1).unwrap();
    let latency = scheduler.stats().dispatch_latency;
    assert_eq!(latency.count, 1);
    assert!(latency.p50 >= ms(200) && latency.p50 <= ms(207) && latency.max == latency.p50, "{latency:?}");
}

#[test]
fn a_batch_creates_each_job_as_if_it_came_alone() {
    let scheduler = with_node(2);
    let request = |id: &str| JobRequest::new(id, work());
    let requests = [request("a"), request(""), request("a"), request("b"), request("c")];
    let created = scheduler.create_jobs(&requests);
    assert_eq!(created.len(), requests.len());
    let ids: Vec<_> = created.iter().flatten().map(Job::request_id).collect();
    assert_eq!(ids, ["a", "a", "b"]);
    assert_eq!(created[0].as_ref().unwrap().id(), created[2].as_ref().unwrap().id());
    assert!(matches!(created[1], Err(CreateJobError::InvalidId(_))), "{:?}", created[1]);
    assert!(matches!(created[4], Err(CreateJobError::NoNode(_))), "{:?}", created[4]);
    assert_eq!(in_flight(&scheduler, "a"), 2);
    assert!(scheduler.create_jobs(&[]).is_empty());
}

#[test]
fn a_batch_completes_each_job_and_names_those_that_it_did_not() {
    let scheduler = with_node(3);
    let [a, b, c] = ["a", "b", "c"].map(|id| create(&scheduler, id, work()));
    let unknown = JobId::from_u128(7);
    let attempts = [(a.id(), 1), (a.id(), 1), (unknown, 1), (b.id(), 2), (c.id(), 1)];
    let refused = scheduler.complete_jobs(attempts);
    let ended = JobError::AlreadyEnded { job: a.id(), attempt: 1, state: JobState::Completed };
    let stale = JobError::StaleAttempt { job: b.id(), attempt: 2, current: 1 };
    assert_eq!(refused, [(1, ended), (2, JobError::UnknownJob { job: unknown }), (3, stale)]);
    assert_eq!([&a, &b, &c].map(Job::state), [JobState::Completed, JobState::Reserved, JobState::Completed]);
    assert_eq!(in_flight(&scheduler, "a"), 1);
}

/// A pin may not last for as long as a batch.
#[test]
fn a_long_batch_goes_through() {
    let scheduler = with_node(3000);
    let requests: Vec<_> = (0..3000).map(|number| JobRequest::new(format!("r-{number}"), work())).collect();
    let created = scheduler.create_jobs(&requests);
    let attempts = created.iter().map(|job| job.as_ref().map(|job| (job.id(), job.attempt())).unwrap());
    assert_eq!(scheduler.complete_jobs(attempts), []);
    assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().counters.completed), (0, 3000));
}
