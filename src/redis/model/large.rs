//! Larger scenarios, of up to a minute each: `cargo test --features redis --lib redis::model::large -- --ignored`.

use super::explore::explore;
use super::leases;
use super::programs::{wish, work};
use super::scenario::{Replacements, Scenario};
use super::servers::{BEHIND, EMPTY, keep_and_renew, own, take};

const MANY: usize = 20_000_000;

#[test]
#[ignore = "takes up to a minute"]
fn three_ask_for_one_request() {
    let scenario = Scenario::new([("n1", 1), ("n2", 1)])
        .client(|process| work(process, wish("r", 1, &["n1", "n2"])))
        .client(|process| work(process, wish("r", 2, &["n2", "n1"])))
        .client(|process| work(process, wish("r", 3, &["n2"])))
        .late()
        .losses(2)
        .crashes(1)
        .jumps(2)
        .states(MANY);
    explore(scenario, &["it was handed out", "it was another's", "it had ended", "it was ended"]);
}

#[test]
#[ignore = "takes up to a minute"]
fn three_want_one_slot_and_one_of_them_has_it_for_long() {
    let scenario = Scenario::new([("n1", 1)])
        .client(leases::keep)
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .client(|process| work(process, wish("c", 3, &["n1"])))
        .running()
        .crashes(1)
        .jumps(2)
        .states(MANY);
    explore(scenario, &["it was handed out", "the node was full", "it had expired"]);
}

#[test]
#[ignore = "takes up to a minute"]
fn two_want_one_slot_and_an_answer_is_lost() {
    let scenario = Scenario::new([("n1", 1)])
        .client(leases::keep)
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .running()
        .losses(1)
        .crashes(1)
        .jumps(2)
        .states(MANY);
    explore(scenario, &["it was handed out", "the node was full", "it had expired", "it was renewed"]);
}

#[test]
#[ignore = "takes up to a minute"]
fn two_servers_are_lost_one_after_the_other() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| keep_and_renew(process, "a", 1, &["n1"]))
        .client(|process| keep_and_renew(process, "b", 2, &["n1"]))
        .servers(2, Replacements { empty: true, ..BEHIND })
        .jumps(1)
        .states(MANY);
    explore(scenario, &["it was restored", "the server was warming up", "it was renewed"]);
}

#[test]
#[ignore = "takes up to a minute"]
fn a_server_is_lost_with_two_commands_and_so_is_an_answer() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| keep_and_renew(process, "a", 1, &["n1"]))
        .client(|process| keep_and_renew(process, "b", 2, &["n1"]))
        .servers(1, Replacements { behind: Some(2), ..BEHIND })
        .losses(1)
        .jumps(2)
        .states(MANY);
    explore(scenario, &["it was restored", "the server was warming up", "it was renewed"]);
}

#[test]
#[ignore = "takes up to a minute"]
fn a_server_comes_back_empty_and_three_find_out() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| keep_and_renew(process, "a", 1, &["n1"]))
        .client(|process| own(process, &["n1"]))
        .client(|process| take(process, "b", 2, &["n1"]))
        .servers(1, EMPTY)
        .jumps(2)
        .states(MANY);
    explore(scenario, &["it was restored", "the server was warming up", "it was renewed"]);
}
