//! Random histories.

use std::fmt;

use proptest::prelude::*;

use crate::reference::{self, SETUP_BYTES, STEP_BYTES, Setup, Step};

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
    let steps = prop::collection::vec(step, 1..from_environment("SLOTYARD_STEPS", 120));
    (setup, steps).prop_map(|(setup, steps)| History(setup, steps))
}

proptest! {
    #![proptest_config(config(900))]

    #[test]
    fn a_scheduler_does_what_the_reference_does(history in history()) {
        if let Err(difference) = reference::run(&history.0, &history.1) {
            return Err(TestCaseError::fail(difference.to_string()));
        }
    }
}
