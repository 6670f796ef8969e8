//! The reference scheduler: what a scheduler is to do, in the plainest way, and a real one beside it.
//!
//! [`Step`] is one call with its arguments, [`Model`] does it the plain way, [`Pair`] does it to both and says what differs.
//! Nothing here knows where steps come from: property tests draw them, and whoever has bytes makes them of these
//! ([`Step::of`], [`Setup::of`], [`run_bytes`]).
#![allow(dead_code, reason = "each crate that includes it uses a part of it")]

use std::collections::BTreeSet;

mod ability;
mod difference;
mod model;
mod pair;
mod setup;
mod step;

pub(crate) use difference::Difference;
pub(crate) use pair::Pair;
pub(crate) use setup::{SETUP_BYTES, Setup};
pub(crate) use step::{STEP_BYTES, Step};

/// Does all these steps to a scheduler that is set up like this and to its model. The first difference ends it.
pub(crate) fn run(setup: &Setup, steps: &[Step]) -> Result<(), Difference> {
    run_noting(setup, steps, &mut BTreeSet::new())
}

/// As [`run`]; notes what has come of calls, by the names of errors and events.
pub(crate) fn run_noting(setup: &Setup, steps: &[Step], reached: &mut BTreeSet<String>) -> Result<(), Difference> {
    let scheduler = setup.build();
    let mut pair = Pair::new(&scheduler, setup);
    let outcome = pair.begin().and_then(|()| {
        steps.iter().enumerate().try_for_each(|(number, step)| {
            let outcome = pair.take(step).and_then(|()| pair.compare());
            outcome.map_err(|difference| difference.at(number, step))
        })
    });
    reached.append(&mut pair.reached);
    outcome.and_then(|()| pair.finish())
}

/// As [`run`], of any bytes: first the setup, then the steps. What is left over is ignored.
pub(crate) fn run_bytes(bytes: &[u8]) -> Result<(), Difference> {
    let Some((setup, steps)) = bytes.split_first_chunk::<SETUP_BYTES>() else { return Ok(()) };
    let (steps, _) = steps.as_chunks::<STEP_BYTES>();
    run(&Setup::of(*setup), &steps.iter().copied().map(Step::of).collect::<Vec<_>>())
}
