//! The model of the server held against a real one: random sequences of the scripts that ship, each done by both; they answer
//! the same and have the same data afterwards, step by step.
//!
//! Time is the model's: on the real server scripts find it under two keys, which are set before each step. What only a real
//! clock makes differ is not compared: the ids of entries in the stream, of which the order counts, and how long keys are
//! kept, of which the hour does.
//!
//! `SLOTYARD_CASES` says how many sequences are run.

mod both;
mod plain;
mod steps;

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use slotyard_servers::Server;

use both::Both;
use steps::{STEP_BYTES, Step};

/// What has to come of some of the scripts, or the sequences are about too little.
const REACHED: &[&str] = &[
    "advance DONE",
    "advance ENDED",
    "advance INVALID",
    "advance MOVED",
    "advance STALE",
    "advance UNKNOWN",
    "announce DONE",
    "beat DONE",
    "beat OWNED",
    "beat STALE",
    "beat UNKNOWN",
    "create CREATED",
    "create EXISTING",
    "create MISMATCH",
    "create NONE CLOSED",
    "create NONE FULL",
    "create NONE UNKNOWN",
    "create NONE WARMUP",
    "deregister DONE",
    "deregister STALE",
    "deregister UNKNOWN",
    "finish DONE",
    "finish ENDED",
    "finish MOVED",
    "finish STALE",
    "finish UNKNOWN",
    "give 0",
    "give 1",
    "move DONE",
    "move ENDED",
    "move INVALID",
    "move STALE",
    "move UNKNOWN",
    "rebind BEHIND",
    "rebind DONE",
    "rebind ENDED",
    "rebind LIMIT",
    "rebind UNKNOWN",
    "register EXISTS",
    "register REGISTERED",
    "renew expired",
    "renew held",
    "renew orphaned",
    "restore MADE",
    "restore RESTORED 0",
    "restore RESTORED 1",
    "restore STALE",
    "retry BEHIND",
    "retry CREATED",
    "retry ENDED",
    "retry LIMIT",
    "retry MOVED",
    "retry NONE FULL",
    "retry UNKNOWN",
    "take CLOSED",
    "take FULL",
    "take TAKEN",
    "take UNKNOWN",
    "update DONE",
    "update STALE",
    "update UNKNOWN",
];

/// Runs this for random inputs: the same in every run, unless it is told how many.
fn for_each<S: Strategy>(inputs: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    let cases = std::env::var("SLOTYARD_CASES").ok().map(|text| text.parse().expect("SLOTYARD_CASES: a number"));
    let config = ProptestConfig { cases: cases.unwrap_or(300), failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = match cases {
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
        Some(_) => TestRunner::new(config),
    };
    if let Err(error) = runner.run(inputs, test) {
        panic!("{error}");
    }
}

#[test]
fn the_model_does_what_a_real_server_does() {
    let server = Server::start();
    let both = RefCell::new(Both::new(&server));
    let reached = RefCell::new(BTreeSet::new());
    let steps = prop::collection::vec(any::<[u8; STEP_BYTES]>().prop_map(Step), 10..40);
    for_each(&steps, |steps| {
        let both = &mut both.borrow_mut();
        both.begin();
        for step in &steps {
            let done = step.take(both);
            reached.borrow_mut().insert(both.said(&done));
            both.compare(&done).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    let missed: Vec<_> = REACHED.iter().filter(|outcome| !reached.borrow().contains(**outcome)).collect();
    assert!(missed.is_empty(), "no sequence came to {missed:?}; there were {:?}", reached.borrow());
}
