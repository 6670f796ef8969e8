//! Nodes, demands and requests of any description: what is malformed is refused with the error that says so and changes
//! nothing, and selection does what explanation says of the rest.

use arbitrary::{Arbitrary, Unstructured};
use slotyard::limits::MAX_CAPACITY;
use slotyard::{
    Capabilities, CreateJobError, Heartbeat, HeartbeatError, Job, JobRequest, NoNode, NodeError, NodeHandle, NodeSpec,
    RegisterError, ResourceUse, Scheduler, Service,
};

use crate::common::{agreement, attempt, builder};
use crate::described::{Ability, NODES, Need, Pool, SERVICES, capabilities, demand};
use crate::words::{Name, Time};

/// More steps than this of one input are not taken, nor more pools configured.
const MOST_STEPS: usize = 40;
const MOST_POOLS: usize = 6;
/// Where more slots than this are free, they are not all taken to see which.
const FEW_SLOTS: u32 = 100;
const MAX_ID_LEN: usize = 300;

#[derive(Debug, Clone, Arbitrary)]
struct Setup<'a> {
    max_pools: u8,
    hash_pools: u8,
    max_nodes: u8,
    routing_label: bool,
    pools: Vec<Pool<'a>>,
}

#[derive(Debug, Clone, Arbitrary)]
enum Step<'a> {
    Register {
        id: Name<'a>,
        capacity: Capacity,
        weight: Option<u16>,
        abilities: Vec<Ability<'a>>,
        how: u8,
    },
    Update(u8, Vec<Ability<'a>>),
    Capacity(u8, Capacity),
    Weight(u8, u16),
    Drain(u8, bool),
    Deregister(u8),
    Unavailable(u8, Name<'a>, Time),
    Beat {
        node: u8,
        ready: Option<bool>,
        running: Option<u32>,
        usage: Option<[f32; 4]>,
        services: Option<Vec<Name<'a>>>,
    },
    Select(Vec<Need<'a>>),
    Create {
        request: Name<'a>,
        session: Option<Name<'a>>,
        lease: Option<Time>,
        needs: Vec<Need<'a>>,
    },
    End(u8, u8),
}

#[derive(Debug, Clone, Copy)]
enum Capacity {
    Few(u8),
    Any(u32),
}

impl Arbitrary<'_> for Capacity {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        Ok(match bytes.arbitrary()? {
            few @ 0..=247 => Self::Few(few),
            _ => Self::Any(bytes.arbitrary()?),
        })
    }
}

impl Capacity {
    fn slots(self) -> u32 {
        match self {
            Self::Few(slots) => (slots % 5).into(),
            Self::Any(slots) => slots,
        }
    }

    fn is_valid(self) -> bool {
        (1..=MAX_CAPACITY).contains(&self.slots())
    }
}

/// Does what the bytes say to one scheduler.
pub fn check(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let Ok(setup) = Setup::arbitrary(&mut bytes) else { return };
    let Some(scheduler) = build(&setup) else { return };
    let mut world = World { scheduler: &scheduler, handles: Vec::new(), jobs: Vec::new() };
    for _ in 0..MOST_STEPS {
        // Bytes that have run out make the first step of all, again and again.
        if bytes.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut bytes) else { break };
        world.take(&step);
    }
    world.finish();
}

fn build(setup: &Setup<'_>) -> Option<Scheduler> {
    let Setup { max_pools, hash_pools, max_nodes, routing_label, pools } = setup;
    let mut builder = builder()
        .max_pools(usize::from(max_pools % 10) + 1)
        .hash_pools(usize::from(hash_pools % 4) + 1)
        .max_nodes(usize::from(max_nodes % 8) + 1)
        .max_id_len(MAX_ID_LEN);
    if *routing_label {
        builder = builder.routing_label("routing");
    }
    pools.iter().take(MOST_POOLS).fold(builder, |builder, pool| builder.pool(pool.config())).build().ok()
}

struct World<'s> {
    scheduler: &'s Scheduler,
    handles: Vec<NodeHandle>,
    jobs: Vec<Job>,
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len())
}

impl World<'_> {
    fn handle(&self, number: u8) -> Option<NodeHandle> {
        self.handles.get(usize::from(number) % self.handles.len().max(1)).cloned()
    }

    fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::Register { id, capacity, weight, abilities, how } => {
                let (id, abilities) = (id.text(NODES), capabilities(abilities));
                let spec = NodeSpec::new(id.as_ref()).capacity(capacity.slots()).capabilities(abilities.clone());
                let spec = weight.iter().fold(spec, |spec, weight| spec.weight(*weight));
                let spec = if how % 2 == 0 { spec.ready() } else { spec };
                let replace = how / 2 % 2 == 1;
                self.register(
                    &id,
                    *capacity,
                    &abilities,
                    if replace { spec.replace_existing() } else { spec },
                    replace,
                );
            }
            Step::Select(needs) => self.select(needs),
            Step::Create { request, session, lease, needs } => {
                let (request, session) =
                    (request.text(&["r0", "r1", "r2"]), session.as_ref().map(|id| id.text(&["s0"])));
                let (demand, _) = demand(needs);
                let mut wanted = JobRequest::new(&request, demand.clone());
                wanted = session.iter().fold(wanted, |wanted, id| wanted.session(id));
                wanted = lease.iter().fold(wanted, |wanted, lease| wanted.lease(lease.duration()));
                let malformed = !is_id(&request) || session.is_some_and(|id| !is_id(&id));
                let limit = self.scheduler.config().max_lease;
                let bad_lease = lease.is_some_and(|lease| lease.duration().is_zero() || lease.duration() > limit);
                match attempt(self.scheduler, |s| s.create_job(&wanted)) {
                    Ok(job) => {
                        assert!(!malformed && !bad_lease && demand.validate().is_ok(), "{job:?} of {wanted:?}");
                        self.jobs.push(job);
                    }
                    Err(CreateJobError::InvalidId(error)) => assert!(malformed, "{error}"),
                    Err(CreateJobError::InvalidLease { lease, limit }) => assert!(bad_lease, "{lease:?} of {limit:?}"),
                    Err(CreateJobError::RequestMismatch { job, .. }) => {
                        let known = self.scheduler.job_by_request(&request).map(|known| known.id);
                        assert_eq!(known, Some(job));
                    }
                    Err(CreateJobError::NoNode(NoNode::Invalid(error))) => assert_eq!(demand.validate(), Err(error)),
                    Err(CreateJobError::NoNode(error)) => assert!(demand.validate().is_ok(), "{error}"),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::End(which, how) => {
                let Some(job) = self.jobs.get(usize::from(*which) % self.jobs.len().max(1)) else { return };
                let attempt_number = job.attempt().wrapping_add(u32::from(how / 6));
                let result = attempt(self.scheduler, |s| match how % 6 {
                    0 => s.complete(job.id(), attempt_number),
                    1 => s.fail(job.id(), attempt_number),
                    2 => s.cancel(job.id(), attempt_number),
                    3 => s.dispatched(job.id(), attempt_number),
                    4 => s.renew(job.id(), attempt_number),
                    _ => s.running(job.id(), attempt_number),
                });
                assert!(result.is_err() || attempt_number == job.attempt(), "{result:?}");
            }
            Step::Update(node, ..)
            | Step::Capacity(node, _)
            | Step::Weight(node, _)
            | Step::Drain(node, _)
            | Step::Deregister(node)
            | Step::Unavailable(node, ..)
            | Step::Beat { node, .. } => {
                if let Some(handle) = self.handle(*node) {
                    self.change(&handle, step);
                }
            }
        }
    }

    fn register(&mut self, id: &str, capacity: Capacity, offered: &Capabilities, spec: NodeSpec, replace: bool) {
        let scheduler = self.scheduler;
        let before = scheduler.handle(id);
        match attempt(scheduler, |s| s.register(spec)) {
            Ok(handle) => {
                assert!(is_id(id) && capacity.is_valid() && offered.validate().is_ok(), "{handle:?}");
                assert!(before.as_ref().is_none_or(|old| replace && old.incarnation() < handle.incarnation()));
                let view = scheduler.node(id).expect("it is registered");
                assert!(view.capabilities == *offered && view.capacity == capacity.slots() && view.in_flight == 0);
                self.handles.push(handle);
            }
            Err(RegisterError::InvalidId(error)) => assert!(!is_id(id) && error.len == id.len(), "{error}"),
            Err(RegisterError::InvalidCapacity { capacity: found, .. }) => {
                assert!(!capacity.is_valid() && found == capacity.slots(), "{found}");
            }
            Err(RegisterError::InvalidCapabilities { error, .. }) => assert_eq!(offered.validate(), Err(error)),
            Err(RegisterError::AlreadyRegistered { incarnation, .. }) => {
                assert_eq!(before.filter(|_| !replace).map(|old| old.incarnation()), Some(incarnation));
            }
            Err(RegisterError::NoPool { .. }) => assert!(!scheduler.config().pools.is_empty()),
            Err(RegisterError::TooManyNodes { limit, .. }) => assert_eq!(scheduler.nodes().len(), limit),
            Err(error) => panic!("{error}"),
        }
    }

    fn change(&mut self, handle: &NodeHandle, step: &Step<'_>) {
        let scheduler = self.scheduler;
        let is_current = scheduler.handle(handle.id()).is_some_and(|known| known.incarnation() == handle.incarnation());
        let offers = |service: &Service| scheduler.node(handle.id()).is_some_and(|n| n.capabilities.offers(service));
        let result = match step {
            Step::Update(_, abilities) => {
                let offered = capabilities(abilities);
                let result = attempt(scheduler, |s| s.update(handle, offered.clone()));
                assert!(result.is_err() || offered.validate().is_ok());
                if let Err(NodeError::InvalidCapabilities { error, .. }) = &result {
                    assert_eq!(offered.validate().as_ref(), Err(error));
                }
                result
            }
            Step::Capacity(_, capacity) => {
                let result = attempt(scheduler, |s| s.set_capacity(handle, capacity.slots()));
                let refused = matches!(result, Err(NodeError::InvalidCapacity { .. }));
                assert_eq!(refused, !capacity.is_valid(), "{result:?}");
                result
            }
            Step::Weight(_, weight) => attempt(scheduler, |s| s.set_weight(handle, *weight)),
            Step::Drain(_, true) => attempt(scheduler, |s| s.drain(handle)),
            Step::Drain(_, false) => attempt(scheduler, |s| s.undrain(handle)),
            Step::Deregister(_) => attempt(scheduler, |s| s.deregister(handle)),
            Step::Unavailable(_, service, time) => {
                let (service, offered) = (Service::new(service.text(SERVICES)), offers);
                let offered = offered(&service);
                let result = attempt(scheduler, |s| s.mark_unavailable(handle, &service, time.duration()));
                assert!(result.is_err() || offered && !time.duration().is_zero());
                result
            }
            Step::Beat { ready, running, usage, services, .. } => {
                let beat = match ready {
                    None => Heartbeat::alive(),
                    Some(true) => Heartbeat::ready(),
                    Some(false) => Heartbeat::not_ready(),
                };
                let beat = running.iter().fold(beat, |beat, running| beat.running(*running));
                let resources =
                    usage.map(|[cpu, memory, gpu, gpu_memory]| ResourceUse { cpu, memory, gpu, gpu_memory });
                let beat = resources.into_iter().fold(beat, Heartbeat::resources);
                let named = services.as_ref().map(|all| all.iter().map(|name| Service::new(name.text(SERVICES))));
                let named: Option<Vec<Service>> = named.map(Iterator::collect);
                let beat = named.iter().fold(beat, |beat, named| beat.services(named.iter()));
                let in_range = usage.is_none_or(|all| all.iter().all(|share| (0.0..=1.0).contains(share)));
                let offered = named.is_none_or(|all| all.iter().all(offers));
                match attempt(scheduler, |s| s.heartbeat(handle, &beat)) {
                    Ok(()) => assert!(is_current && in_range && offered, "{beat:?}"),
                    Err(HeartbeatError::StaleHandle { .. }) => assert!(!is_current),
                    Err(HeartbeatError::InvalidResource { .. }) => assert!(!in_range, "{beat:?}"),
                    Err(HeartbeatError::UnknownService { service, .. }) => assert!(!offers(&service), "{beat:?}"),
                    Err(error) => panic!("{error}"),
                }
                return;
            }
            _ => unreachable!("the caller has sorted them"),
        };
        match result {
            Ok(()) => assert!(is_current, "a stale handle was taken: {step:?}"),
            Err(NodeError::StaleHandle { .. }) => assert!(!is_current),
            Err(NodeError::NoPool { .. }) => assert!(!scheduler.config().pools.is_empty()),
            Err(NodeError::UnknownService { service, .. }) => assert!(!offers(&service)),
            Err(_) => {}
        }
    }

    fn select(&self, needs: &[Need<'_>]) {
        let scheduler = self.scheduler;
        let (demand, hard) = demand(needs);
        let explanation = scheduler.explain(&demand);
        assert_eq!(explanation.invalid.as_ref(), demand.validate().err().as_ref(), "{explanation}");
        let selected = attempt(scheduler, |s| s.select(&demand)).map(|selection| selection.node_id().to_owned());
        let prepared = scheduler.prepare(&demand);
        let again = attempt(scheduler, |s| s.select_prepared(&prepared)).map(drop).map_err(|error| error.kind());
        assert_eq!(again, selected.as_ref().map(drop).map_err(NoNode::kind), "{explanation}");
        match &selected {
            Err(NoNode::Invalid(error)) => assert_eq!(demand.validate().as_ref(), Err(error)),
            _ => assert!(demand.validate().is_ok()),
        }
        let few = scheduler.nodes().iter().map(agreement::free).fold(0, u32::saturating_add) <= FEW_SLOTS;
        if hard && few {
            let take = |_| scheduler.reserve(&demand).ok().map(|slot| (slot.node_id().to_string(), slot));
            agreement::selection_does_what_explanation_says(scheduler, &demand, take, drop);
        }
    }

    /// With all jobs ended, nothing is held.
    fn finish(self) {
        for job in &self.jobs {
            let _ = self.scheduler.cancel(job.id(), job.attempt());
        }
        let counters = self.scheduler.stats().counters;
        assert_eq!((counters.reserved - counters.released, counters.double_released), (0, 0));
        for node in self.scheduler.nodes() {
            assert_eq!(node.in_flight, 0, "{node:?}");
        }
    }
}
