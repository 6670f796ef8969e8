//! **Retries**: an attempt is followed by one, whoever tries again, and its slot is free once.
//!
//! | model | clients | lost | crashes | jumps of time |
//! |---|---|---|---|---|
//! | two instances try again | 2 | 2 | 1 | 1 |
//! | tried again and completed | 2 | 2 | 1 | 2 |
//! | tried again and failed, while the slot is wanted | 3 | 1 | 0 | 1 |
//! | two instances try again, what is lost comes late | 2 | 2 | 0 | 1 |
//! | one gives up and tries again later, what is lost comes late | 1 | 2 | 0 | 2 |

use super::client::Process;
use super::explore::explore;
use super::programs::{at, finish, first_of, retry, retry_again, wish, work};
use super::scenario::Scenario;
use crate::job::JobState;

pub(super) async fn again(process: Process, nodes: &'static [&'static str]) {
    if let Some(granted) = retry(&process, "r", &first_of("r", 9, "n1"), nodes).await {
        process.pause().await;
        finish(&process, &at("r", &granted), JobState::Completed).await;
    }
}

pub(super) async fn end(process: Process, state: JobState) {
    finish(&process, &first_of("r", 9, "n1"), state).await;
}

fn two_nodes() -> Scenario {
    Scenario::new([("n1", 1), ("n2", 1)]).job("r", 9, 0)
}

#[test]
fn of_two_instances_that_try_again_one_does() {
    let scenario = Scenario::new([("n1", 1), ("n2", 2)]).job("r", 9, 0);
    let scenario = scenario.client(|process| again(process, &["n2"])).client(|process| again(process, &["n2"]));
    explore(scenario.losses(2).crashes(1).jumps(1), &["it was handed out", "another has tried again", "it was ended"]);
}

#[test]
fn a_job_is_tried_again_while_it_ends() {
    let scenario = two_nodes()
        .client(|process| again(process, &["n2"]))
        .client(|process| end(process, JobState::Completed))
        .losses(2)
        .crashes(1)
        .jumps(2);
    let outcomes = ["it was handed out", "it could not be tried again", "another attempt was there", "it was ended"];
    explore(scenario, &outcomes);
}

#[test]
fn a_job_is_tried_again_while_it_fails_or_expires() {
    let scenario = two_nodes()
        .client(|process| again(process, &["n2", "n1"]))
        .client(|process| end(process, JobState::Failed))
        .client(|process| work(process, wish("s", 3, &["n1"])))
        .losses(1)
        .jumps(1);
    explore(scenario, &["it was handed out", "the node was full", "it had expired", "it was ended"]);
}

#[test]
fn a_try_that_comes_late_takes_no_slot_twice() {
    let scenario = two_nodes()
        .client(|process| again(process, &["n2"]))
        .client(|process| again(process, &["n2"]))
        .late()
        .losses(2)
        .jumps(1);
    explore(scenario, &["it was handed out", "another has tried again"]);
}

/// As [`in_rounds`](super::creates::in_rounds).
pub(super) async fn in_rounds(process: Process, remembers: bool) {
    let mut first_asked = None;
    for _ in 0..2 {
        process.has_patience_for(2);
        if !remembers {
            first_asked = None;
        }
        if retry_again(&process, "r", &first_of("r", 9, "n1"), &["n2"], &mut first_asked).await.is_some() {
            return;
        }
        process.pause().await;
    }
}

#[test]
fn a_try_that_is_asked_for_in_rounds_is_as_old_as_the_first_of_them() {
    let scenario = two_nodes().client(|process| in_rounds(process, true)).late().losses(2).jumps(2);
    explore(scenario, &["it was handed out", "nobody knows what came of it"]);
}
