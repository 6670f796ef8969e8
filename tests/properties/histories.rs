//! Random histories of operations by one thread, each held against the model at every step.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use slotyard::{
    Capabilities, CreateJobError, Demand, Heartbeat, JobError, JobState, NoNode, NodeSpec, Policy, PoolConfig,
    RegisterError, ResourceThresholds, ResourceUse, RetryError, Scheduler, SchedulerBuilder, Service,
};

use crate::common::*;
use crate::model::{Beat, DEGRADE, LEASE, MAX_ATTEMPTS, Model, RECOVER, REMEMBERED, RETENTION, Services, TIMEOUT};

const NODES: u8 = 6;
const REQUESTS: u8 = 24;
const SERVICES: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Register { node: u8, capacity: u32, offers: Services, ready: bool, replace: bool },
    Deregister(u8),
    Beat(u8, Beat),
    Drain(u8, bool),
    Capacity(u8, u32),
    Weight(u8, u16),
    Update(u8, Services),
    Unavailable(u8, u8, u64),
    Create(u8, Services),
    Move(u8, Move),
    Retry(u8),
    Tick(u64),
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Dispatched,
    Running,
    Renew,
    End(JobState),
}

fn step() -> impl Strategy<Value = Step> {
    let (node, request, services) = (0..NODES, 0..REQUESTS, 0..1u8 << SERVICES);
    let flag = any::<bool>;
    let register = (node.clone(), 1..5u32, services.clone(), prop::bool::weighted(0.8), flag())
        .prop_map(|(node, capacity, offers, ready, replace)| Step::Register { node, capacity, offers, ready, replace });
    let usage = prop::option::of(prop::sample::select(vec![0.1f32, 0.8, 0.95]));
    let ready = prop::option::weighted(0.7, prop::bool::weighted(0.8));
    let running = prop::option::weighted(0.2, 0..4u32);
    let beat = (ready, running, usage).prop_map(|(ready, running, usage)| Beat { ready, running, usage });
    let moves = prop_oneof![
        Just(Move::Dispatched),
        Just(Move::Running),
        Just(Move::Renew),
        prop::sample::select(vec![JobState::Completed, JobState::Failed, JobState::Cancelled]).prop_map(Move::End),
    ];
    prop_oneof![
        4 => register,
        1 => node.clone().prop_map(Step::Deregister),
        5 => (node.clone(), beat).prop_map(|(node, beat)| Step::Beat(node, beat)),
        2 => (node.clone(), flag()).prop_map(|(node, drain)| Step::Drain(node, drain)),
        2 => (node.clone(), 1..5u32).prop_map(|(node, capacity)| Step::Capacity(node, capacity)),
        1 => (node.clone(), prop::sample::select(vec![0u16, 50, 100])).prop_map(|(node, w)| Step::Weight(node, w)),
        2 => (node.clone(), services.clone()).prop_map(|(node, offers)| Step::Update(node, offers)),
        1 => (node, 0..SERVICES, 1..20_000u64).prop_map(|(node, s, time)| Step::Unavailable(node, s, time)),
        14 => (request.clone(), services).prop_map(|(request, needs)| Step::Create(request, needs)),
        8 => (request.clone(), moves).prop_map(|(request, how)| Step::Move(request, how)),
        4 => request.prop_map(Step::Retry),
        3 => (1..12_000u64).prop_map(Step::Tick),
    ]
}

type Configure = fn(SchedulerBuilder) -> SchedulerBuilder;

/// Ways to lay out pools and to choose, none of which may make a difference to the model.
fn configurations() -> impl Strategy<Value = (&'static str, Configure)> {
    prop::sample::select(vec![
        ("automatic", (|b| b) as Configure),
        ("mixed", |b| b.max_pools(1)),
        ("some mixed", |b| b.max_pools(3)),
        ("hash", |b| b.hash_pools(3)),
        ("configured", |b| {
            let requires = |service: &str| PoolConfig::new(service).requires(Capabilities::new().service(service));
            b.pool(requires("s0")).pool(requires("s1")).pool(PoolConfig::new("rest"))
        }),
        ("random", |b| b.policy(Policy::random())),
        ("round robin", |b| b.policy(Policy::round_robin())),
        //("round robin, mixed", |b| b.policy(Policy::round_robin()).max_pools(2)),
        ("least loaded", |b| b.policy(Policy::least_loaded(3))),
        ("one shard, one route", |b| b.shards(1).max_routes(1)),
    ])
}

fn names(services: Services) -> impl Iterator<Item = String> {
    (0..SERVICES).filter(move |service| services >> service & 1 == 1).map(|service| format!("s{service}"))
}

fn capabilities(offers: Services) -> Capabilities {
    names(offers).fold(Capabilities::new(), |all, name| all.service(name))
}

fn demand(needs: Services) -> Demand {
    Demand::new().services(names(needs))
}

fn id(node: u8) -> String {
    format!("n{node}")
}

/// The scheduler beside its model.
struct Pair {
    scheduler: Scheduler,
    model: Model,
}

impl Pair {
    fn new(configure: Configure, seed: u64) -> Self {
        let builder = builder()
            .seed(seed)
            .heartbeat_timeout(ms(TIMEOUT))
            .offline_retention(ms(RETENTION))
            .default_lease(ms(LEASE))
            .finished_retention(ms(REMEMBERED))
            .max_attempts(MAX_ATTEMPTS)
            .thresholds(ResourceThresholds::all(DEGRADE, RECOVER))
            // So slow that what others put on a node stays as reported.
            .external_load_decay(secs(300 * 24 * 3600));
        Self { scheduler: build(configure(builder)), model: Model::default() }
    }

    fn take(&mut self, step: &Step) -> TestCaseResult {
        match *step {
            Step::Register { node, capacity, offers, ready, replace } => {
                let mut spec = NodeSpec::new(id(node)).capacity(capacity).capabilities(capabilities(offers));
                spec = if ready { spec.ready() } else { spec };
                spec = if replace { spec.replace_existing() } else { spec };
                match (self.scheduler.register(spec), self.model.nodes.get(&node).filter(|_| !replace)) {
                    (Ok(handle), None) => self.model.register(node, handle.incarnation(), capacity, offers, ready),
                    (Err(RegisterError::AlreadyRegistered { incarnation, .. }), Some(known)) => {
                        prop_assert_eq!(incarnation, known.incarnation);
                    }
                    (result, known) => prop_assert!(false, "{result:?} though the model has {known:?}"),
                }
            }
            Step::Tick(time) => {
                self.model.tick(self.model.now + time);
                self.scheduler.tick(ms(self.model.now));
            }
            Step::Create(request, needs) => self.create(request, needs)?,
            Step::Move(request, how) => self.move_on(request, how)?,
            Step::Retry(request) => self.retry(request)?,
            Step::Deregister(node)
            | Step::Beat(node, _)
            | Step::Drain(node, _)
            | Step::Capacity(node, _)
            | Step::Weight(node, _)
            | Step::Update(node, _)
            | Step::Unavailable(node, ..) => self.change(node, step)?,
        }
        Ok(())
    }

    /// A step that changes a node, if that is there.
    fn change(&mut self, node: u8, step: &Step) -> TestCaseResult {
        let handle = self.scheduler.handle(&id(node));
        prop_assert_eq!(handle.is_some(), self.model.nodes.contains_key(&node));
        let Some(handle) = handle else { return Ok(()) };
        let (scheduler, model) = (&self.scheduler, &mut self.model);
        match *step {
            Step::Deregister(_) => {
                prop_assert_eq!(scheduler.deregister(&handle), Ok(()));
                model.remove(node);
            }
            Step::Beat(_, beat) => {
                let mut sent = match beat.ready {
                    None => Heartbeat::alive(),
                    Some(true) => Heartbeat::ready(),
                    Some(false) => Heartbeat::not_ready(),
                };
                if let Some(running) = beat.running {
                    sent = sent.running(running);
                }
                if let Some(gpu) = beat.usage {
                    sent = sent.resources(ResourceUse { gpu, ..Default::default() });
                }
                prop_assert_eq!(scheduler.heartbeat(&handle, &sent), Ok(()));
                model.beat(node, beat);
            }
            Step::Drain(_, drain) => {
                let result = if drain { scheduler.drain(&handle) } else { scheduler.undrain(&handle) };
                prop_assert_eq!(result, Ok(()));
                model.set_draining(node, drain);
            }
            Step::Capacity(_, capacity) => {
                prop_assert_eq!(scheduler.set_capacity(&handle, capacity), Ok(()));
                model.nodes.get_mut(&node).expect("it is there").capacity = capacity;
            }
            Step::Weight(_, weight) => {
                prop_assert_eq!(scheduler.set_weight(&handle, weight), Ok(()));
                model.nodes.get_mut(&node).expect("it is there").weight = weight;
            }
            Step::Update(_, offers) => {
                prop_assert_eq!(scheduler.update(&handle, capabilities(offers)), Ok(()));
                model.update(node, offers);
            }
            Step::Unavailable(_, service, time) => {
                let offered = model.nodes[&node].declared >> service & 1 == 1;
                let result = scheduler.mark_unavailable(&handle, &Service::from(format!("s{service}")), ms(time));
                prop_assert_eq!(result.is_ok(), offered);
                if offered {
                    model.mark_unavailable(node, service, time);
                }
            }
            _ => unreachable!("the caller has sorted them"),
        }
        Ok(())
    }

    /// The node of a new attempt, which must be one of those that may be chosen.
    fn check_choice(&self, chosen: &str, allowed: &[u8]) -> Result<u8, TestCaseError> {
        let node = (0..NODES).find(|node| id(*node) == chosen);
        let allowed_node = node.filter(|node| allowed.contains(node));
        allowed_node.ok_or_else(|| TestCaseError::fail(format!("{chosen} was chosen, allowed are {allowed:?}")))
    }

    fn check_refusal(&self, no_node: &NoNode, needs: Services) -> TestCaseResult {
        prop_assert_eq!(no_node.kind(), self.model.kind(needs), "{}", no_node);
        prop_assert_eq!(no_node.refusal().and_then(|r| r.retry_after()).is_some(), no_node.kind() == "busy");
        Ok(())
    }

    fn create(&mut self, request: u8, needs: Services) -> TestCaseResult {
        let result = try_create(&self.scheduler, &format!("r{request}"), demand(needs));
        match (result, self.model.jobs.get(&request)) {
            (Ok(job), Some(known)) => {
                prop_assert_eq!((job.id(), job.attempt(), needs), (known.id, known.attempt, known.needs));
            }
            (Err(CreateJobError::RequestMismatch { job, .. }), Some(known)) => {
                prop_assert!(job == known.id && needs != known.needs);
            }
            (Ok(job), None) => {
                let node = self.check_choice(job.node_id(), &self.model.selectable(needs))?;
                prop_assert_eq!((job.attempt(), job.incarnation()), (1, self.model.nodes[&node].incarnation));
                self.model.create(request, job.id(), needs, node);
            }
            (Err(CreateJobError::NoNode(no_node)), None) => self.check_refusal(&no_node, needs)?,
            (result, known) => prop_assert!(false, "{result:?} though the model has {known:?}"),
        }
        Ok(())
    }

    fn move_on(&mut self, request: u8, how: Move) -> TestCaseResult {
        let Some(job) = self.model.jobs.get_mut(&request) else { return Ok(()) };
        let (scheduler, id, attempt, state) = (&self.scheduler, job.id, job.attempt, job.state);
        let (result, wanted) = match how {
            Move::Dispatched => (scheduler.dispatched(id, attempt), JobState::Dispatched),
            Move::Running => (scheduler.running(id, attempt), JobState::Running),
            Move::Renew => (scheduler.renew(id, attempt), state),
            Move::End(JobState::Completed) => (scheduler.complete(id, attempt), JobState::Completed),
            Move::End(JobState::Failed) => (scheduler.fail(id, attempt), JobState::Failed),
            Move::End(_) => (scheduler.cancel(id, attempt), JobState::Cancelled),
        };
        let expected = if state.has_ended() {
            Err(JobError::AlreadyEnded { job: id, attempt, state })
        } else if matches!(how, Move::Dispatched | Move::Running) && state >= wanted {
            Err(JobError::InvalidTransition { job: id, attempt, state, wanted })
        } else {
            Ok(())
        };
        prop_assert_eq!(&result, &expected);
        match how {
            _ if result.is_err() => {}
            Move::Renew => self.model.renew(request),
            Move::End(_) => self.model.end(request, wanted),
            Move::Dispatched | Move::Running => job.state = wanted,
        }
        Ok(())
    }

    fn retry(&mut self, request: u8) -> TestCaseResult {
        let Some(job) = self.model.jobs.get(&request) else { return Ok(()) };
        match self.scheduler.retry(job.id, job.attempt) {
            Err(RetryError::Job(JobError::AlreadyEnded { .. })) => prop_assert!(!job.may_retry()),
            Err(RetryError::TooManyAttempts { limit, .. }) => {
                prop_assert!(job.may_retry() && limit == MAX_ATTEMPTS && job.attempt == limit);
            }
            Err(RetryError::NoNode(no_node)) => self.check_refusal(&no_node, job.needs)?,
            Ok(next) => {
                prop_assert!(job.may_retry() && job.attempt < MAX_ATTEMPTS && next.attempt() == job.attempt + 1);
                let node = self.check_choice(next.node_id(), &self.model.for_retry(job))?;
                self.model.retry(request, node);
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
        Ok(())
    }

    /// Whether both are in the same state.
    fn compare(&self) -> TestCaseResult {
        let (scheduler, model) = (&self.scheduler, &self.model);
        let views = scheduler.nodes();
        let expected: Vec<_> = model
            .nodes
            .iter()
            .map(|(n, node)| {
                (id(*n), node.incarnation, node.state(), node.capacity, model.in_flight(*n), node.external)
            })
            .collect();
        let shown =
            |v: &slotyard::NodeView| (v.id.to_string(), v.incarnation, v.state, v.capacity, v.in_flight, v.external);
        prop_assert_eq!(views.iter().map(shown).collect::<Vec<_>>(), expected);
        for view in &views {
            let node = view.id[1..].parse::<u8>().expect("n and a number");
            let off = !model.nodes[&node].effective() & model.nodes[&node].declared;
            prop_assert_eq!(
                view.services_off.iter().map(|s| s.name().to_owned()).collect::<Vec<_>>(),
                names(off).collect::<Vec<_>>()
            );
        }
        for request in 0..REQUESTS {
            let view = scheduler.job_by_request(&format!("r{request}"));
            let known = model.jobs.get(&request);
            let shown = view.map(|v| (v.id, v.state, v.attempt, v.node_id.to_string(), v.incarnation));
            let expected = known.map(|job| {
                let (node, incarnation) = *job.nodes.last().expect("a job has a node");
                (job.id, job.state, job.attempt, id(node), incarnation)
            });
            prop_assert_eq!(shown, expected);
        }
        for needs in 0..1 << SERVICES {
            prop_assert_eq!(kind(scheduler, &demand(needs)), model.kind(needs), "for services {:b}", needs);
        }
        let active = model.jobs.values().filter(|job| !job.state.has_ended()).count();
        let (counted, now) = (scheduler.stats().counters, scheduler.stats().now);
        prop_assert_eq!((counted.reserved - counted.released, counted.double_released), (active as u64, 0));
        prop_assert_eq!((now.nodes, now.jobs), (model.nodes.len(), model.jobs.len()));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn a_scheduler_does_what_the_model_says(
        (_name, configure) in configurations(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut pair = Pair::new(configure, seed);
        for step in &steps {
            pair.take(step)?;
            pair.compare()?;
        }
    }
}
