//! Selection and reservation: exclusions, refusals and what they say, prepared demands, held slots.

mod common;

use common::*;
use slotyard::{
    Capabilities, Demand, ExclusionMode, Heartbeat, NoNode, NodeSpec, Policy, PreparedDemand, ReasonCounts, Refusal,
    Scheduler, Service,
};

fn refusal(scheduler: &Scheduler, demand: &Demand) -> Refusal {
    scheduler.select(demand).unwrap_err().refusal().expect("the demand is well-formed").clone()
}

#[test]
fn a_select_reserves_nothing() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let selections: Vec<_> = (0..5).map(|_| scheduler.select(&work()).unwrap()).collect();
    assert!(selections.iter().all(|selection| selection.node_id() == "a" && selection.in_flight() == 0));
    assert_eq!((selections[0].pool().as_deref(), in_flight(&scheduler, "a")), (Some("work"), 0));
}

#[test]
fn a_node_that_is_excluded_hard_is_never_chosen() {
    let scheduler = scheduler();
    add_workers(&scheduler, ["a", "b", "c"], 2);
    let demand = work().exclude(["a", "c", "unknown"], ExclusionMode::Hard);
    let jobs = fill(&scheduler, "r", &demand);
    assert!(jobs.len() == 2 && jobs.iter().all(|job| job.node_id() == "b"));
    assert_eq!(kind(&scheduler, &work()), "selected");
}

#[test]
fn a_node_that_is_excluded_softly_is_chosen_when_no_other_has_a_slot() {
    let scheduler = scheduler();
    add_workers(&scheduler, ["a", "b", "c"], 2);
    let demand = work().exclude(["a", "c"], ExclusionMode::Soft);
    let jobs = fill(&scheduler, "r", &demand);
    assert!(jobs.len() == 6 && jobs[..2].iter().all(|job| job.node_id() == "b"));
}

#[test]
fn the_one_node_that_is_not_excluded_is_found_wherever_it_is_and_whoever_chooses() {
    for policy in [Policy::power_of_two(), Policy::random(), Policy::round_robin(), Policy::least_loaded(3)] {
        let scheduler = build(builder().policy(policy.clone()));
        let ids: Vec<String> = (0..33).map(|n| format!("n{n:02}")).collect();
        add_workers(&scheduler, &ids, 1);
        for wanted in &ids {
            let others = ids.iter().filter(|id| *id != wanted);
            let demand = work().exclude(others, ExclusionMode::Hard);
            for _ in 0..3 {
                assert_eq!(&selected(&scheduler, &demand), wanted, "{policy:?}");
            }
        }
        // The others have as much room as they had.
        assert_eq!(fill(&scheduler, "r", &work()).len(), 33, "{policy:?}");
    }
}

#[test]
fn a_demand_prepared_by_one_scheduler_finds_nodes_of_whoever_is_asked() {
    // Alike in all but their nodes' names, so that what one knows would fit the other.
    let [first, second] = ["first", "second"].map(|id| {
        let scheduler = scheduler();
        add(&scheduler, worker(id, 1));
        scheduler
    });
    let found = |scheduler: &Scheduler, prepared: &PreparedDemand| {
        let selected = scheduler.select_prepared(prepared).expect("it has a node that is free");
        let reserved = scheduler.reserve_prepared(prepared).expect("it has a slot that is free");
        assert_eq!(reserved.node_id(), selected.node_id());
        assert_eq!(in_flight(scheduler, &reserved.node_id()), 1);
        reserved.node_id().to_string()
    };
    for _ in 0..2 {
        let prepared = first.prepare(&work());
        for _ in 0..2 {
            assert_eq!(found(&first, &prepared), "first");
            assert_eq!(found(&second, &prepared), "second");
        }
        let prepared = first.prepare(&work());
        assert_eq!((found(&second, &prepared), found(&first, &prepared)), ("second".to_owned(), "first".to_owned()));
    }
}

#[test]
fn the_one_node_that_is_not_excluded_is_found_among_very_many() {
    let scheduler = scheduler();
    (0..40).for_each(|n| drop(add(&scheduler, worker(format!("n{n}"), 1).service(format!("s{}", n % 5)))));
    let excluded = (0..32).map(|n| format!("n{n}"));
    let demand = work().exclude(excluded, ExclusionMode::Hard);
    assert_eq!(fill(&scheduler, "r", &demand).len(), 8);
}

#[test]
fn an_exclusion_means_the_id_whichever_incarnation_has_it() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let demand = work().exclude(["a"], ExclusionMode::Hard);
    assert_eq!(kind(&scheduler, &demand), "busy");
    add(&scheduler, worker("a", 1).replace_existing());
    assert_eq!(kind(&scheduler, &demand), "busy");
}

#[test]
fn without_nodes_nobody_can_do_it() {
    let scheduler = scheduler();
    let refusal = refusal(&scheduler, &work());
    assert_eq!((kind(&scheduler, &work()), refusal.missing()), ("unsupported", &["service work".to_owned()][..]));
    assert_eq!((refusal.retry_after(), refusal.counts()), (None, ReasonCounts::default()));
    assert_eq!(refusal.to_string(), "missing: service work");
}

#[test]
fn what_no_pool_offers_is_named_and_what_some_pool_offers_is_not() {
    let scheduler = build(builder().routing_label("tier"));
    add(&scheduler, NodeSpec::new("a").asr(["zh"]).nmt_pairs([("zh", "en"), ("en", "de")]).tts(["en"]).ready());
    let of = |service| Demand::new().service(service);
    let table = [
        (of(Service::SEMANTIC), "service semantic"),
        (of(Service::ASR).source("de"), "source language of asr"),
        (of(Service::TTS).target("de"), "target language of tts"),
        (Demand::translate("zh", "de"), "language pair of nmt"),
        (of(Service::ASR).label("tier", "gold"), "label tier=gold"),
    ];
    for (demand, missing) in table {
        let refusal = refusal(&scheduler, &demand);
        assert_eq!(kind(&scheduler, &demand), "unsupported");
        assert_eq!(refusal.missing(), [missing], "{demand:?}");
    }
}

#[test]
fn of_several_pools_what_all_lack_is_named_and_of_several_members_all_that_each_lacks() {
    let scheduler = build(builder().routing_label("tier"));
    add(&scheduler, NodeSpec::new("a").asr(["zh"]).label("tier", "gold").label("zone", "a").ready());
    add(&scheduler, NodeSpec::new("b").tts(["en"]).label("tier", "silver").label("zone", "a").ready());
    let missing = |demand: &Demand| refusal(&scheduler, demand).missing().to_vec();
    let all = || Demand::new().services([Service::ASR, Service::TTS, Service::SEMANTIC]);
    assert_eq!(missing(&all()), ["service semantic"]);
    assert_eq!(missing(&all().label("tier", "gold")), ["service semantic"]);
    assert_eq!(missing(&all().label("tier", "bronze")), ["service semantic", "label tier=bronze"]);
    // What pools are not told apart by, their members are asked for.
    add(&scheduler, NodeSpec::new("c").tts(["en"]).label("tier", "silver").label("zone", "b").ready());
    add(&scheduler, NodeSpec::new("d").tts(["en"]).label("tier", "silver").label("zone", "b").ready());
    let speak = || Demand::new().service(Service::TTS);
    assert_eq!(missing(&speak().label("zone", "c")), ["label zone=c"]);
}

#[test]
fn those_who_are_gone_are_counted_by_what_they_are() {
    let scheduler = scheduler();
    let spec = |id: &str| NodeSpec::new(id).service("work");
    add(&scheduler, spec("registering"));
    for id in ["draining-1", "draining-2"] {
        scheduler.drain(&add(&scheduler, spec(id).ready())).unwrap();
    }
    add(&scheduler, spec("weightless").ready().weight(0));
    for n in 0..2 {
        let handle = add(&scheduler, spec(&format!("degraded-{n}")).ready());
        scheduler.heartbeat(&handle, &Heartbeat::not_ready()).unwrap();
    }
    let no_node = scheduler.select(&work()).unwrap_err();
    assert!(matches!(no_node, NoNode::Gone(_)));
    let counts = |refusal: &Refusal| {
        let counts = refusal.counts();
        (counts.full, counts.registering, counts.degraded, counts.draining, counts.offline)
    };
    let refusal = no_node.refusal().unwrap();
    assert_eq!((counts(refusal), refusal.retry_after()), ((0, 1, 2, 3, 0), None));
    assert!(refusal.missing().is_empty());
    // Its figures are those of the moment when they are read.
    scheduler.tick(secs(15));
    assert_eq!(counts(refusal), (0, 0, 0, 0, 6));
}

#[test]
fn those_who_are_busy_are_counted_and_those_who_are_gone_beside_them() {
    let scheduler = scheduler();
    let drained = add(&scheduler, worker("a", 1));
    scheduler.drain(&drained).unwrap();
    add_workers(&scheduler, ["b", "c"], 1);
    fill(&scheduler, "r", &work());
    let refusal = refusal(&scheduler, &work());
    assert_eq!((refusal.counts().full, refusal.counts().draining), (2, 1));
    assert_eq!(refusal.to_string().split(';').next(), Some("2 full, 1 draining"));
    assert!(format!("{refusal:?}").contains("full: 2"), "{refusal:?}");
}

#[test]
fn when_to_try_again_is_told_from_leases_and_then_from_how_long_jobs_take() {
    let scheduler = build(builder().default_lease(secs(40)));
    add(&scheduler, worker("a", 2));
    let retry_after = || refusal(&scheduler, &work()).retry_after().unwrap();
    let jobs = fill(&scheduler, "r", &work());
    // One of two slots comes free after half of what a job may take.
    assert_eq!(retry_after(), secs(20));
    scheduler.tick(secs(4));
    jobs.iter().for_each(|job| complete(&scheduler, job));
    fill(&scheduler, "s", &work());
    assert_eq!(retry_after(), secs(2));
}

#[test]
fn nobody_is_told_to_try_again_at_once() {
    let scheduler = build(builder().tick_interval(ms(50)));
    add(&scheduler, worker("a", 1000));
    let jobs = fill(&scheduler, "r", &work());
    jobs.iter().for_each(|job| complete(&scheduler, job));
    fill(&scheduler, "s", &work());
    assert!(refusal(&scheduler, &work()).retry_after().unwrap() >= ms(50));
}

/// Takes every slot of many nodes in many pools, gives one back at a time, and wants that one back.
fn finds_the_last_free_slot(policy: Policy, nodes: usize, pools: usize) {
    let scheduler = build(builder().policy(policy.clone()).max_nodes(nodes).max_pools(pools - 1));
    for n in 0..nodes {
        add(&scheduler, worker(format!("n{n}"), 1).service(format!("s{}", n % pools)));
    }
    let jobs = fill(&scheduler, "r", &work());
    assert_eq!(jobs.len(), nodes);
    for (turn, job) in jobs.iter().step_by(nodes / 150).enumerate() {
        complete(&scheduler, job);
        assert_eq!(selected(&scheduler, &work()), job.node_id().as_str(), "{policy:?}");
        let again = create(&scheduler, format!("again-{turn}"), work());
        assert_eq!(again.node_id(), job.node_id(), "{policy:?}");
        assert_eq!(kind(&scheduler, &work()), "busy");
        // Also when the shares of the pools are drawn up anew.
        if turn % 10 == 0 {
            scheduler.tick(ms(turn as u64));
        }
    }
}

#[test]
fn the_one_free_slot_of_thousands_in_hundreds_of_pools_is_found() {
    finds_the_last_free_slot(Policy::power_of_two(), 3000, 300);
}

#[test]
fn every_policy_finds_the_one_free_slot() {
    for policy in [Policy::random(), Policy::round_robin(), Policy::least_loaded(4)] {
        finds_the_last_free_slot(policy, 600, 40);
    }
}

#[test]
fn the_one_free_slot_in_one_large_pool_is_found() {
    let scheduler = scheduler();
    add_workers(&scheduler, (0..5000).map(|n| format!("n{n}")), 1);
    let jobs = fill(&scheduler, "r", &work());
    for (turn, job) in jobs.iter().step_by(61).enumerate() {
        complete(&scheduler, job);
        assert_eq!(create(&scheduler, format!("again-{turn}"), work()).node_id(), job.node_id());
    }
}

#[test]
fn a_reservation_holds_one_slot_until_it_is_dropped() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 2));
    let first = scheduler.reserve(&work()).unwrap();
    let second = scheduler.reserve(&work()).unwrap();
    assert_eq!((first.node_id(), first.pool().as_deref()), ("a".into(), Some("work")));
    assert_eq!(first.node().incarnation(), handle.incarnation());
    assert_eq!((in_flight(&scheduler, "a"), kind(&scheduler, &work())), (2, "busy"));
    drop(first);
    assert_eq!((in_flight(&scheduler, "a"), kind(&scheduler, &work())), (1, "selected"));
    drop(second);
    assert_eq!(in_flight(&scheduler, "a"), 0);
}

#[test]
fn a_reservation_knows_its_pool_however_it_was_found() {
    let scheduler = scheduler();
    // One after the other, so that their pools have different numbers.
    for service in ["x", "y", "z"] {
        let handle = add(&scheduler, NodeSpec::new("a").service(service).ready());
        let demand = Demand::new().service(service);
        for _ in 0..3 {
            assert_eq!(scheduler.reserve(&demand).unwrap().pool().as_deref(), Some(service));
        }
        scheduler.deregister(&handle).unwrap();
        assert!(peopled_pools(&scheduler).is_empty());
    }
}

#[test]
fn a_reservation_may_be_dropped_by_another_thread() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let held = scheduler.reserve(&work()).unwrap();
    std::thread::scope(|scope| scope.spawn(move || drop(held)).join().unwrap());
    assert_eq!(kind(&scheduler, &work()), "selected");
}

#[test]
fn a_reservation_outlives_its_node_and_touches_no_other() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    let held = scheduler.reserve(&work()).unwrap();
    scheduler.deregister(&handle).unwrap();
    let successor = add(&scheduler, worker("a", 1));
    assert_eq!((held.node().incarnation(), in_flight(&scheduler, "a")), (handle.incarnation(), 0));
    let other = scheduler.reserve(&work()).unwrap();
    assert_eq!(other.node().incarnation(), successor.incarnation());
    drop(held);
    assert_eq!(in_flight(&scheduler, "a"), 1);
    drop(other);
    assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().counters.double_released), (0, 0));
}

#[test]
fn reservations_are_counted_once_each_way() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 3));
    let held = [scheduler.reserve(&work()).unwrap(), scheduler.reserve(&work()).unwrap()];
    let counters = scheduler.stats().counters;
    assert_eq!((counters.reserved, counters.released, counters.selected), (2, 0, 2));
    drop(held);
    let counters = scheduler.stats().counters;
    assert_eq!((counters.reserved, counters.released), (2, 2));
}

fn chosen(scheduler: &Scheduler, prepared: &PreparedDemand) -> Option<String> {
    scheduler.select_prepared(prepared).ok().map(|selection| selection.node_id().to_owned())
}

#[test]
fn a_prepared_demand_finds_what_the_plain_one_does() {
    let (one, other) = (scheduler(), scheduler());
    for scheduler in [&one, &other] {
        (0..20).for_each(|n| drop(add(scheduler, worker(format!("n{n}"), 2).service(format!("s{}", n % 3)))));
    }
    let demand = work().exclude(["n3"], ExclusionMode::Soft);
    let prepared = other.prepare(&demand);
    for _ in 0..100 {
        assert_eq!(Some(selected(&one, &demand)), chosen(&other, &prepared));
    }
    let held: Vec<_> = (0..40).map(|_| other.reserve_prepared(&prepared).unwrap()).collect();
    assert_eq!(other.select_prepared(&prepared).unwrap_err().kind(), "busy");
    assert_eq!((held.len(), prepared.demand().validate()), (40, Ok(())));
}

#[test]
fn a_prepared_demand_follows_the_pools_as_they_come_and_go() {
    let scheduler = scheduler();
    let prepared = scheduler.prepare(&work());
    assert_eq!(chosen(&scheduler, &prepared), None);
    let a = add(&scheduler, worker("a", 1));
    assert_eq!(chosen(&scheduler, &prepared).as_deref(), Some("a"));
    scheduler.update(&a, Capabilities::new().service("other")).unwrap();
    assert_eq!(chosen(&scheduler, &prepared), None);
    let b = add(&scheduler, worker("b", 1).service("more"));
    assert_eq!(chosen(&scheduler, &prepared).as_deref(), Some("b"));
    scheduler.update(&a, Capabilities::new().service("work")).unwrap();
    scheduler.deregister(&b).unwrap();
    assert_eq!(chosen(&scheduler, &prepared).as_deref(), Some("a"));
    assert_eq!(chosen(&scheduler, &prepared.clone()).as_deref(), Some("a"));
}

#[test]
fn a_demand_prepared_by_one_scheduler_is_good_for_another() {
    let (here, there) = (scheduler(), scheduler());
    add(&here, worker("here", 1));
    add(&there, worker("there", 1));
    let prepared = here.prepare(&work());
    for _ in 0..3 {
        assert_eq!(chosen(&here, &prepared).as_deref(), Some("here"));
        assert_eq!(chosen(&there, &prepared).as_deref(), Some("there"));
    }
}

#[test]
fn a_route_is_computed_once_for_a_demand_and_a_set_of_pools() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 5));
    let computed = || scheduler.stats().counters.routes_computed;
    (0..10).for_each(|_| drop(selected(&scheduler, &work())));
    assert_eq!((computed(), scheduler.stats().now.routes), (1, 1));
    // Nodes that join a pool that there is change no route.
    add(&scheduler, worker("b", 5));
    selected(&scheduler, &work());
    assert_eq!(computed(), 1);
    add(&scheduler, NodeSpec::new("c").service("other"));
    selected(&scheduler, &work());
    assert_eq!(computed(), 2);
}

#[test]
fn the_share_of_a_pool_follows_its_free_slots_from_sweep_to_sweep() {
    let scheduler = scheduler();
    let [a, _] = [("a", 10), ("b", 30)].map(|(id, slots)| add(&scheduler, worker(id, slots).service(id)));
    let share_of_a = |times: usize| (0..times).filter(|_| selected(&scheduler, &work()) == "a").count();
    scheduler.tick(ms(1));
    // A pool is drawn for each of two candidates, and a tie breaks at random, so a's share stays a quarter.
    assert!((2250..=2750).contains(&share_of_a(10_000)));
    scheduler.set_capacity(&a, 90).unwrap();
    scheduler.tick(secs(10));
    assert!((7250..=7750).contains(&share_of_a(10_000)));
}
