//! **Creates**: a request has one job, whoever asks for it and whatever is lost; a slot has one job at a time.
//!
//! | model | clients | lost | crashes | jumps of time |
//! |---|---|---|---|---|
//! | one request, one slot | 2 | 2 | 1 | 2 |
//! | one request, two nodes | 2 | 1 | 1 | 2 |
//! | two requests, one slot, and the node that runs them | 2 | 0 | 1 | 2 |
//! | two requests, one slot, what is lost comes late | 2 | 2 | 0 | 1 |
//! | one client, what is lost comes late, to the moment | 1 | 2 | 1 | 3 |
//! | one client that asks in rounds, what is lost comes late | 2 | 2 | 0 | 2 |
//! | one request whose binding expires | 2 | 1 | 0 | 2 |
//! | one gives up and undoes it, another has been told of it | 2 | 2 | 0 | 1 |

use super::client::{LEASE, Process};
use super::explore::explore;
use super::programs::{
    TERMS, Wish, at, create, create_again, finish, first_of, made_by, undo, use_if_there, wish, work,
};
use super::scenario::Scenario;
use crate::job::JobState;
use crate::redis::protocol::Terms;

#[test]
fn a_request_has_one_job_whatever_is_lost() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| work(process, wish("r", 1, &["n1"])))
        .client(|process| work(process, wish("r", 2, &["n1"])))
        .losses(2)
        .crashes(1)
        .jumps(2);
    explore(scenario, &["it was handed out", "it was another's", "it had ended", "it was ended"]);
}

#[test]
fn a_request_has_one_job_on_two_nodes() {
    let scenario = Scenario::new([("n1", 1), ("n2", 1)])
        .client(|process| work(process, wish("r", 1, &["n1", "n2"])))
        .client(|process| work(process, wish("r", 2, &["n2", "n1"])))
        .losses(1)
        .crashes(1)
        .jumps(2);
    explore(scenario, &["it was handed out", "it was another's", "it had ended", "it was ended"]);
}

#[test]
fn a_slot_has_one_job_at_a_time() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| work(process, wish("a", 1, &["n1"])))
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .running()
        .crashes(1)
        .jumps(2);
    explore(scenario, &["it was handed out", "the node was full", "it had expired", "a node refused a smaller fence"]);
}

#[test]
fn what_comes_late_takes_no_slot_twice() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| work(process, wish("a", 1, &["n1"])))
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .late()
        .losses(2)
        .jumps(1);
    explore(scenario, &["it was handed out", "the node was full"]);
}

#[test]
fn a_job_is_handed_out_while_its_lease_is_young() {
    let scenario = Scenario::new([("n1", 1)]).client(|process| work(process, wish("r", 1, &["n1"])));
    let scenario = scenario.by_the_moment().late().losses(2).crashes(1).jumps(3);
    explore(scenario, &["it was handed out", "it was ended"]);
}

/// As an instance asks with other candidates when the first are refused, and again after it has given up.
pub(super) async fn in_rounds(process: Process, remembers: bool) {
    let mut first_asked = None;
    for _ in 0..2 {
        process.has_patience_for(2);
        if !remembers {
            first_asked = None;
        }
        if create_again(&process, wish("r", 1, &["n1"]), &mut first_asked).await.is_some() {
            return;
        }
        process.pause().await;
    }
}

#[test]
fn a_job_that_is_asked_for_in_rounds_is_as_old_as_the_first_of_them() {
    let scenario = Scenario::new([("n1", 1)])
        .job("s", 9, 0)
        .client(|process| in_rounds(process, true))
        .client(|process| async move { finish(&process, &first_of("s", 9, "n1"), JobState::Completed).await })
        .late()
        .losses(2)
        .jumps(2);
    explore(scenario, &["it was handed out", "the node was full", "nobody knows what came of it"]);
}

#[test]
fn a_binding_that_has_expired_makes_room_for_another_job() {
    async fn brief(process: Process, job: u128) {
        let terms = Terms { binding: 3 * LEASE / 2, ended: LEASE, ..TERMS };
        create(&process, Wish { terms, ..wish("r", job, &["n1", "n2"]) }).await;
    }
    let scenario = Scenario::new([("n1", 1), ("n2", 1)])
        .client(|process| brief(process, 1))
        .client(|process| async move {
            brief(process.clone(), 2).await;
            finish(&process, &first_of("r", 1, "n1"), JobState::Cancelled).await;
        })
        .bindings_expire()
        .losses(1)
        .jumps(2);
    explore(scenario, &["it was handed out", "it was another's", "it was ended", "it was unknown"]);
}

/// As an instance whose call's time is up: nobody waits for the job any more.
pub(super) async fn make_or_undo(process: Process) {
    process.has_patience_for(1);
    let granted = create(&process, wish("r", 1, &["n1"])).await;
    process.has_patience_for(u32::MAX);
    if let Some(granted) = granted {
        return finish(&process, &at("r", &granted), JobState::Completed).await;
    }
    undo(&process, &made_by(&process, "r", 1, "n1")).await;
}

#[test]
fn what_is_undone_is_nobodys_and_what_another_has_moved_on_is_not_undone() {
    let scenario = Scenario::new([("n1", 1)]).client(make_or_undo).client(|process| use_if_there(process, "r", 2));
    let outcomes = ["it was undone", "another had moved it on", "there was nothing to undo", "it was handed out"];
    explore(scenario.losses(2).jumps(1), &outcomes);
}
