//! The same call by many threads at once: one of them does it.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use slotyard::{
    Candidate, Choose, CreateJobError, Demand, Drawing, ExclusionMode, Heartbeat, Job, JobId, JobRequest, JobState,
    NoNode, NodeSpec, Policy, RegisterError, Scheduler,
};

use crate::common::*;
use crate::{Stop, at_once};

fn held(scheduler: &Scheduler) -> u32 {
    scheduler.nodes().iter().map(|view| view.in_flight).sum()
}

#[test]
fn eight_threads_that_create_the_same_requests_get_one_job_each_with_one_slot() {
    let scheduler = scheduler();
    add_workers(&scheduler, (0..50).map(|n| n.to_string()), 20);
    // Each thread goes through the same requests in the same order, so that they meet again and again.
    let by_thread = at_once(8, |_| (0..400).map(|n| create(&scheduler, n.to_string(), work())).collect::<Vec<Job>>());
    let same = |job: &Job| (job.id(), job.attempt(), job.node_id().clone(), job.incarnation());
    for jobs in &by_thread {
        assert!(jobs.iter().zip(&by_thread[0]).all(|(job, first)| same(job) == same(first)));
    }
    let ids: BTreeSet<JobId> = by_thread[0].iter().map(Job::id).collect();
    let stats = scheduler.stats();
    assert_eq!((ids.len(), held(&scheduler), stats.now.jobs, stats.counters.created), (400, 400, 400, 400));
    assert_eq!(stats.counters.reserved - stats.counters.released, 400);
    by_thread[0].iter().for_each(|job| complete(&scheduler, job));
    assert_eq!((held(&scheduler), scheduler.stats().counters.double_released), (0, 0));
}

/// Keeps threads in the middle of choosing until there are as many as expected. Later choices do not wait: whoever finds
/// that the node has changed since it was chosen chooses again.
#[derive(Debug)]
struct Meeting {
    expected: usize,
    came: AtomicUsize,
    barrier: Barrier,
}

impl Meeting {
    fn of(expected: usize) -> Self {
        Self { expected, came: AtomicUsize::new(0), barrier: Barrier::new(expected) }
    }
}

impl Choose for Meeting {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        if self.came.fetch_add(1, Ordering::Relaxed) < self.expected {
            self.barrier.wait();
        }
        drawing.draw()
    }
}

#[test]
fn of_creates_that_have_all_found_the_job_in_the_making_one_is_counted_as_created_and_the_others_as_repeated() {
    let scheduler = build(builder().policy(Policy::custom(Meeting::of(4))));
    add(&scheduler, worker("a", 9));
    let jobs = at_once(4, |_| create(&scheduler, "r", work()));
    assert!(jobs.iter().all(|job| job.id() == jobs[0].id() && job.attempt() == 1));
    let counted = scheduler.stats().counters;
    assert_eq!((in_flight(&scheduler, "a"), counted.reserved, counted.released), (1, 4, 3));
    assert_eq!((counted.created, counted.repeated), (1, 3));
}

#[test]
fn threads_that_create_one_request_for_the_last_slot_get_one_job_or_are_told_that_all_are_busy() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    for round in 0..300 {
        let results = at_once(4, |_| try_create(&scheduler, &round.to_string(), work()));
        let jobs: Vec<&Job> = results.iter().flatten().collect();
        assert!(!jobs.is_empty() && jobs.iter().all(|job| job.id() == jobs[0].id()), "{results:?}");
        let busy = |error: &CreateJobError| matches!(error, CreateJobError::NoNode(NoNode::Busy(_)));
        assert!(results.iter().filter_map(|result| result.as_ref().err()).all(busy), "{results:?}");
        assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().counters.created), (1, round + 1));
        complete(&scheduler, jobs[0]);
    }
}

#[test]
fn of_two_demands_under_one_request_one_gets_the_job_and_the_other_a_mismatch() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 4));
    for round in 0..300 {
        let demand = |thread| if thread % 2 == 0 { work() } else { work().routing_key("key") };
        let results = at_once(4, |thread| try_create(&scheduler, &round.to_string(), demand(thread)));
        let (got, mismatched): (Vec<_>, Vec<_>) = results.iter().partition(|result| result.is_ok());
        assert!(got.len() == 2 && results[0].is_ok() == results[2].is_ok(), "{results:?}");
        let mismatch = |result: &Result<Job, _>| matches!(result, Err(CreateJobError::RequestMismatch { .. }));
        assert!(mismatched.into_iter().all(mismatch), "{results:?}");
        assert_eq!(in_flight(&scheduler, "a"), 1);
        complete(&scheduler, results.iter().flatten().next().expect("one of them got it"));
    }
}

#[test]
fn of_all_calls_that_would_end_an_attempt_exactly_one_does() {
    let scheduler = build(builder().heartbeat_timeout(secs(1_000_000)).default_lease(ms(1)));
    let handle = add(&scheduler, worker("a", 8));
    for round in 0..400u64 {
        let job = create(&scheduler, round.to_string(), work());
        let ends = [Scheduler::complete, Scheduler::fail, Scheduler::cancel, Scheduler::complete];
        let results = at_once(5, |thread| match ends.get(thread) {
            Some(end) => end(&scheduler, job.id(), 1).is_ok(),
            // The lease runs out.
            None => {
                scheduler.tick(ms(round + 1));
                false
            }
        });
        let expired = job_state(&scheduler, &job) == JobState::Expired;
        let ended = results.iter().filter(|ok| **ok).count() + usize::from(expired);
        assert_eq!((ended, in_flight(&scheduler, "a")), (1, 0), "round {round}");
    }
    scheduler.deregister(&handle).unwrap();
    let counted = scheduler.stats().counters;
    assert_eq!((counted.reserved, counted.released, counted.double_released), (400, 400, 0));
}

#[test]
fn a_node_that_leaves_while_its_jobs_end_orphans_just_those_that_have_not() {
    let scheduler = scheduler();
    for round in 0..150 {
        let handle = add(&scheduler, worker("a", 8));
        let jobs = fill(&scheduler, &round.to_string(), &work());
        let completed = at_once(3, |thread| {
            if thread == 0 {
                scheduler.deregister(&handle).unwrap();
                return 0;
            }
            let mine = jobs.iter().skip(thread - 1).step_by(2);
            mine.filter(|job| scheduler.complete(job.id(), 1).is_ok()).count()
        });
        let orphaned = jobs.iter().filter(|job| job_state(&scheduler, job) == JobState::Orphaned).count();
        assert_eq!(completed.iter().sum::<usize>() + orphaned, 8);
    }
    let counted = scheduler.stats().counters;
    assert_eq!((counted.reserved, counted.released, counted.double_released), (1200, 1200, 0));
}

#[test]
fn a_job_created_while_its_node_leaves_is_orphaned_or_was_refused() {
    let scheduler = build(builder().max_finished_jobs(1 << 20));
    let (stop, landed) = (AtomicBool::new(false), AtomicU64::new(0));
    let jobs = at_once(4, |thread| {
        let mut jobs = Vec::new();
        if thread == 0 {
            let _done = Stop(&stop);
            for _ in 0..500 {
                let before = landed.load(Ordering::Relaxed);
                let handle = add(&scheduler, worker("a", 100));
                while landed.load(Ordering::Relaxed) == before {
                    std::thread::yield_now();
                }
                scheduler.deregister(&handle).unwrap();
            }
        } else {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(job) = try_create(&scheduler, &format!("{thread}-{}", jobs.len()), work()) {
                    jobs.push(job);
                    landed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        jobs
    });
    for job in jobs.iter().flatten() {
        assert_eq!(job.state(), JobState::Orphaned, "{job:?}");
    }
    let counted = scheduler.stats().counters;
    assert!(counted.created >= 500 && counted.created == counted.orphaned, "{counted:?}");
    assert_eq!((counted.reserved, counted.double_released), (counted.released, 0));
}

#[test]
fn of_many_retries_of_one_attempt_one_succeeds() {
    let scheduler = build(builder().max_attempts(1000));
    add_workers(&scheduler, ["a", "b", "c"], 8);
    let mut job = create(&scheduler, "r", work());
    for round in 1..300 {
        if round % 2 == 0 {
            scheduler.fail(job.id(), job.attempt()).unwrap();
        }
        let mut results = at_once(4, |_| scheduler.retry(job.id(), job.attempt()).ok());
        results.retain(Option::is_some);
        assert_eq!((results.len(), held(&scheduler)), (1, 1), "round {round}");
        let next = results.remove(0).expect("only those were kept");
        assert_eq!((next.id(), next.attempt()), (job.id(), job.attempt() + 1));
        job = next;
    }
    complete(&scheduler, &job);
    assert_eq!((held(&scheduler), scheduler.stats().counters.double_released), (0, 0));
}

#[test]
fn of_many_registrations_of_one_id_one_succeeds() {
    let scheduler = scheduler();
    for round in 0..200 {
        let mut results = at_once(4, |_| scheduler.register(worker("a", 1)));
        results.sort_by_key(Result::is_err);
        let winner = results[0].as_ref().unwrap();
        for refused in &results[1..] {
            let error = RegisterError::AlreadyRegistered { id: "a".into(), incarnation: winner.incarnation() };
            assert_eq!(refused.as_ref().unwrap_err(), &error, "round {round}");
        }
        scheduler.deregister(winner).unwrap();
        assert_eq!(scheduler.stats().now.nodes, 0);
    }
}

#[test]
fn many_replacements_of_one_id_leave_the_last_of_them() {
    let scheduler = scheduler();
    for _ in 0..200 {
        let handles = at_once(4, |_| add(&scheduler, worker("a", 2).replace_existing()));
        let incarnations: BTreeSet<u64> = handles.iter().map(|handle| handle.incarnation()).collect();
        let left = node(&scheduler, "a").incarnation;
        assert!(incarnations.len() == 4 && incarnations.last() == Some(&left), "{incarnations:?}, {left}");
        for handle in handles.iter().filter(|handle| handle.incarnation() != left) {
            assert!(scheduler.heartbeat(handle, &Heartbeat::alive()).is_err());
        }
        assert_eq!((scheduler.nodes().len(), pool(&scheduler, "work").nodes), (1, 1));
    }
    assert_eq!(fill(&scheduler, "r", &work()).len(), 2);
}

#[test]
fn limits_hold_also_when_many_threads_reach_them_at_once() {
    let scheduler = build(builder().max_nodes(50).max_jobs(70).max_finished_jobs(0));
    let registered =
        at_once(4, |thread| (0..30).filter(|n| scheduler.register(worker(format!("{thread}-{n}"), 2)).is_ok()).count());
    assert_eq!((registered.iter().sum::<usize>(), scheduler.nodes().len(), scheduler.stats().now.nodes), (50, 50, 50));
    let created = at_once(4, |thread| {
        (0..30).filter(|n| try_create(&scheduler, &format!("{thread}-{n}"), work()).is_ok()).count()
    });
    assert_eq!((created.iter().sum::<usize>(), held(&scheduler), scheduler.stats().now.jobs), (70, 70, 70));
}

#[test]
fn a_session_begun_by_many_jobs_at_once_is_bound_to_one_pool() {
    let scheduler = scheduler();
    for n in 0..8 {
        add(&scheduler, worker(n.to_string(), 1000).service(format!("s{n}")));
    }
    for round in 0..100 {
        let ask = |request: String| {
            scheduler.create_job(&JobRequest::new(request, work()).session(format!("s{round}"))).unwrap()
        };
        let first = at_once(4, |thread| ask(format!("{round}-{thread}")));
        let next: BTreeSet<String> = (0..5).map(|n| ask(format!("{round}-next-{n}")).pool().to_owned()).collect();
        assert_eq!(next.len(), 1);
        assert!(first.iter().any(|job| next.contains(job.pool())));
        first.iter().for_each(|job| complete(&scheduler, job));
    }
}

#[test]
fn nodes_that_come_and_go_at_once_leave_pools_that_agree_with_them() {
    let scheduler = scheduler();
    at_once(4, |thread| {
        for round in 0..200 {
            let id = format!("{thread}-{}", round % 3);
            let spec = NodeSpec::new(&id).service(format!("s{}", round % 2)).ready().replace_existing();
            let handle = add(&scheduler, spec);
            let demand = Demand::new().service(format!("s{}", round % 2));
            assert!(scheduler.select(&demand.exclude(["none"], ExclusionMode::Soft)).is_ok());
            if round % 3 == 0 {
                scheduler.deregister(&handle).unwrap();
            }
        }
    });
    let mut members: Vec<(String, usize)> = Vec::new();
    for name in peopled_pools(&scheduler) {
        members.push((name.clone(), pool(&scheduler, &name).nodes));
    }
    let mut expected = std::collections::BTreeMap::new();
    scheduler.nodes().into_iter().flat_map(|view| view.pools).for_each(|name| *expected.entry(name).or_default() += 1);
    assert_eq!(members, expected.into_iter().collect::<Vec<_>>());
}
