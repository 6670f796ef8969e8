//! **Ends**: a job ends once, whoever would end it and whatever is lost, and its slot is free once.
//!
//! | model | clients | lost | crashes | jumps of time |
//! |---|---|---|---|---|
//! | completed and cancelled, and the slot is wanted | 3 | 2 | 1 | 1 |
//! | the same, what is lost comes late | 3 | 2 | 0 | 0 |
//! | cancelled while it is created, and the node that runs it | 3 | 1 | 0 | 1 |
//! | a slot that is freed and taken again, and the node that runs it | 2 | 1 | 0 | 1 |

use super::client::Process;
use super::explore::explore;
use super::programs::{at, create, finish, first_of, wish, work};
use super::scenario::Scenario;
use crate::job::JobState;

pub(super) async fn end(process: Process, state: JobState) {
    finish(&process, &first_of("r", 9, "n1"), state).await;
}

fn completed_or_cancelled() -> Scenario {
    Scenario::new([("n1", 1)])
        .job("r", 9, 0)
        .client(|process| end(process, JobState::Completed))
        .client(|process| end(process, JobState::Cancelled))
        .client(|process| work(process, wish("s", 3, &["n1"])))
}

#[test]
fn a_job_is_completed_or_cancelled() {
    let scenario = completed_or_cancelled().losses(2).crashes(1).jumps(1);
    explore(scenario, &["it was ended", "another had ended it", "it had expired", "it was handed out"]);
}

#[test]
fn an_end_that_comes_late_ends_nothing_else() {
    let scenario = completed_or_cancelled().late().losses(2);
    explore(scenario, &["it was ended", "another had ended it", "it was handed out"]);
}

#[test]
fn a_job_is_cancelled_while_it_is_created() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| work(process, wish("r", 1, &["n1"])))
        .client(|process| async move { finish(&process, &first_of("r", 1, "n1"), JobState::Cancelled).await })
        .client(|process| work(process, wish("s", 3, &["n1"])))
        .running()
        .losses(1)
        .jumps(1);
    let lost = "it was lost before it was handed out";
    explore(scenario, &["it was ended", "another had ended it", "it was unknown", "the node was full", lost]);
}

#[test]
fn a_slot_that_is_freed_is_taken_again() {
    let one_after_the_other = |process: Process| async move {
        if let Some(granted) = create(&process, wish("a", 1, &["n1"])).await {
            finish(&process, &at("a", &granted), JobState::Failed).await;
            work(process, wish("b", 2, &["n1"])).await;
        }
    };
    let scenario = Scenario::new([("n1", 1)])
        .client(one_after_the_other)
        .client(|process| work(process, wish("c", 3, &["n1"])))
        .running()
        .losses(1)
        .jumps(1);
    explore(scenario, &["it was ended", "it was handed out", "the node was full", "it had expired"]);
}
