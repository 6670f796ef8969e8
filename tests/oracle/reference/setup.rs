//! How a scheduler is set up, and what of it the model has to know.

use std::time::Duration;

use slotyard::{
    Candidate, Capabilities, Choose, Drawing, ExclusionMode, Policy, PoolConfig, ResourceThresholds, Scheduler,
    SchedulerBuilder, SessionMode,
};

use super::ability::{Ability, TENANT};

/// So many bytes make a setup.
pub(crate) const SETUP_BYTES: usize = 8;

/// Use from which on a node is degraded, and below which it recovers.
pub(crate) const DEGRADE: f32 = 0.9;
pub(crate) const RECOVER: f32 = 0.7;
/// No id is longer.
pub(crate) const MAX_ID_LEN: usize = 16;

/// All that the model has to know. Times are in ms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setup {
    pub(crate) layout: Layout,
    /// Whether the label `zone` takes part in making pools.
    pub(crate) zones: bool,
    pub(crate) max_pools: usize,
    policy: &'static str,
    seed: u64,
    /// How many nodes there are from the beginning that can do most.
    pub(crate) fleet: u8,
    /// How many further nodes there are, of one slot each, which is held: so the free ones are where the
    /// index has several words.
    pub(crate) crowd: u8,
    shards: usize,
    max_routes: usize,
    pub(crate) fallback: bool,
    pub(crate) session_mode: SessionMode,
    pub(crate) retry_exclusion: ExclusionMode,
    pub(crate) timeout: u64,
    pub(crate) retention: u64,
    pub(crate) lease: u64,
    pub(crate) max_lease: u64,
    pub(crate) remembered: u64,
    pub(crate) session_ttl: u64,
    pub(crate) decay: u64,
    pub(crate) max_attempts: u32,
    pub(crate) max_nodes: usize,
    pub(crate) max_jobs: usize,
    pub(crate) max_finished: usize,
    pub(crate) max_sessions: usize,
}

/// Which pools there are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Layout {
    Automatic,
    /// Nodes that can do nothing in particular are spread over so many pools.
    Hash(usize),
    Configured(Vec<Configured>),
}

/// A configured pool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Configured {
    pub(crate) name: &'static str,
    pub(crate) requires: Ability,
    pub(crate) exact: bool,
    pub(crate) tenant: bool,
}

impl Configured {
    fn new(name: &'static str, services: u8) -> Self {
        let requires = Ability { services, ..Ability::default() };
        Self { name, requires, exact: false, tenant: false }
    }
}

const POLICIES: [&str; 4] = ["power of two", "random", "round robin", "least loaded"];

/// A policy of one's own: the fullest of so many, so that it is the last slots that are found; or no preference.
#[derive(Debug)]
struct Fullest(u32);

impl Choose for Fullest {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let drawn = (0..self.0).filter_map(|_| drawing.draw());
        let fullest = drawn.max_by(|one, other| one.load().total_cmp(&other.load()));
        fullest.filter(|candidate| candidate.capacity() != 1)
    }
}

impl Setup {
    /// The setup that these bytes stand for; any do. The smaller they are, the plainer it is.
    pub(crate) fn of(bytes: [u8; SETUP_BYTES]) -> Self {
        let [layout, policy, seed, bounds, modes, times, other, attempts] = bytes;
        let (layout, max_pools) = match layout % 8 {
            0 => (Layout::Automatic, 4096),
            1 => (Layout::Automatic, 1),
            2 => (Layout::Automatic, 3),
            3 => (Layout::Hash(3), 4096),
            4 => (Layout::Hash(2), 4),
            5 => {
                let pools = [Configured::new("s0", 1), Configured::new("s1", 2), Configured::new("rest", 0)];
                (Layout::Configured(pools.into()), 4096)
            }
            // Where not everybody finds a place.
            6 => (Layout::Configured([Configured::new("s0", 1), Configured::new("s01", 3)].into()), 4096),
            _ => {
                let own = Ability { zone: 1, ..Ability::default() };
                let pools = [
                    Configured { tenant: true, requires: own, ..Configured::new("own", 0) },
                    Configured { exact: true, ..Configured::new("only s0", 1) },
                    Configured::new("s0", 1),
                    Configured::new("s12", 6),
                    Configured::new("rest", 0),
                ];
                (Layout::Configured(pools.into()), 4096)
            }
        };
        let narrow = |bit: u8| bounds >> bit & 1 == 1;
        let modes_of_sessions =
            [SessionMode::Affinity, SessionMode::Spread(ExclusionMode::Soft), SessionMode::Spread(ExclusionMode::Hard)];
        Self {
            layout,
            zones: other & 1 == 1,
            max_pools,
            policy: if policy < 208 { POLICIES[policy as usize % POLICIES.len()] } else { "the fullest" },
            seed: seed.into(),
            fleet: [0, 1, 2, 3, 3, 4][seed as usize % 6],
            crowd: if attempts >= 240 { 40 } else { 0 },
            shards: if other & 2 == 0 { 16 } else { 1 },
            max_routes: if other & 4 == 0 { 1024 } else { 1 },
            fallback: other < 208,
            session_mode: modes_of_sessions[modes as usize % 3],
            retry_exclusion: if modes >= 192 { ExclusionMode::Hard } else { ExclusionMode::Soft },
            timeout: [15_000, 3_000, 100_000][times as usize % 3],
            retention: [40_000, 1, 5_000][times as usize / 3 % 3],
            lease: [8_000, 30_000][times as usize / 9 % 2],
            max_lease: 10_000.max([8_000, 30_000][times as usize / 9 % 2]),
            remembered: [1_000, 0, 20_000][times as usize / 18 % 3],
            session_ttl: [3_000, 1_000][times as usize / 54 % 2],
            // The one so slow that what others put on a node stays as reported.
            decay: if times < 128 { 300 * 24 * 3_600_000 } else { 5_000 },
            max_attempts: 2 + u32::from(attempts % 4),
            max_nodes: if narrow(0) { 3 } else { 100 },
            max_jobs: if narrow(1) { 4 } else { 1000 },
            max_finished: match (narrow(2), narrow(3)) {
                (false, _) => {
                    if narrow(1) {
                        4
                    } else {
                        1000
                    }
                }
                (true, false) => 3,
                (true, true) => 0,
            },
            max_sessions: if narrow(4) { 2 } else { 100 },
        }
    }

    pub(crate) fn build(&self) -> Scheduler {
        let ms = Duration::from_millis;
        let mut builder = Scheduler::builder()
            .manual_maintenance()
            .seed(self.seed)
            .policy(match self.policy {
                "random" => Policy::random(),
                "round robin" => Policy::round_robin(),
                "least loaded" => Policy::least_loaded(3),
                "the fullest" => Policy::custom(Fullest(4)),
                _ => Policy::power_of_two(),
            })
            .fallback(self.fallback)
            .heartbeat_timeout(ms(self.timeout))
            .offline_retention(ms(self.retention))
            .external_load_decay(ms(self.decay))
            .default_lease(ms(self.lease))
            .max_lease(ms(self.max_lease))
            .finished_retention(ms(self.remembered))
            .session_mode(self.session_mode)
            .session_ttl(ms(self.session_ttl))
            .retry_exclusion(self.retry_exclusion)
            .thresholds(ResourceThresholds::all(DEGRADE, RECOVER))
            .max_attempts(self.max_attempts)
            .max_nodes(self.max_nodes)
            .max_jobs(self.max_jobs)
            .max_finished_jobs(self.max_finished)
            .max_sessions(self.max_sessions)
            .max_pools(self.max_pools)
            .max_routes(self.max_routes)
            .max_id_len(MAX_ID_LEN)
            .shards(self.shards);
        if self.zones {
            builder = builder.routing_label("zone");
        }
        self.lay_out(builder).build().expect("the configuration is valid")
    }

    fn lay_out(&self, builder: SchedulerBuilder) -> SchedulerBuilder {
        match &self.layout {
            Layout::Automatic => builder,
            Layout::Hash(pools) => builder.hash_pools(*pools),
            Layout::Configured(pools) => pools.iter().fold(builder, |builder, configured| {
                let requirement = configured.requires.capabilities();
                let mut pool = PoolConfig::new(configured.name);
                if requirement != Capabilities::new() {
                    pool = pool.requires(requirement);
                }
                pool = if configured.exact { pool.match_exact() } else { pool };
                builder.pool(if configured.tenant { pool.tenant(TENANT) } else { pool })
            }),
        }
    }
}
