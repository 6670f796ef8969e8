//! More jobs, finished jobs, sessions and attempts than there may be.

use slotyard::{CreateJobError, Job, JobError, JobRequest, RetryError};

use super::common::*;
use super::*;

#[test]
pub(crate) fn jobs_that_crowd_in_are_refused_and_come_in_when_others_end() {
    const LIMIT: usize = 200;
    let scheduler = build(builder().max_jobs(LIMIT).max_finished_jobs(50));
    add_workers(&scheduler, (0..4).map(|n| format!("n{n}")), 1_000);
    let crowd = |thread: usize| {
        let (mut mine, mut refused): (Vec<Job>, _) = (Vec::new(), 0);
        for n in 0..3_000 {
            match try_create(&scheduler, &format!("{thread}-{n}"), work()) {
                Ok(job) => mine.push(job),
                Err(CreateJobError::TooManyJobs { limit }) => {
                    assert_eq!(limit, LIMIT);
                    refused += 1;
                    (0..n % 40).filter_map(|_| mine.pop()).for_each(|job| complete(&scheduler, &job));
                }
                Err(error) => panic!("{error}"),
            }
        }
        (mine, refused)
    };
    // A create counts its job before it knows whether there is room.
    let within = |now: &Gauges| {
        assert!(now.jobs <= LIMIT + THREADS && now.finished_jobs <= 50 + THREADS, "{now:?}");
    };
    let crowded = under_load(&scheduler, THREADS, crowd, within);
    let refused: usize = crowded.iter().map(|(_, refused)| refused).sum();
    assert!(refused > 100, "the bound was hardly reached: {refused}");
    let jobs: Vec<Job> = crowded.into_iter().flat_map(|(mine, _)| mine).collect();
    assert_eq!(held(&scheduler), jobs.len());
    assert!(scheduler.stats().now.jobs <= LIMIT);

    jobs.iter().for_each(|job| complete(&scheduler, job));
    assert_idle(&scheduler);
    scheduler.tick(secs(10));
    assert_eq!(scheduler.stats().now.finished_jobs, 50);
    let jobs: Vec<Job> = (0..LIMIT).map(|n| create(&scheduler, format!("{n}"), work())).collect();
    let error = refuses(&scheduler, |s| try_create(s, "one more", work()));
    assert!(error.to_string().contains("200"), "{error}");
    jobs.iter().for_each(|job| complete(&scheduler, job));
}

/// As the limitations say: where limits are large, what desks have not told yet comes to an eighth at most.
#[test]
fn large_limits_are_exceeded_by_no_more_than_an_eighth_however_many_threads() {
    const LIMIT: usize = 2_560;
    let scheduler = build(builder().max_jobs(LIMIT).max_finished_jobs(LIMIT / 2));
    add_workers(&scheduler, (0..4).map(|n| format!("n{n}")), 4_000);
    let barrier = Barrier::new(31);
    let until_refused = |thread: usize| {
        let mut created = (0..).map(|n| try_create(&scheduler, &format!("{thread}-{n}"), work())).map_while(Result::ok);
        // As many as a desk keeps to itself.
        let mut jobs: Vec<Job> = created.by_ref().take(LIMIT / 256).collect();
        barrier.wait();
        jobs.extend(created);
        jobs
    };
    let jobs: Vec<Job> = under_load(&scheduler, 31, until_refused, |_| {}).into_iter().flatten().collect();
    assert!((LIMIT..=LIMIT + LIMIT / 8).contains(&jobs.len()), "{} of {LIMIT}", jobs.len());
    assert_eq!((held(&scheduler), scheduler.stats().now.jobs), (jobs.len(), jobs.len()));
    let each = |thread: usize| jobs.iter().skip(thread).step_by(31).for_each(|job| complete(&scheduler, job));
    under_load(&scheduler, 31, each, |_| {});
    let finished = scheduler.stats().now.finished_jobs;
    assert!(finished <= LIMIT / 2 + LIMIT / 16, "{finished}");
    assert_idle(&scheduler);
}

#[test]
pub(crate) fn no_more_finished_jobs_are_remembered_however_fast_they_end() {
    const LIMIT: usize = 30;
    let scheduler = build(builder().max_jobs(4_000).max_finished_jobs(LIMIT).heartbeat_timeout(secs(9_999)));
    add_workers(&scheduler, (0..4).map(|n| format!("n{n}")), 1_000);
    let ends = |thread: usize| {
        for n in 0..2_000 {
            let job = create(&scheduler, format!("{thread}-{n}"), work());
            match n % 4 {
                0 => scheduler.fail(job.id(), 1).unwrap(),
                1 => scheduler.cancel(job.id(), 1).unwrap(),
                _ => complete(&scheduler, &job),
            }
            // It may be forgotten by now; if not it says what became of it.
            match scheduler.complete(job.id(), 1) {
                Err(JobError::AlreadyEnded { .. } | JobError::UnknownJob { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let within =
        |now: &Gauges| assert!(now.finished_jobs <= LIMIT + THREADS && now.jobs <= LIMIT + 2 * THREADS, "{now:?}");
    under_load(&scheduler, THREADS, ends, within);
    assert_eq!((scheduler.stats().now.finished_jobs, scheduler.stats().now.jobs), (LIMIT, LIMIT));
    assert_idle(&scheduler);
    // Each of those is one that has ended late, and is forgotten in its time.
    let remembered = |n: usize| (0..THREADS).any(|thread| scheduler.job_by_request(&format!("{thread}-{n}")).is_some());
    assert!((0..1_000).all(|n| !remembered(n)), "an old one is remembered in place of a new one");
    scheduler.tick(secs(601));
    assert_eq!((scheduler.stats().now.finished_jobs, scheduler.stats().now.jobs), (0, 0));
}

#[test]
pub(crate) fn sessions_that_crowd_in_are_refused_and_begin_when_others_are_forgotten() {
    const LIMIT: usize = 25;
    let scheduler = build(builder().max_sessions(LIMIT).session_ttl(secs(10)).heartbeat_timeout(secs(9_999)));
    add_workers(&scheduler, (0..4).map(|n| format!("n{n}")), 1_000);
    for round in 1..=5u64 {
        let crowd = |thread: usize| {
            let mut refused = 0;
            for n in 0..400 {
                let session = format!("{round}-{thread}-{}", n % 60);
                match scheduler.create_job(&JobRequest::new(format!("{session}-{n}"), work()).session(&session)) {
                    Ok(job) => complete(&scheduler, &job),
                    Err(CreateJobError::TooManySessions { session: found, limit }) => {
                        assert_eq!((found, limit), (session, LIMIT));
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
                // Jobs without one are not refused for that.
                complete(&scheduler, &create(&scheduler, format!("{round}-{thread}-none-{n}"), work()));
            }
            refused
        };
        // Those that begin at the same time may exceed it by one each.
        let within = |now: &Gauges| assert!(now.sessions < LIMIT + THREADS, "{now:?}");
        let refused: usize = under_load(&scheduler, THREADS, crowd, within).iter().sum();
        assert!(refused > 100, "the bound was hardly reached: {refused}");
        assert!((LIMIT..LIMIT + THREADS).contains(&scheduler.stats().now.sessions));
        assert_idle(&scheduler);
        scheduler.tick(secs(12 * round));
        assert_eq!(scheduler.stats().now.sessions, 0);
    }
}

#[test]
pub(crate) fn a_job_that_all_retry_has_no_more_attempts_than_it_may() {
    const LIMIT: u32 = 5;
    let scheduler = build(builder().max_attempts(LIMIT));
    add_workers(&scheduler, (0..6).map(|n| format!("n{n}")), 20);
    for round in 0..60 {
        let job = create(&scheduler, format!("r{round}"), work());
        let retries = |_: usize| {
            let (mut made, mut refused) = (0, 0);
            while refused < 3 {
                let attempt = scheduler.job(job.id()).expect("it is active").attempt;
                match scheduler.retry(job.id(), attempt) {
                    Ok(_) => made += 1,
                    Err(RetryError::TooManyAttempts { job: found, limit }) => {
                        assert_eq!((found, limit), (job.id(), LIMIT));
                        refused += 1;
                    }
                    Err(RetryError::Job(JobError::StaleAttempt { current, .. })) => assert!(current <= LIMIT),
                    Err(error) => panic!("{error}"),
                }
            }
            made
        };
        let made: u32 = under_load(&scheduler, THREADS, retries, |now| assert_eq!(now.jobs, round + 1)).iter().sum();
        assert_eq!((made, held(&scheduler)), (LIMIT - 1, 1));
        scheduler.complete(job.id(), LIMIT).unwrap();
        assert_idle(&scheduler);
    }
}
