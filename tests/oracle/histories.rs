//! Random histories.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::reference::{self, SETUP_BYTES, STEP_BYTES, Setup, Step};

/// A number from the environment, for longer runs.
fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text:?}: a number")))
}

fn config(cases: usize) -> ProptestConfig {
    let cases = from_environment("SLOTYARD_CASES", cases) as u32;
    ProptestConfig { cases, max_shrink_iters: 20_000, failure_persistence: None, ..Default::default() }
}

/// A setup and what is done, a step a line.
struct History(Setup, Vec<Step>);

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.0)?;
        self.1.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "  {number}: {step:?}"))
    }
}

/// Made of bytes, whose smaller values make the plainer steps: so shrinking does without knowing what they mean.
fn history() -> impl Strategy<Value = History> {
    let setup = any::<[u8; SETUP_BYTES]>().prop_map(Setup::of);
    let step = any::<[u8; STEP_BYTES]>().prop_map(Step::of);
    let steps = prop::collection::vec(step, 1..from_environment("SLOTYARD_STEPS", 160));
    (setup, steps).prop_map(|(setup, steps)| History(setup, steps))
}

/// What has to come of some of the calls, or the histories are about too little.
const REACHED: &[&str] = &[
    "NodeUp",
    "NodeDown",
    "NodeDrained",
    "NodeForgotten",
    "PoolMade",
    "PoolDropped",
    "PoolsExhausted",
    "JobExpired",
    "JobOrphaned",
    "dropped event",
    "busy",
    "gone",
    "unsupported",
    "refused by the pool that was drawn",
    "completed many",
    "created many",
    "register: AlreadyRegistered",
    "register: InvalidCapacity",
    "register: NoPool",
    "register: TooManyNodes",
    "change: Ok",
    "change: StaleHandle",
    "change: InvalidCapacity",
    "change: InvalidTime",
    "change: UnknownService",
    "heartbeat: Ok",
    "heartbeat: StaleHandle",
    "heartbeat: UnknownNode",
    "heartbeat: InvalidResource",
    "heartbeat: UnknownService",
    "create: None",
    "create: NoNode",
    "create: RequestMismatch",
    "create: InvalidLease",
    "create: TooManyJobs",
    "create: TooManySessions",
    "move: Ok",
    "move: UnknownJob",
    "move: StaleAttempt",
    "move: AlreadyEnded",
    "move: InvalidTransition",
    "retry: None",
    "retry: Job",
    "retry: TooManyAttempts",
    "retry: NoNode",
    "kept to the pool of its session",
    "kept off the last node of its session",
];

#[test]
fn a_scheduler_does_what_the_reference_does() {
    let reached = RefCell::new(BTreeSet::new());
    let outcome = TestRunner::new(config(600)).run(&history(), |History(setup, steps)| {
        let difference = reference::run_noting(&setup, &steps, &mut reached.borrow_mut());
        difference.map_err(|difference| TestCaseError::fail(difference.to_string()))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let missed: Vec<_> = REACHED.iter().filter(|outcome| !reached.borrow().contains(**outcome)).collect();
    assert!(missed.is_empty(), "no history came to {missed:?}");
}
