//! Pools that the configuration names, tenants, hash pools, and staying in the pool that was chosen.

mod common;

use std::collections::BTreeMap;

use common::*;
use slotyard::{
    Capabilities, Demand, Event, Heartbeat, JobRequest, NodeError, NodeSpec, PoolConfig, PoolKind, RegisterError,
    Scheduler, SchedulerBuilder, Service, SessionMode,
};

fn asr_zh() -> Capabilities {
    Capabilities::new().asr(["zh"])
}

fn speech_zh() -> Capabilities {
    asr_zh().tts(["en"])
}

fn pools_of(scheduler: &Scheduler, id: &str) -> Vec<String> {
    let mut pools = node(scheduler, id).pools;
    pools.sort();
    pools
}

/// A pool for speech, one for recognition alone, one for all others.
fn nested() -> SchedulerBuilder {
    builder()
        .pool(PoolConfig::new("rest"))
        .pool(PoolConfig::new("asr").requires(asr_zh()))
        .pool(PoolConfig::new("speech").requires(speech_zh()))
}

#[test]
fn who_can_translate_all_that_a_pool_asks_for_joins_it() {
    let any = |languages: &[&str]| Capabilities::new().nmt_any(languages.iter().copied());
    let pairs = |pairs: &[(&str, &str)]| Capabilities::new().nmt_pairs(pairs.iter().copied());
    let both = pairs(&[("zh", "en"), ("en", "zh")]);
    let table = [
        (any(&["zh", "en"]), any(&["zh", "en", "de"]), true),
        (any(&["zh", "en"]), any(&["zh"]), false),
        (any(&["zh", "en"]), both.clone(), true),
        (any(&["zh", "en"]), pairs(&[("zh", "en")]), false),
        // Each language is a source and a target, but not of one another.
        (any(&["zh", "en", "de"]), pairs(&[("zh", "en"), ("en", "zh"), ("zh", "de"), ("de", "zh")]), false),
        (any(&["zh"]), both, true),
        (any(&["zh"]), pairs(&[("zh", "en")]), false),
        (pairs(&[("zh", "en")]), any(&["zh", "en"]), true),
        (pairs(&[("fr", "en")]), any(&["zh", "en"]), false),
        (pairs(&[("zh", "fr")]), any(&["zh", "en"]), false),
        (pairs(&[("zh", "en")]), pairs(&[("zh", "en"), ("en", "de")]), true),
        (pairs(&[("zh", "de")]), pairs(&[("zh", "en"), ("en", "de")]), false),
    ];
    for (asked, offered, joins) in table {
        let scheduler = build(builder().pool(PoolConfig::new("p").requires(asked.clone())));
        let registered = scheduler.register(NodeSpec::new("a").capabilities(offered.clone()));
        assert_eq!(registered.is_ok(), joins, "{offered:?} where {asked:?} is asked for: {registered:?}");
    }
}

#[test]
fn variants_of_one_language_are_translated_by_those_who_list_that() {
    let pool = PoolConfig::new("p").requires(Capabilities::new().nmt_any(["zh", "en"]));
    let scheduler = build(builder().pool(pool));
    let add = |id: &str, capabilities| add(&scheduler, NodeSpec::new(id).capabilities(capabilities).ready());
    add("pairs", Capabilities::new().nmt_pairs([("zh", "en"), ("en", "zh")]));
    let variants = Demand::translate("zh-CN", "zh-TW");
    assert_eq!(kind(&scheduler, &Demand::translate("zh-CN", "en")), "selected");
    assert_eq!(kind(&scheduler, &variants), "unsupported");
    add("any", Capabilities::new().nmt_any(["zh", "en"]));
    for _ in 0..20 {
        assert_eq!(selected(&scheduler, &variants), "any");
    }
}

#[test]
fn a_pool_that_wants_nothing_more_takes_a_service_in_any_language() {
    let asked = Capabilities::new().service(Service::ASR);
    let scheduler = build(builder().pool(PoolConfig::new("p").requires(asked).match_exact()));
    add(&scheduler, NodeSpec::new("zh").capabilities(asr_zh()));
    add(&scheduler, NodeSpec::new("all").service(Service::ASR));
    assert_eq!(pool(&scheduler, "p").nodes, 2);
    assert!(scheduler.register(NodeSpec::new("more").capabilities(speech_zh())).is_err());
}

#[test]
fn a_node_joins_the_most_specific_pool_that_it_satisfies() {
    let scheduler = build(nested());
    let table = [
        (speech_zh(), "speech"),
        (speech_zh().nmt_any(["zh", "en"]), "speech"),
        (Capabilities::new().asr(["zh-CN", "de"]).tts(["en-US"]), "speech"),
        (asr_zh().tts(["de"]), "asr"),
        (Capabilities::new().asr(["zh", "en"]), "asr"),
        (Capabilities::new().asr(["en"]), "rest"),
        (Capabilities::new(), "rest"),
    ];
    for (n, (capabilities, expected)) in table.into_iter().enumerate() {
        let id = format!("n{n}");
        add(&scheduler, NodeSpec::new(&id).capabilities(capabilities.clone()));
        assert_eq!(pools_of(&scheduler, &id), [expected], "{capabilities:?}");
    }
    assert_eq!(pool(&scheduler, "speech").kind, PoolKind::Configured);
}

#[test]
fn configured_pools_are_there_without_nodes_and_stay_when_the_last_has_left() {
    let scheduler = build(nested());
    let events = scheduler.subscribe(16);
    let names = || -> Vec<String> { scheduler.snapshot().pools().map(|pool| pool.name).collect() };
    let before = names();
    assert!(["rest", "asr", "speech"].iter().all(|name| before.iter().any(|found| found == name)));
    let handle = add(&scheduler, NodeSpec::new("a").capabilities(asr_zh()));
    scheduler.deregister(&handle).unwrap();
    assert_eq!(names(), before);
    assert!(!drain(&events).iter().any(|e| matches!(e, Event::PoolMade { .. } | Event::PoolDropped { .. })));
}

#[test]
fn what_only_a_pool_without_nodes_would_offer_is_missing() {
    let scheduler = build(nested());
    add(&scheduler, worker("a", 1));
    let no_node = scheduler.select(&Demand::new().service(Service::ASR)).unwrap_err();
    assert_eq!(
        (no_node.kind(), no_node.refusal().unwrap().missing()),
        ("unsupported", &["service asr".to_owned()][..])
    );
}

#[test]
fn a_demand_finds_nodes_of_every_configured_pool_that_can_do_it() {
    let scheduler = build(nested());
    add(&scheduler, NodeSpec::new("speech").capabilities(speech_zh()).capacity(2).ready());
    add(&scheduler, NodeSpec::new("asr").capabilities(asr_zh()).capacity(3).ready());
    add(&scheduler, NodeSpec::new("rest").service("work").capacity(4).ready());
    let recognise = Demand::new().service(Service::ASR).source("zh");
    assert_eq!(fill(&scheduler, "r", &recognise).len(), 5);
    assert_eq!(fill(&scheduler, "s", &Demand::new()).len(), 4);
}

#[test]
fn the_members_of_a_configured_pool_are_told_apart_where_a_demand_goes_beyond_it() {
    let scheduler = build(nested());
    add(&scheduler, NodeSpec::new("plain").capabilities(asr_zh()).capacity(2).ready());
    add(&scheduler, NodeSpec::new("more").capabilities(asr_zh().service("punctuate")).capacity(2).ready());
    let demand = Demand::new().services([Service::ASR, Service::from("punctuate")]).source("zh");
    let jobs = fill(&scheduler, "r", &demand);
    assert_eq!((jobs.len(), in_flight(&scheduler, "more")), (2, 2));
    assert_eq!(kind(&scheduler, &demand.clone().service("diarise")), "unsupported");
}

#[test]
fn a_pool_with_exact_matching_takes_nodes_that_can_do_that_and_no_more() {
    let scheduler = build(
        builder()
            .pool(PoolConfig::new("exact").requires(asr_zh()).match_exact())
            .pool(PoolConfig::new("contains").requires(asr_zh()))
            .pool(PoolConfig::new("rest")),
    );
    let table = [
        (asr_zh(), "exact"),
        (asr_zh().label("rack", "7"), "exact"),
        (Capabilities::new().asr(["zh", "en"]), "contains"),
        (speech_zh(), "contains"),
        (Capabilities::new().tts(["en"]), "rest"),
    ];
    for (n, (capabilities, expected)) in table.into_iter().enumerate() {
        let id = format!("n{n}");
        add(&scheduler, NodeSpec::new(&id).capabilities(capabilities.clone()));
        assert_eq!(pools_of(&scheduler, &id), [expected], "{capabilities:?}");
    }
}

#[test]
fn pools_may_ask_for_language_pairs_and_labels() {
    let scheduler = build(
        builder()
            .pool(PoolConfig::new("zh>en").requires(Capabilities::new().nmt_pairs([("zh", "en")])))
            .pool(PoolConfig::new("gold").requires(Capabilities::new().label("tier", "gold")))
            .pool(PoolConfig::new("rest")),
    );
    add(&scheduler, NodeSpec::new("any").nmt_any(["zh", "en", "de"]));
    add(&scheduler, NodeSpec::new("back").nmt_pairs([("en", "zh")]));
    add(&scheduler, NodeSpec::new("gold").label("tier", "gold"));
    add(&scheduler, NodeSpec::new("iron").label("tier", "iron"));
    let pools = ["any", "back", "gold", "iron"].map(|id| pools_of(&scheduler, id).concat());
    assert_eq!(pools, ["zh>en", "rest", "gold", "rest"]);
}

/// Two pools of which neither is the more specific.
fn crossing() -> SchedulerBuilder {
    let requires = |service| Capabilities::new().service(service);
    builder().pool(PoolConfig::new("x").requires(requires("x"))).pool(PoolConfig::new("y").requires(requires("y")))
}

#[test]
fn a_node_in_two_pools_has_its_slots_once() {
    let scheduler = build(crossing());
    add(&scheduler, NodeSpec::new("a").service("x").service("y").capacity(3).ready());
    assert_eq!(pools_of(&scheduler, "a"), ["x", "y"]);
    let (x, y) = (Demand::new().service("x"), Demand::new().service("y"));
    let jobs =
        [create(&scheduler, "1", x.clone()), create(&scheduler, "2", y.clone()), create(&scheduler, "3", x.clone())];
    assert_eq!((kind(&scheduler, &x), kind(&scheduler, &y), in_flight(&scheduler, "a")), ("busy", "busy", 3));
    // A slot that was taken by way of the one pool is free in both.
    complete(&scheduler, &jobs[1]);
    assert_eq!((kind(&scheduler, &x), kind(&scheduler, &y)), ("selected", "selected"));
    complete(&scheduler, &jobs[0]);
    assert_eq!(fill(&scheduler, "y", &y).len(), 2);
}

#[test]
fn a_node_moves_between_one_pool_two_and_one_with_its_jobs_running() {
    let scheduler = build(crossing());
    let handle = add(&scheduler, NodeSpec::new("a").service("x").capacity(2).ready());
    let (x, y) = (Demand::new().service("x"), Demand::new().service("y"));
    let jobs = fill(&scheduler, "r", &x);
    scheduler.update(&handle, Capabilities::new().service("x").service("y")).unwrap();
    complete(&scheduler, &jobs[0]);
    assert_eq!((kind(&scheduler, &x), kind(&scheduler, &y)), ("selected", "selected"));
    scheduler.update(&handle, Capabilities::new().service("y")).unwrap();
    assert_eq!((kind(&scheduler, &x), pools_of(&scheduler, "a")), ("unsupported", vec!["y".to_owned()]));
    assert_eq!(fill(&scheduler, "s", &y).len(), 1);
    complete(&scheduler, &jobs[1]);
    assert_eq!(fill(&scheduler, "t", &y).len(), 1);
}

#[test]
fn a_node_that_no_pool_takes_is_refused_and_so_is_an_update_to_one() {
    let scheduler = build(crossing());
    let error = refuses(&scheduler, |s| s.register(worker("a", 1)));
    assert_eq!(error, RegisterError::NoPool { id: "a".into() });
    let handle = add(&scheduler, NodeSpec::new("a").service("x").ready());
    let error = refuses(&scheduler, |s| s.update(&handle, Capabilities::new().service("z")));
    assert_eq!(error, NodeError::NoPool { id: "a".into() });
    let error = refuses(&scheduler, |s| s.register(worker("a", 1).replace_existing()));
    assert_eq!(error, RegisterError::NoPool { id: "a".into() });
    assert_eq!(selected(&scheduler, &Demand::new().service("x")), "a");
}

#[test]
fn a_node_whose_services_are_off_is_in_no_pool_until_they_are_on() {
    let scheduler = build(crossing());
    let x = Demand::new().service("x");
    let handle = add(&scheduler, NodeSpec::new("a").service("x").capacity(2).ready());
    let job = create(&scheduler, "r", x.clone());
    scheduler.mark_unavailable(&handle, &Service::from("x"), secs(3)).unwrap();
    assert!(pools_of(&scheduler, "a").is_empty());
    assert_ne!(kind(&scheduler, &x), "selected");
    complete(&scheduler, &job);
    scheduler.heartbeat(&handle, &Heartbeat::ready()).unwrap();
    scheduler.tick(secs(3));
    assert_eq!(pools_of(&scheduler, "a"), ["x"]);
    assert_eq!(fill(&scheduler, "s", &x).len(), 2);
}

/// A pool of tenant `acme`, and one for everybody.
fn tenants() -> SchedulerBuilder {
    builder()
        .pool(PoolConfig::new("acme").requires(Capabilities::new().label("tenant", "acme")).tenant("acme"))
        .pool(PoolConfig::new("shared"))
}

fn tenants_with_nodes(builder: SchedulerBuilder) -> Scheduler {
    let scheduler = build(builder);
    add(&scheduler, worker("own", 2).label("tenant", "acme"));
    add(&scheduler, worker("shared", 3));
    assert_eq!(pool(&scheduler, "acme").tenant.as_deref(), Some("acme"));
    scheduler
}

#[test]
fn a_tenants_jobs_go_to_its_own_pool_first_and_to_the_shared_one_when_that_is_full() {
    let scheduler = tenants_with_nodes(tenants());
    let jobs = fill(&scheduler, "r", &work().tenant("acme"));
    let nodes: Vec<_> = jobs.iter().map(|job| job.node_id().as_str()).collect();
    assert_eq!(nodes, ["own", "own", "shared", "shared", "shared"]);
}

#[test]
fn without_fallback_a_tenant_keeps_to_its_own_pool() {
    let scheduler = tenants_with_nodes(tenants().fallback(false));
    let jobs = fill(&scheduler, "r", &work().tenant("acme"));
    assert_eq!((jobs.len(), in_flight(&scheduler, "own"), in_flight(&scheduler, "shared")), (2, 2, 0));
}

#[test]
fn nobody_else_gets_into_a_tenants_pool() {
    for (demand, kind) in
        [(work(), "busy"), (work().tenant("other"), "busy"), (work().label("tenant", "acme"), "unsupported")]
    {
        let scheduler = tenants_with_nodes(tenants());
        let no_node = (0..10).find_map(|n| try_create(&scheduler, &n.to_string(), demand.clone()).err());
        assert_eq!(refused(Err(no_node.unwrap())).kind(), kind, "{demand:?}");
        assert_eq!(in_flight(&scheduler, "own"), 0, "{demand:?}");
    }
}

#[test]
fn a_tenant_without_a_pool_is_like_anybody() {
    let scheduler = tenants_with_nodes(tenants());
    assert_eq!(fill(&scheduler, "r", &work().tenant("other")).len(), 3);
}

#[test]
fn hash_pools_share_out_the_nodes_without_capabilities_and_a_demand_finds_them_all() {
    let scheduler = build(builder().hash_pools(4));
    for n in 0..200 {
        add(&scheduler, NodeSpec::new(format!("n{n}")).capacity(2).ready());
    }
    let pools: BTreeMap<String, usize> = scheduler
        .pools()
        .into_iter()
        .filter(|pool| pool.kind == PoolKind::Hash)
        .map(|pool| (pool.name, pool.nodes))
        .collect();
    assert_eq!(pools.keys().collect::<Vec<_>>(), ["hash-0", "hash-1", "hash-2", "hash-3"]);
    // 50 each, give or take five standard deviations.
    assert!(pools.values().all(|nodes| (20..=80).contains(nodes)) && pools.values().sum::<usize>() == 200, "{pools:?}");
    assert_eq!(fill(&scheduler, "r", &Demand::new()).len(), 400);
}

#[test]
fn a_node_has_the_same_hash_pool_in_every_scheduler() {
    let pools = |seed| {
        let scheduler = build(builder().seed(seed).hash_pools(8));
        (0..20).for_each(|n| drop(add(&scheduler, NodeSpec::new(format!("n{n}")))));
        scheduler.nodes().into_iter().map(|view| (view.id, view.pools)).collect::<Vec<_>>()
    };
    assert_eq!(pools(1), pools(2));
}

#[test]
fn nodes_with_capabilities_have_automatic_pools_beside_hash_pools() {
    let scheduler = build(builder().hash_pools(2));
    let handle = add(&scheduler, worker("a", 1));
    assert_eq!(pools_of(&scheduler, "a"), ["work"]);
    scheduler.update(&handle, Capabilities::new()).unwrap();
    assert!(pools_of(&scheduler, "a")[0].starts_with("hash-"));
    assert_eq!((kind(&scheduler, &work()), selected(&scheduler, &Demand::new())), ("unsupported", "a".to_owned()));
}

#[test]
fn without_fallback_a_routing_key_keeps_to_its_pool() {
    let scheduler = build(builder().fallback(false));
    for n in 0..4 {
        add(&scheduler, worker(format!("n{n}"), 3).service(format!("s{n}")));
    }
    let demand = work().routing_key("key");
    let jobs = fill(&scheduler, "r", &demand);
    assert!(jobs.len() == 3 && jobs.iter().all(|job| job.pool() == jobs[0].pool()));
    complete(&scheduler, &jobs[0]);
    assert_eq!(fill(&scheduler, "s", &demand).len(), 1);
}

#[test]
fn without_fallback_a_session_keeps_to_its_pool() {
    let scheduler = build(builder().fallback(false).session_mode(SessionMode::Affinity));
    for n in 0..4 {
        add(&scheduler, worker(format!("n{n}"), 3).service(format!("s{n}")));
    }
    let ask = |n: usize| scheduler.create_job(&JobRequest::new(format!("r{n}"), work()).session("s"));
    let jobs: Vec<_> = (0..3).map(|n| ask(n).unwrap()).collect();
    assert!(jobs.iter().all(|job| job.pool() == jobs[0].pool()));
    assert_eq!(refused(ask(3)).kind(), "busy");
}

#[test]
fn without_fallback_a_node_that_is_excluded_softly_is_used_when_its_pool_has_no_other() {
    let scheduler = build(builder().fallback(false));
    add(&scheduler, worker("a", 2));
    let demand = work().exclude(["a"], slotyard::ExclusionMode::Soft);
    assert_eq!(fill(&scheduler, "r", &demand).len(), 2);
}
