//! How a scheduler is set up, with what of it the model has to know.

use std::time::Duration;

use slotyard::{Capabilities, Policy, PoolConfig, ResourceThresholds, Scheduler, SchedulerBuilder};

use super::model::{DEGRADE, LEASE, MAX_ATTEMPTS, RECOVER, REMEMBERED, RETENTION, TIMEOUT};

/// So many bytes make a setup.
pub(crate) const SETUP_BYTES: usize = 8;

type Configure = fn(SchedulerBuilder) -> SchedulerBuilder;

/// Ways to lay out pools and to choose, none of which may make a difference to the model.
const LAYOUTS: &[(&str, Configure)] = &[
    ("automatic", |b| b),
    ("mixed", |b| b.max_pools(1)),
    ("some mixed", |b| b.max_pools(3)),
    ("hash", |b| b.hash_pools(3)),
    ("configured", |b| {
        let requires = |service: &str| PoolConfig::new(service).requires(Capabilities::new().service(service));
        b.pool(requires("s0")).pool(requires("s1")).pool(PoolConfig::new("rest"))
    }),
    ("random", |b| b.policy(Policy::random())),
    ("round robin", |b| b.policy(Policy::round_robin())),
    ("round robin, mixed", |b| b.policy(Policy::round_robin()).max_pools(2)),
    ("least loaded", |b| b.policy(Policy::least_loaded(3))),
    ("one shard, one route", |b| b.shards(1).max_routes(1)),
];

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setup {
    layout: &'static str,
    configure: usize,
    seed: u64,
}

impl Setup {
    /// The setup that these bytes stand for; any do.
    pub(crate) fn of(bytes: [u8; SETUP_BYTES]) -> Self {
        let configure = bytes[0] as usize % LAYOUTS.len();
        Self { layout: LAYOUTS[configure].0, configure, seed: u64::from_le_bytes(bytes) >> 8 }
    }

    pub(crate) fn build(&self) -> Scheduler {
        let ms = Duration::from_millis;
        let builder = Scheduler::builder()
            .manual_maintenance()
            .seed(self.seed)
            .heartbeat_timeout(ms(TIMEOUT))
            .offline_retention(ms(RETENTION))
            .default_lease(ms(LEASE))
            .finished_retention(ms(REMEMBERED))
            .max_attempts(MAX_ATTEMPTS)
            .thresholds(ResourceThresholds::all(DEGRADE, RECOVER))
            // So slow that what others put on a node stays as reported.
            .external_load_decay(Duration::from_secs(300 * 24 * 3600));
        LAYOUTS[self.configure].1(builder).build().expect("the configuration is valid")
    }
}
