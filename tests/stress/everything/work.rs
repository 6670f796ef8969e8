//! What one thread does, everything that can be done among it, and what it tells of that at a stop.

use std::collections::BTreeMap;

use fastrand::Rng;
use slotyard::{
    CreateJobError, EventReceiver, ExclusionMode, Heartbeat, HeartbeatError, InvalidId, Job, JobError, JobId,
    JobRequest, NoNode, NodeError, NodeHandle, NodeId, NodeSpec, PreparedDemand, RegisterError, Reservation,
    ResourceUse, RetryError, Scheduler, Selection, Service, SessionMode,
};

use super::setups::{MAX_ID, MAX_SLOTS, Setup};
use crate::common::*;
use crate::counting;

/// An attempt of a job.
pub(super) type Attempt = (JobId, u32);

macro_rules! operations {
    ($($share:literal $name:ident),* $(,)?) => {
        /// A call of the library's.
        #[allow(non_camel_case_types, reason = "named as the calls are")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Operation { $($name),* }

        impl Operation {
            /// Each with how often it is done, in relation to the others.
            pub(super) const ALL: &[(Self, u32)] = &[$((Self::$name, $share)),*];
        }
    };
}

operations! {
    14 register, 6 replace, 3 deregister, 3 drain, 8 undrain, 4 update, 6 set_capacity, 5 set_weight,
    2 mark_unavailable, 12 heartbeat, 12 heartbeat_by_id, 6 heartbeat_batch,
    10 select, 10 prepare, 12 select_prepared, 16 reserve, 12 reserve_prepared, 24 release,
    60 create_job, 6 create_jobs, 10 dispatched, 10 running, 10 renew, 26 complete, 6 complete_jobs, 12 fail, 10 cancel,
    16 retry, 8 job, 8 job_by_request, 1 explain, 4 node, 1 nodes, 2 pools, 2 snapshot, 2 stats, 4 handle,
    1 subscribe, 4 try_recv,
}

/// How often each was done, and how often refused.
#[derive(Clone)]
pub(super) struct Counts {
    pub(super) done: Vec<u64>,
    pub(super) refused: Vec<u64>,
    /// Refusals by their kind.
    pub(super) why: BTreeMap<String, u64>,
    /// Heartbeats taken, those of a batch each by itself.
    pub(super) beats: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let none = vec![0; Operation::ALL.len()];
        Self { done: none.clone(), refused: none, why: BTreeMap::new(), beats: 0 }
    }
}

impl Counts {
    fn note<T, E>(
        &mut self,
        operation: Operation,
        outcome: Result<T, E>,
        kind: impl Fn(&E) -> &'static str,
    ) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.done[operation as usize] += 1;
                Some(value)
            }
            Err(error) => {
                self.refused[operation as usize] += 1;
                let kind = kind(&error);
                match self.why.get_mut(kind) {
                    Some(times) => *times += 1,
                    None => drop(self.why.insert(kind.to_owned(), 1)),
                }
                None
            }
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let sum = |a: &mut Vec<u64>, b: &Vec<u64>| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        sum(&mut self.done, &other.done);
        sum(&mut self.refused, &other.refused);
        self.beats += other.beats;
        other.why.iter().for_each(|(kind, times)| *self.why.entry(kind.clone()).or_default() += times);
    }

    pub(super) fn of(&self, operation: Operation) -> u64 {
        self.done[operation as usize]
    }

    pub(super) fn operations(&self) -> u64 {
        self.done.iter().sum::<u64>() + self.refused.iter().sum::<u64>()
    }
}

/// What a thread tells at a stop; of attempts, what has become of them since the last one.
#[derive(Default)]
pub(super) struct Report {
    pub(super) begun: Vec<Attempt>,
    /// Of those begun, the ones that a retry of its own began.
    pub(super) retried: Vec<Attempt>,
    pub(super) ended: Vec<Attempt>,
    /// Incarnations whose capacity it has changed.
    pub(super) resized: Vec<u64>,
    /// Where its reservations are.
    pub(super) held: Vec<(NodeId, u64)>,
    /// Since it began.
    pub(super) counts: Counts,
    /// Bytes that it has allocated and nobody has freed, less what it has freed of others.
    pub(super) memory: i64,
}

/// A thread at work.
pub(super) struct Worker<'s> {
    pub(super) scheduler: &'s Scheduler,
    pub(super) setup: &'s Setup,
    pub(super) number: usize,
    pub(super) random: Rng,
    step: u64,
    reservations: Vec<Reservation<'s>>,
    /// A selection that is kept for some steps: it pins.
    selection: Option<Selection<'s>>,
    prepared: Vec<PreparedDemand>,
    events: Option<EventReceiver>,
    handles: Vec<NodeHandle>,
    /// Jobs that it may still do something to, each with its latest attempt.
    open: Vec<Attempt>,
    report: Report,
}

/// More than this of anything is not kept.
const KEPT: usize = 12;

impl<'s> Worker<'s> {
    pub(super) fn new(scheduler: &'s Scheduler, setup: &'s Setup, number: usize, random: Rng) -> Self {
        Self {
            scheduler,
            setup,
            number,
            random,
            step: 0,
            reservations: Vec::new(),
            selection: None,
            prepared: Vec::new(),
            events: None,
            handles: Vec::new(),
            open: Vec::new(),
            report: Report::default(),
        }
    }

    /// What has been done since the last one.
    pub(super) fn report(&mut self) -> Report {
        // Nobody pins while the others look.
        self.selection = None;
        let held = self.reservations.iter().map(|held| (held.node_id(), held.node().incarnation())).collect();
        let counts = self.report.counts.clone();
        let begun = Report { counts, ..Report::default() };
        Report { held, memory: counting::so_far().held, ..std::mem::replace(&mut self.report, begun) }
    }

    /// Gives back what it holds, but for jobs, which run out.
    pub(super) fn let_go(&mut self) {
        self.selection = None;
        self.events = None;
        self.reservations = Vec::new();
        self.prepared = Vec::new();
        self.handles = Vec::new();
        self.open = Vec::new();
    }

    pub(super) fn do_something(&mut self) {
        let total: u32 = const {
            let (mut sum, mut at) = (0, 0);
            while at < Operation::ALL.len() {
                sum += Operation::ALL[at].1;
                at += 1;
            }
            sum
        };
        let mut drawn = self.random.u32(..total);
        let drawn = Operation::ALL.iter().find(|(_, share)| {
            let here = drawn < *share;
            drawn = drawn.wrapping_sub(*share);
            here
        });
        let (operation, _) = drawn.expect("less than all shares together");
        self.step += 1;
        if self.step.is_multiple_of(16) {
            self.selection = None;
        }
        self.perform(*operation);
    }

    fn perform(&mut self, operation: Operation) {
        use Operation as O;
        match operation {
            O::register | O::replace => self.register(operation),
            O::deregister | O::drain | O::undrain | O::update | O::set_capacity | O::set_weight => {
                self.change_a_node(operation);
            }
            O::mark_unavailable | O::heartbeat | O::heartbeat_by_id | O::heartbeat_batch => {
                self.news_of_a_node(operation)
            }
            O::select | O::prepare | O::select_prepared => self.choose(operation),
            O::reserve | O::reserve_prepared | O::release => self.hold(operation),
            O::create_job | O::create_jobs => self.create(operation),
            O::dispatched | O::running | O::renew | O::complete | O::fail | O::cancel => self.move_on(operation),
            O::complete_jobs => self.complete_some(),
            O::retry => self.retry(),
            _ => self.look(operation),
        }
    }

    fn note<T, E>(
        &mut self,
        operation: Operation,
        outcome: Result<T, E>,
        kind: impl Fn(&E) -> &'static str,
    ) -> Option<T> {
        self.report.counts.note(operation, outcome, kind)
    }

    fn did(&mut self, operation: Operation) {
        self.report.counts.done[operation as usize] += 1;
    }

    fn node_id(&mut self) -> String {
        // Now and then one that is too long.
        let excess = if self.random.u8(..200) == 0 { MAX_ID } else { 0 };
        format!("n{}{:excess$}", self.random.u32(..self.setup.nodes), "")
    }

    /// A node, as some thread has registered it: perhaps of an incarnation that has ended.
    fn any_handle(&mut self) -> Option<NodeHandle> {
        if self.random.u8(..4) == 0 {
            return self.random.choice(&self.handles).cloned();
        }
        let id = self.node_id();
        self.scheduler.handle(&id)
    }

    fn register(&mut self, operation: Operation) {
        let id = self.node_id();
        let capacity = if self.random.u8(..200) == 0 { 0 } else { self.random.u32(1..=MAX_SLOTS) };
        let mut spec = NodeSpec::new(id).capabilities(self.setup.capabilities(&mut self.random)).capacity(capacity);
        if self.random.u8(..5) > 0 {
            spec = spec.ready();
        }
        if operation == Operation::replace {
            spec = spec.replace_existing();
        }
        let outcome = self.scheduler.register(spec);
        if let Some(handle) = self.note(operation, outcome, register_error) {
            if self.handles.len() >= KEPT {
                let at = self.random.usize(..KEPT);
                self.handles.swap_remove(at);
            }
            self.handles.push(handle);
        }
    }

    fn change_a_node(&mut self, operation: Operation) {
        let Some(handle) = self.any_handle() else { return };
        let (scheduler, random) = (self.scheduler, &mut self.random);
        let outcome = match operation {
            Operation::deregister => scheduler.deregister(&handle),
            Operation::drain => scheduler.drain(&handle),
            Operation::undrain => scheduler.undrain(&handle),
            Operation::update => scheduler.update(&handle, self.setup.capabilities(random)),
            Operation::set_capacity => {
                self.report.resized.push(handle.incarnation());
                scheduler.set_capacity(&handle, random.u32(1..=MAX_SLOTS))
            }
            _ => scheduler.set_weight(&handle, [0, 50, 100, 100, 100, 200][random.usize(..6)]),
        };
        self.note(operation, outcome, node_error);
    }

    fn beat(&mut self) -> Heartbeat {
        match self.random.u8(..32) {
            0 => Heartbeat::not_ready(),
            1 => Heartbeat::ready().services(if self.setup.bare { vec![] } else { vec!["work"] }),
            2 => Heartbeat::ready().services(["nobody-offers-this"]),
            3 => Heartbeat::ready().resources(ResourceUse { cpu: 7.0, ..ResourceUse::default() }),
            4 => Heartbeat::alive().resources(ResourceUse { cpu: self.random.f32(), ..ResourceUse::default() }),
            5..8 => Heartbeat::alive().running(self.random.u32(..2 * MAX_SLOTS)),
            8..12 => Heartbeat::alive(),
            _ => Heartbeat::ready().running(0),
        }
    }

    fn news_of_a_node(&mut self, operation: Operation) {
        let scheduler = self.scheduler;
        if operation == Operation::heartbeat_by_id {
            let (id, beat) = (self.node_id(), self.beat());
            let outcome = scheduler.heartbeat_by_id(&id, &beat);
            self.report.counts.beats += u64::from(outcome.is_ok());
            self.note(operation, outcome, heartbeat_error);
            return;
        }
        if operation == Operation::heartbeat_batch {
            let many = (0..self.random.usize(..40)).filter_map(|_| Some((self.any_handle()?, self.beat())));
            let many: Vec<(NodeHandle, Heartbeat)> = many.collect();
            let refused = scheduler.heartbeat_batch(many.iter().map(|(handle, beat)| (handle, beat)));
            assert!(refused.iter().all(|(place, _)| *place < many.len()));
            self.report.counts.beats += (many.len() - refused.len()) as u64;
            return self.did(operation);
        }
        let Some(handle) = self.any_handle() else { return };
        if operation == Operation::mark_unavailable {
            let service = Service::from(*self.random.choice(&["x", "y", "work"]).expect("there are some"));
            let time = ms(self.random.u64(..20));
            let outcome = scheduler.mark_unavailable(&handle, &service, time);
            self.note(operation, outcome, node_error);
        } else {
            let beat = self.beat();
            let outcome = scheduler.heartbeat(&handle, &beat);
            self.report.counts.beats += u64::from(outcome.is_ok());
            self.note(operation, outcome, heartbeat_error);
        }
    }

    /// A demand that was prepared before.
    fn any_prepared(&mut self) -> Option<usize> {
        (!self.prepared.is_empty()).then(|| self.random.usize(..self.prepared.len()))
    }

    fn choose(&mut self, operation: Operation) {
        let scheduler = self.scheduler;
        if operation == Operation::prepare {
            let demand = self.setup.demand(&mut self.random);
            if self.prepared.len() >= KEPT {
                let at = self.random.usize(..KEPT);
                self.prepared.swap_remove(at);
            }
            self.prepared.push(scheduler.prepare(&demand));
            return self.did(operation);
        }
        let outcome = if operation == Operation::select {
            scheduler.select(&self.setup.demand(&mut self.random))
        } else {
            let Some(at) = self.any_prepared() else { return };
            scheduler.select_prepared(&self.prepared[at])
        };
        if let Some(selection) = self.note(operation, outcome, NoNode::kind) {
            assert!(selection.node_id().starts_with('n') && selection.capacity() <= MAX_SLOTS, "{selection:?}");
            let _ = (selection.incarnation(), selection.pool(), selection.in_flight());
            if self.random.u8(..4) == 0 {
                self.selection = Some(selection);
            }
        }
    }

    fn hold(&mut self, operation: Operation) {
        let scheduler = self.scheduler;
        if operation == Operation::release {
            if !self.reservations.is_empty() {
                let at = self.random.usize(..self.reservations.len());
                drop(self.reservations.swap_remove(at));
                self.did(operation);
            }
            return;
        }
        let outcome = if operation == Operation::reserve {
            scheduler.reserve(&self.setup.demand(&mut self.random))
        } else {
            let Some(at) = self.any_prepared() else { return };
            scheduler.reserve_prepared(&self.prepared[at])
        };
        if let Some(reservation) = self.note(operation, outcome, NoNode::kind) {
            let _ = reservation.pool();
            self.reservations.push(reservation);
            if self.reservations.len() > 6 {
                drop(self.reservations.swap_remove(0));
            }
        }
    }

    fn request(&mut self) -> JobRequest {
        let random = &mut self.random;
        // Half of them under few ids that all threads use, so that they meet.
        let id = match random.u8(..100) {
            0 => "too-long".repeat(MAX_ID),
            1..50 => format!("shared-{}", random.u8(..24)),
            _ => format!("{}-{}", self.number, self.step),
        };
        let demand = if random.u8(..4) == 0 { self.setup.demand(random) } else { self.setup.basic_demand() };
        let mut request = JobRequest::new(id, demand);
        if random.bool() {
            request = request.lease(ms(random.u64(..=301)));
        }
        if random.bool() {
            let spread = |mode| SessionMode::Spread(mode);
            let modes = [SessionMode::Affinity, spread(ExclusionMode::Soft), spread(ExclusionMode::Hard)];
            request = request.session(format!("s{}", random.u32(..self.setup.sessions)));
            request = request.session_mode(modes[random.usize(..3)]);
        }
        request
    }

    fn create(&mut self, operation: Operation) {
        if operation == Operation::create_job {
            let request = self.request();
            let outcome = self.scheduler.create_job(&request);
            if let Some(job) = self.note(operation, outcome, create_error) {
                self.created(&job, &request);
            }
            return;
        }
        let requests: Vec<JobRequest> = (0..self.random.usize(..20)).map(|_| self.request()).collect();
        let outcomes = self.scheduler.create_jobs(&requests);
        assert_eq!(outcomes.len(), requests.len());
        for (outcome, request) in outcomes.into_iter().zip(&requests) {
            if let Some(job) = self.note(operation, outcome, create_error) {
                self.created(&job, request);
            }
        }
    }

    fn created(&mut self, job: &Job, request: &JobRequest) {
        assert_eq!(job.request_id(), request.request_id());
        let _ = (job.node_id(), job.incarnation(), job.pool(), job.session_id(), job.state());
        self.open.push((job.id(), job.attempt()));
        self.report.begun.push((job.id(), job.attempt()));
        if self.open.len() > 3 * KEPT {
            // Let go while active, its lease runs out.
            let at = self.random.usize(..self.open.len());
            self.open.swap_remove(at);
        }
    }

    fn any_job(&mut self) -> Option<usize> {
        (!self.open.is_empty()).then(|| self.random.usize(..self.open.len()))
    }

    fn move_on(&mut self, operation: Operation) {
        let Some(at) = self.any_job() else { return };
        let (job, mut attempt) = self.open[at];
        if self.random.u8(..30) == 0 {
            attempt += 1;
        }
        type Call = fn(&Scheduler, JobId, u32) -> Result<(), JobError>;
        let (call, ends): (Call, bool) = match operation {
            Operation::dispatched => (Scheduler::dispatched, false),
            Operation::running => (Scheduler::running, false),
            Operation::renew => (Scheduler::renew, false),
            Operation::complete => (Scheduler::complete, true),
            Operation::fail => (Scheduler::fail, true),
            _ => (Scheduler::cancel, true),
        };
        let outcome = call(self.scheduler, job, attempt);
        if self.note(operation, outcome, job_error).is_some() && ends {
            self.report.ended.push((job, attempt));
        }
        // Left open, it may be retried.
        if ends && self.random.bool() {
            self.open.swap_remove(at);
        }
    }

    fn complete_some(&mut self) {
        let some = self.random.usize(..=self.open.len());
        let mut those = self.open.split_off(some);
        // One of them twice: the second is to be refused.
        those.extend(those.first().copied());
        let refused = self.scheduler.complete_jobs(those.iter().copied());
        let mut refused = refused.iter().map(|(place, _)| *place).peekable();
        for (place, attempt) in those.into_iter().enumerate() {
            if refused.next_if_eq(&place).is_none() {
                self.report.ended.push(attempt);
            }
        }
        self.did(Operation::complete_jobs);
    }

    fn retry(&mut self) {
        let Some(at) = self.any_job() else { return };
        let (job, attempt) = self.open[at];
        let outcome = self.scheduler.retry(job, attempt);
        if let Some(next) = self.note(Operation::retry, outcome, retry_error) {
            assert_eq!((next.id(), next.attempt()), (job, attempt + 1));
            self.report.begun.push((job, attempt + 1));
            self.report.retried.push((job, attempt + 1));
            self.open[at] = (job, attempt + 1);
        }
    }

    /// What changes nothing. What is seen is of different moments, so little can be said of it but at a stop.
    fn look(&mut self, operation: Operation) {
        let scheduler = self.scheduler;
        match operation {
            Operation::job => {
                let Some(at) = self.any_job() else { return };
                let (id, attempt) = self.open[at];
                if let Some(view) = scheduler.job(id) {
                    assert!(view.id == id && view.attempt >= attempt, "{view:?}");
                }
            }
            Operation::job_by_request => {
                let id = format!("shared-{}", self.random.u8(..24));
                if let Some(view) = scheduler.job_by_request(&id) {
                    assert_eq!(view.request_id, id);
                }
            }
            Operation::explain => {
                let demand = self.setup.demand(&mut self.random);
                assert!(scheduler.explain(&demand).invalid.is_none());
            }
            Operation::node => {
                let id = self.node_id();
                if let Some(view) = scheduler.node(&id) {
                    assert!(view.id == *id && view.in_flight <= MAX_SLOTS, "{view:?}");
                }
            }
            Operation::nodes => {
                for view in scheduler.nodes() {
                    assert!(view.in_flight <= MAX_SLOTS, "{view:?}");
                }
            }
            Operation::pools => assert!(scheduler.pools().len() <= scheduler.config().max_pools + 1),
            Operation::snapshot => assert!(scheduler.snapshot().pools().count() <= scheduler.config().max_pools + 1),
            Operation::stats => assert_eq!(scheduler.stats().counters.double_released, 0),
            Operation::handle => {
                let id = self.node_id();
                assert!(scheduler.handle(&id).is_none_or(|handle| *handle.id() == *id));
            }
            Operation::subscribe => self.events = Some(scheduler.subscribe(self.random.usize(..60))),
            _ => {
                let Some(events) = &self.events else { return };
                let _ = (events.try_recv(), events.recv_timeout(ms(0)), events.dropped());
                if self.random.u8(..8) == 0 {
                    self.events = None;
                }
            }
        }
        self.did(operation);
    }
}

// What may be refused while everything is done at once, each kind by its name; anything else fails.

fn too_long(error: &InvalidId) -> &'static str {
    assert!(error.len > MAX_ID, "{error}");
    "id too long"
}

fn register_error(error: &RegisterError) -> &'static str {
    match error {
        RegisterError::InvalidId(error) => too_long(error),
        RegisterError::InvalidCapacity { capacity: 0, .. } => "no capacity",
        RegisterError::AlreadyRegistered { .. } => "already registered",
        RegisterError::TooManyNodes { .. } => "too many nodes",
        other => panic!("{other}"),
    }
}

fn node_error(error: &NodeError) -> &'static str {
    match error {
        NodeError::StaleHandle { .. } => "stale handle",
        NodeError::UnknownNode { .. } => "unknown node",
        NodeError::UnknownService { .. } => "unknown service",
        NodeError::InvalidTime { .. } => "no time",
        other => panic!("{other}"),
    }
}

fn heartbeat_error(error: &HeartbeatError) -> &'static str {
    match error {
        HeartbeatError::StaleHandle { .. } => "stale handle",
        HeartbeatError::UnknownNode { .. } => "unknown node",
        HeartbeatError::UnknownService { .. } => "unknown service",
        HeartbeatError::InvalidResource { .. } => "resource out of range",
        other => panic!("{other}"),
    }
}

fn create_error(error: &CreateJobError) -> &'static str {
    match error {
        CreateJobError::NoNode(error) => error.kind(),
        CreateJobError::InvalidId(error) => too_long(error),
        CreateJobError::InvalidLease { .. } => "lease out of range",
        CreateJobError::RequestMismatch { .. } => "another demand",
        CreateJobError::TooManyJobs { .. } => "too many jobs",
        CreateJobError::PlacesPinned => "places pinned",
        CreateJobError::TooManySessions { .. } => "too many sessions",
        other => panic!("{other}"),
    }
}

fn job_error(error: &JobError) -> &'static str {
    match error {
        JobError::UnknownJob { .. } => "unknown job",
        JobError::StaleAttempt { .. } => "stale attempt",
        JobError::AlreadyEnded { .. } => "already ended",
        JobError::InvalidTransition { .. } => "no such step",
        other => panic!("{other}"),
    }
}

fn retry_error(error: &RetryError) -> &'static str {
    match error {
        RetryError::Job(error) => job_error(error),
        RetryError::NoNode(error) => error.kind(),
        RetryError::TooManyAttempts { .. } => "too many attempts",
        other => panic!("{other}"),
    }
}
