//! Instances that are processes of their own, some of them killed or stopped at any time, or in the midst of any call: over
//! the log of all of them no request has two jobs, no slot is held twice, and no job is ended twice.
//!
//! A process is this very program, told by its environment what to do (`worker.rs`). It writes to a log what it is given; the
//! system appends lines one after the other. What the log must not say is in `log.rs`.

mod crashed;
mod fleet;
mod log;
mod lossy;
mod paused;
#[cfg(target_os = "linux")]
mod skewed;
mod worker;

use std::time::Duration;

use crate::PATIENCE;
use fleet::Fleet;
use worker::Terms;

/// Longer than a process may get no turn on a machine that is busy: whoever is not stopped must keep its leases.
const TERMS: Terms = Terms { lease: Duration::from_secs(3), call: PATIENCE, requests: 120 };

#[test]
fn processes_that_ask_for_the_same_requests_share_the_jobs_and_no_slot_is_held_twice() {
    let mut fleet = Fleet::start(TERMS);
    let mut members = fleet.processes(8);
    fleet.until("all processes are done", || members.iter_mut().all(|member| member.is_done()));
    let settled = fleet.settle();
    assert!(settled.given > TERMS.requests / 2, "only {} jobs were given", settled.given);
}

#[test]
fn processes_that_are_killed_leave_nothing_behind_for_longer_than_a_lease() {
    let mut fleet = Fleet::start(TERMS);
    let (mut members, mut killed) = (fleet.processes(8), 0);
    loop {
        let lines = fleet.log().lines().count();
        if killed < 6 && lines > 100 * (killed + 1) {
            let member = members.remove(0);
            fleet.say(member.number, "away");
            member.program.kill();
            killed += 1;
            members.extend(fleet.processes(1));
        }
        let mut has_changed = false;
        fleet.until("there is something new", || {
            has_changed = members.iter_mut().all(|member| member.is_done());
            has_changed || fleet.log().lines().count() > lines
        });
        if has_changed {
            break;
        }
    }
    fleet.settle();
    assert_ne!(killed, 0, "none was killed");
}
