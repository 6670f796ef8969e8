//! Time, however it goes: in jumps of any length, standing still, going back, far beyond what any type holds. What time
//! does to nodes at random ticks is in `silence`, leases to the millisecond are in `leases`; here it is held against the
//! widths in which times are kept: 44 bits of the end of a job, 48 of a node's report, 54 of a heartbeat, 64 of a lease.
//! The scheduler's time ends with the narrowest, so none of them ever wraps.

mod common;

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use common::*;
use slotyard::{Event, Heartbeat, Job, JobError, JobRequest, JobState, NodeHandle, NodeState, Scheduler, Service};

/// The last millisecond that there is, some 557 years after the scheduler was built.
const END: u64 = (1 << 44) - 1;

const YEAR: Duration = secs(366 * 24 * 3600);

/// Every length of time differs, so that none is taken for another.
fn timed() -> Scheduler {
    let builder = builder().heartbeat_timeout(secs(10)).offline_retention(secs(20)).external_load_decay(secs(8));
    build(builder.default_lease(secs(9)).finished_retention(secs(21)).session_ttl(secs(24)))
}

fn populate(scheduler: &Scheduler) -> (NodeHandle, Job, Job) {
    let handle = add(scheduler, worker("a", 4).service("x"));
    scheduler.heartbeat(&handle, &Heartbeat::ready().running(2)).unwrap();
    scheduler.mark_unavailable(&handle, &Service::from("x"), secs(5)).unwrap();
    let active = scheduler.create_job(&JobRequest::new("active", work()).session("s")).unwrap();
    let done = create(scheduler, "done", work());
    complete(scheduler, &done);
    (handle, active, done)
}

/// What a tick at a time after the beginning must leave.
fn check_life(scheduler: &Scheduler, (handle, active, done): &(NodeHandle, Job, Job), begin: u64, since: u64) {
    scheduler.tick(ms(begin + since));
    let said = |what: &str| format!("{what} {since} ms after {begin}");
    let state = scheduler.node("a").map(|view| view.state);
    let expected = match since {
        0..15_000 => Some(NodeState::Ready),
        15_000..35_000 => Some(NodeState::Offline),
        _ => None,
    };
    assert_eq!(state, expected, "{}", said("the node"));
    if since < 15_000 {
        let off = node(scheduler, "a").services_off.len();
        assert_eq!(off, usize::from(since < 5_000), "{}", said("services off"));
    }
    // It fades at sweeps, which are an eighth of the shorter time apart.
    let external = scheduler.node("a").map_or(0, |view| view.external);
    assert!(if since < 4_000 { external == 2 } else { since < 9_000 || external == 0 }, "{}", said("others' jobs"));
    let job = |job: &Job| scheduler.job(job.id()).map(|view| view.state);
    let expected = match since {
        0..9_000 => Some(JobState::Reserved),
        9_000..30_000 => Some(JobState::Expired),
        _ => None,
    };
    assert_eq!(job(active), expected, "{}", said("the lease"));
    assert_eq!(job(done), (since < 21_000).then_some(JobState::Completed), "{}", said("the finished job"));
    let sessions = scheduler.stats().now.sessions;
    assert!(if since < 33_000 { sessions == 1 } else { since < 36_000 || sessions == 0 }, "{}", said("the session"));
    if since == 5_000 {
        scheduler.heartbeat(handle, &Heartbeat::alive()).unwrap();
    }
}

/// Around each of these something is counted with one bit more.
fn edges() -> impl Iterator<Item = u64> {
    let hour = 3_600_000;
    [0, hour, 24 * hour, 400 * 24 * hour, 1 << 24, 1 << 31, 1 << 32, 1 << 40, 1 << 42, 1 << 43].into_iter()
}

#[test]
fn whatever_the_time_all_is_judged_to_the_millisecond() {
    // Beginnings such that the edge comes in the middle of it all, and just before and after what is to happen.
    let near =
        edges().flat_map(|edge| [0, 1, 4_999, 5_000, 9_000, 9_001, 15_000, 33_333].map(|off| edge.checked_sub(off)));
    let last = [END - 37_000, END - 36_500];
    for begin in near.flatten().chain(last) {
        let scheduler = timed();
        scheduler.tick(ms(begin));
        let life = populate(&scheduler);
        let coarse = [0, 3_999, 4_999, 5_000, 8_999, 9_000, 14_999, 15_000, 20_999, 21_000, 29_999, 30_000];
        let late = [32_999, 34_999, 35_000, 36_000, 36_400];
        for since in coarse.into_iter().chain(late) {
            check_life(&scheduler, &life, begin, since);
        }
        let stats = scheduler.stats();
        assert_eq!((stats.counters.expired, stats.counters.released, stats.counters.double_released), (1, 2, 0));
        assert_eq!((stats.now.nodes, stats.now.jobs, stats.now.finished_jobs, stats.now.sessions), (0, 0, 0, 0));
    }
}

#[test]
fn a_jump_over_everything_ends_everything_once() {
    let beyond = [END - 1, END, 1 << 44, 1 << 48, 1 << 54, u64::MAX - 1, u64::MAX];
    for to in edges().skip(1).chain(beyond).map(ms).chain([Duration::MAX]) {
        let scheduler = timed();
        let (_, active, done) = populate(&scheduler);
        let events = scheduler.subscribe(16);
        scheduler.tick(to);
        let expired = Event::JobExpired { job: active.id(), attempt: 1, node: "a".into(), request_id: "active".into() };
        let told = drain(&events);
        assert_eq!(told.iter().filter(|event| **event == expired).count(), 1, "{to:?}: {told:?}");
        assert!(told.iter().filter(|event| matches!(event, Event::NodeDown { .. })).count() == 1, "{to:?}: {told:?}");
        assert_eq!((state(&scheduler, "a"), in_flight(&scheduler, "a")), (NodeState::Offline, 0), "{to:?}");
        assert!(scheduler.job(done.id()).is_none(), "{to:?}");
        let counters = scheduler.stats().counters;
        assert_eq!((counters.expired, counters.orphaned, counters.double_released), (1, 0, 0), "{to:?}");
        // The node comes back, and all is as it was.
        scheduler.heartbeat_by_id("a", &Heartbeat::ready().running(0)).unwrap();
        assert_eq!(fill(&scheduler, "r", &work()).len(), 4, "{to:?}");
    }
}

/// What is left when time has come to its end, and what can be done then.
fn life_at_the_end(end: Duration) -> String {
    let scheduler = timed();
    scheduler.tick(secs(1));
    scheduler.tick(end);
    let (handle, active, done) = populate(&scheduler);
    // Nothing comes due any more, whatever is said of the time.
    for later in [Duration::ZERO, end, end.saturating_add(secs(3600)), ms(u64::MAX), Duration::MAX] {
        scheduler.tick(later);
    }
    let before = format!("{:?}", picture(&scheduler));
    assert_eq!(
        (job_state(&scheduler, &active), job_state(&scheduler, &done)),
        (JobState::Reserved, JobState::Completed)
    );
    assert_eq!((state(&scheduler, "a"), node(&scheduler, "a").external), (NodeState::Ready, 2), "{end:?}");
    assert_eq!((node(&scheduler, "a").services_off.len(), scheduler.stats().now.sessions), (1, 1));
    // Whatever does not hang on time goes on.
    scheduler.renew(active.id(), 1).unwrap();
    scheduler.dispatched(active.id(), 1).unwrap();
    let active = scheduler.retry(active.id(), 1).unwrap();
    scheduler.tick(Duration::MAX);
    complete(&scheduler, &active);
    (0..100).for_each(|n| complete(&scheduler, &create(&scheduler, format!("r{n}"), work())));
    scheduler.heartbeat(&handle, &Heartbeat::ready().running(0)).unwrap();
    assert_eq!(fill(&scheduler, "full", &work()).len(), 4);
    scheduler.deregister(&handle).unwrap();
    assert_eq!(scheduler.stats().counters.double_released, 0);
    before
}

#[test]
fn time_ends_and_what_comes_after_is_the_end() {
    let expected = life_at_the_end(ms(END));
    for end in [1 << 44, (1 << 48) - 1, 1 << 48, (1 << 48) + 1, (1 << 54) - 1, 1 << 54, (1 << 54) + 1, u64::MAX] {
        assert_eq!(life_at_the_end(ms(end)), expected, "{end}");
    }
    assert_eq!(life_at_the_end(Duration::MAX), expected);
}

#[test]
fn the_longest_of_all_times_are_long_enough_to_the_end() {
    for begin in [0, 1 << 31, 1 << 32, END - 1, END] {
        let config = builder().heartbeat_timeout(YEAR).offline_retention(YEAR).external_load_decay(YEAR);
        let config = config.default_lease(YEAR).max_lease(YEAR).finished_retention(YEAR).session_ttl(YEAR);
        let scheduler = build(config.tick_interval(YEAR));
        scheduler.tick(ms(begin));
        let handle = add(&scheduler, worker("a", 2).service("x"));
        scheduler.mark_unavailable(&handle, &Service::from("x"), YEAR).unwrap();
        let job = scheduler.create_job(&JobRequest::new("r", work()).lease(YEAR).session("s")).unwrap();
        let refusal = {
            create(&scheduler, "s", work());
            refused(try_create(&scheduler, "t", work()))
        };
        assert_eq!(refusal.kind(), "busy");
        scheduler.tick(ms(begin).saturating_add(YEAR) - ms(1));
        assert_eq!((job_state(&scheduler, &job), state(&scheduler, "a")), (JobState::Reserved, NodeState::Ready));
        scheduler.tick(ms(begin).saturating_add(YEAR));
        // Near the end there is no year left.
        let due = begin + YEAR.as_millis() as u64 <= END;
        assert_eq!(job_state(&scheduler, &job) == JobState::Expired, due, "from {begin}");
        assert_eq!(state(&scheduler, "a") == NodeState::Offline, due, "from {begin}");
    }
}

#[test]
fn who_waits_for_ever_for_an_event_gets_it_or_is_told_that_there_are_no_more() {
    let scheduler = scheduler();
    let events = scheduler.subscribe(4);
    add(&scheduler, worker("a", 1));
    assert!(events.recv_timeout(Duration::MAX).is_some());
    drain(&events);
    assert_eq!(events.recv_timeout(Duration::ZERO), None);
    drop(scheduler);
    assert_eq!(events.recv_timeout(Duration::MAX), None);
}

/// Two lives with one seed, one of which is told of each time again and again, and of earlier ones in between.
#[test]
fn a_time_told_twice_or_a_time_gone_by_is_no_time() {
    let live = |again: bool| {
        let scheduler = timed();
        let events = scheduler.subscribe(1 << 10);
        let mut pictures = Vec::new();
        let handle = add(&scheduler, worker("a", 6).service("x"));
        for (n, now) in
            [0u64, 700, 1_400, 8_000, 9_000, 9_001, 25_000, 1 << 32, (1 << 32) + 1, END].into_iter().enumerate()
        {
            scheduler.tick(ms(now));
            if again {
                for other in [now, now / 2, 0, now, now.saturating_sub(1)] {
                    scheduler.tick(ms(other));
                }
            }
            pictures.push(picture(&scheduler));
            let _ = scheduler.heartbeat(&handle, &Heartbeat::ready().running(3));
            let _ = scheduler.mark_unavailable(&handle, &Service::from("x"), secs(n as u64 + 1));
            if let Ok(job) = scheduler.create_job(&JobRequest::new(format!("{n}"), work()).session("s")) {
                if n % 2 == 0 {
                    complete(&scheduler, &job);
                }
            }
        }
        (pictures, drain(&events))
    };
    let (once, again) = (live(false), live(true));
    assert_eq!(once, again);
    assert!(once.1.iter().any(|event| matches!(event, Event::JobExpired { .. })), "nothing ever came due");
}

/// One round of jobs under a clock that stands still, is late, and moves on while threads are at work.
fn late_round(scheduler: &Scheduler, round: u64, begin: u64) -> (BTreeSet<String>, usize) {
    const THREADS: usize = 4;
    const JOBS: usize = 60;
    let barrier = Barrier::new(THREADS + 1);
    let lists: Vec<Vec<(Job, bool, bool)>> = thread::scope(|scope| {
        let run = |thread: usize| {
            let barrier = &barrier;
            scope.spawn(move || {
                // For as long as it takes time stands still: none of them ends.
                let jobs: Vec<Job> =
                    (0..JOBS).map(|n| create(scheduler, format!("{round}-{thread}-{n}"), work())).collect();
                barrier.wait();
                barrier.wait();
                let mut list = Vec::new();
                for (n, job) in jobs.into_iter().enumerate() {
                    let renewed = n % 2 == 0;
                    if renewed {
                        scheduler.renew(job.id(), 1).expect("it has not run out");
                    }
                    list.push((job, renewed, false));
                }
                barrier.wait();
                // Here the late tick runs.
                for (n, (job, renewed, completed)) in list.iter_mut().enumerate() {
                    if n % 3 == 0 {
                        match scheduler.complete(job.id(), 1) {
                            Ok(()) => *completed = true,
                            Err(JobError::AlreadyEnded { state: JobState::Expired, .. }) if !*renewed => {}
                            Err(error) => panic!("renewed: {renewed}, {error}"),
                        }
                    }
                }
                list
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        barrier.wait();
        scheduler.tick(ms(begin + 8_999));
        barrier.wait();
        barrier.wait();
        scheduler.tick(ms(begin + 17_000));
        threads.into_iter().map(|thread| thread.join().expect("its own assertions hold")).collect()
    });
    let mut left = BTreeSet::new();
    let mut ran_out = 0;
    for (job, renewed, completed) in lists.into_iter().flatten() {
        let expected = match (completed, renewed) {
            (true, _) => JobState::Completed,
            (false, true) => JobState::Reserved,
            (false, false) => JobState::Expired,
        };
        assert_eq!(job_state(scheduler, &job), expected, "renewed: {renewed}");
        match expected {
            JobState::Reserved => drop(left.insert(job.request_id().to_owned())),
            JobState::Expired => ran_out += 1,
            _ => {}
        }
    }
    (left, ran_out)
}

#[test]
fn when_a_tick_is_late_those_renewed_live_on_and_each_slot_comes_free_once() {
    let scheduler = build(builder().heartbeat_timeout(YEAR).default_lease(secs(9)).max_finished_jobs(1 << 12));
    add_workers(&scheduler, (0..8).map(|n| format!("n{n}")), 30);
    let events = scheduler.subscribe(1 << 14);
    let mut all_expired = 0;
    for round in 0..40u64 {
        // Of each round hours, and now and then one that is over an edge.
        let begin = (round + 1) * 7_200_000 + if round >= 20 { 1 << 32 } else { 0 };
        scheduler.tick(ms(begin));
        let (left, ran_out) = late_round(&scheduler, round, begin);
        assert_eq!(scheduler.nodes().iter().map(|node| node.in_flight as usize).sum::<usize>(), left.len());
        scheduler.tick(ms(begin + 17_998));
        assert_eq!(scheduler.nodes().iter().map(|node| node.in_flight as usize).sum::<usize>(), left.len());
        scheduler.tick(ms(begin + 17_999));
        all_expired += ran_out + left.len();
        assert_eq!(scheduler.nodes().iter().map(|node| node.in_flight).sum::<u32>(), 0, "in round {round}");
        let told: Vec<_> = drain(&events);
        let jobs: BTreeSet<_> = told.iter().map(|event| format!("{event:?}")).collect();
        assert_eq!((jobs.len(), told.len()), (ran_out + left.len(), ran_out + left.len()), "each is told of once");
    }
    let counters = scheduler.stats().counters;
    assert_eq!((counters.expired, counters.double_released), (all_expired as u64, 0));
    assert_eq!((counters.reserved, counters.expired + counters.completed), (counters.released, counters.created));
    assert_eq!(fill(&scheduler, "full", &work()).len(), 240);
}
