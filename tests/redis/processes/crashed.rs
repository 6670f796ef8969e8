//! Processes that die in the midst of a call: before it is sent, or once it is answered and before they know; each call, the
//! first time and the second.

use std::time::Duration;

use crate::PATIENCE;

use super::fleet::{Fleet, Member};
use super::worker::{Role, Terms};

const TERMS: Terms = Terms { lease: Duration::from_millis(1000), call: PATIENCE, requests: 60 };
/// What is called: the scripts, and plain commands.
const CALLS: [&str; 13] = [
    "hello",
    "create",
    "retry",
    "advance",
    "finish",
    "renew",
    "register",
    "update",
    "beat",
    "glance",
    "deregister",
    "restore",
    "plain",
];
/// So many processes that are to die run at a time, beside so many that are not.
const AT_A_TIME: usize = 8;
const BESIDE: usize = 2;

#[test]
fn who_dies_at_any_step_of_any_call_leaves_nothing_behind_for_longer_than_a_lease() {
    die_at_each_step(&[1, 2]);
}

#[test]
#[ignore = "it takes minutes: the same, again and again, for what depends on who comes first"]
fn who_dies_at_any_step_again_and_again() {
    for round in 0..20 {
        println!("round {round}");
        die_at_each_step(&[1, 2]);
    }
}

fn die_at_each_step(times: &[usize]) {
    let mut fleet = Fleet::start(TERMS);
    let mut others = fleet.processes(BESIDE);
    let url = fleet.server.url();
    let when = |call| ["before", "after"].into_iter().map(move |when| format!("{call}:{when}"));
    let points = CALLS.into_iter().flat_map(when).flat_map(|at| times.iter().map(move |time| format!("{at}:{time}")));
    // The first job of a process is not one that others ask for, too.
    let more = ["create:before:3", "create:after:3", "create:after:4"].map(str::to_owned);
    let mut to_come: Vec<_> = points.chain(more).collect();
    let mut dying: Vec<(String, Member)> = Vec::new();
    let mut died = 0;
    while !to_come.is_empty() || !dying.is_empty() {
        while let Some(point) = (dying.len() < AT_A_TIME).then(|| to_come.pop()).flatten() {
            let member = fleet.process(&url, Role::Lives, Some(&point));
            dying.push((point, member));
        }
        let before = died;
        fleet.until("another has died", || {
            dying.retain_mut(|(point, member)| {
                let Some(status) = member.program.ended() else { return true };
                assert!(was_killed(status), "a process has not died at {point}: {status}");
                died += 1;
                false
            });
            died > before || others.iter_mut().any(|other| other.is_done())
        });
        fleet.replace_those_done(&mut others);
    }
    fleet.until("all processes are done", || others.iter_mut().all(|other| other.is_done()));
    fleet.settle();
}

fn was_killed(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}
