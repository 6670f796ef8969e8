//! Every knob of the configuration: what is built works, and what is not names the knob.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use slotyard::{
    ConfigError, Demand, ExclusionMode, Heartbeat, JobRequest, NodeSpec, NodeState, Policy, ResourceThresholds,
    ResourceUse, Scheduler, SchedulerBuilder, SessionMode,
};

use crate::common::{agreement, attempt, ms};
use crate::described::Pool;
use crate::words::{Name, Time};

/// Building may allocate as much, and for each pool that it makes and for each shard as much more: the tables of the bounds,
/// which do not grow with what they bound.
const MOST: u64 = 4 << 20;
const MOST_A_POOL: u64 = 16 << 10;
const MOST_A_SHARD: u64 = 24 << 10;

/// A number: small, about a power of two, or any.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Size {
    Small(u8),
    About(u8, i8),
    Any(u64),
}

impl Size {
    fn number(self) -> u64 {
        match self {
            Self::Small(number) => number.into(),
            Self::About(power, off) => (1u64 << (power % 64)).wrapping_add_signed(off.into()),
            Self::Any(number) => number,
        }
    }
}

#[derive(Debug, Clone, Arbitrary)]
enum Knob<'a> {
    HeartbeatTimeout(Time),
    OfflineRetention(Time),
    TickInterval(Time),
    ExternalLoadDecay(Time),
    DefaultLease(Time),
    MaxLease(Time),
    FinishedRetention(Time),
    SessionTtl(Time),
    MaxFinishedJobs(Size),
    MaxAttempts(Size),
    MaxNodes(Size),
    MaxJobs(Size),
    MaxSessions(Size),
    MaxPools(Size),
    MaxRoutes(Size),
    MaxIdLen(Size),
    HashPools(Size),
    Shards(Size),
    Policy(u8, u32),
    Fallback(bool),
    Homes(bool),
    Seed(u64),
    Thresholds([f32; 4], [f32; 4]),
    SessionMode(u8),
    RetryExclusion(bool),
    RoutingLabel(Name<'a>),
    Pool(Pool<'a>),
}

fn mode(hard: bool) -> ExclusionMode {
    if hard { ExclusionMode::Hard } else { ExclusionMode::Soft }
}

impl Knob<'_> {
    fn turn(&self, b: SchedulerBuilder) -> SchedulerBuilder {
        let size = |size: &Size| usize::try_from(size.number()).unwrap_or(usize::MAX);
        let usage = |[cpu, memory, gpu, gpu_memory]: [f32; 4]| ResourceUse { cpu, memory, gpu, gpu_memory };
        match self {
            Self::HeartbeatTimeout(time) => b.heartbeat_timeout(time.duration()),
            Self::OfflineRetention(time) => b.offline_retention(time.duration()),
            Self::TickInterval(time) => b.tick_interval(time.duration()),
            Self::ExternalLoadDecay(time) => b.external_load_decay(time.duration()),
            Self::DefaultLease(time) => b.default_lease(time.duration()),
            Self::MaxLease(time) => b.max_lease(time.duration()),
            Self::FinishedRetention(time) => b.finished_retention(time.duration()),
            Self::SessionTtl(time) => b.session_ttl(time.duration()),
            Self::MaxFinishedJobs(number) => b.max_finished_jobs(size(number)),
            Self::MaxAttempts(number) => b.max_attempts(number.number() as u32),
            Self::MaxNodes(number) => b.max_nodes(size(number)),
            Self::MaxJobs(number) => b.max_jobs(size(number)),
            Self::MaxSessions(number) => b.max_sessions(size(number)),
            Self::MaxPools(number) => b.max_pools(size(number)),
            Self::MaxRoutes(number) => b.max_routes(size(number)),
            Self::MaxIdLen(number) => b.max_id_len(size(number)),
            // Each is made: a thousand say as much as the 65,536 that there may be.
            Self::HashPools(number) if number.number() <= 1 << 16 => b.hash_pools(size(number) % 1024),
            Self::HashPools(number) => b.hash_pools(size(number)),
            Self::Shards(number) => b.shards(size(number)),
            Self::Policy(which, k) => b.policy(match which % 4 {
                0 => Policy::power_of_two(),
                1 => Policy::random(),
                2 => Policy::round_robin(),
                _ => Policy::least_loaded(*k),
            }),
            Self::Fallback(fallback) => b.fallback(*fallback),
            Self::Homes(homes) => b.homes(*homes),
            Self::Seed(seed) => b.seed(*seed),
            Self::Thresholds(degrade, recover) => {
                b.thresholds(ResourceThresholds { degrade: usage(*degrade), recover: usage(*recover) })
            }
            Self::SessionMode(0) => b.session_mode(SessionMode::Affinity),
            Self::SessionMode(hard) => b.session_mode(SessionMode::Spread(mode(hard % 2 == 0))),
            Self::RetryExclusion(hard) => b.retry_exclusion(mode(*hard)),
            Self::RoutingLabel(name) => b.routing_label(name.text(&["routing", "data"])),
            Self::Pool(pool) => b.pool(pool.config()),
        }
    }
}

/// Turns knobs as the bytes say, builds, and uses what was built. `allocated` says how many bytes a call has allocated.
pub fn check(bytes: &[u8], allocated: impl FnOnce(&mut dyn FnMut()) -> u64) {
    let mut bytes = Unstructured::new(bytes);
    let Ok(own_thread) = bytes.ratio(1, 16) else { return };
    let Ok(knobs) = Vec::<Knob<'_>>::arbitrary_take_rest(bytes) else { return };
    let builder = knobs.iter().fold(Scheduler::builder(), |builder, knob| knob.turn(builder));
    let builder = if own_thread { builder } else { builder.manual_maintenance() };
    let checked = builder.clone().check();
    let mut built = None;
    let bytes = allocated(&mut || built = Some(builder.clone().build()));
    match built.expect("it was called") {
        Err(error) => {
            assert_eq!(checked.err().as_ref(), Some(&error), "check and build differ");
            let named = match &error {
                ConfigError::Invalid { knob, allowed, .. } => !knob.is_empty() && !allowed.is_empty(),
                _ => true,
            };
            assert!(named && !error.to_string().is_empty(), "{error:?}");
        }
        Ok(scheduler) => {
            assert!(checked.is_ok(), "{checked:?}");
            let pools = scheduler.stats().now.pools as u64;
            let shards = scheduler.config().shards as u64;
            let most = MOST + MOST_A_POOL * pools + MOST_A_SHARD * shards;
            assert!(bytes <= most, "{bytes} bytes allocated for {pools} pools and {shards} shards");
            if own_thread {
                // Its time passes by itself, so nothing is sure but that nothing panics.
                let _ = scheduler.register(NodeSpec::new("n").ready());
                let _ = scheduler.create_job(&JobRequest::new("r", Demand::new()));
            } else {
                work(&scheduler);
            }
        }
    }
}

/// A node comes, serves, and goes.
fn work(scheduler: &Scheduler) {
    let config = scheduler.config();
    let Ok(node) = attempt(scheduler, |s| s.register(NodeSpec::new("n").capacity(2).service("custom").ready())) else {
        // Only a configured pool can be too particular for it.
        assert!(!config.pools.is_empty(), "the node was not registered");
        return;
    };
    scheduler.heartbeat(&node, &Heartbeat::ready().running(0)).expect("it is registered");
    let demand = Demand::new().service("custom");
    if config.fallback {
        let take = |_| scheduler.reserve(&demand).ok().map(|slot| (slot.node_id().to_string(), slot));
        agreement::selection_does_what_explanation_says(scheduler, &demand, take, drop);
    }
    let request = JobRequest::new("r", demand.clone());
    if let Ok(job) = attempt(scheduler, |s| s.create_job(&request)) {
        // Half of the lease, and no longer than nodes live.
        scheduler.tick((config.default_lease / 2).min(config.heartbeat_timeout / 2));
        scheduler.complete(job.id(), job.attempt()).expect("its lease has not run out");
    }
    scheduler.tick(config.heartbeat_timeout + ms(1));
    assert_eq!(scheduler.node("n").map(|node| node.state), Some(NodeState::Offline));
    scheduler.tick(config.heartbeat_timeout + config.offline_retention + ms(2));
    assert_eq!(scheduler.nodes().len(), 0, "it was not forgotten");
    scheduler.tick(Duration::MAX);
    let counters = scheduler.stats().counters;
    assert_eq!((counters.reserved - counters.released, counters.double_released), (0, 0));
}
