//! **What it takes**: each of these leaves out something that the models are about, in a script or around `protocol`, and a
//! property breaks. A model that cannot fail proves nothing.

use super::client::{Event, Process};
use super::creates;
use super::explore::violation;
use super::programs::{
    TERMS, bind_again, create, finish, first_of, new_job, renew, restore_lease, use_if_there, wish, work,
};
use super::retries;
use super::scenario::Scenario;
use super::servers::{BEHIND, EMPTY, a_change_that_may_be_lost, own, take};
use crate::job::JobState;
use crate::redis::keys::NodeText;
use crate::redis::protocol;

/// That this property breaks.
fn assert_breaks(property: &str, scenario: Scenario) {
    let violation = violation(scenario);
    eprintln!("{}\n{}", violation.what, violation.schedule);
    assert!(violation.what.starts_with(property), "{}\n{}", violation.what, violation.schedule);
}

fn two_for_a_slot() -> Scenario {
    Scenario::new([("n1", 1)])
        .client(|process| work(process, wish("a", 1, &["n1"])))
        .client(|process| work(process, wish("b", 2, &["n1"])))
}

#[test]
fn a_client_that_does_not_look_how_old_its_lease_is() {
    let blind = |process: Process| async move {
        process.freeze_clock();
        create(&process, wish("a", 1, &["n1"])).await;
    };
    let scenario = Scenario::new([("n1", 1)]).client(blind);
    assert_breaks("D: ", scenario.client(|process| work(process, wish("b", 2, &["n1"]))).jumps(1));
}

#[test]
fn a_client_that_forgets_when_it_first_asked_for_a_job() {
    let scenario = Scenario::new([("n1", 1)])
        .job("s", 9, 0)
        .client(|process| creates::in_rounds(process, false))
        .client(|process| async move { finish(&process, &first_of("s", 9, "n1"), JobState::Completed).await });
    assert_breaks("D: ", scenario.late().losses(2).jumps(2));
}

#[test]
fn a_client_that_forgets_when_it_first_tried_again() {
    let scenario = Scenario::new([("n1", 1), ("n2", 1)]).job("r", 9, 0);
    assert_breaks("D: ", scenario.client(|process| retries::in_rounds(process, false)).late().losses(2).jumps(2));
}

#[test]
fn a_server_that_does_not_warm_up() {
    let weakened = two_for_a_slot().script("create", "(since >= epoch or now >= warm_until)", "true");
    assert_breaks("B: ", weakened.servers(1, BEHIND));
}

#[test]
fn slots_of_a_node_that_was_lost_that_are_free_at_once() {
    let weakened = two_for_a_slot().client(|process| own(process, &["n1"])).script(
        "restore",
        "'lost', now + ARGV[8]",
        "'free', 0",
    );
    assert_breaks("B: ", weakened.servers(1, EMPTY));
}

#[test]
fn slots_that_are_free_at_once_though_the_server_may_have_lost_that_they_were_there() {
    let weakened = a_change_that_may_be_lost(1, 2);
    assert_breaks("B: ", weakened.script("update", "'lost', tonumber(ARGV[4])", "'free', 0"));
}

#[test]
fn fences_that_do_not_say_which_server_has_given_them() {
    let weakened = two_for_a_slot().script("create", "math.max(since, epoch))", "since)");
    assert_breaks("C: ", weakened.servers(1, BEHIND).jumps(1));
}

#[test]
fn a_node_that_does_not_look_at_fences() {
    // What the first has sent comes when its lease has run out, and the second has the slot.
    async fn begin(process: Process, request: &'static str, job: u128) {
        if let Some(granted) = create(&process, wish(request, job, &["n1"])).await {
            process.tell(Event::Starts { granted });
        }
    }
    let scenario = Scenario::new([("n1", 1)]).client(|process| begin(process, "a", 1));
    let scenario = scenario.client(|process| begin(process, "b", 2)).running().jumps(1);
    assert_breaks("C: ", scenario.without_fences());
}

#[test]
fn a_binding_that_is_written_without_a_look() {
    let scenario = Scenario::new([("n1", 2)])
        .client(|process| work(process, wish("r", 1, &["n1"])))
        .client(|process| work(process, wish("r", 2, &["n1"])));
    assert_breaks("A: ", scenario.script("create", "if found then", "if false then"));
}

#[test]
fn an_end_that_frees_a_slot_that_is_anothers_by_now() {
    let weakened = two_for_a_slot().script(
        "finish",
        "if redis.call('ZREM', KEYS[2], lease) == 1 then",
        "redis.call('ZREM', KEYS[2], lease)\nif true then",
    );
    // Alone that would be seen by how many slots there are.
    let weakened = weakened.script("finish", "if capacity and redis.call('ZCOUNT', l, 0, '(inf') < ", "if 0 < ");
    assert_breaks("B: ", weakened.jumps(1));
}

#[test]
fn a_try_that_leaves_the_slot_of_the_one_before() {
    let scenario = Scenario::new([("n1", 1), ("n2", 1)]).job("r", 9, 0);
    let scenario = scenario.client(|process| retries::in_rounds(process, true));
    assert_breaks("E: ", scenario.script("retry", "    free(KEYS[2], where)\n", ""));
}

#[test]
fn a_renewal_that_brings_back_what_was_taken() {
    let keep = |process: Process| async move {
        let Some(mut granted) = create(&process, wish("a", 1, &["n1"])).await else { return };
        renew(&process, "a", &mut granted).await;
    };
    let scenario = Scenario::new([("n1", 1)]).client(keep).client(|process| work(process, wish("b", 2, &["n1"])));
    let back = "redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])\nheld[i - 1] = 'held'";
    assert_breaks("B: ", scenario.script("renew", "held[i - 1] = lost(KEYS[1], ARGV[i])", back).jumps(1));
}

#[test]
fn a_client_that_asks_anew_instead_of_once_more() {
    let anew = |process: Process| async move {
        process.has_patience_for(1);
        for job in [1, 2] {
            let candidates = [NodeText::of("n1")];
            let new = new_job(&process, wish("r", job, &["n1"]));
            match protocol::create(&process, new, &candidates, &mut None).await {
                Ok(protocol::Outcome::Ours(granted)) => {
                    return process.tell(Event::Holds { request: "r", granted });
                }
                Ok(_) => return,
                Err(_) => {}
            }
        }
    };
    assert_breaks("G: ", Scenario::new([("n1", 1)]).client(anew).losses(1));
}

#[test]
fn a_client_that_ends_a_job_anew_instead_of_once_more() {
    let anew = |process: Process| async move {
        process.has_patience_for(1);
        let at = first_of("r", 9, "n1");
        if protocol::finish(&process, &at, JobState::Completed, TERMS).await.is_err() {
            finish(&process, &at, JobState::Completed).await;
        }
    };
    assert_breaks("F: ", Scenario::new([("n1", 1)]).job("r", 9, 0).client(anew).losses(1));
}

#[test]
fn a_client_that_renews_what_it_has_restored_before_its_request_is_bound_again() {
    let hasty = |process: Process| async move {
        let Some(mut granted) = create(&process, wish("r", 1, &["n1"])).await else { return };
        process.pause().await;
        if process.reconnect().await && restore_lease(&process, &granted).await {
            renew(&process, "r", &mut granted).await;
            bind_again(&process, "r", &granted).await;
        }
    };
    let other = |process: Process| async move {
        own(process.clone(), &["n2"]).await;
        take(process, "r", 2, &["n2"]).await;
    };
    let scenario = Scenario::new([("n1", 1), ("n2", 1)]).client(hasty).client(other);
    assert_breaks("A: ", scenario.servers(1, EMPTY).jumps(2));
}

#[test]
fn a_slot_that_is_given_back_though_it_is_anothers_by_now() {
    let script = "if redis.call('ZREM', KEYS[1], lease) == 0 then\n  return { 0 }\nend\n";
    let weakened = two_for_a_slot().spread().script("give", script, "redis.call('ZREM', KEYS[1], lease)\n");
    let weakened = weakened.script("give", "if capacity and redis.call('ZCOUNT', l, 0, '(inf') < ", "if 0 < ");
    assert_breaks("B: ", weakened.jumps(1));
}

#[test]
fn an_end_that_does_not_look_at_the_request() {
    let scenario = Scenario::new([("n1", 1)])
        .spread()
        .job("r", 9, 0)
        .client(|process| async move { finish(&process, &first_of("r", 9, "n1"), JobState::Completed).await })
        .client(|process| async move { finish(&process, &first_of("r", 9, "n1"), JobState::Cancelled).await });
    assert_breaks("F: ", scenario.script("move", "elseif has_ended(state) then", "elseif false then"));
}

#[test]
fn a_next_attempt_that_does_not_look_at_the_request() {
    let scenario = Scenario::new([("n1", 1), ("n2", 2)]).spread().job("r", 9, 0);
    let scenario = scenario.client(|process| retries::again(process, &["n2"]));
    let scenario = scenario.client(|process| retries::again(process, &["n2"]));
    let never = "elseif false then\n    return { 'BEHIND', binding }";
    let weakened =
        scenario.script("rebind", "elseif attempt ~= wanted_attempt then\n    return { 'BEHIND', binding }", never);
    assert_breaks("A: ", weakened);
}

#[test]
#[should_panic(expected = "a job was undone that had been moved on")]
fn an_undo_that_does_not_look_whether_the_job_was_moved_on() {
    let scenario = Scenario::new([("n1", 1)])
        .client(creates::make_or_undo)
        .client(|process| use_if_there(process, "r", 2))
        .losses(2);
    violation(scenario.script("finish", "if ARGV[6] ~= '' and ARGV[6] ~= state then", "if false then"));
}
