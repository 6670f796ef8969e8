//! Bad input: each kind has an error of its own that carries the offending value, and changes nothing.
//!
//! Refusals of known jobs (stale attempts, ends twice) are in `jobs` and `retries`, stale handles in `nodes`, and
//! what is refused because a limit is reached is in `limits`.

mod common;

use std::time::Duration;

use common::*;
use slotyard::limits::{
    MAX_CAPACITY, MAX_EXCLUSIONS, MAX_LABEL_LEN, MAX_LABELS, MAX_LANGUAGES, MAX_POOLS, MAX_SERVICE_LEN, MAX_SERVICES,
    MAX_TAG_LEN,
};
use slotyard::{
    Capabilities, CapabilityError, ConfigError, CreateJobError, Demand, ExclusionMode, Heartbeat, HeartbeatError,
    InvalidId, JobRequest, Language, NoNode, NodeError, NodeHandle, NodeSpec, NodeState, Policy, PoolConfig,
    RegisterError, ResourceThresholds, ResourceUse, Scheduler, SchedulerBuilder, Service,
};

/// A scheduler with a node and a job, so that there is something that could be changed.
fn populated() -> (Scheduler, NodeHandle) {
    let scheduler = build(builder().max_id_len(16));
    let handle = add(&scheduler, worker("a", 4));
    scheduler.create_job(&JobRequest::new("job", work()).session("session")).unwrap();
    (scheduler, handle)
}

fn invalid_ids() -> [(String, usize); 4] {
    let umlauts = "ü".repeat(40);
    [String::new(), "x".repeat(17), "x".repeat(1000), umlauts].map(|id| {
        let len = id.len();
        (id, len)
    })
}

fn cut(id: &str) -> String {
    id.chars().take(64).collect()
}

#[test]
fn node_ids_have_1_to_max_id_len_bytes() {
    let (scheduler, _) = populated();
    for (id, len) in invalid_ids() {
        let error = refuses(&scheduler, |s| s.register(worker(&id, 1)));
        let expected = InvalidId { kind: "node", id: cut(&id), len, limit: 16 };
        assert_eq!(error, RegisterError::InvalidId(expected));
    }
    add(&scheduler, worker("x".repeat(16), 1));
    add(&scheduler, worker("y", 1));
}

#[test]
fn request_ids_have_1_to_max_id_len_bytes() {
    let (scheduler, _) = populated();
    for (id, len) in invalid_ids() {
        let error = refuses(&scheduler, |s| try_create(s, &id, work()));
        let CreateJobError::InvalidId(found) = error else { panic!("{error}") };
        assert_eq!(found, InvalidId { kind: "request", id: cut(&id), len, limit: 16 });
    }
    create(&scheduler, "x".repeat(16), work());
}

#[test]
fn session_ids_have_1_to_max_id_len_bytes() {
    let (scheduler, _) = populated();
    for (id, len) in invalid_ids() {
        let error = refuses(&scheduler, |s| s.create_job(&JobRequest::new("r", work()).session(&id)));
        let CreateJobError::InvalidId(found) = error else { panic!("{error}") };
        assert_eq!(found, InvalidId { kind: "session", id: cut(&id), len, limit: 16 });
    }
    scheduler.create_job(&JobRequest::new("r", work()).session("x".repeat(16))).unwrap();
}

#[test]
fn a_capacity_is_1_to_the_most_that_there_can_be() {
    let (scheduler, handle) = populated();
    for capacity in [0, MAX_CAPACITY + 1, u32::MAX] {
        let error = refuses(&scheduler, |s| s.register(worker("b", capacity)));
        let expected = RegisterError::InvalidCapacity { id: "b".into(), capacity, limit: MAX_CAPACITY };
        assert_eq!(error, expected);
        let error = refuses(&scheduler, |s| s.set_capacity(&handle, capacity));
        assert_eq!(error, NodeError::InvalidCapacity { id: "a".into(), capacity, limit: MAX_CAPACITY });
    }
    scheduler.set_capacity(&handle, MAX_CAPACITY).unwrap();
    assert_eq!(fill(&scheduler, "r", &work()).len(), MAX_CAPACITY as usize - 1);
}

/// Malformed capabilities, each with what is wrong with it.
fn malformed_capabilities() -> Vec<(Capabilities, CapabilityError)> {
    let new = Capabilities::new;
    let too_many = |what, limit| CapabilityError::TooMany { what, found: limit + 1, limit };
    // Letters only, so that each is well-formed: aaa, aab ...
    let tags = |count: usize| {
        (0..count).map(|n| {
            let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
            format!("{}{}{}", letter(n / 676), letter(n / 26), letter(n))
        })
    };
    let long = |len: usize| "x".repeat(len);
    let service = |name: String| (new().service(name.as_str()), CapabilityError::InvalidServiceName { name });
    let label =
        |name: String, value: String| (new().label(&name, &value), CapabilityError::InvalidLabel { name, value });
    vec![
        service(String::new()),
        service(long(MAX_SERVICE_LEN + 1)),
        label(String::new(), "value".to_owned()),
        label(long(MAX_LABEL_LEN + 1), String::new()),
        label("name".to_owned(), long(MAX_LABEL_LEN + 1)),
        ((0..=MAX_SERVICES).fold(new(), |all, n| all.service(format!("s{n}"))), too_many("services", MAX_SERVICES)),
        ((0..=MAX_LABELS).fold(new(), |all, n| all.label(format!("l{n}"), "")), too_many("labels", MAX_LABELS)),
        (new().asr(tags(MAX_LANGUAGES + 1)), too_many("languages", MAX_LANGUAGES)),
        (new().nmt_pairs(tags(MAX_LANGUAGES + 1).map(|tag| (tag, "en"))), too_many("languages", MAX_LANGUAGES)),
    ]
}

#[test]
fn malformed_capabilities_are_refused_on_registration_and_on_update() {
    let (scheduler, handle) = populated();
    for (capabilities, error) in malformed_capabilities() {
        assert_eq!(capabilities.validate(), Err(error.clone()));
        let found = refuses(&scheduler, |s| s.register(NodeSpec::new("b").capabilities(capabilities.clone())));
        assert_eq!(found, RegisterError::InvalidCapabilities { id: "b".into(), error: error.clone() });
        let found = refuses(&scheduler, |s| s.update(&handle, capabilities.clone()));
        assert_eq!(found, NodeError::InvalidCapabilities { id: "a".into(), error });
    }
    let most = (0..MAX_SERVICES).fold(Capabilities::new(), |all, n| all.service(format!("s{n}")));
    let most = (0..MAX_LABELS).fold(most, |all, n| all.label(format!("l{n}"), "x".repeat(MAX_LABEL_LEN)));
    scheduler.update(&handle, most).unwrap();
}

/// Tags that are not well-formed BCP-47.
fn malformed_tags() -> [String; 6] {
    ["", "z_h", "1", "toolonglanguage", "zh-", " en"].map(str::to_owned)
}

#[test]
fn malformed_language_tags_are_refused_wherever_a_language_is_given() {
    let (scheduler, handle) = populated();
    let in_capabilities: [fn(&str) -> Capabilities; 7] = [
        |tag| Capabilities::new().asr([tag]),
        |tag| Capabilities::new().tts(["en", tag]),
        |tag| Capabilities::new().semantic([tag]),
        |tag| Capabilities::new().nmt_any([tag]),
        |tag| Capabilities::new().nmt_pairs([(tag, "en")]),
        |tag| Capabilities::new().nmt_pairs([("en", tag)]),
        |tag| Capabilities::new().service_in("other", [tag]),
    ];
    let in_demands: [fn(&str) -> Demand; 3] =
        [|tag| Demand::new().source(tag), |tag| Demand::new().target(tag), |tag| Demand::translate("en", tag)];
    for tag in malformed_tags() {
        for capabilities in in_capabilities {
            let error = refuses(&scheduler, |s| s.update(&handle, capabilities(&tag)));
            let NodeError::InvalidCapabilities {
                error: CapabilityError::MalformedLanguage { tag: found, reason }, ..
            } = error
            else {
                panic!("{tag:?}: {error}")
            };
            assert!(found == tag && !reason.is_empty());
        }
        for demand in in_demands {
            let error = refuses(&scheduler, |s| s.select(&demand(&tag)).map(drop));
            let NoNode::Invalid(CapabilityError::MalformedLanguage { tag: found, .. }) = error else {
                panic!("{tag:?}: {error}")
            };
            assert_eq!(found, tag);
        }
    }
}

#[test]
fn a_language_tag_of_any_length_is_shown_cut_to_64_bytes() {
    for tag in ["a".repeat(MAX_TAG_LEN + 1), "a".repeat(10_000), "ü".repeat(100)] {
        let error = Language::new(&tag).unwrap_err();
        assert!(tag.starts_with(&error.tag) && !error.tag.is_empty());
        assert!(error.tag.len() <= MAX_TAG_LEN, "{} bytes", error.tag.len());
    }
}

/// Malformed demands, each with what is wrong with it.
fn malformed_demands() -> Vec<(Demand, CapabilityError)> {
    let too_many = |what, limit| CapabilityError::TooMany { what, found: limit + 1, limit };
    let long = |len: usize| "x".repeat(len);
    let label = |name: &str, value: String| CapabilityError::InvalidLabel { name: name.to_owned(), value };
    let excluded = (0..=MAX_EXCLUSIONS).map(|n| n.to_string());
    vec![
        (Demand::new().service(""), CapabilityError::InvalidServiceName { name: String::new() }),
        (
            Demand::new().service(long(MAX_SERVICE_LEN + 1)),
            CapabilityError::InvalidServiceName { name: long(MAX_SERVICE_LEN + 1) },
        ),
        (Demand::new().label("", "v"), label("", "v".to_owned())),
        (Demand::new().label("n", long(MAX_LABEL_LEN + 1)), label("n", long(MAX_LABEL_LEN + 1))),
        (Demand::new().tenant(long(MAX_LABEL_LEN + 1)), label("tenant", long(MAX_LABEL_LEN + 1))),
        (Demand::new().services((0..=MAX_SERVICES).map(|n| format!("s{n}"))), too_many("services", MAX_SERVICES)),
        ((0..=MAX_LABELS).fold(Demand::new(), |all, n| all.label(format!("l{n}"), "")), too_many("labels", MAX_LABELS)),
        (Demand::new().exclude(excluded, ExclusionMode::Soft), too_many("exclusions", MAX_EXCLUSIONS)),
        // The first thing that is wrong is told, and what comes after does not make up for it.
        (
            Demand::new().service("").label("", "v").service("work"),
            CapabilityError::InvalidServiceName { name: String::new() },
        ),
    ]
}

#[test]
fn a_malformed_demand_is_refused_by_every_call_that_takes_one() {
    let (scheduler, _) = populated();
    for (demand, expected) in malformed_demands() {
        assert_eq!(demand.validate(), Err(expected.clone()));
        let prepared = scheduler.prepare(&demand);
        let errors = [
            refuses(&scheduler, |s| s.select(&demand).map(drop)),
            refuses(&scheduler, |s| s.reserve(&demand).map(drop)),
            refuses(&scheduler, |s| s.select_prepared(&prepared).map(drop)),
            refuses(&scheduler, |s| s.reserve_prepared(&prepared).map(drop)),
            refused(Err(refuses(&scheduler, |s| try_create(s, "r", demand.clone())))),
            refused(Err(refuses(&scheduler, |s| s.create_job(&JobRequest::new("r", demand.clone()).session("new"))))),
        ];
        for error in errors {
            assert!(matches!(&error, NoNode::Invalid(found) if *found == expected), "{error}");
            assert!(error.refusal().is_none() && error.kind() == "invalid");
        }
    }
}

#[test]
fn resource_use_is_a_number_from_0_to_1() {
    let (scheduler, handle) = populated();
    type Of = fn(f32) -> ResourceUse;
    let resources: [(&str, Of); 4] = [
        ("cpu", |cpu| ResourceUse { cpu, ..Default::default() }),
        ("memory", |memory| ResourceUse { memory, ..Default::default() }),
        ("gpu", |gpu| ResourceUse { gpu, ..Default::default() }),
        ("gpu_memory", |gpu_memory| ResourceUse { gpu_memory, ..Default::default() }),
    ];
    for (name, of) in resources {
        for bad in [f32::NAN, -f32::EPSILON, 1.0 + f32::EPSILON, f32::INFINITY, f32::NEG_INFINITY] {
            let beat = Heartbeat::not_ready().running(9).resources(of(bad));
            let error = refuses(&scheduler, |s| s.heartbeat(&handle, &beat));
            let HeartbeatError::InvalidResource { id, resource, value } = error else { panic!("{error}") };
            assert_eq!((id.as_str(), resource, value.to_bits()), ("a", name, bad.to_bits()));
            let error = refuses(&scheduler, |s| s.heartbeat_by_id("a", &beat));
            assert!(matches!(error, HeartbeatError::InvalidResource { .. }));
        }
        for good in [0.0, -0.0, 1.0] {
            scheduler.heartbeat(&handle, &Heartbeat::alive().resources(of(good))).unwrap();
        }
    }
    // Several at once: the first is named.
    let pairs = [(2.0, 3.0, 0.0, 0.0), (0.0, 2.0, 0.0, 3.0), (2.0, 3.0, 4.0, 5.0)];
    for (cpu, memory, gpu, gpu_memory) in pairs {
        let beat = Heartbeat::alive().resources(ResourceUse { cpu, memory, gpu, gpu_memory });
        let first = if cpu > 1.0 { "cpu" } else { "memory" };
        let error = refuses(&scheduler, |s| s.heartbeat(&handle, &beat));
        assert!(matches!(error, HeartbeatError::InvalidResource { resource, value: 2.0, .. } if resource == first));
        refuses(&scheduler, |s| s.heartbeat_by_id("a", &beat));
    }
}

#[test]
fn a_heartbeat_names_services_that_the_node_offers() {
    let (scheduler, handle) = populated();
    for services in [vec!["other"], vec!["work", "other"], vec![""]] {
        let beat = Heartbeat::not_ready().running(9).services(services.clone());
        let error = refuses(&scheduler, |s| s.heartbeat(&handle, &beat));
        let unknown = Service::from(*services.last().unwrap());
        assert_eq!(error, HeartbeatError::UnknownService { id: "a".into(), service: unknown });
    }
}

#[test]
fn a_heartbeat_that_was_refused_does_not_keep_the_node_alive() {
    let (scheduler, handle) = populated();
    scheduler.tick(secs(10));
    let bad = [
        Heartbeat::ready().services(["other"]),
        Heartbeat::ready().resources(ResourceUse { cpu: f32::NAN, ..Default::default() }),
    ];
    bad.iter().for_each(|beat| assert!(scheduler.heartbeat(&handle, beat).is_err()));
    scheduler.tick(secs(15));
    assert_eq!(state(&scheduler, "a"), NodeState::Offline);
}

#[test]
fn a_heartbeat_of_an_unknown_node_is_refused() {
    let (scheduler, _) = populated();
    for id in ["b", "", &"x".repeat(1000)] {
        let error = refuses(&scheduler, |s| s.heartbeat_by_id(id, &Heartbeat::ready()));
        assert_eq!(error, HeartbeatError::UnknownNode { id: id.to_owned() });
    }
}

#[test]
fn a_service_that_the_node_does_not_offer_cannot_be_unavailable() {
    let (scheduler, handle) = populated();
    let error = refuses(&scheduler, |s| s.mark_unavailable(&handle, &Service::TTS, secs(1)));
    assert_eq!(error, NodeError::UnknownService { id: "a".into(), service: Service::TTS });
}

#[test]
fn a_service_is_unavailable_for_more_than_no_time_and_at_most_a_year() {
    let (scheduler, handle) = populated();
    let year = secs(366 * 24 * 3600);
    for time in [Duration::ZERO, year + Duration::from_nanos(1), Duration::MAX] {
        let error = refuses(&scheduler, |s| s.mark_unavailable(&handle, &Service::from("work"), time));
        assert_eq!(error, NodeError::InvalidTime { id: "a".into(), time });
    }
    scheduler.mark_unavailable(&handle, &Service::from("work"), year).unwrap();
}

#[test]
fn a_lease_is_longer_than_nothing_and_no_longer_than_max_lease() {
    let scheduler = build(builder().max_lease(secs(100)).default_lease(secs(10)));
    add(&scheduler, worker("a", 4));
    for lease in [Duration::ZERO, secs(100) + Duration::from_nanos(1), Duration::MAX] {
        let error = refuses(&scheduler, |s| s.create_job(&JobRequest::new("r", work()).lease(lease).session("s")));
        let CreateJobError::InvalidLease { lease: found, limit } = error else { panic!("{error}") };
        assert_eq!((found, limit), (lease, secs(100)));
    }
    scheduler.create_job(&JobRequest::new("r", work()).lease(secs(100))).unwrap();
}

#[test]
fn a_configuration_out_of_bounds_names_the_knob_and_its_value() {
    let b = Scheduler::builder;
    let year = secs(366 * 24 * 3600);
    let zero = Duration::ZERO;
    let thresholds = |degrade, recover| b().thresholds(ResourceThresholds::all(degrade, recover));
    let table: Vec<(SchedulerBuilder, &str, &str)> = vec![
        (b().heartbeat_timeout(zero), "heartbeat_timeout", "0ns"),
        (b().heartbeat_timeout(year + ms(1)), "heartbeat_timeout", "31622400.001s"),
        (b().offline_retention(zero), "offline_retention", "0ns"),
        (b().tick_interval(Duration::from_micros(999)), "tick_interval", "999µs"),
        (b().external_load_decay(zero), "external_load_decay", "0ns"),
        (b().default_lease(zero), "default_lease", "0ns"),
        (b().default_lease(secs(3)).max_lease(secs(2)), "default_lease", "3s"),
        (b().max_lease(zero), "max_lease", "0ns"),
        (b().session_ttl(zero), "session_ttl", "0ns"),
        (b().finished_retention(Duration::MAX), "finished_retention", "18446744073709551615.999999999s"),
        (b().max_attempts(0), "max_attempts", "0"),
        (b().max_nodes(0), "max_nodes", "0"),
        (b().max_jobs(0), "max_jobs", "0"),
        (b().max_jobs(5).max_finished_jobs(6), "max_finished_jobs", "6"),
        (b().max_sessions(0), "max_sessions", "0"),
        (b().max_pools(0), "max_pools", "0"),
        (b().max_pools(MAX_POOLS + 1), "max_pools", "65537"),
        (b().max_routes(0), "max_routes", "0"),
        (b().max_id_len(0), "max_id_len", "0"),
        (b().hash_pools(0), "hash_pools", "0"),
        (b().max_pools(3).hash_pools(4), "hash_pools", "4"),
        (b().shards(0), "shards", "0"),
        (b().shards(2048), "shards", "2048"),
        (b().shards(24), "shards", "24"),
        (b().policy(Policy::least_loaded(0)), "policy", "\"least_loaded(0)\""),
        (b().policy(Policy::least_loaded(65)), "policy", "\"least_loaded(65)\""),
        (thresholds(0.8, 0.9), "thresholds", "\"cpu: degrade 0.8, recover 0.9\""),
        (thresholds(0.0, 0.0), "thresholds", "\"cpu: degrade 0, recover 0\""),
        (thresholds(0.5, 0.0), "thresholds", "\"cpu: degrade 0.5, recover 0\""),
        (thresholds(f32::NAN, 0.5), "thresholds", "\"cpu: degrade NaN, recover 0.5\""),
        (b().pool(PoolConfig::new("")), "pools", "\"name \\\"\\\"\""),
        (b().max_id_len(3).pool(PoolConfig::new("four")), "pools", "\"name \\\"four\\\"\""),
        (b().pool(PoolConfig::new("p")).pool(PoolConfig::new("p").tenant("t")), "pools", "\"name \\\"p\\\" twice\""),
        (
            b().pool(PoolConfig::new("p").tenant("t")).pool(PoolConfig::new("q").tenant("t")),
            "pools",
            "\"tenant \\\"t\\\" bound twice\"",
        ),
        (b().pool(PoolConfig::new("p")).pool(PoolConfig::new("q")), "pools", "\"two pools without a requirement\""),
        (b().max_pools(1).pool(PoolConfig::new("p")).pool(PoolConfig::new("q").tenant("t")), "pools", "2"),
    ];
    for (builder, knob, value) in table {
        let error = builder.manual_maintenance().build().expect_err(knob);
        let ConfigError::Invalid { knob: found, value: shown, allowed } = &error else { panic!("{error}") };
        assert_eq!((*found, shown.as_str()), (knob, value));
        assert!(!allowed.is_empty() && error.to_string().starts_with(&format!("{knob} = {value}")), "{error}");
    }
}

#[test]
fn ticks_are_at_most_a_quarter_of_the_heartbeat_timeout_apart_unless_the_embedder_ticks() {
    let of = |interval| Scheduler::builder().heartbeat_timeout(secs(4)).tick_interval(interval);
    assert_eq!(of(ms(1000)).check().map(drop), Ok(()));
    let error = of(ms(1001)).check().unwrap_err();
    assert!(
        matches!(&error, ConfigError::Invalid { knob: "tick_interval", value, .. } if value == "1.001s"),
        "{error}"
    );
    assert_eq!(of(ms(1001)).manual_maintenance().check().map(drop), Ok(()));
}

#[test]
fn a_configuration_at_its_bounds_is_taken() {
    let b = Scheduler::builder;
    let year = secs(366 * 24 * 3600);
    let least = b().max_nodes(1).max_jobs(1).max_finished_jobs(0).max_sessions(1).max_pools(1).max_routes(1);
    let least = least.max_id_len(1).max_attempts(1).hash_pools(1).shards(1).pool(PoolConfig::new("p"));
    let least_times =
        b().heartbeat_timeout(ms(1)).offline_retention(ms(1)).external_load_decay(ms(1)).session_ttl(ms(1));
    let least_times = least_times.default_lease(ms(1)).max_lease(ms(1)).finished_retention(Duration::ZERO);
    let most_times = b().heartbeat_timeout(year).offline_retention(year).external_load_decay(year).session_ttl(year);
    let most_times = most_times.default_lease(year).max_lease(year).finished_retention(year);
    let most = b().max_nodes(1 << 26).max_jobs(1 << 30).max_finished_jobs(1 << 30).max_sessions(1 << 30);
    let most = most.max_pools(MAX_POOLS).max_routes(1 << 20).max_id_len(1 << 16).max_attempts(1 << 16).shards(1024);
    let as_many = b().max_id_len(3).max_pools(2).pool(PoolConfig::new("one")).pool(PoolConfig::new("two").tenant("t"));
    let thresholds = b().thresholds(ResourceThresholds::all(f32::MIN_POSITIVE, f32::MIN_POSITIVE));
    let cases = [least, least_times, most_times, most, as_many, thresholds];
    for (number, builder) in cases.into_iter().enumerate() {
        assert_eq!(builder.manual_maintenance().check().map(drop), Ok(()), "case {number}");
    }
}

#[test]
fn a_malformed_pool_or_routing_label_in_the_configuration_is_told() {
    let pool = PoolConfig::new("p").requires(Capabilities::new().asr(["z_h"]));
    let error = builder().pool(pool).build().unwrap_err();
    assert!(matches!(error, ConfigError::Capability(CapabilityError::MalformedLanguage { tag, .. }) if tag == "z_h"));
    let error = builder().routing_label("").build().unwrap_err();
    let expected = CapabilityError::InvalidLabel { name: String::new(), value: String::new() };
    assert_eq!(error, ConfigError::Capability(expected));
}

#[test]
#[should_panic(expected = "manual_maintenance")]
fn a_tick_by_hand_needs_manual_maintenance() {
    Scheduler::builder().build().unwrap().tick(secs(1));
}
