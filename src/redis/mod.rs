//! Many gateways, one scheduler: coordination through Redis.

mod alone;
mod blocking;
mod call;
mod cluster;
mod config;
mod crash;
mod creates;
mod doubts;
mod engine;
mod error;
mod held;
mod inbox;
mod jobs;
mod keys;
mod lease;
mod link;
mod live;
mod mirror;
#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod model;
mod node_call;
mod nodes;
mod outbox;
mod protocol;
mod retries;
mod scheduler;
mod script;
#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod script_tests;
mod servers;
mod shared_error;
mod slot_map;
mod spread;
mod spread_call;
mod stats;
mod target;
mod tls;
mod together;
mod unclaimed;
mod upkeep;
mod watch;

pub use blocking::Blocking;
pub use config::{Sentinels, SharedBuilder, SharedConfig, SharedConfigError};
pub use error::CoordinatorError;
pub use jobs::SharedJob;
pub use lease::Fence;
pub use scheduler::{SharedNode, SharedScheduler};
pub use shared_error::SharedError;
pub use stats::SharedStats;
pub use tls::Tls;
