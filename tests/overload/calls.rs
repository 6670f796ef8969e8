//! Calls that ask for more than a call may: by the thousand, from all sides, while others work.

use slotyard::limits::{
    MAX_EXCLUSIONS, MAX_LABEL_LEN, MAX_LABELS, MAX_LANGUAGES, MAX_SERVICE_LEN, MAX_SERVICES, MAX_TAG_LEN,
};
use slotyard::{Capabilities, Demand, ExclusionMode, Heartbeat, JobRequest, NodeHandle, NodeSpec, Scheduler};

use super::common::*;
use super::*;

const LONGEST_ID: usize = 24;
const LONGEST_LEASE: u64 = 77;

/// Demands of which each is too much by one, with the limit that the error names.
fn immodest_demands() -> Vec<(Demand, usize)> {
    let names = |count: usize| (0..count).map(|n| format!("s{n}"));
    let labels = names(MAX_LABELS + 1).fold(Demand::new(), |demand, name| demand.label(name, "v"));
    vec![
        (Demand::new().services(names(MAX_SERVICES + 1)), MAX_SERVICES),
        (labels, MAX_LABELS),
        (work().exclude(names(MAX_EXCLUSIONS + 1), ExclusionMode::Soft), MAX_EXCLUSIONS),
        (Demand::new().service("x".repeat(MAX_SERVICE_LEN + 1)), MAX_SERVICE_LEN),
        (work().label("l", "x".repeat(MAX_LABEL_LEN + 1)), MAX_LABEL_LEN),
        (Demand::new().target("x".repeat(MAX_TAG_LEN + 1).as_str()), MAX_TAG_LEN),
    ]
}

fn immodest_capabilities() -> Vec<(Capabilities, usize)> {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    let tags = (0..=MAX_LANGUAGES).map(|n| format!("{}{}{}", letter(n / 676), letter(n / 26), letter(n)));
    let services = (0..=MAX_SERVICES).fold(Capabilities::new(), |all, n| all.service(format!("s{n}")));
    let labels = (0..=MAX_LABELS).fold(Capabilities::new(), |all, n| all.label(format!("l{n}"), "v"));
    vec![(Capabilities::new().asr(tags), MAX_LANGUAGES), (services, MAX_SERVICES), (labels, MAX_LABELS)]
}

/// Every call that can ask for too much, each once. What they say, with what they must name.
fn ask_for_too_much(scheduler: &Scheduler, node: &NodeHandle, n: usize) -> Vec<(String, usize)> {
    let long = format!("{n:0width$}", width = LONGEST_ID + 1);
    let mut refused = Vec::new();
    let mut told = |error: String, limit: usize| refused.push((error, limit));
    for (demand, limit) in immodest_demands() {
        told(scheduler.select(&demand).map(drop).unwrap_err().to_string(), limit);
        told(scheduler.create_job(&JobRequest::new(format!("r{n}"), demand)).unwrap_err().to_string(), limit);
    }
    for (capabilities, limit) in immodest_capabilities() {
        told(scheduler.update(node, capabilities.clone()).unwrap_err().to_string(), limit);
        let spec = NodeSpec::new(format!("n{n}")).capabilities(capabilities);
        told(scheduler.register(spec).unwrap_err().to_string(), limit);
    }
    told(scheduler.register(worker(&long, 1)).unwrap_err().to_string(), LONGEST_ID);
    told(try_create(scheduler, &long, work()).unwrap_err().to_string(), LONGEST_ID);
    let in_session = JobRequest::new("r", work()).session(&long);
    told(scheduler.create_job(&in_session).unwrap_err().to_string(), LONGEST_ID);
    let lease = JobRequest::new("r", work()).lease(secs(LONGEST_LEASE + 1));
    told(scheduler.create_job(&lease).unwrap_err().to_string(), LONGEST_LEASE as usize);
    refused
}

#[test]
pub(crate) fn calls_that_ask_for_too_much_are_refused_by_the_thousand_and_leave_nothing() {
    let scheduler = build(builder().max_id_len(LONGEST_ID).max_lease(secs(LONGEST_LEASE)).max_finished_jobs(4));
    let node = add(&scheduler, worker("a", 8));
    // Whoever is not to be refused is not, all the while.
    let works = |thread: usize| {
        for n in 0..120 {
            if thread < 2 {
                for m in 0..20 {
                    complete(&scheduler, &create(&scheduler, format!("modest {thread}-{n}-{m}"), work()));
                    scheduler.heartbeat(&node, &Heartbeat::ready()).unwrap();
                }
            } else {
                for (error, limit) in ask_for_too_much(&scheduler, &node, thread * 1_000 + n) {
                    assert!(error.contains(&limit.to_string()), "{limit} is not said: {error}");
                }
            }
        }
    };
    let small = |now: &Gauges| {
        assert!(
            now.nodes == 1 && now.pools == 2 && now.sessions == 0 && now.routes <= 1 && now.jobs <= 4 + 2 * THREADS,
            "{now:?}"
        );
    };
    under_load(&scheduler, THREADS, works, small);
    assert_idle(&scheduler);
    assert_eq!(fill(&scheduler, "r", &work()).len(), 8);
}
