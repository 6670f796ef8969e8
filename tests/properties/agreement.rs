//! Whatever the fleet and the demand: selection finds a node just when explanation has one available, all of them can
//! be filled, and the kind of a refusal is the one that the explanation's reasons make.

use proptest::prelude::*;
use slotyard::{
    Capabilities, Demand, ExclusionMode, Language, NodeSpec, PoolConfig, Scheduler, SchedulerBuilder, Service,
};

use super::common::*;

/// A language of a few, of which some match only themselves.
fn language() -> impl Strategy<Value = Language> {
    let tag = prop::sample::select(vec!["zh", "zh-CN", "zh-TW", "en", "de"]);
    (tag, prop::bool::weighted(0.25)).prop_map(|(tag, exact)| {
        let language = if exact { Language::exact(tag) } else { Language::new(tag) };
        language.expect("the tags are well-formed")
    })
}

fn languages() -> impl Strategy<Value = Vec<Language>> {
    prop::collection::vec(language(), 0..4)
}

/// Adds something to capabilities.
fn ability() -> impl Strategy<Value = Ability> {
    prop_oneof![
        languages().prop_map(Ability::Asr),
        languages().prop_map(Ability::Tts),
        languages().prop_map(Ability::NmtAny),
        prop::collection::vec((language(), language()), 1..4).prop_map(Ability::NmtPairs),
        prop::option::of(languages()).prop_map(Ability::Custom),
        label().prop_map(|(name, value)| Ability::Label(name, value)),
    ]
}

#[derive(Debug, Clone)]
enum Ability {
    Asr(Vec<Language>),
    Tts(Vec<Language>),
    NmtAny(Vec<Language>),
    NmtPairs(Vec<(Language, Language)>),
    Custom(Option<Vec<Language>>),
    Label(&'static str, &'static str),
}

fn label() -> impl Strategy<Value = (&'static str, &'static str)> {
    (prop::sample::select(vec!["routing", "data"]), prop::sample::select(vec!["1", "2"]))
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    prop::collection::vec(ability(), 0..4).prop_map(|abilities| {
        abilities.into_iter().fold(Capabilities::new(), |all, ability| match ability {
            Ability::Asr(languages) => all.asr(languages),
            Ability::Tts(languages) => all.tts(languages),
            Ability::NmtAny(languages) => all.nmt_any(languages),
            Ability::NmtPairs(pairs) => all.nmt_pairs(pairs),
            Ability::Custom(Some(languages)) => all.service_in("custom", languages),
            Ability::Custom(None) => all.service("custom"),
            Ability::Label(name, value) => all.label(name, value),
        })
    })
}

fn demand() -> impl Strategy<Value = Demand> {
    let services = [Service::ASR, Service::NMT, Service::TTS, Service::from("custom")];
    let services = prop::sample::subsequence(services.to_vec(), 0..3);
    let source = prop::option::of(prop_oneof![1 => Just(None), 4 => language().prop_map(Some)]);
    let target = prop::option::of(language());
    let labels = prop::option::weighted(0.3, label());
    let tenant = prop::option::weighted(0.3, prop::sample::select(vec!["acme", "other"]));
    let excluded = prop::collection::vec(0..8usize, 0..3);
    (services, source, target, labels, tenant, excluded).prop_map(
        |(services, source, target, label, tenant, excluded)| {
            let mut demand = Demand::new().services(services);
            demand = match source {
                None => demand,
                Some(None) => demand.source("auto"),
                Some(Some(language)) => demand.source_language(language),
            };
            demand = target.into_iter().fold(demand, Demand::target);
            demand = label.into_iter().fold(demand, |demand, (name, value)| demand.label(name, value));
            demand = tenant.into_iter().fold(demand, Demand::tenant);
            demand.exclude(excluded.into_iter().map(|n| format!("n{n}")), ExclusionMode::Hard)
        },
    )
}

/// What becomes of a node after it is registered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Ready,
    Registering,
    Drained,
    Full,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Ready),
        1 => Just(Fate::Registering),
        1 => Just(Fate::Drained),
        1 => Just(Fate::Full),
    ]
}

type Layout = fn(SchedulerBuilder) -> SchedulerBuilder;

fn automatic_layouts() -> impl Strategy<Value = (&'static str, Layout)> {
    prop::sample::select(vec![
        ("automatic", (|b| b) as Layout),
        ("routing label", |b| b.routing_label("routing")),
        ("mixed", |b| b.max_pools(2)),
        ("hash", |b| b.hash_pools(2).routing_label("routing")),
    ])
}

fn configured_layout() -> impl Strategy<Value = (&'static str, Layout)> {
    let layout: Layout = |b| {
        let pool = |name: &str, requirement| PoolConfig::new(name).requires(requirement);
        b.pool(pool("asr", Capabilities::new().asr(["zh"])))
            .pool(pool("speech", Capabilities::new().asr(["zh"]).tts(["en"])))
            .pool(pool("pairs", Capabilities::new().nmt_pairs([("zh", "en")])))
            .pool(pool("exact", Capabilities::new().service("custom")).match_exact())
            .pool(pool("acme", Capabilities::new().label("data", "1")).tenant("acme"))
            .pool(PoolConfig::new("rest"))
    };
    Just(("configured", layout))
}

/// A fleet of nodes with one slot each.
fn set_up(layout: Layout, fleet: &[(Capabilities, Fate)]) -> Scheduler {
    let scheduler = build(layout(builder()));
    for (n, (capabilities, fate)) in fleet.iter().enumerate() {
        let spec = NodeSpec::new(format!("n{n}")).capabilities(capabilities.clone());
        let handle = add(&scheduler, if *fate == Fate::Registering { spec } else { spec.ready() });
        match fate {
            Fate::Drained => scheduler.drain(&handle).expect("it is there"),
            // Of others' jobs, so that it is full whatever demands may come.
            Fate::Full => {
                scheduler.heartbeat(&handle, &slotyard::Heartbeat::alive().running(1)).expect("it is there");
            }
            Fate::Ready | Fate::Registering => {}
        }
    }
    scheduler
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn selection_does_what_explanation_says(
        (_name, layout) in prop_oneof![2 => automatic_layouts(), 1 => configured_layout()],
        fleet in prop::collection::vec((capabilities(), fate()), 0..8),
        demand in demand(),
    ) {
        let scheduler = set_up(layout, &fleet);
        let take = |n: usize| try_create(&scheduler, &n.to_string(), demand.clone()).ok();
        let take = |n| take(n).map(|job| (job.node_id().to_string(), job));
        agreement::selection_does_what_explanation_says(&scheduler, &demand, take, |job| complete(&scheduler, &job));
    }

    #[test]
    fn a_refusal_names_something_missing_just_when_no_node_can_do_it(
        (_name, layout) in automatic_layouts(),
        fleet in prop::collection::vec((capabilities(), fate()), 1..6),
        demand in demand(),
    ) {
        let scheduler = set_up(layout, &fleet);
        let refused = scheduler.select(&demand).map(drop).err();
        let Some(no_node) = refused else { return Ok(()) };
        let missing = no_node.refusal().expect("the demand is well-formed").missing();
        let unsupported = no_node.kind() == "unsupported";
        prop_assert_eq!(!missing.is_empty(), unsupported, "{}, {}", no_node, scheduler.explain(&demand));
    }
}
