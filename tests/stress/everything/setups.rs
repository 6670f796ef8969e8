//! The configurations that are put under stress. Their bounds are small, so that they are reached.

use std::fmt;

use fastrand::Rng;
use slotyard::{Candidate, Capabilities, Choose, Demand, Drawing, ExclusionMode, Policy, PoolConfig, SchedulerBuilder};

use crate::common::*;

/// The most slots that a node ever has.
pub(super) const MAX_SLOTS: u32 = 4;
/// Longer ids are refused.
pub(super) const MAX_ID: usize = 20;

/// One configuration, and who uses it.
pub(super) struct Setup {
    pub(super) name: &'static str,
    pub(super) builder: SchedulerBuilder,
    /// Ids of nodes that come and go.
    pub(super) nodes: u32,
    /// Session ids.
    pub(super) sessions: u32,
    /// Whether nodes have no capabilities at all, and demands ask for none.
    pub(super) bare: bool,
}

impl Setup {
    fn new(name: &'static str, change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> Self {
        let builder = builder()
            .heartbeat_timeout(ms(150))
            .offline_retention(ms(100))
            .default_lease(ms(100))
            .max_lease(ms(300))
            .session_ttl(ms(120))
            .finished_retention(ms(200))
            .external_load_decay(ms(80))
            .max_nodes(20)
            .max_finished_jobs(60)
            .max_jobs(250)
            .max_sessions(12)
            .max_routes(8)
            .max_id_len(MAX_ID);
        Self { name, builder: change(builder), nodes: 26, sessions: 24, bare: false }
    }

    /// What any node that is in use can do.
    pub(super) fn basic_demand(&self) -> Demand {
        if self.bare { Demand::new() } else { work() }
    }

    pub(super) fn capabilities(&self, random: &mut Rng) -> Capabilities {
        if self.bare {
            return Capabilities::new();
        }
        let mut able = Capabilities::new().service("work");
        for service in ["x", "y"] {
            if random.bool() {
                able = able.service(service);
            }
        }
        if random.u8(..8) == 0 {
            able = able.asr(["zh", "en"]).nmt_pairs([("zh", "en")]).tts(["en"]);
        }
        if random.u8(..6) == 0 {
            able = able.label("rack", random.u8(..3).to_string());
        }
        able
    }

    pub(super) fn demand(&self, random: &mut Rng) -> Demand {
        let demand = self.basic_demand();
        if self.bare {
            return demand;
        }
        match random.u8(..24) {
            0 | 1 => demand.service("x"),
            2 | 3 => demand.service("y"),
            4 => demand.service("x").service("y"),
            5 => Demand::translate("zh", "en").service("asr").service("nmt"),
            6 => demand.label("rack", random.u8(..3).to_string()),
            7 => demand.routing_key(random.u8(..4).to_string()),
            8 => demand.exclude([format!("n{}", random.u32(..self.nodes))], ExclusionMode::Hard),
            9 => demand.exclude([format!("n{}", random.u32(..self.nodes))], ExclusionMode::Soft),
            10 => demand.service("nobody-does-this"),
            _ => demand,
        }
    }
}

/// A policy of the user's own that states no preference now and then, and draws until it has seen enough.
#[derive(Debug)]
struct Fickle;

impl Choose for Fickle {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let mut best = drawing.draw()?;
        for _ in 0..drawing.below(4) {
            let other = drawing.draw()?;
            best = drawing.less_loaded(best, other);
        }
        (drawing.below(8) > 0).then_some(best)
    }
}

pub(super) fn all() -> Vec<Setup> {
    let requires = |service| PoolConfig::new(service).requires(Capabilities::new().service(service));
    let hashed = Setup::new("nodes spread by hash, least loaded, no homes", |builder| {
        builder.hash_pools(4).homes(false).policy(Policy::least_loaded(3))
    });
    let large = Setup::new("a large pool with homes", |builder| {
        builder.max_nodes(1500).max_jobs(6000).max_finished_jobs(500).heartbeat_timeout(ms(3000)).max_sessions(100)
    });
    vec![
        Setup::new("automatic pools", |builder| builder.retry_exclusion(ExclusionMode::Hard)),
        Setup::new("the mixed pool, at random, one shard", |builder| {
            builder.max_pools(2).policy(Policy::random()).shards(1)
        }),
        Setup::new("configured pools, one's own policy", |builder| {
            let pools = builder.pool(requires("x")).pool(requires("y")).pool(PoolConfig::new("rest"));
            pools.policy(Policy::custom(Fickle))
        }),
        Setup::new("round robin, few jobs in memory", |builder| {
            builder.policy(Policy::round_robin()).max_finished_jobs(10).max_jobs(24).max_attempts(2)
        }),
        Setup::new("routing labels", |builder| builder.routing_label("rack").max_pools(6).max_finished_jobs(0)),
        Setup { bare: true, ..hashed },
        Setup { bare: true, nodes: 1600, sessions: 150, ..large },
    ]
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
