//! **Spread keys**: what `creates`, `ends`, `leases` and `retries` show holds where a request and its node are on different
//! servers, so that every create, end and retry is several steps with anything between them.
//!
//! | model | clients | lost | crashes | jumps of time |
//! |---|---|---|---|---|
//! | one request, one slot | 2 | 1 | 1 | 1 |
//! | one request, two nodes | 2 | 1 | 1 | 1 |
//! | two requests, one slot, and the node that runs them | 2 | 0 | 1 | 2 |
//! | two requests, one slot, what is lost comes late | 2 | 2 | 0 | 1 |
//! | one client, what is lost comes late, to the moment | 1 | 2 | 1 | 3 |
//! | one client that asks in rounds, what is lost comes late | 1 | 2 | 0 | 2 |
//! | completed or cancelled, while the slot is wanted | 3 | 1 | 1 | 1 |
//! | cancelled while it is created | 2 | 1 | 0 | 1 |
//! | moved on while another wants the slot | 2 | 1 | 0 | 2 |
//! | renewed, while another ends it, and may crash | 2 | 0 | 1 | 2 |
//! | two instances try again | 2 | 1 | 1 | 1 |
//! | tried again and completed | 2 | 1 | 1 | 1 |
//! | one gives up and undoes it, another has been told of it | 2 | 2 | 0 | 1 |

use super::client::Process;
use super::explore::explore;
use super::leases::move_on;
use super::programs::{at, create, finish, first_of, look_for_end, renew, use_if_there, wish, work};
use super::scenario::Scenario;
use super::{creates, ends, retries};
use crate::job::JobState;

fn one_slot() -> Scenario {
    Scenario::new([("n1", 1)]).spread()
}

fn two_nodes() -> Scenario {
    Scenario::new([("n1", 1), ("n2", 1)]).spread()
}

fn two_for_a_slot() -> Scenario {
    let scenario = one_slot().client(|process| work(process, wish("a", 1, &["n1"])));
    scenario.client(|process| work(process, wish("b", 2, &["n1"])))
}

#[test]
fn a_request_has_one_job() {
    let scenario = one_slot()
        .client(|process| work(process, wish("r", 1, &["n1"])))
        .client(|process| work(process, wish("r", 2, &["n1"])));
    let outcomes = ["it was handed out", "it was another's", "it had ended", "it was ended"];
    explore(scenario.losses(1).crashes(1).jumps(1), &outcomes);
}

#[test]
fn a_request_has_one_job_on_two_nodes() {
    let scenario = two_nodes()
        .client(|process| work(process, wish("r", 1, &["n1", "n2"])))
        .client(|process| work(process, wish("r", 2, &["n2", "n1"])));
    let outcomes = ["it was handed out", "it was another's", "it had ended", "it was ended"];
    explore(scenario.losses(1).crashes(1).jumps(1), &outcomes);
}

#[test]
fn a_slot_has_one_job_at_a_time() {
    let scenario = two_for_a_slot().running().crashes(1).jumps(2);
    explore(scenario, &["it was handed out", "the node was full", "a node refused a smaller fence"]);
}

#[test]
fn what_comes_late_takes_no_slot_twice() {
    explore(two_for_a_slot().late().losses(2).jumps(1), &["it was handed out", "the node was full"]);
}

#[test]
fn a_job_is_handed_out_while_its_lease_is_young() {
    let scenario = one_slot().client(|process| work(process, wish("r", 1, &["n1"])));
    let scenario = scenario.by_the_moment().late().losses(2).crashes(1).jumps(3);
    explore(scenario, &["it was handed out", "it was ended"]);
}

#[test]
fn a_job_that_is_asked_for_in_rounds_is_as_old_as_the_first_of_them() {
    let scenario = one_slot().client(|process| creates::in_rounds(process, true));
    explore(scenario.late().losses(2).jumps(2), &["it was handed out", "nobody knows what came of it"]);
}

#[test]
fn a_job_is_completed_or_cancelled() {
    let scenario = one_slot()
        .job("r", 9, 0)
        .client(|process| ends::end(process, JobState::Completed))
        .client(|process| ends::end(process, JobState::Cancelled))
        .client(|process| work(process, wish("s", 3, &["n1"])));
    let outcomes = ["it was ended", "another had ended it", "it was handed out"];
    explore(scenario.losses(1).crashes(1).jumps(1), &outcomes);
}

#[test]
fn a_job_is_cancelled_while_it_is_created() {
    let scenario = one_slot()
        .client(|process| work(process, wish("r", 1, &["n1"])))
        .client(|process| async move { finish(&process, &first_of("r", 1, "n1"), JobState::Cancelled).await });
    explore(scenario.losses(1).jumps(1), &["it was ended", "another had ended it", "it was unknown"]);
}

#[test]
fn a_job_is_moved_on_while_its_lease_runs_out() {
    let scenario = one_slot().client(move_on).client(|process| work(process, wish("s", 2, &["n1"])));
    explore(scenario.losses(1).jumps(2), &["it was moved on", "it had expired", "the node was full"]);
}

/// As an instance that renews, and looks whether the job goes on.
pub(super) async fn keep_and_look(process: Process) {
    let Some(mut granted) = create(&process, wish("r", 1, &["n1"])).await else { return };
    for _ in 0..2 {
        process.pause().await;
        if !renew(&process, "r", &mut granted).await || look_for_end(&process, "r", &granted).await {
            return;
        }
    }
    finish(&process, &at("r", &granted), JobState::Completed).await;
}

#[test]
fn a_lease_is_renewed_while_another_ends_its_job() {
    let scenario = one_slot()
        .client(keep_and_look)
        .client(|process| async move { finish(&process, &first_of("r", 1, "n1"), JobState::Cancelled).await });
    let outcomes = ["it was renewed", "it could not be renewed", "its job had ended when it was renewed"];
    explore(scenario.crashes(1).jumps(2), &outcomes);
}

#[test]
fn of_two_instances_that_try_again_one_does() {
    let scenario = Scenario::new([("n1", 1), ("n2", 2)]).spread().job("r", 9, 0);
    let scenario = scenario.client(|process| retries::again(process, &["n2"]));
    let scenario = scenario.client(|process| retries::again(process, &["n2"])).losses(1).crashes(1).jumps(1);
    explore(scenario, &["it was handed out", "another has tried again", "it was ended"]);
}

#[test]
fn a_job_is_tried_again_while_it_ends() {
    let scenario = two_nodes()
        .job("r", 9, 0)
        .client(|process| retries::again(process, &["n2"]))
        .client(|process| retries::end(process, JobState::Completed));
    let outcomes = ["it was handed out", "it could not be tried again", "another attempt was there", "it was ended"];
    explore(scenario.losses(1).crashes(1).jumps(1), &outcomes);
}

#[test]
fn what_is_undone_is_nobodys_and_what_another_has_moved_on_is_not_undone() {
    let scenario = one_slot().client(creates::make_or_undo).client(|process| use_if_there(process, "r", 2));
    let outcomes = ["it was undone", "another had moved it on", "there was nothing to undo", "it was handed out"];
    explore(scenario.losses(2).jumps(1), &outcomes);
}
