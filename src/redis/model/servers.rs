//! **Servers that are lost**: an empty one takes the place, or a replica that lacks the last command. No slot is given to two
//! who go by its lease, and no request has two jobs.
//!
//! | model | clients | crashes | jumps of time |
//! |---|---|---|---|
//! | empty: who has the slot, who owns the node, who wants the slot | 3 | 0 | 1 |
//! | empty: who has the slot and renews it, who owns the node and wants the slot | 2 | 0 | 2 |
//! | empty: what is restored is older than what was given since | 2 | 0 | 2 |
//! | behind: two want one slot | 2 | 0 | 2 |
//! | behind: the same, and one may crash | 2 | 1 | 1 |
//! | behind, and its clock is a minute off | 2 | 0 | 1 |
//! | behind: the node has more slots, or fewer | 2 | 0 | 1 |
//! | empty, or behind: two ask for one request | 2 | 0 | 2 |

use super::client::Process;
use super::explore::explore;
use super::programs::{create, finish, first_of, renew, resize, restore, restore_node, wish};
use super::scenario::{Replacements, Scenario};
use crate::job::JobState;
use crate::redis::protocol::Granted;

pub(super) const EMPTY: Replacements = Replacements { empty: true, behind: None, skews: &[0] };
pub(super) const BEHIND: Replacements = Replacements { empty: false, behind: Some(1), skews: &[0] };

/// As an instance does for each job that it has when it finds another server.
async fn keep(process: Process, request: &'static str, job: u128, nodes: &'static [&'static str]) -> Option<Granted> {
    let granted = create(&process, wish(request, job, nodes)).await?;
    process.pause().await;
    if process.reconnect().await { restore(&process, request, &granted).await.then_some(granted) } else { None }
}

pub(super) async fn keep_and_renew(process: Process, request: &'static str, job: u128, nodes: &'static [&'static str]) {
    if let Some(mut granted) = keep(process.clone(), request, job, nodes).await {
        process.pause().await;
        renew(&process, request, &mut granted).await;
    }
}

pub(super) async fn own(process: Process, nodes: &'static [&'static str]) {
    if process.reconnect().await {
        for node in nodes {
            restore_node(&process, node, 1).await;
        }
    }
}

pub(super) async fn take(process: Process, request: &'static str, job: u128, nodes: &'static [&'static str]) {
    create(&process, wish(request, job, nodes)).await;
}

#[test]
fn a_server_comes_back_empty() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| async { drop(keep(process, "a", 1, &["n1"]).await) })
        .client(|process| own(process, &["n1"]))
        .client(|process| take(process, "b", 2, &["n1"]))
        .servers(1, EMPTY)
        .jumps(1);
    explore(scenario, &["it was restored", "the server was warming up", "the node was unknown", "the node was full"]);
}

#[test]
fn a_server_comes_back_empty_and_warms_up() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| keep_and_renew(process, "a", 1, &["n1"]))
        .client(|process| async move {
            own(process.clone(), &["n1"]).await;
            take(process, "b", 2, &["n1"]).await;
        })
        .servers(1, EMPTY)
        .jumps(2);
    explore(scenario, &["it was restored", "the server was warming up", "it was renewed", "the node was full"]);
}

#[test]
fn a_lease_that_is_restored_late_takes_no_slot_from_a_later_one() {
    let scenario = Scenario::new([("n1", 1)])
        .job("x", 9, 0)
        .client(|process| async move {
            finish(&process, &first_of("x", 9, "n1"), JobState::Completed).await;
            keep(process, "a", 1, &["n1"]).await;
        })
        .client(|process| async move {
            own(process.clone(), &["n1"]).await;
            take(process, "b", 2, &["n1"]).await;
        })
        .servers(1, EMPTY)
        .jumps(2);
    explore(scenario, &["it was restored", "the server was warming up", "it was handed out"]);
}

#[test]
fn a_server_is_lost_with_its_last_commands() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| async { drop(keep(process, "a", 1, &["n1"]).await) })
        .client(|process| async { drop(keep(process, "b", 2, &["n1"]).await) })
        .servers(1, BEHIND)
        .jumps(2);
    explore(scenario, &["it was restored", "the server was warming up", "the node was full"]);
}

#[test]
fn a_server_is_lost_with_its_last_commands_while_one_crashes() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| async { drop(keep(process, "a", 1, &["n1"]).await) })
        .client(|process| async { drop(keep(process, "b", 2, &["n1"]).await) })
        .servers(1, BEHIND)
        .crashes(1)
        .jumps(1);
    explore(scenario, &["it was restored", "the server was warming up", "the node was full"]);
}

/// One slot is taken, and the node has more of them, or fewer, from some time on: the server that takes the place of the first
/// may have heard of that or not. Its owner says it again.
pub(super) fn a_change_that_may_be_lost(before: u32, after: u32) -> Scenario {
    let change = move |process: Process| async move {
        resize(&process, "n1", after).await;
        process.pause().await;
        if process.reconnect().await {
            restore_node(&process, "n1", after).await;
            resize(&process, "n1", after).await;
            take(process, "b", 2, &["n1"]).await;
        }
    };
    Scenario::new([("n1", before)])
        .job("x", 9, 0)
        .client(|process| async { drop(keep(process, "a", 1, &["n1"]).await) })
        .client(change)
        .servers(1, Replacements { behind: Some(2), ..BEHIND })
}

#[test]
fn a_server_is_lost_with_a_change_of_capacity() {
    let more = a_change_that_may_be_lost(1, 2).jumps(1);
    explore(more, &["it was restored", "the server was warming up", "the node was full"]);
    let fewer = a_change_that_may_be_lost(2, 1).jumps(1);
    explore(fewer, &["it was restored", "the server was warming up", "the node was full"]);
}

#[test]
fn the_clock_of_the_next_server_is_another() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| async { drop(keep(process, "a", 1, &["n1"]).await) })
        .client(|process| async { drop(keep(process, "b", 2, &["n1"]).await) })
        .servers(1, Replacements { skews: &[-60_000, 60_000], ..BEHIND })
        .jumps(1);
    explore(scenario, &["it was restored", "the server was warming up", "the node was full"]);
}

#[test]
fn a_request_has_one_job_when_its_server_is_lost() {
    for replacements in [EMPTY, BEHIND] {
        let scenario = Scenario::new([("n1", 1), ("n2", 1)])
            .client(|process| keep_and_renew(process, "a", 1, &["n1"]))
            .client(move |process| async move {
                if replacements == EMPTY {
                    own(process.clone(), &["n2"]).await;
                }
                take(process, "a", 2, &["n2"]).await;
            })
            .servers(1, replacements)
            .jumps(2);
        explore(scenario, &["it was restored", "the server was warming up", "it was renewed", "it was another's"]);
    }
}
