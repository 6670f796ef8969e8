//! The design and its reasons, kept beside the code they explain.
//!
//! - [`design`]: what there is and how it works together.
//! - [`orderings`]: every pair of operations that publish and acquire, and the protocols between them.
//! - [`proof`]: each promise with what attacks it, and what nothing covers.
//! - `redis` (with the feature): several gateways as one scheduler: what is on the server, the scripts, what happens when
//!   something fails.
//! - [`limitations`]: what it does not do, and what happens at each bound.

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("orderings.md")]
pub mod orderings {}

#[doc = include_str!("proof.md")]
pub mod proof {}

#[doc = include_str!("limitations.md")]
pub mod limitations {}

#[cfg(feature = "redis")]
#[doc = include_str!("redis.md")]
pub mod redis {}
