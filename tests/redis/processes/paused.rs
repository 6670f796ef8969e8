//! Processes that are stopped for longer than a lease, at any time and in the midst of each call, and go on then.

use std::time::Duration;

use crate::PATIENCE;

use super::fleet::{Fleet, Member};
use super::worker::{Role, Terms};

const TERMS: Terms = Terms { lease: Duration::from_millis(1200), call: PATIENCE, requests: 100 };
/// Times that two processes are stopped.
const PAUSES: usize = 3;
/// Where processes stop in the midst of a call. Each call is one of several before, so that jobs are held.
const POINTS: [&str; 11] = [
    "create:before:4",
    "create:after:4",
    "create:after:9",
    "advance:before:3",
    "advance:after:3",
    "finish:before:4",
    "finish:after:4",
    "renew:before:1",
    "renew:after:1",
    "retry:before:1",
    "retry:after:1",
];

#[test]
fn who_was_stopped_at_any_time_finds_its_leases_gone() {
    let mut fleet = Fleet::start(TERMS);
    let mut members = fleet.processes(6);
    for turn in 0..PAUSES {
        // Whenever that is: some are in a call then, some have just been given a job.
        let lines = fleet.log().lines().count() + 60 + 7 * turn;
        fleet.until("jobs were given", || {
            let lines = fleet.log().lines().count() >= lines;
            lines || members.iter_mut().any(|member| member.is_done())
        });
        fleet.replace_those_done(&mut members);
        members.rotate_left(2);
        let (to_stop, others) = members.split_at_mut(2);
        let mut stopped: Vec<usize> = Vec::new();
        for member in &mut *to_stop {
            fleet.say(member.number, "away");
            if member.program.pause() {
                stopped.push(member.number);
            }
        }
        fleet.wait_a_lease(&stopped, others);
        for member in to_stop.iter_mut().filter(|member| stopped.contains(&member.number)) {
            fleet.say(member.number, "back");
            member.program.resume();
        }
    }
    fleet.until("all processes are done", || members.iter_mut().all(|member| member.is_done()));
    let settled = fleet.settle();
    // Which of the two hangs on whether others wanted the slots meanwhile.
    assert_ne!(settled.taken_over + settled.ended_in_vain, 0, "nobody came too late");
}

#[test]
fn who_was_stopped_in_the_midst_of_a_call_finds_its_leases_gone() {
    let mut fleet = Fleet::start(TERMS);
    let mut others = fleet.processes(4);
    let url = fleet.server.url();
    let start = |fleet: &mut Fleet, point: &str| {
        // Leases of who asks are ended before they have to begin anew.
        let role = if point.starts_with("renew") || point.starts_with("retry") { Role::Lives } else { Role::Asks };
        fleet.process(&url, role, Some(&format!("{point}:stop")))
    };
    let mut members: Vec<(&str, Member)> = POINTS.map(|point| (point, start(&mut fleet, point))).into();
    fleet.until("each has stopped", || {
        members.iter_mut().all(|(point, member)| {
            assert!(!member.is_done(), "a process has not come to {point}");
            member.program.is_paused()
        })
    });
    let numbers: Vec<_> = members.iter().map(|(_, member)| member.number).collect();
    // What was granted, and not handed out yet, must not be.
    for (number, lost) in fleet.wait_a_lease(&numbers, &mut others) {
        fleet.say(number, &format!("lost {lost}"));
    }
    for (point, member) in &mut members {
        fleet.say(member.number, if point.starts_with("finish:before") { "late" } else { "back" });
        member.program.resume();
    }
    fleet.replace_those_done(&mut others);
    fleet.until("all processes are done", || {
        members.iter_mut().map(|(_, member)| member).chain(&mut others).all(|member| member.is_done())
    });
    fleet.settle();
}
