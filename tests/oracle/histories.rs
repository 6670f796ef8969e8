//! Random histories.

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

fn setup() -> impl Strategy<Value = Setup> {
    any::<[u8; SETUP_BYTES]>().prop_map(Setup::of)
}

/// Made of bytes, whose smaller values make the plainer steps: so shrinking does without knowing what they mean.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = any::<[u8; STEP_BYTES]>().prop_map(Step::of);
    prop::collection::vec(step, 1..from_environment("SLOTYARD_STEPS", 120))
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_scheduler_does_what_the_reference_does(setup in setup(), steps in steps()) {
        if let Err(difference) = reference::run(&setup, &steps) {
            return Err(TestCaseError::fail(difference.to_string()));
        }
    }
}
