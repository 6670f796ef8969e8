//! Values that users keep, compare and log.

mod common;

use std::collections::HashMap;

use common::*;
use slotyard::JobState::*;
use slotyard::NodeState::*;
use slotyard::{Capabilities, JobId, NodeSpec, Scheduler, SchedulerBuilder, Service};

#[test]
fn the_id_of_a_node_is_found_compared_and_shown_as_its_text() {
    let scheduler = scheduler();
    let [a, b] = ["a", "b"].map(|id| add(&scheduler, worker(id, 1)).id().clone());
    // By the id, and by its text.
    let map = HashMap::from([(a.clone(), 1), (b.clone(), 2)]);
    assert_eq!((map.get(&b), map.get("a"), map.get("c")), (Some(&2), Some(&1), None));
    assert!(a == "a" && a != "b" && a == *"a" && a != *"b" && a < b && a == a.clone() && a != b);
    assert_eq!((format!("{a} {a:?}"), a.len()), ("a \"a\"".to_owned(), 1));
}

#[test]
fn the_id_of_a_job_is_its_bits_and_its_text() {
    let bits = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
    let id = JobId::from_u128(bits);
    let text = "0123456789abcdef0011223344556677";
    assert_eq!((id.to_u128(), id.to_string(), format!("{id:?}")), (bits, text.to_owned(), text.to_owned()));
    assert_eq!((text.parse(), text.to_uppercase().parse()), (Ok(id), Ok(id)));
    for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('0', "+"), &text.replace('0', "g")] {
        let error = wrong.parse::<JobId>().expect_err(wrong).to_string();
        assert!(error.starts_with(&format!("{wrong:?} is not a job id")), "{error}");
    }
}

#[test]
fn states_are_shown_as_documents_and_metrics_name_them() {
    let jobs = [Reserved, Dispatched, Running, Completed, Failed, Cancelled, Expired, Orphaned];
    let names = ["reserved", "dispatched", "running", "completed", "failed", "cancelled", "expired", "orphaned"];
    assert_eq!(jobs.map(|state| state.to_string()), names);
    let nodes = [Registering, Ready, Degraded, Draining, Offline];
    assert_eq!(nodes.map(|state| state.to_string()), ["registering", "ready", "degraded", "draining", "offline"]);
}

#[test]
fn handles_and_jobs_are_shown_by_what_they_are_of() {
    let scheduler = scheduler();
    let node = add(&scheduler, worker("a", 1));
    assert_eq!(format!("{node:?}"), format!("NodeHandle {{ id: \"a\", incarnation: {} }}", node.incarnation()));
    let job = create(&scheduler, "r", work());
    let shown = format!("Job {{ id: {}, attempt: 1, node_id: \"a\", request_id: \"r\" }}", job.id());
    assert_eq!(format!("{job:?}"), shown);
}

#[test]
fn what_was_chosen_is_shown_with_its_slots() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 3));
    let reservation = scheduler.reserve(&work()).unwrap();
    let selection = scheduler.select(&work()).unwrap();
    assert_eq!((selection.node_id(), selection.in_flight(), selection.capacity()), ("a", 1, 3));
    assert_eq!(format!("{selection:?}"), "Selection { node_id: \"a\", in_flight: 1 }");
    assert_eq!(format!("{reservation:?}"), format!("Reservation {{ node: {:?} }}", reservation.node()));
    assert!(format!("{scheduler:?}").starts_with("Scheduler { stats: Stats {"));
}

#[test]
fn capabilities_are_shown_with_all_that_they_are() {
    let shown = format!("{:?}", Capabilities::new().asr(["zh"]).label("zone", "eu"));
    assert_eq!(format!("{:?} {0}", Service::ASR), "asr asr");
    assert!(shown.contains("asr") && shown.contains("zh") && shown.contains("zone") && shown.contains("eu"), "{shown}");
}

#[test]
fn a_configuration_can_be_taken_and_changed() {
    let first = builder().max_nodes(1).build().unwrap();
    let taken = SchedulerBuilder::from_config(first.config().clone());
    let second: Scheduler = taken.clone().build().unwrap();
    add(&second, worker("a", 1));
    assert!(second.register(NodeSpec::new("b")).is_err(), "it takes one node, as the first");
    let third = taken.max_nodes(2).build().unwrap();
    assert_eq!((third.config().max_nodes, third.config().seed), (2, first.config().seed));
    assert!(third.config().manual_maintenance);
}
