//! Jobs created, moved on, tried again. How they end is in `ending`.
//!
//! Creating is *look, reserve, enter*: where no job is found under the request id, a slot is reserved, and then a job that
//! has the slot is entered there, by one compare-and-swap. If another was entered meanwhile, the slot is given back and that
//! one is taken. So no create waits for another, and nobody ever finds a job that has no slot yet.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use super::nodes::check_id;
use super::selecting::{Asked, Cells, Extra};
use crate::capability::ExclusionMode;
use crate::clock::millis;
use crate::error::{CreateJobError, JobError, NoNode, RetryError};
use crate::id::{JobId, Prehashed};
use crate::job::attempt::{Attempt, Held};
use crate::job::binding::{Bound, Phase};
use crate::job::{
    End, Here, InUse, Job, JobRecord, JobRequest, JobState, NoPlace, Place, SessionMode, Spot, Vacancy, Wish,
};
use crate::node::Node;
use crate::node::word::Flags;
use crate::session::Session;
use crate::stats::Count;
use crate::sync::Fenced;

/// What a session wants of its next job's node.
pub(super) struct Conversation<'a> {
    id: Prehashed<&'a str>,
    /// The session, if it has begun.
    session: Option<Arc<Session>>,
    mode: SessionMode,
    pub(super) pool: Option<u64>,
}

impl Core {
    #[inline(always)]
    pub(crate) fn create_job(&self, request: &JobRequest, pin: &Guard) -> Result<Job, CreateJobError> {
        let lease = self.check_request(request)?;
        let mode = request.session_mode.unwrap_or(self.config.session_mode);
        let now = self.clock.now();
        let wish = Wish { request, mode, lease, now, deadline: self.deadline(now, lease), kinds: &self.kinds };
        let key = self.prehash(&request.request_id);
        let found = self.jobs.find(&key, pin);
        // As most often: a new id, and no session.
        if request.session.is_none()
            && let Err(spot) = found
            && let Some(job) = self.create_shortly(wish, &key, spot, pin)
        {
            return Ok(job);
        }
        self.create_wished(wish, &key, found.ok(), pin)
    }

    /// Checks a request as far as that can be done without a node; its lease, in ms.
    #[inline(always)]
    pub(crate) fn check_request(&self, request: &JobRequest) -> Result<u64, CreateJobError> {
        let id_limit = self.config.max_id_len;
        check_id("request", &request.request_id, id_limit)?;
        if let Some(session) = &request.session {
            check_id("session", session, id_limit)?;
        }
        let lease = self.lease(request.lease)?;
        request.demand.validate().map_err(NoNode::Invalid)?;
        Ok(lease)
    }

    /// Goes on from what was found under the id, if something was.
    #[inline(never)]
    fn create_wished<'g>(
        &'g self,
        wish: Wish<'_>,
        key: &Prehashed<&str>,
        mut found: Option<InUse<'g, JobRecord>>,
        pin: &'g Guard,
    ) -> Result<Job, CreateJobError> {
        let request = wish.request;
        let conversation = self.converse(request.session.as_deref(), wish.mode);
        loop {
            let spot = match found.take().map_or_else(|| self.jobs.find_again(key, pin), Ok) {
                Ok(record) => match self.repeated(record, request) {
                    Some(outcome) => return outcome,
                    None => continue,
                },
                Err(spot) => spot,
            };
            let begins = conversation.as_ref().is_some_and(|conversation| conversation.session.is_none());
            if begins && self.sessions.is_full() {
                let session = request.session.as_deref().unwrap_or_default().to_owned();
                return Err(CreateJobError::TooManySessions { session, limit: self.config.max_sessions });
            }
            if let Some(outcome) = self.create_new(wish, key, spot, conversation.as_ref(), pin) {
                return outcome;
            }
        }
    }

    /// What a create gets that finds the job of its request id. `None`: it is on its way out of memory, and the id is free
    /// for a new one.
    pub(super) fn repeated(
        &self,
        record: InUse<'_, JobRecord>,
        request: &JobRequest,
    ) -> Option<Result<Job, CreateJobError>> {
        let bound = record.binding.load();
        if bound.is_forgotten() {
            self.jobs.unlist(&record);
            return None;
        }
        if record.fingerprint(&self.kinds) != request.demand.fingerprint() {
            let (request_id, job) = (request.request_id.to_string(), record.id);
            return Some(Err(CreateJobError::RequestMismatch { request_id, job }));
        }
        self.count(Count::repeated);
        Some(Ok(Job::new(record, bound)))
    }

    /// Who is calling, and when.
    #[inline(always)]
    pub(super) fn here(&self) -> Here {
        Here { thread: self.threads.ordinal(), now: self.clock.now() }
    }

    #[inline(always)]
    fn lease(&self, asked: Option<Duration>) -> Result<u64, CreateJobError> {
        let limit = self.config.max_lease;
        match asked {
            None => Ok(self.default_lease),
            Some(lease) if !lease.is_zero() && lease <= limit => Ok(millis(lease).max(1)),
            Some(lease) => Err(CreateJobError::InvalidLease { lease, limit }),
        }
    }

    /// What the session wants, as far as there is one.
    pub(super) fn converse<'a>(&self, id: Option<&'a str>, mode: SessionMode) -> Option<Conversation<'a>> {
        let id = self.prehash(id?);
        let session = self.sessions.find(&id, self.clock.now());
        let pool = session.as_ref().filter(|_| mode == SessionMode::Affinity).and_then(|session| session.pool());
        Some(Conversation { id, session, mode, pool })
    }

    /// The cell of the session's last node, if the session spreads, and whether it must be kept off.
    pub(super) fn spread(&self, conversation: &Conversation<'_>, pin: &Guard) -> Option<(u32, ExclusionMode)> {
        let SessionMode::Spread(mode) = conversation.mode else { return None };
        // One that is gone needs no keeping off, whoever is in its cell by now.
        let present = |node: &&Node| self.is_current(node);
        let incarnation_of = |cell| Some(self.cells.get(cell)?.node.load(pin).filter(present)?.incarnation);
        Some((conversation.session.as_ref()?.last_node(incarnation_of)?, mode))
    }

    /// News of a job is use of its session.
    #[inline(always)]
    pub(super) fn touch_session(&self, record: &JobRecord) {
        if let Some(id) = record.session.as_deref() {
            self.touch(id);
        }
    }

    #[inline(never)]
    fn touch(&self, session: &str) {
        self.sessions.find(&self.prehash(session), self.clock.now());
    }

    /// The session has a job on this node now, which was found in the pool of this number and key.
    pub(super) fn note(&self, conversation: &Conversation<'_>, node: &Node, at: u64, pin: &Guard) {
        let Conversation { id, mode, pool, .. } = conversation;
        // Full by now, or full when the session of an earlier attempt was forgotten: the job goes without.
        let Some(session) = self.sessions.used(id, self.clock.now()) else { return };
        session.note_node(node.cell, node.incarnation);
        let lost = pool.is_some_and(|key| !self.pool_exists(key, pin));
        if *mode == SessionMode::Affinity && (pool.is_none() || lost) {
            session.bind(*pool, at);
        }
    }

    /// A new job, by the short way to a slot. `None`: that does not lead to one, or another has entered a job since.
    #[inline(always)]
    fn create_shortly<'g>(
        &'g self,
        wish: Wish<'_>,
        key: &Prehashed<&str>,
        spot: Spot<'g>,
        pin: &'g Guard,
    ) -> Option<Job> {
        let here = self.here();
        // First, so that nobody is told that all slots are taken while this looks for room.
        let vacancy = self.jobs.vacancy_at_hand(here)?;
        let slot = self.reserve_shortly(Asked::Plain(&wish.request.demand))?;
        self.foresee_hold(slot, pin);
        let held = self.hold_shortly(vacancy.number(), slot, pin)?;
        self.begin(vacancy, held, wish, key, spot, here, pin).map(|(job, _)| job)
    }

    /// Reserves a slot for a job, and enters that under its request id, where none was found. `None`: another has entered
    /// one since.
    fn create_new<'g>(
        &'g self,
        wish: Wish<'_>,
        key: &Prehashed<&str>,
        spot: Spot<'g>,
        conversation: Option<&Conversation<'_>>,
        pin: &'g Guard,
    ) -> Option<Result<Job, CreateJobError>> {
        let here = self.here();
        // Who has been faster may have the last of whatever there is none of.
        let refused = |refusal: CreateJobError| self.jobs.find_again(key, pin).is_err().then_some(Err(refusal));
        let vacancy = match self.jobs.vacancy(here, pin) {
            Ok(vacancy) => vacancy,
            Err(NoPlace::TooManyJobs) => {
                return refused(CreateJobError::TooManyJobs { limit: self.config.max_jobs });
            }
            Err(NoPlace::Pinned) => return refused(CreateJobError::PlacesPinned),
        };
        let pool = conversation.and_then(|conversation| conversation.pool);
        let spread = conversation.and_then(|conversation| self.spread(conversation, pin));
        let extra = Extra { pool, spread, ..Extra::default() };
        let held = match self.hold(vacancy.number(), Asked::Plain(&wish.request.demand), extra, pin) {
            Ok(held) => held,
            Err(no_node) => return refused(no_node.into()),
        };
        // The lease begins now, however long a policy has taken.
        let now = self.clock.now();
        let wish = Wish { now, deadline: self.deadline(now, wish.lease), ..wish };
        let (job, attempt) = self.begin(vacancy, held, wish, key, spot, here, pin)?;
        if let Some(conversation) = conversation {
            self.note(conversation, &attempt.node, attempt.pool().key, pin);
        }
        Some(Ok(job))
    }

    /// Enters a job that has a slot under its request id. `None`: another has entered one since.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "all there is of a job, so that its record is put together in place")]
    pub(super) fn begin<'g>(
        &'g self,
        vacancy: Vacancy<'g>,
        held: Held,
        wish: Wish<'_>,
        key: &Prehashed<&str>,
        spot: Spot<'g>,
        here: Here,
        pin: &'g Guard,
    ) -> Option<(Job, &'g Attempt)> {
        let (place, record, kept) = vacancy.fill(wish, held, pin);
        let attempt = record.get().binding.first();
        if !self.jobs.enter((place, record.place), key, spot, pin) {
            self.let_go(&record, attempt);
            self.jobs.withdraw(&record, here.thread);
            return None;
        }
        self.bound((place, &record), attempt, here, pin);
        self.meters.counts.add(here.thread, Count::created);
        Some((Job::of_owner(kept), attempt))
    }

    fn pool_exists(&self, key: u64, pin: &Guard) -> bool {
        self.snapshot(pin).table().get(key as u32).is_some_and(|pool| pool.key == key)
    }

    /// When a lease taken now runs out. The clock may be behind by a tick, which must not shorten the lease; a
    /// clock that the embedder moves is never behind.
    fn deadline(&self, now: u64, lease: u64) -> u64 {
        now.saturating_add(lease).saturating_add(self.clock_lag())
    }

    /// What follows from an attempt having just been bound, or entered with its job.
    #[inline(always)]
    fn bound(&self, (place, record): (&Place, &JobRecord), attempt: &Attempt, here: Here, pin: &Guard) {
        // Two others may have looked at the job before that: the turn that has taken the note off on
        // which its lease relies, and whoever orphans the jobs of the node, if that has gone since the reservation. Either
        // they come before this fence, and what they have changed is seen here, or they will see the job.
        let fenced = Fenced::after_exchange();
        record.set_entered();
        self.wheel.note((place, record.place), attempt.deadline(), here.thread, fenced);
        let node = &attempt.node;
        let flags = self.cells.at(node.cell).word().flags();
        if flags.has(Flags::GONE) || flags.has(Flags::OFFLINE) {
            // Not a later attempt: that may be of after the node was up again.
            self.orphan(record, |current| std::ptr::eq(current, attempt), pin);
        }
    }

    pub(crate) fn dispatched(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        let pin = crate::sync::pin();
        let reserved_at = self
            .advance(job, attempt, JobState::Dispatched, Phase::Dispatched, &pin, |phase| phase == Phase::Reserved)?;
        self.meters.dispatch.record(Duration::from_millis(self.clock.now().saturating_sub(reserved_at)));
        Ok(())
    }

    pub(crate) fn running(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        let pin = crate::sync::pin();
        let from = |phase| matches!(phase, Phase::Reserved | Phase::Dispatched);
        self.advance(job, attempt, JobState::Running, Phase::Running, &pin, from).map(drop)
    }

    pub(super) fn record<'g>(&self, job: JobId, pin: &'g Guard) -> Result<&'g JobRecord, JobError> {
        self.jobs.get(job, pin).map(InUse::get).ok_or(JobError::UnknownJob { job })
    }

    /// Moves an active attempt on; returns when it was reserved.
    fn advance(
        &self,
        job: JobId,
        attempt: u32,
        wanted: JobState,
        to: Phase,
        pin: &Guard,
        from: impl Fn(Phase) -> bool,
    ) -> Result<u64, JobError> {
        let record = self.record(job, pin)?;
        loop {
            let (bound, current) = active(record, attempt)?;
            if !from(bound.phase()) {
                let state = bound.phase().state();
                return Err(JobError::InvalidTransition { job, attempt, state, wanted });
            }
            if record.binding.advance(bound, to) {
                self.touch_session(record);
                return Ok(current.reserved_at);
            }
        }
    }

    pub(crate) fn renew(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        let pin = crate::sync::pin();
        let record = self.record(job, &pin)?;
        loop {
            let (bound, current) = active(record, attempt)?;
            if current.put_off(self.deadline(self.clock.now(), record.lease)) {
                self.touch_session(record);
                // From now on it does not expire, but it may have ended otherwise just before.
                return active(record, attempt).map(drop);
            }
            // The lease has run out, and whoever found that is about to end the job.
            if record.binding.advance(bound, Phase::Expired) {
                self.ended(record, current, End::Expired, &pin);
            }
        }
    }

    pub(crate) fn retry(&self, job: JobId, attempt: u32) -> Result<Job, RetryError> {
        let pin = crate::sync::pin();
        let record = self.jobs.get(job, &pin).ok_or(JobError::UnknownJob { job })?;
        let (_, current) = retryable(&record, attempt)?;
        if attempt >= self.config.max_attempts {
            return Err(RetryError::TooManyAttempts { job, limit: self.config.max_attempts });
        }
        let mut avoid = Cells::new();
        for node in current.nodes().filter(|node| self.is_current(node)) {
            if avoid.as_slice().len() < Cells::EARLIER {
                avoid.push(node.cell);
            }
        }
        let conversation = self.converse(record.session.as_deref(), record.session_mode);
        let pool = conversation.as_ref().and_then(|conversation| conversation.pool);
        let spread = conversation.as_ref().and_then(|conversation| self.spread(conversation, &pin));
        let extra = Extra { pool, spread, avoid: avoid.as_slice(), avoid_mode: self.config.retry_exclusion };
        let demand = record.demand(&self.kinds);
        let held = self.hold(job.number(), Asked::Plain(&demand), extra, &pin)?;
        let here = self.here();
        let deadline = self.deadline(here.now, record.lease);
        let mut next = Box::new(Attempt::new(attempt + 1, held, here.now, deadline));
        loop {
            let (bound, current) = match retryable(&record, attempt) {
                Ok(found) => found,
                Err(error) => {
                    self.let_go(&record, &next);
                    return Err(error.into());
                }
            };
            match record.binding.rebind(bound, next) {
                Ok(next) => {
                    if bound.phase().is_active() {
                        self.let_go(&record, current);
                    } else {
                        self.jobs.revived(here.thread);
                    }
                    self.bound((self.jobs.places().at(record.place), &record), next, here, &pin);
                    if let Some(conversation) = &conversation {
                        self.note(conversation, &next.node, next.pool().key, &pin);
                    }
                    self.count(Count::retried);
                    return Ok(Job::of_binder(record.keep(), next));
                }
                Err(back) => next = back,
            }
        }
    }
}

/// The attempt that a caller means, if it is the job's current one.
#[cold]
fn current(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
    let (job, bound) = (record.id, record.binding.load());
    if bound.is_forgotten() {
        return Err(JobError::UnknownJob { job });
    }
    let found = bound.attempt();
    if found.number != attempt {
        return Err(JobError::StaleAttempt { job, attempt, current: found.number });
    }
    Ok((bound, found))
}

/// As [`current`], if it holds a slot.
#[inline(always)]
pub(super) fn active(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
    let bound = record.binding.load();
    let found = bound.attempt();
    if found.number == attempt && bound.is_active() { Ok((bound, found)) } else { active_or_why_not(record, attempt) }
}

#[cold]
fn active_or_why_not(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
    let (bound, found) = current(record, attempt)?;
    let state = bound.phase().state();
    if state.has_ended() { Err(JobError::AlreadyEnded { job: record.id, attempt, state }) } else { Ok((bound, found)) }
}

/// As [`current`], if it allows a further attempt.
fn retryable(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
    let (bound, found) = current(record, attempt)?;
    let (phase, job) = (bound.phase(), record.id);
    if phase.may_retry() {
        Ok((bound, found))
    } else {
        Err(JobError::AlreadyEnded { job, attempt, state: phase.state() })
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::{Demand, NodeSpec, SchedulerBuilder};

    #[test]
    fn a_finished_job_makes_room_though_another_thread_has_the_oldest_in_hand() {
        let builder = SchedulerBuilder::default().manual_maintenance().max_jobs(2).max_finished_jobs(2);
        let core = Core::new(builder.check().unwrap());
        core.register(NodeSpec::new("node").capacity(4).ready()).unwrap();
        let create = |id: &str| {
            let request = JobRequest::new(id, Demand::new());
            core.create_job(&request, &crate::sync::pin())
        };
        let end = |id: &str, time| {
            core.tick(Duration::from_secs(time));
            core.end(create(id).unwrap().id(), 1, End::Completed, &crate::sync::pin()).unwrap();
        };
        // Each on the desk of a thread of its own: the number of one that has ended would be given to the next.
        std::thread::scope(|scope| {
            let both = || {
                end("first", 1);
                scope.spawn(|| end("second", 10)).join().unwrap();
            };
            scope.spawn(both).join().unwrap();
        });
        core.jobs.with_the_oldest_in_hand(|| create("third").expect("the second one makes room"));
        assert!(core.job_by_request("first").is_some() && core.job_by_request("second").is_none());
    }

    #[test]
    fn a_job_is_that_of_its_request_id_and_not_of_all_with_its_hash() {
        let core = Core::new(SchedulerBuilder::default().manual_maintenance().check().unwrap());
        core.register(NodeSpec::new("node").ready()).unwrap();
        let pin = crate::sync::pin();
        core.create_job(&JobRequest::new("one", Demand::new()), &pin).unwrap();
        let one = core.prehash("one");
        assert!(core.jobs.find(&one, &pin).is_ok());
        assert!(core.jobs.find(&Prehashed { hash: one.hash, text: "two" }, &pin).is_err());
    }

    #[test]
    fn a_lease_lasts_a_tick_longer_where_the_clock_may_be_behind_by_one() {
        let builder = || SchedulerBuilder::default().tick_interval(Duration::from_millis(70));
        let ends = |builder: SchedulerBuilder| Core::new(builder.check().unwrap()).deadline(1000, 500);
        assert_eq!((ends(builder()), ends(builder().manual_maintenance())), (1570, 1500));
    }
}
