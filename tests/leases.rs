//! Leases, and how long finished jobs are remembered.

mod common;

use common::*;
use slotyard::{CreateJobError, Event, Heartbeat, Job, JobError, JobRequest, JobState, Scheduler, SchedulerBuilder};

/// A scheduler whose one node does not go offline.
fn with_node(builder: SchedulerBuilder, capacity: u32) -> Scheduler {
    let scheduler = build(builder.heartbeat_timeout(secs(1_000_000)));
    add(&scheduler, worker("a", capacity));
    scheduler
}

fn create_for(scheduler: &Scheduler, request: &str, lease: std::time::Duration) -> Job {
    scheduler.create_job(&JobRequest::new(request, work()).lease(lease)).expect("a slot is free")
}

#[test]
fn a_lease_runs_out_at_its_time_and_not_a_millisecond_before() {
    let scheduler = with_node(builder().default_lease(secs(10)), 1);
    scheduler.tick(ms(1234));
    let job = create(&scheduler, "r", work());
    scheduler.tick(ms(11_233));
    assert_eq!((job_state(&scheduler, &job), in_flight(&scheduler, "a")), (JobState::Reserved, 1));
    scheduler.tick(ms(11_234));
    assert_eq!((job_state(&scheduler, &job), in_flight(&scheduler, "a")), (JobState::Expired, 0));
}

#[test]
fn leases_that_ran_out_by_one_tick_are_told_in_the_order_of_their_ends() {
    let scheduler = with_node(builder(), 9);
    let events = scheduler.subscribe(16);
    let jobs =
        [5, 3, 9, 3].map(|lease| create_for(&scheduler, &format!("r{}", scheduler.stats().now.jobs), secs(lease)));
    scheduler.tick(secs(10));
    let told: Vec<_> = drain(&events)
        .into_iter()
        .filter_map(|event| match event {
            Event::JobExpired { job, .. } => Some(job),
            _ => None,
        })
        .collect();
    assert_eq!(told, [1, 3, 0, 2].map(|number| jobs[number].id()));
}

#[test]
fn a_job_that_expired_is_told_once_and_takes_no_late_word() {
    let scheduler = with_node(builder().default_lease(secs(10)), 1);
    let events = scheduler.subscribe(16);
    let job = create(&scheduler, "r", work());
    scheduler.running(job.id(), 1).unwrap();
    (10..13).for_each(|now| scheduler.tick(secs(now)));
    let expired = Event::JobExpired { job: job.id(), attempt: 1, node: "a".into(), request_id: "r".into() };
    assert_eq!(drain(&events), [expired]);
    for late in [Scheduler::complete, Scheduler::renew, Scheduler::dispatched] {
        let error = refuses(&scheduler, |s| late(s, job.id(), 1));
        assert_eq!(error, JobError::AlreadyEnded { job: job.id(), attempt: 1, state: JobState::Expired });
    }
    assert_eq!(scheduler.stats().counters.double_released, 0);
}

#[test]
fn a_renewal_begins_the_lease_anew() {
    let scheduler = with_node(builder().default_lease(secs(10)), 1);
    let job = create(&scheduler, "r", work());
    for now in [3, 9, 18, 27] {
        scheduler.tick(secs(now));
        scheduler.renew(job.id(), 1).unwrap();
    }
    scheduler.tick(secs(37) - ms(1));
    assert_eq!(job_state(&scheduler, &job), JobState::Reserved);
    scheduler.tick(secs(37));
    assert_eq!(job_state(&scheduler, &job), JobState::Expired);
}

#[test]
fn only_a_renewal_is_news_a_move_is_not() {
    let scheduler = with_node(builder().default_lease(secs(10)), 1);
    let job = create(&scheduler, "r", work());
    scheduler.tick(secs(9));
    scheduler.dispatched(job.id(), 1).unwrap();
    scheduler.running(job.id(), 1).unwrap();
    create(&scheduler, "r", work());
    scheduler.tick(secs(10));
    assert_eq!(job_state(&scheduler, &job), JobState::Expired);
}

#[test]
fn a_request_may_ask_for_its_own_lease_and_renews_by_that() {
    let scheduler = with_node(builder().default_lease(secs(10)), 3);
    let short = create_for(&scheduler, "short", secs(2));
    let long = create_for(&scheduler, "long", secs(3600));
    scheduler.tick(secs(1));
    scheduler.renew(short.id(), 1).unwrap();
    scheduler.tick(secs(3) - ms(1));
    assert_eq!(job_state(&scheduler, &short), JobState::Reserved);
    scheduler.tick(secs(3));
    assert_eq!(job_state(&scheduler, &short), JobState::Expired);
    scheduler.tick(secs(3600) - ms(1));
    assert_eq!(job_state(&scheduler, &long), JobState::Reserved);
    scheduler.tick(secs(3600));
    assert_eq!(job_state(&scheduler, &long), JobState::Expired);
}

#[test]
fn a_lease_below_a_millisecond_is_one_millisecond() {
    let scheduler = with_node(builder(), 1);
    let job = create_for(&scheduler, "r", std::time::Duration::from_nanos(1));
    scheduler.tick(ms(0));
    assert_eq!(job_state(&scheduler, &job), JobState::Reserved);
    scheduler.tick(ms(1));
    assert_eq!(job_state(&scheduler, &job), JobState::Expired);
}

#[test]
fn leases_of_all_lengths_run_out_each_at_its_time_whatever_the_steps_of_the_clock() {
    for step in [1, 7, 10, 333, 60_000] {
        let scheduler = with_node(builder().default_lease(secs(1)), 64);
        let lengths: Vec<u64> = (0..64).map(|n| 1 + n * n * 29).collect();
        let jobs: Vec<Job> =
            lengths.iter().enumerate().map(|(n, length)| create_for(&scheduler, &n.to_string(), ms(*length))).collect();
        let last = lengths.iter().max().unwrap();
        for now in (0..=last + step).step_by(step as usize) {
            scheduler.tick(ms(now));
            let open = lengths.iter().filter(|length| **length > now).count();
            assert_eq!(in_flight(&scheduler, "a") as usize, open, "at {now} in steps of {step}");
        }
        assert!(jobs.iter().all(|job| job_state(&scheduler, job) == JobState::Expired));
    }
}

#[test]
fn an_end_before_the_lease_is_the_end() {
    let scheduler = with_node(builder().default_lease(secs(10)), 2);
    let job = create(&scheduler, "r", work());
    complete(&scheduler, &job);
    create(&scheduler, "other", work());
    scheduler.tick(secs(10));
    assert_eq!(job_state(&scheduler, &job), JobState::Completed);
    assert_eq!(scheduler.stats().counters.expired, 1);
}

#[test]
fn a_time_before_an_earlier_one_changes_nothing() {
    let scheduler = with_node(builder().default_lease(secs(10)), 1);
    scheduler.tick(secs(100));
    let job = create(&scheduler, "r", work());
    scheduler.tick(secs(5));
    scheduler.tick(secs(110) - ms(1));
    assert_eq!(job_state(&scheduler, &job), JobState::Reserved);
    scheduler.tick(secs(110));
    assert_eq!(job_state(&scheduler, &job), JobState::Expired);
}

#[test]
fn the_lease_of_an_attempt_before_does_not_end_the_next() {
    let scheduler = with_node(builder().default_lease(secs(10)), 2);
    let job = create(&scheduler, "r", work());
    scheduler.tick(secs(5));
    scheduler.retry(job.id(), 1).unwrap();
    scheduler.tick(secs(15) - ms(1));
    assert_eq!((job_state(&scheduler, &job), in_flight(&scheduler, "a")), (JobState::Reserved, 1));
    scheduler.tick(secs(15));
    assert_eq!((job_state(&scheduler, &job), in_flight(&scheduler, "a")), (JobState::Expired, 0));
}

/// Creates and completes a job.
fn finish(scheduler: &Scheduler, request: &str) -> Job {
    let job = create(scheduler, request, work());
    complete(scheduler, &job);
    job
}

#[test]
fn a_finished_job_is_remembered_for_its_time() {
    let scheduler = with_node(builder().finished_retention(secs(60)), 1);
    scheduler.tick(secs(5));
    let job = finish(&scheduler, "r");
    scheduler.tick(secs(65) - ms(1));
    assert_eq!(create(&scheduler, "r", work()).id(), job.id());
    scheduler.tick(secs(65));
    assert!(scheduler.job(job.id()).is_none() && scheduler.job_by_request("r").is_none());
    assert_eq!(refuses(&scheduler, |s| s.complete(job.id(), 1)), JobError::UnknownJob { job: job.id() });
    let again = create(&scheduler, "r", work());
    assert!(again.id() != job.id() && again.attempt() == 1 && in_flight(&scheduler, "a") == 1);
}

#[test]
fn finished_jobs_are_forgotten_in_the_order_in_which_they_ended() {
    let scheduler = with_node(builder().finished_retention(secs(60)), 3);
    let [a, b, c] = ["a", "b", "c"].map(|request| create(&scheduler, request, work()));
    for (now, job) in [(1, &b), (2, &c), (3, &a)] {
        scheduler.tick(secs(now));
        complete(&scheduler, job);
    }
    for (now, remembered) in
        [(60, [true, true, true]), (61, [true, false, true]), (62, [true, false, false]), (63, [false; 3])]
    {
        scheduler.tick(secs(now));
        assert_eq!([&a, &b, &c].map(|job| scheduler.job(job.id()).is_some()), remembered, "at {now} s");
    }
    assert_eq!((scheduler.stats().now.jobs, scheduler.stats().now.finished_jobs), (0, 0));
}

#[test]
fn a_job_that_is_tried_again_is_not_forgotten_by_its_earlier_end() {
    let scheduler = with_node(builder().finished_retention(secs(60)).default_lease(secs(500)), 1);
    let job = create(&scheduler, "r", work());
    scheduler.fail(job.id(), 1).unwrap();
    scheduler.tick(secs(30));
    scheduler.retry(job.id(), 1).unwrap();
    scheduler.tick(secs(70));
    assert_eq!(job_state(&scheduler, &job), JobState::Reserved);
    scheduler.complete(job.id(), 2).unwrap();
    scheduler.tick(secs(130) - ms(1));
    assert_eq!(job_state(&scheduler, &job), JobState::Completed);
    scheduler.tick(secs(130));
    assert!(scheduler.job(job.id()).is_none());
}

#[test]
fn at_most_so_many_finished_jobs_are_remembered_the_latest() {
    for ticks in [false, true] {
        let scheduler = with_node(builder().max_finished_jobs(3).finished_retention(secs(900)), 1);
        for since in [1_000, 2_000] {
            // Those of before are forgotten, being old.
            scheduler.tick(secs(since));
            let mut jobs = Vec::new();
            for n in 0..100 {
                // A tick, once jobs can be old enough, looks at the oldest, and must not lose count of it.
                if ticks {
                    scheduler.tick(secs(since + n));
                }
                jobs.push(finish(&scheduler, &format!("{since}-{n}")).id());
                let remembered = jobs.iter().filter(|job| scheduler.job(**job).is_some());
                let latest = &jobs[jobs.len().saturating_sub(3)..];
                assert!(remembered.eq(latest), "after {} have ended, with ticks: {ticks}", jobs.len());
                let now = scheduler.stats().now;
                assert_eq!((now.jobs, now.finished_jobs), (latest.len(), latest.len()));
            }
        }
    }
}

#[test]
fn with_no_finished_jobs_remembered_a_request_may_come_again_at_once() {
    let scheduler = with_node(builder().max_finished_jobs(0), 1);
    let job = finish(&scheduler, "r");
    assert!(scheduler.job(job.id()).is_none());
    assert_ne!(create(&scheduler, "r", work()).id(), job.id());
}

#[test]
fn a_job_that_was_tried_again_does_not_count_as_finished() {
    let scheduler = with_node(builder(), 1);
    let job = create(&scheduler, "r", work());
    scheduler.fail(job.id(), 1).unwrap();
    assert_eq!(scheduler.stats().now.finished_jobs, 1);
    scheduler.retry(job.id(), 1).unwrap();
    assert_eq!((scheduler.stats().now.jobs, scheduler.stats().now.finished_jobs), (1, 0));
    scheduler.complete(job.id(), 2).unwrap();
    assert_eq!((scheduler.stats().now.jobs, scheduler.stats().now.finished_jobs), (1, 1));
}

#[test]
fn a_job_that_failed_twice_at_one_time_is_one_finished_job() {
    let scheduler = with_node(builder().max_finished_jobs(1), 1);
    let job = create(&scheduler, "r", work());
    scheduler.fail(job.id(), 1).unwrap();
    scheduler.retry(job.id(), 1).unwrap();
    scheduler.fail(job.id(), 2).unwrap();
    assert_eq!(scheduler.job(job.id()).map(|view| view.state), Some(JobState::Failed));
    assert!(scheduler.retry(job.id(), 2).is_ok());
}

#[test]
fn a_finished_job_makes_room_for_a_new_one_when_memory_is_full() {
    for ticks in [false, true] {
        let scheduler = with_node(builder().max_jobs(2).max_finished_jobs(2), 4);
        scheduler.tick(secs(1000));
        let finished = finish(&scheduler, "finished");
        let active = create(&scheduler, "active", work());
        if ticks {
            scheduler.tick(secs(1001));
        }
        let new = create(&scheduler, "new", work());
        assert!(scheduler.job(finished.id()).is_none() && scheduler.job(active.id()).is_some());
        let error = try_create(&scheduler, "one too many", work()).unwrap_err();
        assert!(matches!(error, CreateJobError::TooManyJobs { limit: 2 }), "with ticks: {ticks}, {error}");
        complete(&scheduler, &new);
        create(&scheduler, "room again", work());
    }
}

#[test]
fn nodes_and_leases_that_end_at_the_same_tick_free_each_slot_once() {
    let scheduler = build(builder().default_lease(secs(15)));
    let a = add(&scheduler, worker("a", 3));
    fill(&scheduler, "r", &work());
    scheduler.tick(secs(15));
    scheduler.heartbeat(&a, &Heartbeat::ready()).unwrap();
    let counters = scheduler.stats().counters;
    assert_eq!((counters.expired + counters.orphaned, counters.released, counters.double_released), (3, 3, 0));
    assert_eq!(in_flight(&scheduler, "a"), 0);
}
