//! What once was wrong, each test named after it.

mod common;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use common::*;
use slotyard::{
    Candidate, Capabilities, Choose, ConfigError, Demand, Drawing, ExclusionMode, Heartbeat, JobRequest, NodeHandle,
    NodeSpec, Policy, PoolConfig, Reason, ResourceUse, Scheduler, SchedulerBuilder, Service, SessionMode,
};

/// How long a race is run.
const RACE: Duration = secs(2);

fn knob(builder: SchedulerBuilder) -> &'static str {
    match builder.build() {
        Err(ConfigError::Invalid { knob, .. }) => knob,
        Err(ConfigError::Capability(_)) => "capability",
        other => panic!("not refused for a knob: {other:?}"),
    }
}

#[test]
fn hash_pools_beside_configured_ones_were_out_of_bounds() {
    let scheduler = build(builder().max_pools(31).hash_pools(31).pool(PoolConfig::new("a")));
    add(&scheduler, NodeSpec::new("n").ready());
    let _held = scheduler.reserve(&Demand::new()).unwrap();
    assert_eq!(kind(&scheduler, &Demand::new()), "busy");
    assert_eq!(scheduler.stats().now.pools, 2, "the configured one, and the mixed pool");
}

#[test]
fn the_end_of_time_overflowed() {
    let scheduler = scheduler();
    for time in [Duration::from_millis(u64::MAX - 1), Duration::MAX] {
        scheduler.tick(time);
        let node = add(&scheduler, worker("n", 1).replace_existing());
        scheduler.mark_unavailable(&node, &"work".into(), secs(10)).unwrap();
    }
    drop(scheduler.subscribe(usize::MAX));
    let fine = build(builder().tick_interval(ms(1)));
    (0..2).for_each(|_| fine.tick(Duration::MAX));
}

#[test]
fn others_jobs_did_not_fade_between_sweeps_that_are_far_apart() {
    let scheduler = build(builder().heartbeat_timeout(secs(3600)).external_load_decay(secs(15)));
    let handle = add(&scheduler, worker("n", 1));
    scheduler.tick(secs(1));
    scheduler.heartbeat(&handle, &Heartbeat::ready().running(1)).unwrap();
    assert_eq!(kind(&scheduler, &work()), "busy");
    (2..20).for_each(|second| scheduler.tick(secs(second)));
    assert_eq!((node(&scheduler, "n").external, kind(&scheduler, &work())), (0, "selected"));
}

#[test]
fn an_exact_pool_did_not_take_a_service_without_languages() {
    let embed = || PoolConfig::new("embed").requires(Capabilities::new().service("embed")).match_exact();
    let scheduler = build(builder().pool(embed()).pool(PoolConfig::new("rest")));
    add(&scheduler, NodeSpec::new("alike").service("embed"));
    add(&scheduler, NodeSpec::new("more").service("embed").service("rank"));
    assert_eq!(node(&scheduler, "alike").pools, ["embed"]);
    assert_eq!(node(&scheduler, "more").pools, ["rest"]);
}

#[test]
fn a_pool_of_any_to_any_sent_variants_of_one_language_to_nodes_of_pairs() {
    let wanted = Capabilities::new().nmt_any(["zh", "en"]);
    let scheduler = build(builder().pool(PoolConfig::new("p").requires(wanted)));
    add(&scheduler, NodeSpec::new("pairs").nmt_pairs([("zh", "en"), ("en", "zh")]).ready());
    let (variants, languages) = (Demand::translate("zh-CN", "zh-TW"), Demand::translate("zh-CN", "en"));
    assert_eq!((kind(&scheduler, &variants), kind(&scheduler, &languages)), ("unsupported", "selected"));
    add(&scheduler, NodeSpec::new("any").nmt_any(["zh", "en"]).ready());
    assert_eq!(selected(&scheduler, &variants), "any");
}

#[test]
fn a_pool_of_one_language_took_nodes_that_do_not_know_it() {
    let wanted = Capabilities::new().nmt_any(["zh"]);
    let scheduler = build(builder().pool(PoolConfig::new("p").requires(wanted)).pool(PoolConfig::new("rest")));
    add(&scheduler, NodeSpec::new("other").nmt_pairs([("fr", "de")]).ready());
    add(&scheduler, NodeSpec::new("only from").nmt_pairs([("zh", "de")]).ready());
    let demand = Demand::new().service(Service::NMT).target("zh");
    assert_eq!(scheduler.explain(&demand).count(Reason::Available), 0);
    assert_eq!(
        (node(&scheduler, "other").pools, node(&scheduler, "only from").pools),
        (vec!["rest".into()], vec!["rest".into()])
    );
    assert_eq!(kind(&scheduler, &demand), "unsupported");
}

#[test]
fn private_languages_were_one_language() {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("n").asr(["x-elvish"]).ready());
    let recognise = |language: &str| Demand::new().service(Service::ASR).source(language);
    assert_eq!(kind(&scheduler, &recognise("x-dwarvish")), "unsupported");
    assert_eq!(kind(&scheduler, &recognise("x-elvish")), "selected");
}

#[test]
fn retries_began_sessions_beyond_the_limit() {
    let long = secs(3600);
    let limits = builder().max_sessions(1).session_ttl(secs(1)).default_lease(long).heartbeat_timeout(long);
    let scheduler = build(limits);
    add_workers(&scheduler, ["a", "b"], 100);
    let begin = |number: u64| {
        let request = JobRequest::new(format!("r{number}"), work()).session(format!("s{number}"));
        let job = scheduler.create_job(&request).unwrap();
        scheduler.tick(secs(2 * (number + 1)));
        job
    };
    let jobs: Vec<_> = (0..20).map(begin).collect();
    for job in &jobs {
        scheduler.retry(job.id(), 1).unwrap();
    }
    assert_eq!(scheduler.stats().now.sessions, 1);
}

#[test]
fn a_session_was_forgotten_while_its_job_was_renewed() {
    let long = secs(36_000);
    let scheduler = build(builder().session_ttl(secs(60)).default_lease(secs(3600)).heartbeat_timeout(long));
    add_workers(&scheduler, ["a"], 1);
    let job = scheduler.create_job(&JobRequest::new("r", work()).session("s")).unwrap();
    for second in 1..100 {
        scheduler.tick(secs(second));
        scheduler.renew(job.id(), 1).unwrap();
    }
    assert_eq!(scheduler.stats().now.sessions, 1);
    scheduler.tick(secs(99 + 61 + 8));
    assert_eq!(scheduler.stats().now.sessions, 0);
}

#[test]
fn a_retry_did_not_keep_off_the_last_node_of_its_session() {
    for retry_exclusion in [ExclusionMode::Soft, ExclusionMode::Hard] {
        let spread = builder().session_mode(SessionMode::Spread(ExclusionMode::Hard)).retry_exclusion(retry_exclusion);
        let scheduler = build(spread);
        add_workers(&scheduler, ["a", "b"], 4);
        let [first, last] =
            ["r1", "r2"].map(|id| scheduler.create_job(&JobRequest::new(id, work()).session("s")).unwrap());
        assert_ne!(first.node_id(), last.node_id());
        match scheduler.retry(first.id(), 1) {
            Ok(next) => assert_eq!((next.node_id(), retry_exclusion), (first.node_id(), ExclusionMode::Soft)),
            Err(_) => assert_eq!(retry_exclusion, ExclusionMode::Hard),
        }
    }
}

#[test]
fn free_slots_of_a_pool_counted_nodes_that_take_no_jobs_or_had_left() {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("registering").service("work").capacity(8));
    assert_eq!((pool(&scheduler, "work").ready, pool(&scheduler, "work").free), (0, 0));
    add(&scheduler, worker("stays", 1));
    for _ in 0..10 {
        let handle = add(&scheduler, worker("leaves", 8));
        assert_eq!(pool(&scheduler, "work").free, 9);
        scheduler.deregister(&handle).unwrap();
    }
    assert_eq!(pool(&scheduler, "work").free, 1);
}

#[test]
fn a_pool_that_had_grown_was_said_to_be_available() {
    let scheduler = scheduler();
    for number in 0..33 {
        add(&scheduler, NodeSpec::new(format!("n{number}")).service("work"));
    }
    assert_eq!((pool(&scheduler, "work").ready, pool(&scheduler, "work").available), (0, false));
}

#[test]
fn services_named_in_another_order_were_a_change() {
    let scheduler = scheduler();
    let handle = add(&scheduler, NodeSpec::new("n").service("a").service("b").ready());
    scheduler.heartbeat(&handle, &Heartbeat::ready().services(["a", "b"])).unwrap();
    let locked = scheduler.stats().writer_lock_wait.count;
    // So often that some would be measured.
    for _ in 0..32 {
        scheduler.heartbeat(&handle, &Heartbeat::ready().services(["b", "a", "b"])).unwrap();
    }
    assert_eq!(scheduler.stats().writer_lock_wait.count, locked);
}

#[test]
fn what_was_missing_was_what_some_nodes_have() {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("n").service("x").ready());
    add(&scheduler, NodeSpec::new("m").service("y").ready());
    let refusal = scheduler.select(&Demand::new().service("x").service("y").service("z")).unwrap_err();
    assert_eq!(refusal.refusal().unwrap().missing(), ["service z"]);
    let apart = scheduler.select(&Demand::new().service("x").service("y")).unwrap_err();
    assert_eq!(apart.refusal().unwrap().missing(), ["service x", "service y"]);
}

#[test]
fn a_pool_could_be_named_as_the_mixed_one_and_a_tenant_so_that_no_demand_could_name_it() {
    assert_eq!(knob(builder().pool(PoolConfig::new("mixed"))), "pools");
    assert_eq!(knob(builder().pool(PoolConfig::new("p").tenant("t".repeat(200)))), "capability");
}

#[test]
fn nodes_could_be_found_dead_between_two_ticks() {
    assert_eq!(knob(Scheduler::builder().tick_interval(ms(200)).heartbeat_timeout(ms(300))), "tick_interval");
    Scheduler::builder().tick_interval(ms(75)).heartbeat_timeout(ms(300)).build().unwrap();
    // Who moves the clock knows when.
    build(builder().tick_interval(ms(200)).heartbeat_timeout(ms(300)));
}

#[test]
fn a_late_heartbeat_was_written_to_the_next_node_in_the_cell() {
    let scheduler = build(builder().heartbeat_timeout(secs(36_000)));
    let beating: Mutex<Option<NodeHandle>> = Mutex::new(None);
    let (stop, beats) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let beat = Heartbeat::ready().running(7).resources(ResourceUse { cpu: 1.0, ..Default::default() });
                while !stop.load(Ordering::Relaxed) {
                    let handle = beating.lock().unwrap().clone();
                    match handle {
                        Some(handle) => {
                            while scheduler.heartbeat(&handle, &beat).is_ok() {
                                beats.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        None => std::thread::yield_now(),
                    }
                }
            });
        }
        let (start, mut silent, mut number, mut hit) = (Instant::now(), VecDeque::new(), 0, None);
        while start.elapsed() < RACE && hit.is_none() {
            let loud = add(&scheduler, worker("loud", 10));
            let before = beats.load(Ordering::Relaxed);
            *beating.lock().unwrap() = Some(loud.clone());
            while beats.load(Ordering::Relaxed) < before + 2000 {
                std::thread::yield_now();
            }
            *beating.lock().unwrap() = None;
            scheduler.deregister(&loud).unwrap();
            for _ in 0..400 {
                number += 1;
                silent.push_back(add(&scheduler, worker(format!("silent-{number}"), 10)));
                if silent.len() > 40 {
                    let oldest = silent.pop_front().unwrap();
                    let view = node(&scheduler, oldest.id());
                    hit = hit.or((view.resources.cpu != 0.0 || view.external != 0).then_some(view));
                    scheduler.deregister(&oldest).unwrap();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(hit.is_none(), "a node that never sent a heartbeat shows another's: {hit:?}");
    });
}

#[test]
fn a_report_was_faded_away_that_had_just_come() {
    let year = secs(366 * 24 * 3600);
    let scheduler = build(builder().heartbeat_timeout(ms(8)).external_load_decay(year));
    let handle = add(&scheduler, worker("n", 10));
    let (stop, wanted, held) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // Ticks on, and stands still while `wanted` is odd.
        scope.spawn(|| {
            let mut time = 0;
            while !stop.load(Ordering::Relaxed) {
                time += 1;
                scheduler.tick(ms(time));
                let now = wanted.load(Ordering::SeqCst);
                if now % 2 == 1 {
                    held.store(now, Ordering::SeqCst);
                    while wanted.load(Ordering::SeqCst) == now && !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            }
        });
        let (start, mut round, mut lost) = (Instant::now(), 0, None);
        while start.elapsed() < RACE && lost.is_none() {
            round += 2;
            scheduler.heartbeat(&handle, &Heartbeat::ready().running(1)).unwrap();
            (0..round % 97).for_each(|_| std::hint::spin_loop());
            scheduler.heartbeat(&handle, &Heartbeat::ready().running(5)).unwrap();
            wanted.store(round + 1, Ordering::SeqCst);
            while held.load(Ordering::SeqCst) != round + 1 {
                std::hint::spin_loop();
            }
            let external = node(&scheduler, "n").external;
            lost = (external != 5).then_some(external);
            wanted.store(round + 2, Ordering::SeqCst);
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(lost, None, "jobs of others, of 5 just reported");
    });
}

#[test]
fn the_only_finished_job_was_in_the_hands_of_a_tick() {
    let scheduler = build(builder().max_jobs(1).max_finished_jobs(1).heartbeat_timeout(secs(36_000)));
    scheduler.tick(secs(1000));
    add(&scheduler, worker("n", 1));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                scheduler.tick(secs(1000))
            }
        });
        let once =
            |number: u32| try_create(&scheduler, &format!("r{number}"), work()).map(|job| complete(&scheduler, &job));
        let refused = (0..50_000).find_map(|number| once(number).err());
        stop.store(true, Ordering::Relaxed);
        assert!(refused.is_none(), "with no unfinished job at all: {refused:?}");
    });
}

#[test]
fn before_the_first_tick_a_job_that_had_ended_twice_could_not_be_forgotten() {
    for (max_jobs, max_finished) in [(1, 1), (10, 1)] {
        let scheduler = build(builder().max_jobs(max_jobs).max_finished_jobs(max_finished));
        add(&scheduler, worker("a", 10));
        let job = create(&scheduler, "twice", work());
        scheduler.fail(job.id(), 1).unwrap();
        complete(&scheduler, &scheduler.retry(job.id(), 1).unwrap());
        // Room for this, or for its end.
        let next = try_create(&scheduler, "next", work()).expect("one that has ended can be forgotten");
        complete(&scheduler, &next);
        assert_eq!(scheduler.stats().now.finished_jobs, 1, "{max_jobs} jobs");
        // Both ended at one time.
        let known = [job.id(), next.id()].map(|job| scheduler.job(job).is_some());
        assert!(known == [true, false] || known == [false, true], "{max_jobs} jobs: {known:?}");
    }
}

#[test]
fn too_many_sessions_was_said_of_jobs_that_were_made() {
    let scheduler = build(builder().max_sessions(1));
    add(&scheduler, worker("n", 1000));
    scheduler.create_job(&JobRequest::new("first", work()).session("first")).unwrap();
    let barrier = Barrier::new(2);
    let wrong = || {
        (0..10_000).find(|round| {
            barrier.wait();
            let created =
                scheduler.create_job(&JobRequest::new(format!("r{round}"), work()).session(format!("s{round}")));
            barrier.wait();
            let there = scheduler.job_by_request(&format!("r{round}"));
            barrier.wait();
            created.is_ok() || there.is_some()
        })
    };
    let found = std::thread::scope(|scope| {
        let other = scope.spawn(wrong);
        (wrong(), other.join().unwrap())
    });
    assert_eq!(found, (None, None));
    assert_eq!(scheduler.stats().now.sessions, 1);
}

/// Panics over one node of ten.
#[derive(Debug)]
struct Touchy;

impl Choose for Touchy {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let candidate = drawing.draw()?;
        assert!(candidate.capacity() != 13, "not this one");
        Some(candidate)
    }
}

#[test]
fn a_policy_that_had_panicked_met_the_same_node_for_ever() {
    let scheduler = build(builder().policy(Policy::custom(Touchy)));
    (0..9).for_each(|number| drop(add(&scheduler, worker(format!("n{number}"), 100))));
    add(&scheduler, worker("bad", 13));
    let panics = |_: &u32| std::panic::catch_unwind(AssertUnwindSafe(|| drop(scheduler.select(&work())))).is_err();
    let panicked = (0..1000).filter(panics).count();
    assert!((20..300).contains(&panicked), "{panicked} of 1000 calls panicked");
}

#[test]
fn a_prepared_demand_without_room_for_its_route_had_it_computed_at_every_call() {
    let scheduler = build(builder().max_routes(1).heartbeat_timeout(secs(8)));
    add(&scheduler, worker("n", 100));
    scheduler.select(&Demand::new()).unwrap();
    let prepared = scheduler.prepare(&work());
    let choose = || (0..1000).for_each(|_| drop(scheduler.select_prepared(&prepared).unwrap()));
    choose();
    assert_eq!(scheduler.stats().counters.routes_computed, 2);
    // From sweep to sweep, for nobody else keeps its shares up to date.
    scheduler.tick(secs(2));
    choose();
    assert_eq!(scheduler.stats().counters.routes_computed, 3);
}

#[test]
fn a_random_policy_in_strict_isolation_lost_the_node_that_it_had_drawn() {
    let refusals = |policy| {
        let scheduler = build(builder().policy(policy).fallback(false));
        // One tier of two pools. In one a light free node beside a heavy full one; the other is full since the last sweep.
        add(&scheduler, worker("light", 10_000).service("x").weight(1));
        let heavy = add(&scheduler, worker("heavy", 1).service("x").weight(1000));
        add(&scheduler, worker("other", 1000).service("y"));
        scheduler.heartbeat(&heavy, &Heartbeat::ready().running(1)).unwrap();
        scheduler.select(&work()).unwrap();
        scheduler.tick(ms(10));
        let _other: Vec<_> = (0..1000).map(|_| scheduler.reserve(&Demand::new().service("y")).unwrap()).collect();
        (0..1000).filter(|_| scheduler.select(&work()).is_err()).count()
    };
    let [random, two] = [Policy::random(), Policy::power_of_two()].map(refusals);
    assert!(random < 2 * two + 50, "{random} refusals, where two choices have {two}");
}

#[test]
fn earlier_nodes_of_a_job_crowded_out_what_else_is_excluded() {
    for seed in 0..10 {
        let many = Scheduler::builder().manual_maintenance().seed(seed).max_attempts(200);
        let scheduler = build(many.retry_exclusion(ExclusionMode::Hard));
        let tried = 65;
        let nodes = add_workers(&scheduler, (0..tried).map(|number| format!("n{number}")), 8);
        let demand = work().exclude(["bad"], ExclusionMode::Soft);
        let mut job = create(&scheduler, "a", demand);
        for attempt in 1..tried {
            job = scheduler.retry(job.id(), attempt).unwrap();
        }
        nodes.iter().for_each(|node| scheduler.drain(node).unwrap());
        add_workers(&scheduler, ["bad", "good"], 8);
        assert_eq!(&**scheduler.retry(job.id(), tried).unwrap().node_id(), "good");
    }
}

#[test]
fn services_that_were_replaced_still_counted() {
    let many = (0..65).fold(Demand::new(), |demand, number| demand.service(format!("s{number}")));
    assert!(many.validate().is_err());
    assert!(many.services(["work"]).validate().is_ok());
}

#[test]
fn a_node_came_back_with_its_report_from_before_the_silence() {
    let scheduler = build(builder().heartbeat_timeout(secs(15)).external_load_decay(secs(15)));
    let handle = add(&scheduler, worker("n", 2));
    scheduler.heartbeat(&handle, &Heartbeat::ready().running(2)).unwrap();
    (1..200).for_each(|second| scheduler.tick(secs(second)));
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    assert_eq!((node(&scheduler, "n").external, kind(&scheduler, &work())), (0, "selected"));
}

#[test]
fn a_job_that_ended_twice_at_time_zero_kept_all_others_from_being_forgotten() {
    let scheduler = build(builder().max_finished_jobs(2).max_jobs(8));
    add(&scheduler, worker("n", 2));
    // Ends again while it is listed with its first end.
    let job = create(&scheduler, "twice", work());
    scheduler.fail(job.id(), 1).unwrap();
    scheduler.retry(job.id(), 1).unwrap();
    scheduler.fail(job.id(), 2).unwrap();
    for number in 0..20 {
        complete(&scheduler, &create(&scheduler, number.to_string(), work()));
        let finished = scheduler.stats().now.finished_jobs;
        assert!(finished <= 2, "{finished} after {number} more");
        scheduler.tick(ms(number));
    }
}

#[test]
fn an_end_that_a_job_had_gone_on_from_kept_all_others_from_being_forgotten() {
    let scheduler = build(builder().max_finished_jobs(2).max_jobs(8).max_attempts(4));
    add(&scheduler, worker("n", 2));
    let mut now = 0;
    let mut end = |id: &str| {
        now += 1;
        scheduler.tick(ms(now));
        complete(&scheduler, &create(&scheduler, id, work()));
        scheduler.tick(ms(now));
    };
    let job = create(&scheduler, "often", work());
    scheduler.fail(job.id(), 1).unwrap();
    end("b");
    // The second end is told apart, for the first is listed still.
    scheduler.retry(job.id(), 1).unwrap();
    end("before");
    scheduler.fail(job.id(), 2).unwrap();
    // The first is taken off, and another job is forgotten.
    end("c");
    // The third is listed, and the second is of no interest any more.
    scheduler.retry(job.id(), 2).unwrap();
    end("d");
    scheduler.fail(job.id(), 3).unwrap();
    for number in 0..20 {
        end(&number.to_string());
        let finished = scheduler.stats().now.finished_jobs;
        assert!(finished <= 2, "{finished} after {number} more");
    }
}
