//! Random numbers: one seed, and an independent stream for each purpose, so that what clients ask for does not depend
//! on how the scheduler answers.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp};

/// What random numbers are for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Arrivals,
    Machines,
    FleetOrder,
    Requests,
    Clients,
    Incidents,
    Checks,
}

/// The stream of this seed for a purpose.
pub(crate) fn stream(seed: u64, purpose: Purpose) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    StdRng::from_seed(key)
}

/// An exponentially distributed time with this mean, which is more than 0.
pub(crate) fn exponential(mean: f64, random: &mut StdRng) -> f64 {
    Exp::new(1.0 / mean).map_or(mean, |times| times.sample(random))
}
