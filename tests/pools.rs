//! Pools that make themselves: their names, when they come and go, labels, and what happens when there are too many.

mod common;

use common::*;
use slotyard::{Capabilities, Demand, Event, Heartbeat, Language, NodeSpec, PoolKind, Service};

#[test]
fn a_pool_is_named_after_its_languages_then_its_services_then_its_routing_labels() {
    let none: [&str; 0] = [];
    let all = |languages: [&'static str; 2]| {
        Capabilities::new().asr(languages).nmt_any(languages).tts(languages).semantic(languages)
    };
    let table = [
        (all(["zh", "en"]), "en-zh"),
        (all(["zh-CN", "en-GB"]), "en-zh"),
        (Capabilities::new().asr(["zh", "en"]).nmt_any(["zh", "en"]).tts(["en"]), "en-zh-asr-nmt-tts"),
        (Capabilities::new().nmt_pairs([("de", "fr")]), "de-fr-nmt"),
        (Capabilities::new().service("rerank").service("embed"), "embed-rerank"),
        (all(["zh", "en"]).service("embed"), "en-zh-asr-nmt-tts-semantic-embed"),
        (Capabilities::new().service("embed").label("tier", "gold").label("zone", "a"), "embed-tier=gold"),
        (Capabilities::new().asr(none), "asr"),
        (Capabilities::new(), "any"),
    ];
    for (capabilities, name) in table {
        let scheduler = build(builder().routing_label("tier"));
        add(&scheduler, NodeSpec::new("a").capabilities(capabilities));
        assert_eq!(peopled_pools(&scheduler), [name]);
        assert_eq!(pool(&scheduler, name).kind, PoolKind::Automatic);
        assert_eq!(node(&scheduler, "a").pools, [name]);
    }
}

#[test]
fn pools_whose_names_would_be_one_are_numbered() {
    let scheduler = scheduler();
    for (id, pairs) in [("a", vec![("de", "fr")]), ("b", vec![("fr", "de")]), ("c", vec![("de", "fr"), ("fr", "de")])] {
        add(&scheduler, NodeSpec::new(id).nmt_pairs(pairs));
    }
    assert_eq!(peopled_pools(&scheduler), ["de-fr-nmt", "de-fr-nmt~2", "de-fr-nmt~3"]);
}

#[test]
fn nodes_with_equal_capabilities_share_a_pool_however_they_say_it() {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("a").asr(["zh", "en"]).service("x"));
    add(&scheduler, NodeSpec::new("b").service("x").asr(["en-US", "zh-TW", "zh"]));
    add(&scheduler, NodeSpec::new("c").service("x").asr(["EN", "ZH"]).label("zone", "a").capacity(9).weight(3));
    assert_eq!(peopled_pools(&scheduler), ["en-zh-asr-x"]);
    assert_eq!(pool(&scheduler, "en-zh-asr-x").nodes, 3);
}

#[test]
fn capabilities_that_differ_make_pools_that_differ_also_in_name() {
    let scheduler = scheduler();
    let languages = ["zh", "en"];
    add(&scheduler, NodeSpec::new("any").nmt_any(languages).ready());
    add(&scheduler, NodeSpec::new("pairs").nmt_pairs([("zh", "en")]).ready());
    add(&scheduler, NodeSpec::new("back").nmt_pairs([("en", "zh")]).ready());
    let pools = peopled_pools(&scheduler);
    assert_eq!(pools.len(), 3, "{pools:?}");
    assert!(pools.iter().all(|name| name.starts_with("en-zh-nmt")));
}

#[test]
fn an_exact_language_makes_a_pool_of_its_own() {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("a").asr(["zh"]));
    add(&scheduler, NodeSpec::new("b").asr([Language::exact("zh-TW").unwrap()]));
    assert_eq!(peopled_pools(&scheduler), ["zh-TW-asr", "zh-asr"]);
}

#[test]
fn a_pool_is_made_with_its_first_node_and_dropped_with_its_last() {
    let scheduler = scheduler();
    let events = scheduler.subscribe(64);
    let pools_before = scheduler.stats().now.pools;
    let a = add(&scheduler, NodeSpec::new("a").service("work"));
    let b = add(&scheduler, NodeSpec::new("b").service("work"));
    scheduler.deregister(&a).unwrap();
    let pools = |events: Vec<Event>| -> Vec<Event> {
        events.into_iter().filter(|e| matches!(e, Event::PoolMade { .. } | Event::PoolDropped { .. })).collect()
    };
    assert_eq!(pools(drain(&events)), [Event::PoolMade { pool: "work".into() }]);
    scheduler.update(&b, Capabilities::new().service("other")).unwrap();
    let expected = [Event::PoolMade { pool: "other".into() }, Event::PoolDropped { pool: "work".into() }];
    assert_eq!(pools(drain(&events)), expected);
    scheduler.deregister(&b).unwrap();
    assert_eq!(pools(drain(&events)), [Event::PoolDropped { pool: "other".into() }]);
    assert_eq!(scheduler.stats().now.pools, pools_before);
}

#[test]
fn replacing_the_only_node_of_a_pool_keeps_the_pool() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let version = scheduler.snapshot().version();
    add(&scheduler, worker("a", 1).replace_existing());
    assert_eq!(scheduler.snapshot().version(), version);
}

#[test]
fn a_snapshot_is_published_when_pools_change_and_not_for_nodes_heartbeats_or_jobs() {
    let scheduler = scheduler();
    let a = add(&scheduler, worker("a", 2));
    let version = scheduler.snapshot().version();
    add(&scheduler, worker("b", 2));
    let job = create(&scheduler, "r", work());
    scheduler.heartbeat(&a, &Heartbeat::ready().running(2)).unwrap();
    complete(&scheduler, &job);
    scheduler.drain(&a).unwrap();
    scheduler.tick(secs(1));
    assert_eq!(scheduler.snapshot().version(), version);
    add(&scheduler, NodeSpec::new("c").service("other"));
    assert!(scheduler.snapshot().version() > version);
}

#[test]
fn a_snapshot_keeps_its_pools_when_a_newer_one_is_published() {
    let scheduler = scheduler();
    let a = add(&scheduler, worker("a", 2));
    let snapshot = scheduler.snapshot();
    scheduler.update(&a, Capabilities::new().service("other")).unwrap();
    assert!(snapshot.pools().any(|pool| pool.name == "work") && !snapshot.pools().any(|pool| pool.name == "other"));
}

#[test]
fn routing_labels_part_nodes_and_data_labels_do_not() {
    let scheduler = build(builder().routing_label("tier"));
    add(&scheduler, worker("a", 1).label("tier", "gold").label("rack", "1"));
    add(&scheduler, worker("b", 1).label("tier", "gold").label("rack", "2"));
    add(&scheduler, worker("c", 1).label("tier", "iron").label("rack", "1"));
    add(&scheduler, worker("d", 1));
    assert_eq!(peopled_pools(&scheduler), ["work", "work-tier=gold", "work-tier=iron"]);
    assert_eq!(pool(&scheduler, "work-tier=gold").nodes, 2);
}

#[test]
fn a_demand_for_a_routing_label_finds_just_the_nodes_that_carry_it() {
    let scheduler = build(builder().routing_label("tier"));
    add(&scheduler, worker("gold", 3).label("tier", "gold"));
    add(&scheduler, worker("iron", 3).label("tier", "iron"));
    add(&scheduler, worker("none", 3));
    let jobs = fill(&scheduler, "r", &work().label("tier", "gold"));
    assert_eq!((jobs.len(), in_flight(&scheduler, "gold")), (3, 3));
    assert_eq!(kind(&scheduler, &work().label("tier", "tin")), "unsupported");
    // A demand that does not name the label does not mind it.
    assert_eq!(fill(&scheduler, "s", &work()).len(), 6);
}

#[test]
fn a_demand_for_a_data_label_finds_just_the_nodes_that_carry_it() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 2).label("model", "large"));
    add(&scheduler, worker("b", 2).label("model", "small"));
    assert_eq!(peopled_pools(&scheduler), ["work"]);
    let jobs = fill(&scheduler, "r", &work().label("model", "large"));
    assert_eq!((jobs.len(), in_flight(&scheduler, "a")), (2, 2));
    assert_eq!(kind(&scheduler, &work().label("model", "none")), "unsupported");
}

#[test]
fn past_max_pools_nodes_share_the_mixed_pool_and_an_event_says_so() {
    let scheduler = build(builder().max_pools(2));
    let events = scheduler.subscribe(64);
    for n in 0..4 {
        add(&scheduler, NodeSpec::new(format!("n{n}")).service(format!("s{n}")).ready());
    }
    assert_eq!(peopled_pools(&scheduler), ["mixed", "s0", "s1"]);
    assert_eq!(
        (pool(&scheduler, "mixed").kind, pool(&scheduler, "mixed").nodes, node(&scheduler, "n3").pools),
        (PoolKind::Mixed, 2, vec!["mixed".to_owned()])
    );
    let told: Vec<Event> =
        drain(&events).into_iter().filter(|event| matches!(event, Event::PoolsExhausted { .. })).collect();
    let expected = ["n2", "n3"].map(|id| Event::PoolsExhausted { node: id.into(), limit: 2 });
    assert_eq!(told, expected);
}

#[test]
fn the_members_of_the_mixed_pool_are_told_apart_by_what_they_can_do() {
    let scheduler = build(builder().max_pools(1));
    add(&scheduler, worker("own-pool", 1));
    for n in 0..50 {
        add(&scheduler, NodeSpec::new(format!("n{n}")).service(format!("s{n}")).capacity(2).ready());
    }
    for n in 0..50 {
        let demand = Demand::new().service(format!("s{n}"));
        let jobs = fill(&scheduler, &format!("r{n}"), &demand);
        assert_eq!((jobs.len(), in_flight(&scheduler, &format!("n{n}"))), (2, 2), "s{n}");
        assert!(jobs.iter().all(|job| job.pool() == "mixed"));
    }
    assert_eq!(kind(&scheduler, &Demand::new().service("s50")), "unsupported");
}

#[test]
fn a_demand_finds_its_nodes_in_their_own_pool_first_and_in_the_mixed_pool_then() {
    let scheduler = build(builder().max_pools(1));
    add(&scheduler, worker("own", 2));
    add(&scheduler, worker("mixed", 2).service("more"));
    let jobs = fill(&scheduler, "r", &work());
    let nodes: Vec<_> = jobs.iter().map(|job| job.node_id().as_str()).collect();
    assert_eq!(nodes, ["own", "own", "mixed", "mixed"]);
}

#[test]
fn in_the_mixed_pool_those_who_are_gone_are_told_from_those_who_are_busy() {
    let scheduler = build(builder().max_pools(1));
    add(&scheduler, worker("own-pool", 1));
    let other = Demand::new().service("other");
    let a = add(&scheduler, NodeSpec::new("a").service("other").ready());
    let b = add(&scheduler, NodeSpec::new("b").service("more").ready());
    create(&scheduler, "r", other.clone());
    let refused = || scheduler.select(&other).map(drop).unwrap_err();
    assert_eq!((refused().kind(), refused().refusal().unwrap().missing().len()), ("busy", 0));
    scheduler.drain(&a).unwrap();
    assert_eq!((refused().kind(), refused().refusal().unwrap().missing().len()), ("gone", 0));
    scheduler.deregister(&a).unwrap();
    assert_eq!(kind(&scheduler, &other), "unsupported");
    scheduler.update(&b, Capabilities::new().service("other")).unwrap();
    assert_eq!(kind(&scheduler, &other), "selected");
}

#[test]
fn a_busy_node_in_the_mixed_pool_counts_also_when_all_in_the_demands_own_pool_are_gone() {
    let scheduler = build(builder().max_pools(1));
    let own = add(&scheduler, worker("own", 1));
    add(&scheduler, worker("mixed", 1).service("more"));
    fill(&scheduler, "r", &work());
    scheduler.drain(&own).unwrap();
    let no_node = scheduler.select(&work()).unwrap_err();
    assert_eq!(no_node.kind(), "busy", "{no_node}");
    assert!(no_node.refusal().unwrap().retry_after().is_some());
}

#[test]
fn when_a_pool_is_dropped_the_next_kind_of_node_has_one_of_its_own_again() {
    let scheduler = build(builder().max_pools(1));
    let a = add(&scheduler, worker("a", 1));
    let b = add(&scheduler, NodeSpec::new("b").service("other").ready());
    scheduler.deregister(&a).unwrap();
    add(&scheduler, NodeSpec::new("c").service("third").ready());
    assert_eq!(peopled_pools(&scheduler), ["mixed", "third"]);
    // One that can do nothing in particular is in the mixed pool, too, as long as there is no room for its own.
    let d = add(&scheduler, NodeSpec::new("d").ready());
    let c = handle(&scheduler, "c");
    assert_eq!(scheduler.node("d").unwrap().pools, ["mixed"]);
    scheduler.deregister(&c).unwrap();
    scheduler.update(&d, Capabilities::new()).unwrap();
    assert_eq!(peopled_pools(&scheduler), ["any", "mixed"]);
    scheduler.deregister(&d).unwrap();
    add(&scheduler, NodeSpec::new("c").service("third").ready());
    // Those in the mixed pool are found there all the while, and may leave it.
    assert_eq!(selected(&scheduler, &Demand::new().service("other")), "b");
    scheduler.update(&b, Capabilities::new().service("third")).unwrap();
    assert_eq!(peopled_pools(&scheduler), ["third"]);
}

#[test]
fn routing_keys_are_spread_by_slots_and_move_only_to_or_from_the_pool_that_comes_or_goes() {
    const KEYS: usize = 5_000;
    let scheduler = scheduler();
    let add = |id: &str, slots| add(&scheduler, worker(id, slots).service(id));
    let nodes = [("a", 10), ("b", 20), ("c", 30), ("d", 40)].map(|(id, slots)| add(id, slots));
    let pools = || -> Vec<String> {
        let of = |key: usize| selected(&scheduler, &work().routing_key(key.to_le_bytes()));
        (0..KEYS).map(of).collect()
    };
    let share = |pools: &[String], id: &str| pools.iter().filter(|found| *found == id).count() as f64 / KEYS as f64;
    let first = pools();
    for (id, expected) in [("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4)] {
        assert!((share(&first, id) - expected).abs() < 0.02, "{id} has {}", share(&first, id));
    }
    add("e", 25);
    let second = pools();
    assert!((share(&second, "e") - 0.2).abs() < 0.02, "{}", share(&second, "e"));
    assert!(first.iter().zip(&second).all(|(before, after)| before == after || after == "e"));
    scheduler.deregister(&nodes[2]).unwrap();
    let third = pools();
    assert!(second.iter().zip(&third).all(|(before, after)| before == after || before == "c"));
    assert!(third.iter().all(|id| id != "c"));
}

/// Gateways that are updated one by one have to agree with those that are not yet.
#[test]
fn routing_keys_lead_to_the_pools_that_earlier_builds_found() {
    let scheduler = scheduler();
    for (id, slots) in [("a", 10), ("b", 20), ("c", 30), ("d", 40)] {
        add(&scheduler, worker(id, slots).service(id));
    }
    let found: String = (0..32).map(|key| selected(&scheduler, &work().routing_key(format!("tenant-{key}")))).collect();
    assert_eq!(found, "dabbcaccdbcdbcdbdcbbddcbddcddcdb");
}

#[test]
fn a_routing_key_keeps_to_one_pool_while_that_has_room() {
    let scheduler = scheduler();
    for n in 0..8 {
        add(&scheduler, worker(format!("n{n}"), 10).service(format!("s{n}")));
    }
    let mut pools_seen = std::collections::BTreeSet::new();
    for key in 0..20u8 {
        let demand = work().routing_key([key]);
        let pools: Vec<String> =
            (0..10).map(|_| scheduler.select(&demand).unwrap().pool().unwrap().to_string()).collect();
        assert!(pools.iter().all(|pool| *pool == pools[0]), "key {key}: {pools:?}");
        pools_seen.extend(pools);
    }
    assert!(pools_seen.len() > 3, "20 keys over 8 pools of equal size: {pools_seen:?}");
    let demand = work().routing_key([1]);
    let jobs = fill(&scheduler, "r", &demand);
    let first = jobs[0].pool();
    assert!(jobs[..10].iter().all(|job| job.pool() == first) && jobs[10..].iter().all(|job| job.pool() != first));
    assert_eq!(jobs.len(), 80);
}

#[test]
fn few_keys_change_pool_when_a_pool_is_added() {
    let scheduler = scheduler();
    let add_pool = |n: usize| add(&scheduler, worker(format!("n{n}"), 10).service(format!("s{n}")));
    (0..9).for_each(|n| drop(add_pool(n)));
    let pools = || -> Vec<String> {
        let pool = |key: u16| {
            let demand = work().routing_key(key.to_le_bytes());
            scheduler.select(&demand).unwrap().pool().unwrap().to_string()
        };
        (0..1000).map(pool).collect()
    };
    let before = pools();
    add_pool(9);
    let moved = before.iter().zip(pools()).filter(|(before, after)| *before != after).collect::<Vec<_>>();
    assert!(moved.iter().all(|(_, after)| after == "s9-work"), "a key moves only to the pool that is new");
    // A tenth of 1000, give or take five standard deviations.
    assert!((50..=150).contains(&moved.len()), "{} keys have moved", moved.len());
}

#[test]
fn unknown_services_are_missing_by_name() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let no_node = scheduler.select(&work().service(Service::TTS)).unwrap_err();
    assert_eq!(no_node.refusal().unwrap().missing(), ["service tts"]);
}
