//! Policies that panic, at each point of a choice and in every call that makes one.

use std::sync::Arc;

use slotyard::{ExclusionMode, Job, JobRequest, JobState, Scheduler, SessionMode};

use super::common::*;
use super::*;

type Call = (&'static str, fn(&Scheduler));

fn session(request: &str, mode: SessionMode) -> JobRequest {
    JobRequest::new(request, work()).session("s").session_mode(mode)
}

/// Every call in which a policy chooses, and each way there is to the choice.
const CALLS: [Call; 14] = [
    ("select", |s| drop(s.select(&work()))),
    ("select_prepared", |s| drop(s.select_prepared(&s.prepare(&work())))),
    ("select of some members", |s| drop(s.select(&work().label("l", "1")))),
    ("select of one pool", |s| drop(s.select(&work().service("more")))),
    ("select by key", |s| drop(s.select(&work().routing_key("key")))),
    ("select but for", |s| drop(s.select(&work().exclude(["a1"], ExclusionMode::Hard)))),
    ("select rather not", |s| drop(s.select(&work().exclude(["a1", "b1"], ExclusionMode::Soft)))),
    ("reserve", |s| drop(s.reserve(&work()))),
    ("reserve_prepared", |s| drop(s.reserve_prepared(&s.prepare(&work().service("more"))))),
    ("create_job", |s| drop(s.create_job(&JobRequest::new("r", work())))),
    ("create_job in a session", |s| drop(s.create_job(&session("r", SessionMode::Affinity)))),
    ("create_job spread", |s| drop(s.create_job(&session("r", SessionMode::Spread(ExclusionMode::Hard))))),
    ("create_jobs", |s| drop(s.create_jobs(&[JobRequest::new("r", work()), JobRequest::new("t", work())]))),
    ("retry", |s| drop(s.retry(s.job_by_request("earlier").expect("it was created").id, 1))),
];

#[test]
fn wherever_a_policy_panics_the_call_has_not_been() {
    for (fallback, used) in [(true, false), (true, true), (false, true)] {
        for (name, call) in CALLS {
            let (scheduler, script) = scripted(builder().fallback(fallback));
            populate(&scheduler);
            // A job to retry, and a session to go on with.
            let earlier = create(&scheduler, "earlier", work());
            let in_session = scheduler.create_job(&session("first", SessionMode::Affinity)).unwrap();
            if used {
                // Routes are known by now, and there is a short way to them.
                (0..3).for_each(|n| drop(create(&scheduler, format!("{n}"), work())));
                (0..3).for_each(|n| scheduler.cancel(scheduler.job_by_request(&n.to_string()).unwrap().id, 1).unwrap());
            }
            let before = picture(&scheduler);
            for point in POINTS {
                script.panic_at(point);
                let choices = script.choices.load(Ordering::Relaxed);
                for _ in 0..3 {
                    panics(|| call(&scheduler));
                }
                assert!(script.choices.load(Ordering::Relaxed) >= choices + 3, "{name} asks no policy");
                assert_eq!(picture(&scheduler), before, "after {name}, {point:?}");
                assert!(scheduler.job_by_request("r").is_none() && scheduler.job_by_request("t").is_none());
            }
            // The same call goes well, and all is as if nothing had been.
            script.panic_at(Point::Never);
            call(&scheduler);
            for job in ["r", "t", "earlier"].iter().filter_map(|request| scheduler.job_by_request(request)) {
                scheduler.complete(job.id, job.attempt).unwrap();
            }
            complete(&scheduler, &in_session);
            assert_eq!(scheduler.job(earlier.id()).unwrap().state, JobState::Completed);
            if fallback {
                assert_whole(&scheduler, 12, name);
            }
        }
    }
}

#[test]
fn a_request_whose_create_has_panicked_is_free_also_for_another_demand_and_another_session() {
    let (scheduler, script) = scripted(builder().max_sessions(2));
    populate(&scheduler);
    for (n, point) in POINTS.into_iter().enumerate() {
        script.panic_at(point);
        let request = format!("r{n}");
        panics(|| scheduler.create_job(&JobRequest::new(&request, work()).session("never begun")));
        assert_eq!(scheduler.stats().now.sessions, usize::from(n > 0), "a session was begun");
        script.panic_at(Point::Never);
        let job = scheduler.create_job(&JobRequest::new(&request, work().service("more")).session("s")).unwrap();
        assert_eq!(job.attempt(), 1);
        complete(&scheduler, &job);
    }
    assert_whole(&scheduler, 12, "whole");
}

#[test]
fn of_a_batch_in_which_a_policy_panics_those_before_are_made_and_are_found_again() {
    for made in 0..8 {
        let (scheduler, script) = scripted(builder());
        populate(&scheduler);
        let requests: Vec<JobRequest> = (0..8).map(|n| JobRequest::new(format!("r{n}"), work())).collect();
        script.panic_after(made, Point::AfterOneDraw);
        panics(|| scheduler.create_jobs(&requests));
        assert_eq!((scheduler.stats().now.jobs, scheduler.stats().counters.created), (made as usize, u64::from(made)));
        script.panic_at(Point::Never);
        let jobs: Vec<Job> = scheduler.create_jobs(&requests).into_iter().map(Result::unwrap).collect();
        assert_eq!(scheduler.stats().counters.repeated, u64::from(made));
        jobs.iter().for_each(|job| complete(&scheduler, job));
        assert_whole(&scheduler, 12, "whole");
    }
}

#[test]
fn a_retry_that_has_panicked_leaves_the_attempt_as_it_was_whatever_state_it_is_in() {
    type Move = fn(&Scheduler, &Job);
    let states: [(JobState, Move); 5] = [
        (JobState::Reserved, |_, _| {}),
        (JobState::Dispatched, |s, job| s.dispatched(job.id(), 1).unwrap()),
        (JobState::Running, |s, job| s.running(job.id(), 1).unwrap()),
        (JobState::Failed, |s, job| s.fail(job.id(), 1).unwrap()),
        (JobState::Expired, |s, _| s.tick(secs(60))),
    ];
    for (state, prepare) in states {
        for point in POINTS {
            let (scheduler, script) = scripted(builder().heartbeat_timeout(secs(99)));
            populate(&scheduler);
            let job = create(&scheduler, "r", work());
            prepare(&scheduler, &job);
            let before = picture(&scheduler);
            script.panic_at(point);
            panics(|| scheduler.retry(job.id(), 1));
            assert_eq!((picture(&scheduler), job_state(&scheduler, &job)), (before, state), "{point:?}");
            script.panic_at(Point::Never);
            let again = scheduler.retry(job.id(), 1).unwrap();
            assert_eq!(again.attempt(), 2);
            complete(&scheduler, &again);
            assert_whole(&scheduler, 12, "whole");
        }
    }
}

/// Uses the scheduler that it is of, and panics in the middle of that.
#[derive(Debug, Default)]
struct Nested {
    scheduler: Mutex<Option<Scheduler>>,
    depth: AtomicU32,
}

#[derive(Debug)]
struct NestedPolicy(Arc<Nested>);

impl Choose for NestedPolicy {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let nested = &self.0;
        let scheduler = nested.scheduler.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let drawn = drawing.draw();
        if let Some(scheduler) = scheduler {
            let depth = nested.depth.fetch_add(1, Ordering::Relaxed);
            if depth >= 3 {
                panic_as_wanted();
            }
            // Held while the next one panics.
            let _held = scheduler.reserve(&work()).expect("a slot is free");
            scheduler.create_job(&JobRequest::new(format!("nested {depth}"), work())).expect("a slot is free");
        }
        drawn
    }
}

#[test]
fn a_policy_that_panics_in_the_middle_of_calls_of_its_own_leaves_nothing_of_any() {
    let nested = Arc::new(Nested::default());
    let scheduler = build(builder().policy(Policy::custom(NestedPolicy(nested.clone()))));
    let slots = populate(&scheduler);
    let before = picture(&scheduler);
    *nested.scheduler.lock().unwrap() = Some(scheduler.clone());
    for call in CALLS.iter().filter(|(name, _)| *name != "retry") {
        nested.depth.store(0, Ordering::Relaxed);
        panics(|| call.1(&scheduler));
        assert_eq!(picture(&scheduler), before, "after {}", call.0);
    }
    // The policy keeps the scheduler otherwise, and that the policy.
    drop(nested.scheduler.lock().unwrap().take());
    assert_whole(&scheduler, slots, "whole");
}

#[test]
fn what_panicking_calls_have_seen_is_freed_all_the_same() {
    let (scheduler, script) = scripted(builder().max_jobs(8).max_finished_jobs(4));
    add(&scheduler, worker("a", 4));
    for n in 0..3_000 {
        script.panic_at(POINTS[n % POINTS.len()]);
        panics(|| scheduler.create_job(&JobRequest::new(format!("never {n}"), work())));
        script.panic_at(Point::Never);
        // Far more jobs than there are places: were a pin or a place left over, there would be none soon.
        for m in 0..8 {
            complete(&scheduler, &create(&scheduler, format!("{n}-{m}"), work()));
        }
        assert!(scheduler.stats().now.jobs <= 4);
    }
    // Nor does anything keep nodes from leaving, and others from coming to their cells.
    for n in 0..3_000 {
        script.panic_at(POINTS[n % POINTS.len()]);
        panics(|| scheduler.select(&work()).is_ok());
        script.panic_at(Point::Never);
        scheduler.deregister(&handle(&scheduler, "a")).unwrap();
        add(&scheduler, worker("a", 4));
    }
    assert_whole(&scheduler, 4, "whole");
}
