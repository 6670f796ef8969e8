//! **Leases**: a lease that is renewed lasts, and one that has run out and was taken does not come back.
//!
//! | model | clients | lost | crashes | jumps of time |
//! |---|---|---|---|---|
//! | renewed while another wants the slot, and the node that runs them | 2 | 0 | 0 | 2 |
//! | the same, what is lost comes late | 2 | 1 | 0 | 2 |
//! | moved on while another wants the slot | 2 | 1 | 0 | 2 |

use super::client::{Event, Process};
use super::explore::explore;
use super::programs::{TERMS, at, create, finish, renew, wish, work};
use super::scenario::Scenario;
use crate::job::JobState;
use crate::redis::call::Moved;
use crate::redis::protocol::{Server, advance};

pub(super) async fn keep(process: Process) {
    let Some(mut granted) = create(&process, wish("r", 1, &["n1"])).await else { return };
    process.tell(Event::Starts { granted: granted.clone() });
    process.pause().await;
    if renew(&process, "r", &mut granted).await {
        process.pause().await;
    }
    finish(&process, &at("r", &granted), JobState::Completed).await;
}

#[test]
fn a_lease_is_renewed_or_another_has_its_slot() {
    let scenario = Scenario::new([("n1", 1)])
        .client(keep)
        .client(|process| work(process, wish("s", 2, &["n1"])))
        .running()
        .jumps(2);
    explore(scenario, &["it was renewed", "it could not be renewed", "the node was full", "it had expired"]);
}

#[test]
fn a_renewal_that_comes_late_revives_nothing() {
    let scenario = Scenario::new([("n1", 1)])
        .client(keep)
        .client(|process| work(process, wish("s", 2, &["n1"])))
        .late()
        .losses(1)
        .jumps(2);
    explore(scenario, &["it was renewed", "it could not be renewed"]);
}

pub(super) async fn move_on(process: Process) {
    let Some(mut granted) = create(&process, wish("r", 1, &["n1"])).await else { return };
    for to in [JobState::Dispatched, JobState::Running] {
        process.pause().await;
        let asked = process.now();
        match advance(&process, &at("r", &granted), Some(to), TERMS).await {
            Ok(Moved::Done) => {
                granted.begun = asked;
                process.saw("it was moved on");
                process.tell(Event::Holds { request: "r", granted: granted.clone() });
            }
            Ok(Moved::Ended(JobState::Expired)) => return process.saw("it had expired"),
            other => panic!("{other:?}"),
        }
    }
    finish(&process, &at("r", &granted), JobState::Completed).await;
}

#[test]
fn a_job_is_moved_on_while_its_lease_runs_out() {
    let scenario = Scenario::new([("n1", 1)])
        .client(move_on)
        .client(|process| work(process, wish("s", 2, &["n1"])))
        .losses(1)
        .jumps(2);
    explore(scenario, &["it was moved on", "it had expired", "the node was full"]);
}
