//! One client of a request at one instance: asks for a slot, has its job run, and ends it or tries again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use slotyard::{
    CreateJobError, JobError, JobRequest, JobState, NoNode, RetryError, SharedError, SharedJob, SharedScheduler,
};

use super::log::{Attempt, Call, End, Event, Fence, Lease, Log, Settlement};
use crate::random::{Purpose, stream};
use crate::requests::{Conduct, FAILING, REACTION, Request, TRANSFER, backoff, part};
use crate::workload::Workload;

/// How often the job of a request that another instance has is looked for, in microseconds of the trace.
const LOOK: u64 = 100_000;

/// What all clients of an instance use.
pub(super) struct Gateway {
    pub(super) shared: SharedScheduler,
    pub(super) log: Arc<Log>,
    pub(super) workload: Workload,
    /// The class and the team of each node.
    pub(super) machines: HashMap<String, (usize, usize)>,
    /// Microseconds of the trace in one of real time.
    pub(super) pace: f64,
    pub(super) lease: Duration,
    pub(super) seed: u64,
}

/// What a client is to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It goes on to the end.
    Main,
    /// Sends the same request at the same time; what its client does besides is the other one's.
    Second,
    /// Comes to this instance, when the one that had the job has lost its client, to call it off.
    CallsOff,
}

/// What becomes of a client.
enum Next {
    Settled(Settlement),
    /// The attempt is lost: another one, after a moment.
    Retry,
    /// The job has gone on elsewhere: what has become of it is asked.
    Ask,
    /// Its client is never heard of again.
    Gone,
}

/// Why there is no slot.
struct Unserved {
    reason: String,
    /// When to ask again, in microseconds.
    hint: u64,
    uncertain: bool,
    next: Option<Next>,
}

impl Unserved {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: 0, uncertain: false, next: None }
    }

    fn ends(reason: &str, next: Next) -> Self {
        Self { next: Some(next), ..Self::new(reason) }
    }

    fn no_node(reason: &NoNode) -> Self {
        let hint = reason.refusal().and_then(|refusal| refusal.retry_after()).unwrap_or_default();
        Self { hint: hint.as_micros() as u64, ..Self::new(reason.kind()) }
    }

    /// What is not about nodes; `Err`: it is about the job.
    fn of<E>(error: SharedError<E>) -> Result<Self, E> {
        match error {
            SharedError::Refused(error) => Err(error),
            SharedError::Coordinator(error) => {
                Ok(Self { uncertain: error.outcome_is_unknown(), ..Self::new("coordinator") })
            }
            SharedError::WarmingUp { retry_after } => {
                Ok(Self { hint: retry_after.as_micros() as u64, ..Self::new("warming-up") })
            }
            _ => Ok(Self::new("stopped")),
        }
    }
}

/// A client under way.
pub(super) struct Client {
    gateway: Arc<Gateway>,
    request: Request,
    part: Part,
    asks: JobRequest,
    /// The lease may be of a process that was killed: nobody else renews it.
    resumes: bool,
    random: StdRng,
}

impl Client {
    pub(super) fn new(gateway: Arc<Gateway>, request: Request, part: Part, resumes: bool) -> Self {
        let asks = request.asks(&gateway.workload.demands);
        let random = stream(gateway.seed.wrapping_add(request.number << 2 | part as u64), Purpose::Clients);
        Self { gateway, request, part, asks, resumes, random }
    }

    pub(super) async fn run(mut self) {
        let outcome = match self.part {
            Part::CallsOff => Some(self.call_off().await),
            Part::Main | Part::Second => self.serve().await,
        };
        if let Some(outcome) = outcome {
            self.say(Event::Settled { request: self.id(), outcome });
        }
    }

    fn id(&self) -> String {
        self.asks.request_id().to_owned()
    }

    fn say(&self, event: Event) {
        self.gateway.log.say(event);
    }

    fn now(&self) -> u64 {
        self.gateway.log.clock().now()
    }

    fn unexpected(&self, step: &str, error: &dyn std::fmt::Display) {
        self.say(Event::Unexpected { what: format!("{step}, request {}: {error}", self.id()) });
    }

    /// For so many microseconds of the trace.
    async fn sleep(&self, micros: u64) {
        self.gateway.sleep(micros).await;
    }

    /// When the client gives up that begins to wait now.
    fn patience(&self) -> u64 {
        self.now() + (self.request.patience as f64 / self.gateway.pace) as u64
    }

    async fn serve(&mut self) -> Option<Settlement> {
        let (mut before, mut refusals, mut gives_up) = (None, 0, self.patience());
        loop {
            let next = match self.ask(before.as_ref()).await {
                Ok(job) => {
                    refusals = 0;
                    let next = self.attempt(&job).await;
                    before = Some(job);
                    next
                }
                Err(Unserved { next: Some(next), .. }) => next,
                Err(Unserved { reason, hint, .. }) => {
                    if self.now() >= gives_up {
                        // Of an attempt that it did not want to wait for it keeps the slot until then.
                        if let (Some(job), Conduct::Switches(_)) = (&before, self.request.conduct) {
                            self.end(job, End::Cancelled).await;
                        }
                        return Some(Settlement::Refused(reason));
                    }
                    refusals += 1;
                    let hint = (hint as f64 * self.gateway.pace) as u64;
                    let wait = backoff(refusals, hint, &mut self.random);
                    self.sleep(wait).await;
                    continue;
                }
            };
            match next {
                Next::Settled(outcome) => return Some(outcome),
                Next::Gone => return None,
                Next::Ask => before = None,
                Next::Retry => {}
            }
            let reaction = self.random.random_range(REACTION);
            self.sleep(reaction).await;
            gives_up = self.patience();
        }
    }

    /// Asks for a slot: the first, or one for a further attempt.
    async fn ask(&self, before: Option<&SharedJob>) -> Result<SharedJob, Unserved> {
        self.say(Event::Asked { request: self.id() });
        let asked = self.now();
        let (call, answer) = match before {
            None => (Call::Create, self.gateway.shared.create_job(&self.asks).await.map_err(|e| self.not_created(e))),
            Some(job) => {
                let answer = self.gateway.shared.retry(job.id(), job.attempt()).await;
                (Call::Retry, answer.map_err(|error| self.not_retried(error)))
            }
        };
        match &answer {
            Ok(job) => self.told(job, call, asked),
            Err(Unserved { reason, uncertain, .. }) => {
                let (request, took) = (self.id(), self.now() - asked);
                self.say(Event::Refused { request, reason: reason.clone(), call, took, uncertain: *uncertain });
            }
        }
        answer
    }

    /// Writes down what the request's job is.
    fn told(&self, job: &SharedJob, call: Call, asked: u64) {
        let took = self.now() - asked;
        let (request, state) = (job.request_id().to_owned(), job.state());
        if request != self.id() {
            self.unexpected("asking for a slot", &format_args!("the job of request {request} was told"));
        }
        if state.has_ended() {
            return self.say(Event::Known { request, job: job.id().to_string(), state: state.to_string(), call, took });
        }
        self.say(Event::Given { lease: lease(job), call, took });
        let node = job.node_id();
        let team = self.gateway.machines.get(node.as_str()).map(|(_, team)| *team);
        if team.is_none_or(|team| !self.gateway.workload.teams.serves(team, self.request.demand)) {
            self.say(Event::Misplaced { request: self.id(), node: node.to_string() });
        }
    }

    fn not_created(&self, error: SharedError<CreateJobError>) -> Unserved {
        match Unserved::of(error) {
            Ok(unserved) => unserved,
            Err(CreateJobError::NoNode(reason)) => Unserved::no_node(&reason),
            Err(error) => {
                self.unexpected("create", &error);
                Unserved::ends("unexpected", Next::Settled(Settlement::Failed))
            }
        }
    }

    fn not_retried(&self, error: SharedError<RetryError>) -> Unserved {
        match Unserved::of(error) {
            Ok(unserved) => unserved,
            Err(RetryError::NoNode(reason)) => Unserved::no_node(&reason),
            Err(RetryError::TooManyAttempts { .. }) => Unserved::ends("spent", Next::Settled(Settlement::Failed)),
            // Another instance was faster.
            Err(RetryError::Job(JobError::StaleAttempt { .. } | JobError::AlreadyEnded { .. })) => {
                Unserved::ends("retried-elsewhere", Next::Ask)
            }
            Err(error) => {
                self.unexpected("retry", &error);
                Unserved::ends("unexpected", Next::Settled(Settlement::Failed))
            }
        }
    }

    /// One attempt, up to its end.
    async fn attempt(&mut self, job: &SharedJob) -> Next {
        let of = attempt(job);
        if job.state().has_ended() {
            return ended_as(job.state());
        }
        for state in [JobState::Dispatched, JobState::Running] {
            if let Err(next) = self.advance(job, Some(state)).await {
                return next;
            }
            if state == JobState::Dispatched {
                if self.part == Part::Main && self.request.conduct == Conduct::Vanishes && of.number == 1 {
                    return Next::Gone;
                }
                let transfer = self.random.random_range(TRANSFER);
                self.sleep(transfer).await;
            }
        }
        let class = self.gateway.machines.get(job.node_id().as_str()).map_or(0, |(class, _)| *class);
        let mut whole = self.gateway.workload.service_time(class, self.request.work);
        if self.part == Part::Second && self.request.number.is_multiple_of(20) {
            // Else who has been there first would always be the one that ends it, too.
            whole = part(whole, 0.9);
        }
        let (fails, share) = (self.random.random_bool(FAILING), self.random.random());
        let conduct = if self.part == Part::Main && of.number == 1 { self.request.conduct } else { Conduct::Waits };
        let works = match conduct {
            Conduct::Cancels(share) | Conduct::Switches(share) => part(whole, share),
            _ if fails => part(whole, share),
            _ => whole,
        };
        if let Err(next) = self.work(job, works).await {
            return next;
        }
        match conduct {
            Conduct::Cancels(_) => self.end(job, End::Cancelled).await,
            Conduct::Switches(_) => {
                self.say(Event::Ends { of });
                Next::Retry
            }
            _ if fails => self.end(job, End::Failed).await,
            _ => {
                let next = self.end(job, End::Completed).await;
                if let (Next::Settled(Settlement::Completed), true) = (&next, self.request.repeated) {
                    self.repeat(job).await;
                }
                next
            }
        }
    }

    /// Lets the node work for so long.
    async fn work(&self, job: &SharedJob, micros: u64) -> Result<(), Next> {
        let third = (self.gateway.lease.as_micros() as f64 / 3.0 * self.gateway.pace) as u64;
        let mut left = micros;
        while self.resumes && left > third {
            self.sleep(third).await;
            self.advance(job, None).await?;
            left -= third;
        }
        self.sleep(left).await;
        Ok(())
    }

    /// Moves the job on, or has its lease begin anew. `Err`: it has ended, or gone on elsewhere.
    async fn advance(&self, job: &SharedJob, to: Option<JobState>) -> Result<(), Next> {
        let (id, number, of, asked) = (job.id(), job.attempt(), attempt(job), self.now());
        let shared = &self.gateway.shared;
        let answer = match to {
            Some(JobState::Dispatched) => shared.dispatched(id, number).await,
            Some(_) => shared.running(id, number).await,
            None => shared.renew(id, number).await,
        };
        match answer {
            Ok(()) => {
                self.say(Event::Moved { of, took: self.now() - asked });
                Ok(())
            }
            // Another instance was faster.
            Err(SharedError::Refused(JobError::InvalidTransition { .. })) if to.is_some() => Ok(()),
            Err(SharedError::Refused(error)) => Err(self.turned_down(of, error)),
            // The job runs on, and the next step will tell.
            Err(SharedError::Coordinator(_)) => Ok(()),
            Err(error) => {
                self.unexpected("advance", &error);
                Err(Next::Settled(Settlement::Failed))
            }
        }
    }

    async fn end(&self, job: &SharedJob, how: End) -> Next {
        let (id, number, of) = (job.id(), job.attempt(), attempt(job));
        self.say(Event::Ends { of: of.clone() });
        let asked = self.now();
        let shared = &self.gateway.shared;
        let answer = match how {
            End::Completed => shared.complete(id, number).await,
            End::Failed => shared.fail(id, number).await,
            End::Cancelled => shared.cancel(id, number).await,
        };
        match answer {
            Ok(()) => {
                self.say(Event::Ended { of, how, took: self.now() - asked });
                match how {
                    End::Completed => Next::Settled(Settlement::Completed),
                    End::Failed => Next::Retry,
                    End::Cancelled => Next::Settled(Settlement::Cancelled),
                }
            }
            Err(SharedError::Refused(error)) => self.turned_down(of, error),
            Err(error) => {
                self.unexpected("end", &error);
                Next::Settled(Settlement::Failed)
            }
        }
    }

    /// The attempt is not what it was.
    fn turned_down(&self, of: Attempt, error: JobError) -> Next {
        match error {
            JobError::AlreadyEnded { state, .. } => {
                self.say(Event::TurnedDown { of, found: state.to_string() });
                ended_as(state)
            }
            JobError::StaleAttempt { .. } => {
                self.say(Event::TurnedDown { of, found: "retried".to_owned() });
                Next::Ask
            }
            error => {
                self.unexpected("moving a job on", &error);
                Next::Settled(Settlement::Failed)
            }
        }
    }

    /// Ends a job once more, and sends its request once more: it stays what it was.
    async fn repeat(&self, job: &SharedJob) {
        let asked = self.now();
        if self.gateway.shared.complete(job.id(), job.attempt()).await.is_ok() {
            let took = self.now() - asked;
            self.say(Event::Ended { of: attempt(job), how: End::Completed, took });
        }
        if let Ok(again) = self.ask(None).await
            && again.state() != JobState::Completed
        {
            self.unexpected("sending a finished request again", &format_args!("its job is {}", again.state()));
        }
    }

    /// Finds the job that the client left, and calls it off.
    async fn call_off(&mut self) -> Settlement {
        let gives_up = self.patience();
        loop {
            let asked = self.now();
            match self.gateway.shared.job_by_request(self.asks.request_id()).await {
                Ok(Some(job)) => {
                    self.told(&job, Call::Look, asked);
                    if !job.state().has_ended() {
                        let class = self.gateway.machines.get(job.node_id().as_str()).map_or(0, |(class, _)| *class);
                        let whole = self.gateway.workload.service_time(class, self.request.work);
                        self.sleep(part(whole, 0.5)).await;
                        if let Next::Ask = self.end(&job, End::Cancelled).await {
                            continue;
                        }
                    }
                    return Settlement::Abandoned;
                }
                Ok(None) | Err(_) if self.now() < gives_up => self.sleep(LOOK).await,
                Ok(None) => return Settlement::Refused("never-created".to_owned()),
                Err(_) => return Settlement::Refused("coordinator".to_owned()),
            }
        }
    }
}

impl Gateway {
    /// For so many microseconds of the trace.
    pub(super) async fn sleep(&self, micros: u64) {
        tokio::time::sleep(Duration::from_micros((micros as f64 / self.pace) as u64)).await;
    }
}

/// What a client does next whose attempt is found to have ended.
fn ended_as(state: JobState) -> Next {
    match state {
        JobState::Completed => Next::Settled(Settlement::Completed),
        JobState::Cancelled => Next::Settled(Settlement::Cancelled),
        _ => Next::Retry,
    }
}

fn attempt(job: &SharedJob) -> Attempt {
    Attempt { request: job.request_id().to_owned(), job: job.id().to_string(), number: job.attempt() }
}

/// As the log has it.
pub(super) fn lease(job: &SharedJob) -> Lease {
    let (node, slot, fence) = (job.node_id().to_string(), job.slot(), Fence(job.fence().to_u128()));
    Lease { attempt: attempt(job), node, slot, fence }
}
