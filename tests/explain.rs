//! Explanations: each reason for which a node is not used, by node and by pool.

mod common;

use common::*;
use slotyard::{
    Capabilities, CapabilityError, Demand, ExclusionMode, Heartbeat, NodeHandle, NodeSpec, PoolConfig, Reason,
    ResourceThresholds, ResourceUse, Scheduler, SchedulerBuilder, Service,
};

/// Adds a node `a` to a scheduler, does something to it, and gives the one reason why the demand gets it or not.
fn reason(builder: SchedulerBuilder, spec: NodeSpec, demand: &Demand, then: fn(&Scheduler, &NodeHandle)) -> Reason {
    let scheduler = build(builder);
    let handle = add(&scheduler, spec);
    then(&scheduler, &handle);
    let explanation = scheduler.explain(demand);
    let found: Vec<_> = explanation.nodes.iter().map(|(reason, tallied)| (*reason, tallied.count)).collect();
    assert_eq!(found.len(), 1, "{explanation}");
    assert_eq!(found[0].1, 1);
    assert_eq!(found[0].0 == Reason::Available, scheduler.select(demand).is_ok(), "{explanation}");
    found[0].0
}

fn after(then: fn(&Scheduler, &NodeHandle)) -> Reason {
    reason(builder(), worker("a", 1), &work(), then)
}

fn for_demand(spec: NodeSpec, demand: Demand) -> Reason {
    reason(builder(), spec.ready(), &demand, |_, _| {})
}

#[test]
fn a_free_node_is_available() {
    assert_eq!(after(|_, _| {}), Reason::Available);
}

#[test]
fn a_node_with_every_slot_held_is_full() {
    assert_eq!(after(|scheduler, _| drop(create(scheduler, "r", work()))), Reason::Full);
}

#[test]
fn a_node_full_of_others_jobs_is_full() {
    let beat = |scheduler: &Scheduler, node: &NodeHandle| {
        scheduler.heartbeat(node, &Heartbeat::alive().running(1)).unwrap();
    };
    assert_eq!(after(beat), Reason::Full);
}

#[test]
fn an_excluded_node_is_excluded() {
    let demand = work().exclude(["a"], ExclusionMode::Hard);
    assert_eq!(for_demand(worker("a", 1), demand), Reason::Excluded);
}

#[test]
fn a_node_over_a_threshold_is_so() {
    let with_thresholds = builder().thresholds(ResourceThresholds::all(0.9, 0.8));
    let found = reason(with_thresholds, worker("a", 1), &work(), |scheduler, node| {
        let resources = ResourceUse { gpu: 0.95, ..Default::default() };
        scheduler.heartbeat(node, &Heartbeat::alive().resources(resources)).unwrap();
    });
    assert_eq!(found, Reason::ResourceThreshold);
}

#[test]
fn a_node_that_says_so_is_degraded() {
    let beat = |scheduler: &Scheduler, node: &NodeHandle| scheduler.heartbeat(node, &Heartbeat::not_ready()).unwrap();
    assert_eq!(after(beat), Reason::Degraded);
}

#[test]
fn a_node_that_is_not_ready_yet_is_registering() {
    let found = reason(builder(), NodeSpec::new("a").service("work"), &work(), |_, _| {});
    assert_eq!(found, Reason::Registering);
}

#[test]
fn a_drained_node_and_one_of_weight_0_are_draining() {
    assert_eq!(after(|scheduler, node| scheduler.drain(node).unwrap()), Reason::Draining);
    assert_eq!(after(|scheduler, node| scheduler.set_weight(node, 0).unwrap()), Reason::Draining);
}

#[test]
fn a_node_without_heartbeats_is_offline() {
    assert_eq!(after(|scheduler, _| scheduler.tick(secs(15))), Reason::Offline);
}

#[test]
fn a_node_in_another_tenants_pool_is_so() {
    let acme = PoolConfig::new("acme").requires(Capabilities::new().service("work")).tenant("acme");
    let found = reason(builder().pool(acme.clone()), worker("a", 1), &work(), |_, _| {});
    assert_eq!(found, Reason::OtherTenant);
    let found = reason(builder().pool(acme), worker("a", 1), &work().tenant("acme"), |_, _| {});
    assert_eq!(found, Reason::Available);
}

#[test]
fn languages_that_are_not_served_are_told_apart() {
    let pairs = || NodeSpec::new("a").nmt_pairs([("zh", "en"), ("en", "de")]);
    assert_eq!(for_demand(pairs(), Demand::translate("zh", "de")), Reason::LanguagePair);
    assert_eq!(for_demand(pairs(), Demand::translate("fr", "de")), Reason::SourceLanguage);
    assert_eq!(for_demand(pairs(), Demand::translate("zh", "fr")), Reason::TargetLanguage);
    let tts = Demand::new().service(Service::TTS).target("fr");
    assert_eq!(for_demand(NodeSpec::new("a").tts(["en"]), tts), Reason::TargetLanguage);
}

#[test]
fn a_label_that_is_not_carried_is_told() {
    assert_eq!(for_demand(worker("a", 1).label("tier", "iron"), work().label("tier", "gold")), Reason::Label);
    assert_eq!(for_demand(worker("a", 1), work().label("tier", "gold")), Reason::Label);
}

#[test]
fn a_service_that_is_not_offered_or_off_is_told() {
    assert_eq!(for_demand(worker("a", 1), Demand::new().service("other")), Reason::NoService);
    let off = |scheduler: &Scheduler, node: &NodeHandle| {
        scheduler.mark_unavailable(node, &Service::from("work"), secs(5)).unwrap();
    };
    assert_eq!(after(off), Reason::NoService);
}

#[test]
fn what_a_node_cannot_do_at_all_comes_before_what_it_cannot_do_now() {
    let scheduler = scheduler();
    let a = add(&scheduler, worker("a", 1));
    create(&scheduler, "r", work());
    let of = |demand: &Demand| *scheduler.explain(demand).nodes.keys().next().unwrap();
    let excluding = work().exclude(["a"], ExclusionMode::Hard);
    assert_eq!((of(&work()), of(&excluding)), (Reason::Full, Reason::Excluded));
    scheduler.heartbeat(&a, &Heartbeat::not_ready()).unwrap();
    assert_eq!(of(&excluding), Reason::Degraded);
    scheduler.drain(&a).unwrap();
    assert_eq!(of(&excluding), Reason::Draining);
    scheduler.tick(secs(15));
    assert_eq!(of(&excluding), Reason::Offline);
    assert_eq!(of(&excluding.label("tier", "gold")), Reason::Label);
}

#[test]
fn nodes_are_counted_over_all_and_by_pool_with_the_first_few_as_examples() {
    let scheduler = scheduler();
    add_workers(&scheduler, (0..40).map(|n| format!("n{n:02}")), 1);
    add(&scheduler, NodeSpec::new("other").service("other").ready());
    for n in 0..5 {
        scheduler.drain(&handle(&scheduler, &format!("n{:02}", 39 - n))).unwrap();
    }
    let explanation = scheduler.explain(&work());
    let counts = [Reason::Available, Reason::Draining, Reason::NoService, Reason::Full];
    assert_eq!(counts.map(|reason| explanation.count(reason)), [35, 5, 1, 0]);
    let examples = |reason| explanation.nodes[&reason].examples.iter().map(|id| id.as_str()).collect::<Vec<_>>();
    assert_eq!(examples(Reason::Available), ["n00", "n01", "n02"]);
    assert_eq!(examples(Reason::Draining), ["n35", "n36", "n37"]);
    assert_eq!(explanation.pools["work"][&Reason::Available].count, 35);
    assert_eq!(explanation.pools["other"][&Reason::NoService].count, 1);
    let text = explanation.to_string();
    assert!(text.contains("35 available (n00 n01 n02 ..)") && text.contains("1 no such service (other)"), "{text}");
}

#[test]
fn a_node_in_two_pools_is_counted_once_over_all_and_once_in_each() {
    let requires = |service| PoolConfig::new(service).requires(Capabilities::new().service(service));
    let scheduler = build(builder().pool(requires("x")).pool(requires("y")));
    add(&scheduler, NodeSpec::new("a").service("x").service("y").ready());
    let explanation = scheduler.explain(&Demand::new().service("x"));
    assert_eq!(explanation.count(Reason::Available), 1);
    let pools: Vec<&str> = explanation.pools.keys().map(|name| &**name).collect();
    assert_eq!(pools, ["x", "y"]);
}

#[test]
fn without_nodes_the_explanation_says_so() {
    let explanation = scheduler().explain(&work());
    assert!(explanation.nodes.is_empty() && explanation.pools.is_empty());
    assert_eq!(explanation.to_string(), "there are no nodes");
}

#[test]
fn a_malformed_demand_is_explained_by_what_is_wrong_with_it() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let explanation = scheduler.explain(&Demand::new().service(""));
    assert_eq!(explanation.invalid, Some(CapabilityError::InvalidServiceName { name: String::new() }));
    assert!(explanation.nodes.is_empty() && explanation.to_string().contains("malformed"), "{explanation}");
}

#[test]
fn an_explanation_changes_nothing() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 1));
    let before = picture(&scheduler);
    scheduler.explain(&work());
    assert_eq!(picture(&scheduler), before);
    assert_eq!(scheduler.stats().counters.selected, 0);
}

#[test]
fn every_reason_has_words_of_its_own() {
    let reasons = [
        Reason::Available,
        Reason::Full,
        Reason::Excluded,
        Reason::Stale,
        Reason::ResourceThreshold,
        Reason::Degraded,
        Reason::Registering,
        Reason::Draining,
        Reason::Offline,
        Reason::OtherTenant,
        Reason::LanguagePair,
        Reason::SourceLanguage,
        Reason::TargetLanguage,
        Reason::Label,
        Reason::NoService,
    ];
    let words: std::collections::BTreeSet<String> = reasons.iter().map(Reason::to_string).collect();
    assert_eq!(words.len(), reasons.len());
}
