//! Policies: which of a pool's free nodes a demand gets.

mod least_loaded;
mod power_of_two;
mod random;
mod round_robin;

use std::sync::Arc;

use super::{Candidate, Drawing};
use crate::config::invalid;
use crate::error::ConfigError;

/// How a node is chosen among those that have a free slot.
///
/// ```
/// use slotyard::{Candidate, Choose, Drawing, Policy, Scheduler};
///
/// /// The larger of two nodes.
/// #[derive(Debug)]
/// struct Largest;
///
/// impl Choose for Largest {
///     fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
///         let (a, b) = (drawing.draw()?, drawing.draw()?);
///         Some(if b.capacity() > a.capacity() { b } else { a })
///     }
/// }
///
/// let scheduler = Scheduler::builder().policy(Policy::custom(Largest)).build()?;
/// # drop(scheduler);
/// # Ok::<(), slotyard::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policy(Kind);

#[derive(Debug, Clone)]
enum Kind {
    PowerOfTwo,
    Random,
    RoundRobin,
    LeastLoaded(u32),
    Custom(Arc<dyn Choose>),
}

/// A policy of one's own; give it to [`Policy::custom`].
///
/// It runs on the path of a job, on many threads at once. It should not block. If it panics, the panic reaches the
/// caller of the scheduler and nothing is held.
pub trait Choose: Send + Sync + std::fmt::Debug {
    /// Chooses one of the candidates drawn. `None` states no preference: then one is drawn at random, so no policy
    /// can make the scheduler refuse while a slot is free.
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>>;
}

/// More draws than this for one choice are not taken.
const MAX_DRAWS: u32 = 64;

impl Policy {
    /// The less loaded of two drawn at random (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing,
    /// 2001).
    pub const fn power_of_two() -> Self {
        Self(Kind::PowerOfTwo)
    }

    /// One drawn at random, in proportion to weight.
    pub const fn random() -> Self {
        Self(Kind::Random)
    }

    /// One after the other, each as often as its weight says. A few threads count together, others apart.
    pub const fn round_robin() -> Self {
        Self(Kind::RoundRobin)
    }

    /// The least loaded of `k` drawn at random, 1 to 64.
    pub const fn least_loaded(k: u32) -> Self {
        Self(Kind::LeastLoaded(k))
    }

    /// A policy of one's own.
    pub fn custom(policy: impl Choose + 'static) -> Self {
        Self(Kind::Custom(Arc::new(policy)))
    }

    #[inline(always)]
    pub(crate) fn is_power_of_two(&self) -> bool {
        matches!(self.0, Kind::PowerOfTwo)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self.0 {
            Kind::LeastLoaded(k) if !(1..=MAX_DRAWS).contains(&k) => {
                Err(invalid("policy", format!("least_loaded({k})"), "k of 1 to 64"))
            }
            _ => Ok(()),
        }
    }

    #[inline(always)]
    pub(super) fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        match &self.0 {
            Kind::PowerOfTwo => power_of_two::choose(drawing),
            _ => drawing.apart(|drawing| self.choose_otherwise(drawing)),
        }
    }

    #[inline(never)]
    fn choose_otherwise<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        match &self.0 {
            Kind::PowerOfTwo => unreachable!("it is what `choose` does itself"),
            Kind::Random => random::choose(drawing),
            Kind::RoundRobin => round_robin::choose(drawing),
            Kind::LeastLoaded(k) => least_loaded::choose(drawing, *k),
            Kind::Custom(policy) => policy.choose(drawing).or_else(|| drawing.draw()),
        }
    }
}
