//! What changes on a node while it runs jobs: capacity, capabilities, services, resources, jobs of others.

mod common;

use common::*;
use slotyard::{
    Capabilities, Demand, Heartbeat, NodeHandle, NodeSpec, NodeState, ResourceThresholds, ResourceUse, Scheduler,
    Service,
};

#[test]
fn with_fewer_slots_than_jobs_the_jobs_run_on_and_no_more_come_until_enough_have_ended() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 4));
    let jobs = fill(&scheduler, "r", &work());
    scheduler.set_capacity(&handle, 2).unwrap();
    let view = node(&scheduler, "a");
    assert_eq!((view.capacity, view.in_flight, view.state), (2, 4, NodeState::Ready));
    for (ended, job) in jobs.iter().enumerate() {
        assert_eq!(kind(&scheduler, &work()), if ended <= 2 { "busy" } else { "selected" }, "{ended} jobs have ended");
        complete(&scheduler, job);
    }
    assert_eq!(fill(&scheduler, "s", &work()).len(), 2);
}

#[test]
fn a_full_node_that_gets_more_slots_gets_as_many_more_jobs() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2));
    let jobs = fill(&scheduler, "r", &work());
    scheduler.set_capacity(&handle, 5).unwrap();
    assert_eq!(fill(&scheduler, "s", &work()).len(), 3);
    scheduler.set_capacity(&handle, 1).unwrap();
    scheduler.set_capacity(&handle, 6).unwrap();
    assert_eq!(fill(&scheduler, "t", &work()).len(), 1);
    assert_eq!(pool(&scheduler, "work").capacity, 6);
    assert_eq!(jobs.len(), 2);
}

#[test]
fn a_node_that_moves_to_another_pool_keeps_its_jobs_and_their_slots() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 3));
    let first = create(&scheduler, "r-1", work());
    let second = create(&scheduler, "r-2", work());
    scheduler.update(&handle, Capabilities::new().service("other")).unwrap();
    let view = node(&scheduler, "a");
    assert_eq!((view.in_flight, view.pools, view.incarnation), (2, vec!["other".to_owned()], handle.incarnation()));
    let other = Demand::new().service("other");
    assert_eq!(fill(&scheduler, "s", &other).len(), 1);
    complete(&scheduler, &first);
    complete(&scheduler, &second);
    assert_eq!(fill(&scheduler, "t", &other).len(), 2);
    assert_eq!((kind(&scheduler, &work()), peopled_pools(&scheduler)), ("unsupported", vec!["other".to_owned()]));
}

#[test]
fn a_slot_released_after_a_full_node_has_moved_is_found_in_its_new_pool() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    let job = create(&scheduler, "r", work());
    scheduler.update(&handle, Capabilities::new().service("other")).unwrap();
    let other = Demand::new().service("other");
    assert_eq!(kind(&scheduler, &other), "busy");
    complete(&scheduler, &job);
    assert_eq!(kind(&scheduler, &other), "selected");
}

#[test]
fn no_slot_is_lost_or_gained_over_many_moves() {
    let scheduler = scheduler();
    let handles: Vec<NodeHandle> = (0..8).map(|n| add(&scheduler, worker(format!("n{n}"), 3))).collect();
    let mut held = Vec::new();
    for round in 0..200 {
        if let Ok(job) = try_create(&scheduler, &format!("r-{round}"), work()) {
            held.push(job);
        }
        let handle = &handles[round * 5 % handles.len()];
        let other = format!("also-{}", round % 3);
        scheduler.update(handle, Capabilities::new().service("work").service(other.as_str())).unwrap();
        if round % 2 == 1 {
            complete(&scheduler, &held.swap_remove(round % held.len()));
        }
    }
    let in_flight: u32 = scheduler.nodes().iter().map(|view| view.in_flight).sum();
    assert_eq!(in_flight as usize, held.len());
    assert_eq!(fill(&scheduler, "rest", &work()).len(), 24 - held.len());
}

#[test]
fn after_an_update_the_node_gets_nothing_that_it_can_no_longer_do() {
    let scheduler = scheduler();
    let both = || Capabilities::new().service("work").service("other");
    let handle = add(&scheduler, worker("a", 4).capabilities(both()));
    add(&scheduler, worker("b", 1));
    scheduler.update(&handle, Capabilities::new().service("other")).unwrap();
    let jobs = fill(&scheduler, "r", &work());
    assert_eq!(jobs.iter().map(|job| job.node_id().as_str()).collect::<Vec<_>>(), ["b"]);
    scheduler.update(&handle, both()).unwrap();
    assert_eq!(fill(&scheduler, "s", &work()).len(), 4);
}

fn speech(scheduler: &Scheduler) -> NodeHandle {
    add(scheduler, NodeSpec::new("a").capacity(4).asr(["zh"]).tts(["en"]).ready())
}

fn asr() -> Demand {
    Demand::new().service(Service::ASR).source("zh")
}

fn tts() -> Demand {
    Demand::new().service(Service::TTS).target("en")
}

#[test]
fn services_that_a_heartbeat_leaves_out_are_off_until_one_names_them_again() {
    let scheduler = scheduler();
    let handle = speech(&scheduler);
    scheduler.heartbeat(&handle, &Heartbeat::alive().services([Service::ASR])).unwrap();
    assert_eq!((kind(&scheduler, &asr()), kind(&scheduler, &tts())), ("selected", "unsupported"));
    assert_eq!(node(&scheduler, "a").services_off, [Service::TTS]);
    // A heartbeat that says nothing of services changes nothing in them.
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    assert_eq!(kind(&scheduler, &tts()), "unsupported");
    scheduler.heartbeat(&handle, &Heartbeat::alive().services([Service::TTS, Service::ASR])).unwrap();
    assert_eq!((kind(&scheduler, &asr()), kind(&scheduler, &tts())), ("selected", "selected"));
    assert!(node(&scheduler, "a").services_off.is_empty());
}

#[test]
fn a_node_with_no_service_ready_gets_no_job_that_needs_one() {
    let scheduler = scheduler();
    let handle = speech(&scheduler);
    scheduler.heartbeat(&handle, &Heartbeat::alive().services::<Service>([])).unwrap();
    assert_eq!((kind(&scheduler, &asr()), kind(&scheduler, &Demand::new())), ("unsupported", "selected"));
}

#[test]
fn what_a_node_said_of_its_old_services_says_nothing_of_the_new_ones() {
    let scheduler = scheduler();
    let handle = speech(&scheduler);
    scheduler.heartbeat(&handle, &Heartbeat::alive().services([Service::ASR])).unwrap();
    scheduler.update(&handle, Capabilities::new().asr(["zh"]).tts(["en", "de"])).unwrap();
    assert_eq!(kind(&scheduler, &tts()), "selected");
}

#[test]
fn a_service_marked_unavailable_is_off_for_the_time_given_and_the_others_are_not() {
    let scheduler = scheduler();
    let handle = speech(&scheduler);
    scheduler.tick(secs(1));
    scheduler.mark_unavailable(&handle, &Service::TTS, secs(5)).unwrap();
    assert_eq!((kind(&scheduler, &asr()), kind(&scheduler, &tts())), ("selected", "unsupported"));
    assert_eq!(node(&scheduler, "a").services_off, [Service::TTS]);
    scheduler.tick(secs(6) - ms(1));
    assert_eq!(kind(&scheduler, &tts()), "unsupported");
    scheduler.tick(secs(6));
    assert_eq!(kind(&scheduler, &tts()), "selected");
    assert!(node(&scheduler, "a").services_off.is_empty());
}

#[test]
fn a_later_mark_of_a_service_counts_and_each_service_has_its_own() {
    let scheduler = scheduler();
    let handle = speech(&scheduler);
    scheduler.mark_unavailable(&handle, &Service::TTS, secs(2)).unwrap();
    scheduler.mark_unavailable(&handle, &Service::TTS, secs(6)).unwrap();
    scheduler.mark_unavailable(&handle, &Service::ASR, secs(4)).unwrap();
    let kinds = |now: u64| {
        scheduler.tick(secs(now));
        (kind(&scheduler, &asr()), kind(&scheduler, &tts()))
    };
    assert_eq!(kinds(2), ("unsupported", "unsupported"));
    assert_eq!(kinds(4), ("selected", "unsupported"));
    assert_eq!(kinds(6), ("selected", "selected"));
}

#[test]
fn a_service_is_on_again_only_when_the_mark_has_ended_and_the_node_says_that_it_is_ready() {
    let scheduler = scheduler();
    let handle = speech(&scheduler);
    scheduler.mark_unavailable(&handle, &Service::TTS, secs(2)).unwrap();
    scheduler.heartbeat(&handle, &Heartbeat::alive().services([Service::ASR, Service::TTS])).unwrap();
    assert_eq!(kind(&scheduler, &tts()), "unsupported");
    scheduler.heartbeat(&handle, &Heartbeat::alive().services([Service::ASR])).unwrap();
    scheduler.tick(secs(2));
    assert_eq!(kind(&scheduler, &tts()), "unsupported");
    scheduler.heartbeat(&handle, &Heartbeat::alive().services([Service::ASR, Service::TTS])).unwrap();
    assert_eq!(kind(&scheduler, &tts()), "selected");
}

#[test]
fn a_mark_does_not_outlive_the_incarnation() {
    let scheduler = scheduler();
    let old = speech(&scheduler);
    scheduler.mark_unavailable(&old, &Service::TTS, secs(100)).unwrap();
    add(&scheduler, NodeSpec::new("a").tts(["en"]).ready().replace_existing());
    assert_eq!(kind(&scheduler, &tts()), "selected");
}

#[test]
fn each_resource_degrades_a_node_at_its_threshold_and_it_recovers_when_all_are_below_the_lower_one() {
    let each: [fn(f32) -> ResourceUse; 4] = [
        |cpu| ResourceUse { cpu, ..Default::default() },
        |memory| ResourceUse { memory, ..Default::default() },
        |gpu| ResourceUse { gpu, ..Default::default() },
        |gpu_memory| ResourceUse { gpu_memory, ..Default::default() },
    ];
    for of in each {
        let scheduler = build(builder().thresholds(ResourceThresholds::all(0.9, 0.7)));
        let handle = add(&scheduler, worker("a", 1));
        // Below, at and above the one threshold, then above, at and below the other.
        let uses = [(0.89, true), (0.9, false), (1.0, false), (0.8, false), (0.7, false), (0.69, true), (0.8, true)];
        for (share, ready) in uses {
            scheduler.heartbeat(&handle, &Heartbeat::alive().resources(of(share))).unwrap();
            let expected = if ready { NodeState::Ready } else { NodeState::Degraded };
            assert_eq!(state(&scheduler, "a"), expected, "{:?}", of(share));
        }
        scheduler.heartbeat(&handle, &Heartbeat::alive().resources(of(0.95))).unwrap();
        // Not even its own word makes it ready while it is overloaded.
        scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
        assert_eq!((state(&scheduler, "a"), kind(&scheduler, &work())), (NodeState::Degraded, "gone"));
    }
}

#[test]
fn one_resource_below_its_threshold_does_not_make_up_for_another_above() {
    let scheduler = build(builder().thresholds(ResourceThresholds::all(0.9, 0.7)));
    let handle = add(&scheduler, worker("a", 1));
    let beat = |cpu, gpu| {
        let resources = ResourceUse { cpu, gpu, ..Default::default() };
        scheduler.heartbeat(&handle, &Heartbeat::alive().resources(resources)).unwrap();
        state(&scheduler, "a")
    };
    assert_eq!(beat(0.95, 0.0), NodeState::Degraded);
    assert_eq!(beat(0.95, 0.95), NodeState::Degraded);
    assert_eq!(beat(0.1, 0.75), NodeState::Degraded);
    assert_eq!(beat(0.1, 0.1), NodeState::Ready);
}

#[test]
fn resource_use_is_shown_as_reported_and_costs_nothing_without_thresholds() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    let reported = ResourceUse { cpu: 1.0, memory: 0.25, gpu: 0.0, gpu_memory: 0.75 };
    scheduler.heartbeat(&handle, &Heartbeat::alive().resources(reported)).unwrap();
    // What a heartbeat leaves out stays as it was.
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    let shown = node(&scheduler, "a").resources;
    let pairs = [
        (shown.cpu, reported.cpu),
        (shown.memory, reported.memory),
        (shown.gpu, reported.gpu),
        (shown.gpu_memory, reported.gpu_memory),
    ];
    assert!(pairs.iter().all(|(shown, reported)| (shown - reported).abs() <= 1.0 / 65_535.0), "{shown:?}");
    assert_eq!(state(&scheduler, "a"), NodeState::Ready);
}

#[test]
fn jobs_of_others_take_up_slots() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 5));
    let jobs = [create(&scheduler, "r-1", work()), create(&scheduler, "r-2", work())];
    // The node counts our two, and one more.
    scheduler.heartbeat(&handle, &Heartbeat::alive().running(3)).unwrap();
    assert_eq!(node(&scheduler, "a").external, 1);
    assert_eq!(fill(&scheduler, "s", &work()).len(), 2);
    jobs.iter().for_each(|job| complete(&scheduler, job));
    scheduler.heartbeat(&handle, &Heartbeat::alive().running(2)).unwrap();
    assert_eq!(node(&scheduler, "a").external, 0);
    assert_eq!(fill(&scheduler, "t", &work()).len(), 3);
}

#[test]
fn a_node_that_counts_fewer_jobs_than_we_do_has_no_more_slots_for_it() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2));
    fill(&scheduler, "r", &work());
    scheduler.heartbeat(&handle, &Heartbeat::alive().running(0)).unwrap();
    assert_eq!((node(&scheduler, "a").external, kind(&scheduler, &work())), (0, "busy"));
}

#[test]
fn a_node_full_of_others_jobs_is_busy_however_many_it_counts() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2));
    for running in [2, 3, 70_000, u32::MAX] {
        scheduler.heartbeat(&handle, &Heartbeat::alive().running(running)).unwrap();
        assert_eq!(kind(&scheduler, &work()), "busy", "{running} running");
    }
}

#[test]
fn jobs_of_others_are_forgotten_by_and_by_when_no_heartbeat_repeats_them() {
    let scheduler = build(builder().external_load_decay(secs(10)).heartbeat_timeout(secs(8)));
    let handle = add(&scheduler, worker("a", 10));
    scheduler.heartbeat(&handle, &Heartbeat::alive().running(10)).unwrap();
    let mut before = 10;
    for now in 1..=11 {
        scheduler.tick(secs(now));
        scheduler.heartbeat(&handle, &Heartbeat::alive()).unwrap();
        let external = node(&scheduler, "a").external;
        // A slot a second, by the sweep of that second.
        assert!(external <= before && u64::from(external) == 10u64.saturating_sub(now), "{external} at {now} s");
        before = external;
    }
    assert_eq!(fill(&scheduler, "r", &work()).len(), 10);
}

#[test]
fn a_newer_report_stands_at_its_full_worth() {
    let scheduler = build(builder().external_load_decay(secs(10)));
    let handle = add(&scheduler, worker("a", 10));
    for now in [1, 4, 7, 10, 13] {
        scheduler.tick(secs(now));
        scheduler.heartbeat(&handle, &Heartbeat::alive().running(6)).unwrap();
        assert_eq!(node(&scheduler, "a").external, 6, "at {now} s");
    }
}

#[test]
fn the_figures_of_a_pool_follow_those_of_its_nodes() {
    let scheduler = scheduler();
    let a = add(&scheduler, worker("a", 3));
    let b = add(&scheduler, NodeSpec::new("b").service("work").capacity(5));
    let figures = || {
        let view = pool(&scheduler, "work");
        (view.nodes, view.ready, view.capacity, view.available)
    };
    assert_eq!(figures(), (2, 1, 8, true));
    scheduler.drain(&a).unwrap();
    assert_eq!(figures(), (2, 0, 8, false));
    scheduler.heartbeat(&b, &Heartbeat::ready()).unwrap();
    scheduler.set_capacity(&b, 1).unwrap();
    assert_eq!(figures(), (2, 1, 4, true));
    let job = create(&scheduler, "r", work());
    assert_eq!(figures(), (2, 1, 4, false));
    complete(&scheduler, &job);
    scheduler.tick(secs(1));
    assert_eq!((figures(), pool(&scheduler, "work").free), ((2, 1, 4, true), 1));
    scheduler.deregister(&a).unwrap();
    assert_eq!(figures(), (1, 1, 1, true));
}
