//! A scheduler and its model, to which the same is done.

use std::time::Duration;

use slotyard::{
    Capabilities, CreateJobError, Demand, Heartbeat, JobError, JobRequest, JobState, NoNode, NodeSpec, NodeView,
    RegisterError, ResourceUse, RetryError, Scheduler, Service,
};

use super::difference::{Difference, holds, same};
use super::model::{MAX_ATTEMPTS, Model, Services};
use super::setup::Setup;
use super::step::{Move, NODES, REQUESTS, SERVICES, Step};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn kind(scheduler: &Scheduler, demand: &Demand) -> &'static str {
    scheduler.select(demand).err().map_or("selected", |no_node| no_node.kind())
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
pub(crate) struct Pair<'s> {
    scheduler: &'s Scheduler,
    model: Model,
}

impl<'s> Pair<'s> {
    /// Of a scheduler just built as this says.
    pub(crate) fn new(scheduler: &'s Scheduler, _setup: &Setup) -> Self {
        Self { scheduler, model: Model::default() }
    }

    /// Does the step to both; says whether the results differ.
    pub(crate) fn take(&mut self, step: &Step) -> Result<(), Difference> {
        match *step {
            Step::Register { node, capacity, offers, ready, replace } => {
                let mut spec = NodeSpec::new(id(node)).capacity(capacity).capabilities(capabilities(offers));
                spec = if ready { spec.ready() } else { spec };
                spec = if replace { spec.replace_existing() } else { spec };
                match (self.scheduler.register(spec), self.model.nodes.get(&node).filter(|_| !replace)) {
                    (Ok(handle), None) => self.model.register(node, handle.incarnation(), capacity, offers, ready),
                    (Err(RegisterError::AlreadyRegistered { incarnation, .. }), Some(known)) => {
                        same!(incarnation, known.incarnation);
                    }
                    (result, known) => {
                        return Err(Difference::new(format!("{result:?} though the model has {known:?}")));
                    }
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
    fn change(&mut self, node: u8, step: &Step) -> Result<(), Difference> {
        let handle = self.scheduler.handle(&id(node));
        same!(handle.is_some(), self.model.nodes.contains_key(&node));
        let Some(handle) = handle else { return Ok(()) };
        let (scheduler, model) = (self.scheduler, &mut self.model);
        match *step {
            Step::Deregister(_) => {
                same!(scheduler.deregister(&handle), Ok(()));
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
                same!(scheduler.heartbeat(&handle, &sent), Ok(()));
                model.beat(node, beat);
            }
            Step::Drain(_, drain) => {
                let result = if drain { scheduler.drain(&handle) } else { scheduler.undrain(&handle) };
                same!(result, Ok(()));
                model.set_draining(node, drain);
            }
            Step::Capacity(_, capacity) => {
                same!(scheduler.set_capacity(&handle, capacity), Ok(()));
                model.nodes.get_mut(&node).expect("it is there").capacity = capacity;
            }
            Step::Weight(_, weight) => {
                same!(scheduler.set_weight(&handle, weight), Ok(()));
                model.nodes.get_mut(&node).expect("it is there").weight = weight;
            }
            Step::Update(_, offers) => {
                same!(scheduler.update(&handle, capabilities(offers)), Ok(()));
                model.update(node, offers);
            }
            Step::Unavailable(_, service, time) => {
                let offered = model.nodes[&node].declared >> service & 1 == 1;
                let result = scheduler.mark_unavailable(&handle, &Service::from(format!("s{service}")), ms(time));
                same!(result.is_ok(), offered);
                if offered {
                    model.mark_unavailable(node, service, time);
                }
            }
            _ => unreachable!("the caller has sorted them"),
        }
        Ok(())
    }

    /// The node of a new attempt, which must be one of those that may be chosen.
    fn check_choice(&self, chosen: &str, allowed: &[u8]) -> Result<u8, Difference> {
        let node = (0..NODES).find(|node| id(*node) == chosen);
        let allowed_node = node.filter(|node| allowed.contains(node));
        allowed_node.ok_or_else(|| Difference::new(format!("{chosen} was chosen, allowed are {allowed:?}")))
    }

    fn check_refusal(&self, no_node: &NoNode, needs: Services) -> Result<(), Difference> {
        same!(no_node.kind(), self.model.kind(needs), "{}", no_node);
        same!(no_node.refusal().and_then(|r| r.retry_after()).is_some(), no_node.kind() == "busy");
        Ok(())
    }

    fn create(&mut self, request: u8, needs: Services) -> Result<(), Difference> {
        let result = self.scheduler.create_job(&JobRequest::new(format!("r{request}"), demand(needs)));
        match (result, self.model.jobs.get(&request)) {
            (Ok(job), Some(known)) => {
                same!((job.id(), job.attempt(), needs), (known.id, known.attempt, known.needs));
            }
            (Err(CreateJobError::RequestMismatch { job, .. }), Some(known)) => {
                holds!(job == known.id && needs != known.needs);
            }
            (Ok(job), None) => {
                let node = self.check_choice(job.node_id(), &self.model.selectable(needs))?;
                same!((job.attempt(), job.incarnation()), (1, self.model.nodes[&node].incarnation));
                self.model.create(request, job.id(), needs, node);
            }
            (Err(CreateJobError::NoNode(no_node)), None) => self.check_refusal(&no_node, needs)?,
            (result, known) => return Err(Difference::new(format!("{result:?} though the model has {known:?}"))),
        }
        Ok(())
    }

    fn move_on(&mut self, request: u8, how: Move) -> Result<(), Difference> {
        let Some(job) = self.model.jobs.get_mut(&request) else { return Ok(()) };
        let (scheduler, id, attempt, state) = (self.scheduler, job.id, job.attempt, job.state);
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
        same!(&result, &expected);
        match how {
            _ if result.is_err() => {}
            Move::Renew => self.model.renew(request),
            Move::End(_) => self.model.end(request, wanted),
            Move::Dispatched | Move::Running => job.state = wanted,
        }
        Ok(())
    }

    fn retry(&mut self, request: u8) -> Result<(), Difference> {
        let Some(job) = self.model.jobs.get(&request) else { return Ok(()) };
        match self.scheduler.retry(job.id, job.attempt) {
            Err(RetryError::Job(JobError::AlreadyEnded { .. })) => holds!(!job.may_retry()),
            Err(RetryError::TooManyAttempts { limit, .. }) => {
                holds!(job.may_retry() && limit == MAX_ATTEMPTS && job.attempt == limit);
            }
            Err(RetryError::NoNode(no_node)) => self.check_refusal(&no_node, job.needs)?,
            Ok(next) => {
                holds!(job.may_retry() && job.attempt < MAX_ATTEMPTS && next.attempt() == job.attempt + 1);
                let node = self.check_choice(next.node_id(), &self.model.for_retry(job))?;
                self.model.retry(request, node);
            }
            Err(error) => return Err(Difference::new(format!("{error}"))),
        }
        Ok(())
    }

    /// Whether both are in the same state.
    pub(crate) fn compare(&self) -> Result<(), Difference> {
        let (scheduler, model) = (self.scheduler, &self.model);
        let views = scheduler.nodes();
        let expected: Vec<_> = model
            .nodes
            .iter()
            .map(|(n, node)| {
                (id(*n), node.incarnation, node.state(), node.capacity, model.in_flight(*n), node.external)
            })
            .collect();
        let shown = |v: &NodeView| (v.id.to_string(), v.incarnation, v.state, v.capacity, v.in_flight, v.external);
        same!(views.iter().map(shown).collect::<Vec<_>>(), expected);
        for view in &views {
            let node = view.id[1..].parse::<u8>().expect("n and a number");
            let off = !model.nodes[&node].effective() & model.nodes[&node].declared;
            same!(
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
            same!(shown, expected);
        }
        for needs in 0..1 << SERVICES {
            same!(kind(scheduler, &demand(needs)), model.kind(needs), "for services {:b}", needs);
        }
        let active = model.jobs.values().filter(|job| !job.state.has_ended()).count();
        let (counted, now) = (scheduler.stats().counters, scheduler.stats().now);
        same!((counted.reserved - counted.released, counted.double_released), (active as u64, 0));
        same!((now.nodes, now.jobs), (model.nodes.len(), model.jobs.len()));
        Ok(())
    }
}
