//! Languages: which node serves which, as selection sees it.

mod common;

use common::*;
use slotyard::{Capabilities, Demand, IntoLanguage, Language, NodeSpec, Reason, Scheduler, Service};

fn exact(tag: &str) -> Language {
    Language::exact(tag).expect("the tag is well-formed")
}

/// Whether a fleet of one node that can do this serves the demand. Selection and explanation must agree.
fn serves(capabilities: Capabilities, demand: &Demand) -> bool {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("a").capabilities(capabilities).ready());
    let kind = kind(&scheduler, demand);
    let available = scheduler.explain(demand).count(Reason::Available) == 1;
    assert_eq!(kind == "selected", available, "select and explain differ: {kind}, {}", scheduler.explain(demand));
    kind == "selected"
}

fn recognise(source: &str) -> Demand {
    Demand::new().service(Service::ASR).source(source)
}

#[test]
fn tags_match_by_their_primary_subtag_either_way() {
    for (offered, wanted) in
        [("zh", "zh-CN"), ("zh-CN", "zh"), ("zh-TW", "zh-CN"), ("ZH", "zh-hans-cn"), ("pt-BR", "PT")]
    {
        assert!(serves(Capabilities::new().asr([offered]), &recognise(wanted)), "{offered} for {wanted}");
    }
    for (offered, wanted) in [("zh", "en"), ("en", "eng"), ("no", "nb")] {
        assert!(!serves(Capabilities::new().asr([offered]), &recognise(wanted)), "{offered} for {wanted}");
    }
}

#[test]
fn an_exact_language_of_a_node_serves_the_very_same_tag_only() {
    let offered = || Capabilities::new().asr([exact("zh-TW")]);
    assert!(serves(offered(), &recognise("zh-tw")));
    assert!(!serves(offered(), &recognise("zh")) && !serves(offered(), &recognise("zh-CN")));
}

#[test]
fn an_exact_language_of_a_demand_is_served_by_the_very_same_tag_only() {
    let wanted = Demand::new().service(Service::ASR).source_language(exact("zh-TW"));
    assert!(serves(Capabilities::new().asr([exact("zh-TW")]), &wanted));
    assert!(!serves(Capabilities::new().asr(["zh"]), &wanted));
    assert!(!serves(Capabilities::new().asr(["zh-CN"]), &wanted));
    let wanted = Demand::new().service(Service::ASR).source_language(exact("zh"));
    assert!(serves(Capabilities::new().asr(["zh"]), &wanted));
    assert!(!serves(Capabilities::new().asr(["zh-TW"]), &wanted));
    let target = Demand::new().service(Service::TTS).target(exact("en-GB"));
    assert!(!serves(Capabilities::new().tts(["en-US"]), &target));
}

#[test]
fn a_node_that_names_a_tag_serves_a_demand_for_exactly_that_tag() {
    let wanted = Demand::new().service(Service::ASR).source_language(exact("zh-TW"));
    assert!(serves(Capabilities::new().asr(["zh-TW"]), &wanted));
    let target = Demand::new().service(Service::TTS).target(exact("en-GB"));
    assert!(serves(Capabilities::new().tts(["en-US", "en-GB"]), &target));
}

#[test]
fn a_demand_for_an_exact_tag_finds_the_node_that_names_it_among_others_of_the_language() {
    let scheduler = scheduler();
    for tag in ["zh", "zh-CN", "zh-TW", "zh-HK"] {
        add(&scheduler, NodeSpec::new(tag).asr([tag]).capacity(2).ready());
    }
    let wanted = Demand::new().service(Service::ASR).source_language(exact("zh-HK"));
    let jobs = fill(&scheduler, "r", &wanted);
    assert_eq!((jobs.len(), in_flight(&scheduler, "zh-HK")), (2, 2));
    assert_eq!(fill(&scheduler, "s", &recognise("zh")).len(), 6);
}

#[test]
fn translation_from_any_to_any_serves_every_direction() {
    let any = || Capabilities::new().nmt_any(["zh", "en", "de"]);
    for (from, to) in [("zh", "en"), ("en", "zh"), ("de", "zh"), ("zh-CN", "en-GB")] {
        assert!(serves(any(), &Demand::translate(from, to)), "{from} > {to}");
    }
    for (from, to) in [("fr", "en"), ("en", "fr")] {
        assert!(!serves(any(), &Demand::translate(from, to)), "{from} > {to}");
    }
}

#[test]
fn translation_by_pairs_serves_just_those_directions() {
    let pairs = || Capabilities::new().nmt_pairs([("zh", "en"), ("en", "de")]);
    assert!(serves(pairs(), &Demand::translate("zh", "en")) && serves(pairs(), &Demand::translate("en", "de")));
    for (from, to) in [("en", "zh"), ("de", "en"), ("zh", "de"), ("zh", "zh")] {
        assert!(!serves(pairs(), &Demand::translate(from, to)), "{from} > {to}");
    }
}

#[test]
fn a_tag_is_of_64_bytes_at_most_and_shown_as_it_is_normalised() {
    let tag =
        |subtags: usize| ["en", "x"].into_iter().chain(std::iter::repeat_n("abcdefg", subtags)).collect::<Vec<_>>();
    let longest = format!("{}-abc", tag(7).join("-"));
    assert_eq!(longest.len(), 64);
    assert_eq!(Language::new(&longest).map(|language| language.to_string()), Ok(longest.clone()));
    for longer in [format!("{longest}d"), format!("{longest}-abcdefgh"), "a".repeat(65), "a".repeat(10_000)] {
        let error = Language::new(&longer).unwrap_err();
        assert_eq!(
            (&*error.tag, error.reason),
            (&longer[..64], format!("{} bytes, at most 64 are taken", longer.len()))
        );
    }
    let (loose, exact) = (Language::new("ZH-cn").unwrap(), Language::exact("ZH-cn").unwrap());
    assert_eq!((loose.is_exact(), exact.is_exact()), (false, true));
    assert_eq!(format!("{loose} {loose:?} {exact} {exact:?}"), "zh-CN zh-CN zh-CN =zh-CN");
}

#[test]
fn the_primary_subtag_is_the_first_but_of_tags_that_have_none() {
    for (tag, primary) in [("zh", "zh"), ("zh-CN", "zh"), ("x-elvish", "x-elvish"), ("i-default", "i-default")] {
        assert_eq!(Language::new(tag).unwrap().primary(), primary);
    }
    // So of two that have none, neither stands for the other.
    assert!(!Language::new("x-elvish").unwrap().matches(&Language::new("x-klingon").unwrap()));
}

#[test]
fn a_language_that_is_not_known_yet_asks_nothing_of_those_who_recognise_none() {
    assert!(serves(Capabilities::new().tts(["en"]), &Demand::new().source("auto").target("en")));
    assert!(!serves(Capabilities::new().tts(["en"]), &recognise("auto")));
}

#[test]
fn a_demand_without_a_service_wants_its_languages_known_to_some_service() {
    let node = || Capabilities::new().nmt_pairs([("zh", "en")]);
    for (source, served) in [("zh", true), ("en", true), ("fr", false)] {
        assert_eq!(serves(node(), &Demand::new().source(source)), served, "{source}");
        assert_eq!(serves(node(), &Demand::new().target(source)), served, "{source}");
    }
}

#[test]
fn nodes_of_pairs_and_nodes_of_any_to_any_serve_a_direction_together() {
    let scheduler = scheduler();
    add(&scheduler, NodeSpec::new("pairs").nmt_pairs([("zh", "en")]).capacity(2).ready());
    add(&scheduler, NodeSpec::new("any").nmt_any(["zh", "en"]).capacity(3).ready());
    assert_eq!(fill(&scheduler, "r", &Demand::translate("zh", "en")).len(), 5);
    assert_eq!(kind(&scheduler, &Demand::translate("en", "zh")), "busy");
}

#[test]
fn each_service_minds_the_languages_that_it_works_on() {
    let pipeline =
        || Demand::translate("zh", "en").services([Service::ASR, Service::NMT, Service::TTS, Service::SEMANTIC]);
    let node = || Capabilities::new().asr(["zh"]).semantic(["zh"]).nmt_pairs([("zh", "en")]).tts(["en"]);
    assert!(serves(node(), &pipeline()));
    assert!(!serves(node().asr(["en"]), &pipeline()), "recognition is of the source");
    assert!(!serves(node().semantic(["en"]), &pipeline()), "repair is of the source");
    assert!(!serves(node().tts(["zh"]), &pipeline()), "synthesis is of the target");
    assert!(!serves(node().nmt_pairs([("en", "zh")]), &pipeline()), "translation is from source to target");
}

#[test]
fn a_service_offered_in_no_particular_language_serves_all() {
    assert!(serves(Capabilities::new().service(Service::ASR), &recognise("zh")));
    let none: [&str; 0] = [];
    assert!(!serves(Capabilities::new().asr(none), &recognise("zh")), "in none is not in any");
}

#[test]
fn a_service_of_ones_own_must_know_every_language_that_the_demand_names() {
    let offered = || Capabilities::new().service_in("summarise", ["zh", "en"]);
    let wanted = |source: &str, target: &str| Demand::new().service("summarise").source(source).target(target);
    assert!(serves(offered(), &wanted("zh", "en")));
    assert!(!serves(offered(), &wanted("zh", "de")) && !serves(offered(), &wanted("de", "en")));
    assert!(serves(Capabilities::new().service("summarise"), &wanted("zh", "de")));
}

#[test]
fn languages_without_a_service_must_be_known_to_some_service() {
    let node = || Capabilities::new().asr(["zh"]).tts(["en"]);
    assert!(serves(node(), &Demand::new().source("zh").target("en")));
    assert!(!serves(node(), &Demand::new().source("de")) && !serves(node(), &Demand::new().target("de")));
}

#[test]
fn with_the_source_unknown_the_node_must_serve_the_target() {
    let detect = |target: &str| Demand::translate("auto", target).services([Service::ASR, Service::NMT]);
    let node = || Capabilities::new().asr(["zh", "ja"]).nmt_any(["zh", "ja", "en"]);
    assert!(serves(node(), &detect("en")));
    assert!(!serves(node(), &detect("fr")));
}

fn coverage(scheduler: &Scheduler, id: &str, languages: &[&'static str]) {
    let spec = NodeSpec::new(id).capacity(2).asr(languages).nmt_any(["zh", "en"]).ready();
    add(scheduler, spec);
}

#[test]
fn with_the_source_unknown_nodes_that_recognise_more_languages_come_first() {
    let scheduler = scheduler();
    coverage(&scheduler, "two", &["zh", "en"]);
    coverage(&scheduler, "four", &["zh", "en", "de", "fr"]);
    coverage(&scheduler, "one", &["zh"]);
    let all = NodeSpec::new("all").capacity(2).service(Service::ASR).nmt_any(["zh", "en"]).ready();
    add(&scheduler, all);
    let detect = Demand::translate("auto", "en").services([Service::ASR, Service::NMT]);
    let jobs = fill(&scheduler, "r", &detect);
    let nodes: Vec<_> = jobs.iter().map(|job| job.node_id().as_str()).collect();
    assert_eq!(nodes, ["all", "all", "four", "four", "two", "two", "one", "one"]);
}

#[test]
fn variants_of_a_language_do_not_count_as_wider_recognition() {
    let scheduler = scheduler();
    coverage(&scheduler, "variants", &["zh-CN", "zh-TW", "zh-HK", "zh-SG"]);
    coverage(&scheduler, "languages", &["zh", "en"]);
    let detect = Demand::translate("auto", "en").services([Service::ASR, Service::NMT]);
    assert_eq!(selected(&scheduler, &detect), "languages");
}

#[test]
fn with_the_source_known_wider_recognition_is_not_preferred() {
    let scheduler = scheduler();
    coverage(&scheduler, "one", &["zh"]);
    coverage(&scheduler, "three", &["zh", "en", "de"]);
    let known = Demand::translate("zh", "en").services([Service::ASR, Service::NMT]);
    let chosen: std::collections::BTreeSet<String> = (0..100).map(|_| selected(&scheduler, &known)).collect();
    assert_eq!(chosen.len(), 2);
}

#[test]
fn a_language_may_be_given_as_a_tag_or_as_a_language() {
    let owned = String::from("zh");
    let language = Language::new("zh").unwrap();
    let all: [Result<Language, _>; 6] = [
        "zh".into_language(),
        (&"zh").into_language(),
        owned.clone().into_language(),
        (&owned).into_language(),
        language.clone().into_language(),
        (&language).into_language(),
    ];
    assert!(all.iter().all(|found| found.as_ref() == Ok(&language)));
}

#[test]
fn services_and_labels_of_any_name_are_as_good_as_the_predefined() {
    let scheduler = build(builder().routing_label("model"));
    add(&scheduler, NodeSpec::new("m3").service("embed").label("model", "bge-m3").ready());
    add(&scheduler, NodeSpec::new("e5").service("embed").label("model", "e5").ready());
    for (model, id) in [("bge-m3", "m3"), ("e5", "e5")] {
        assert_eq!(selected(&scheduler, &Demand::new().service("embed").label("model", model)), id);
    }
    assert_eq!(kind(&scheduler, &Demand::new().service("rerank")), "unsupported");
}
