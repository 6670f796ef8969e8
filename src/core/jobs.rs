//! Jobs created, moved on, tried again. How they end is in `ending`.
//!
//! Creating is *announce, reserve, bind*: the record is entered under its request id, then a slot is reserved, then
//! the record is bound to it by one compare-and-swap. A second create of the same id finds the record. If that is not
//! bound yet, it does not wait: it reserves a slot, too, and whoever binds second gives his back.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use super::nodes::check_id;
use super::selecting::{Asked, Cells, Extra};
use crate::capability::{Demand, ExclusionMode};
use crate::clock::millis;
use crate::error::{CreateJobError, JobError, NoNode, RetryError};
use crate::id::{JobId, Prehashed};
use crate::job::attempt::{Attempt, Held};
use crate::job::binding::{Bound, Phase};
use crate::job::{Begun, Claim, End, Here, InUse, Job, JobRecord, JobRequest, JobState, NoPlace, SessionMode, Wish};
use crate::node::Node;
use crate::node::word::Flags;
use crate::session::Session;
use crate::stats::Count;
use crate::sync::Fenced;

/// Gives a pending job up if a policy panics while a node is being chosen for it.
struct GiveUp<'a> {
    core: &'a Core,
    record: &'a JobRecord,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.core.give_up_job(self.record);
    }
}

/// What a session wants of its next job's node.
struct Conversation<'a> {
    id: Prehashed<&'a str>,
    /// The session, if it has begun.
    session: Option<Arc<Session>>,
    mode: SessionMode,
    pool: Option<u64>,
}

impl Core {
    #[inline(always)]
    pub(crate) fn create_job(&self, request: &JobRequest, pin: &Guard) -> Result<Job, CreateJobError> {
        let id_limit = self.config.max_id_len;
        check_id("request", &request.request_id, id_limit)?;
        if let Some(session) = &request.session {
            check_id("session", session, id_limit)?;
        }
        let lease = self.lease(request.lease)?;
        request.demand.validate().map_err(NoNode::Invalid)?;
        let mode = request.session_mode.unwrap_or(self.config.session_mode);
        let wish = Wish { request, mode, lease, kinds: &self.kinds };
        let key = self.prehash(&request.request_id);
        if request.session.is_some() {
            return self.create_wished(wish, &key, None, pin);
        }
        // As most often: a new id, and no session.
        let here = self.here();
        match self.jobs.claim(&key, here, pin, wish) {
            Ok(Claim::New(begun)) => match self.bind(begun.record, Some(begun), &request.demand, None, pin) {
                Some(outcome) => outcome.map_err(CreateJobError::NoNode),
                None => self.create_wished(wish, &key, None, pin),
            },
            claim => self.create_wished(wish, &key, Some(claim), pin),
        }
    }

    /// Goes on from what was found under the id, if that is known.
    #[inline(never)]
    fn create_wished<'g>(
        &self,
        wish: Wish<'_>,
        key: &Prehashed<&str>,
        mut claim: Option<Result<Claim<'g>, NoPlace>>,
        pin: &'g Guard,
    ) -> Result<Job, CreateJobError> {
        let request = wish.request;
        let conversation = self.converse(request.session.as_deref(), wish.mode);
        loop {
            // Anew in each turn: a policy of the embedder's may have run since, and have taken its time.
            let here = self.here();
            let claim = claim.take().unwrap_or_else(|| self.jobs.claim_again(key, here, pin, wish));
            let claim = claim.map_err(|none| match none {
                NoPlace::TooManyJobs => CreateJobError::TooManyJobs { limit: self.config.max_jobs },
                NoPlace::Pinned => CreateJobError::PlacesPinned,
            })?;
            let (record, owner) = match claim {
                Claim::New(begun) => (begun.record, Some(begun)),
                Claim::Known(record) => (record, None),
            };
            let bound = record.binding.load();
            if bound.phase() == Phase::Refused || bound.is_forgotten() {
                // On its way out of memory: the id is free for a new job.
                self.jobs.unlist(&record);
                continue;
            }
            if owner.is_none() && record.fingerprint(&self.kinds) != request.demand.fingerprint() {
                return Err(CreateJobError::RequestMismatch {
                    request_id: request.request_id.to_string(),
                    job: record.id,
                });
            }
            if let Some(job) = Job::new(record, bound) {
                self.count(Count::repeated);
                return Ok(job);
            }
            let begins = conversation.as_ref().is_some_and(|conversation| conversation.session.is_none());
            if begins && self.sessions.is_full() {
                // Only the owner gives the job up. If it is bound all the same, another was in time.
                if owner.is_some() && !self.give_up_job(&record) {
                    continue;
                }
                let session = request.session.as_deref().unwrap_or_default().to_owned();
                return Err(CreateJobError::TooManySessions { session, limit: self.config.max_sessions });
            }
            if let Some(outcome) = self.bind(record, owner, &request.demand, conversation.as_ref(), pin) {
                return outcome.map_err(CreateJobError::NoNode);
            }
        }
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
    fn converse<'a>(&self, id: Option<&'a str>, mode: SessionMode) -> Option<Conversation<'a>> {
        let id = self.prehash(id?);
        let session = self.sessions.find(&id, self.clock.now());
        let pool = session.as_ref().filter(|_| mode == SessionMode::Affinity).and_then(|session| session.pool());
        Some(Conversation { id, session, mode, pool })
    }

    /// The cell of the session's last node, if the session spreads, and whether it must be kept off.
    fn spread(&self, conversation: &Conversation<'_>, pin: &Guard) -> Option<(u32, ExclusionMode)> {
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

    /// The session has a job on this attempt's node now.
    fn note(&self, conversation: &Conversation<'_>, attempt: &Attempt, pin: &Guard) {
        let Conversation { id, mode, pool, .. } = conversation;
        // Full by now, or full when the session of an earlier attempt was forgotten: the job goes without.
        let Some(session) = self.sessions.used(id, self.clock.now()) else { return };
        session.note_node(attempt.node.cell, attempt.node.incarnation);
        let lost = pool.is_some_and(|key| !self.pool_exists(key, pin));
        if *mode == SessionMode::Affinity && (pool.is_none() || lost) {
            session.bind(*pool, attempt.pool().key);
        }
    }

    /// Reserves a slot for a pending job and binds it, maybe as its owner. `None`: the job was refused on behalf of
    /// another create, so this one has to begin again.
    #[inline(always)]
    fn bind(
        &self,
        record: InUse<'_, JobRecord>,
        begun: Option<Begun<'_>>,
        demand: &Demand,
        conversation: Option<&Conversation<'_>>,
        pin: &Guard,
    ) -> Option<Result<Job, NoNode>> {
        let pool = conversation.and_then(|conversation| conversation.pool);
        let spread = conversation.and_then(|conversation| self.spread(conversation, pin));
        let extra = Extra { pool, spread, ..Extra::default() };
        let owner = begun.is_some();
        let unwinding = owner.then(|| GiveUp { core: self, record: record.get() });
        let held = self.hold(&record, Asked::Plain(demand), extra, pin);
        std::mem::forget(unwinding);
        let held = match held {
            Ok(held) => held,
            Err(no_node) => return self.not_held(record, owner, no_node),
        };
        // The lease begins now, however long a policy has taken.
        let here = self.here();
        let attempt = self.attempt(&record, 1, held, here);
        let (bound, kept) = match begun {
            Some(Begun { first, kept, .. }) => (first.bind(attempt), Some(kept)),
            None => (record.get().binding.bind(attempt), None),
        };
        match bound {
            Ok(attempt) => {
                self.bound(&record, attempt, here, pin);
                if let Some(conversation) = conversation {
                    self.note(conversation, attempt, pin);
                }
                self.meters.counts.add(here.thread, Count::created);
                Some(Ok(Job::of_binder(kept.unwrap_or_else(|| record.keep()), attempt)))
            }
            Err(attempt) => self.bound_before(record, attempt),
        }
    }

    /// What a create gets that was refused a slot.
    #[cold]
    fn not_held(&self, record: InUse<'_, JobRecord>, owner: bool, no_node: NoNode) -> Option<Result<Job, NoNode>> {
        // Only the owner may give the job up; another create has been refused for itself alone.
        if owner && self.give_up_job(&record) {
            return Some(Err(no_node));
        }
        match Job::new(record, record.binding.load()) {
            Some(job) => {
                self.count(Count::repeated);
                Some(Ok(job))
            }
            None if owner => None,
            None => Some(Err(no_node)),
        }
    }

    /// What a create gets that has a slot, too late: another has bound the job, or given it up.
    #[cold]
    fn bound_before(&self, record: InUse<'_, JobRecord>, attempt: Attempt) -> Option<Result<Job, NoNode>> {
        self.let_go(&record, &attempt);
        let job = Job::new(record, record.binding.load())?;
        self.count(Count::repeated);
        Some(Ok(job))
    }

    /// Gives a pending job up, for its owner. `false`: it was bound by another before.
    fn give_up_job(&self, record: &JobRecord) -> bool {
        let refused = record.binding.refuse();
        if refused {
            self.jobs.withdraw(record, self.threads.ordinal());
        }
        refused
    }

    fn pool_exists(&self, key: u64, pin: &Guard) -> bool {
        self.snapshot(pin).table().get(key as u32).is_some_and(|pool| pool.key == key)
    }

    #[inline(always)]
    fn attempt(&self, record: &JobRecord, number: u32, held: Held, here: Here) -> Attempt {
        let deadline = self.deadline(here.now, record.lease);
        Attempt::new(number, held, here.now, deadline)
    }

    /// When a lease taken now runs out. The clock may be behind by a tick, which must not shorten the lease; a
    /// clock that the embedder moves is never behind.
    fn deadline(&self, now: u64, lease: u64) -> u64 {
        now.saturating_add(lease).saturating_add(self.clock_lag())
    }

    /// What follows from an attempt having been bound.
    #[inline(always)]
    fn bound(&self, record: &JobRecord, attempt: &Attempt, here: Here, pin: &Guard) {
        // Two others may have looked at the job before it was bound: the turn that has taken the note off on which its
        // lease relies, and whoever orphans the jobs of the node, if that has gone since the reservation. Either they come
        // before this fence, and what they have changed is seen here, or they will see that the job is bound.
        let fenced = Fenced::here();
        self.wheel.note(self.jobs.places(), record.place, attempt.deadline(), here.thread, fenced);
        let node = &attempt.node;
        let flags = self.cells.at(node.cell).word().flags();
        if flags.has(Flags::GONE) || flags.has(Flags::OFFLINE) {
            // Not a later attempt: that may be of after the node was up again.
            self.orphan(record, |current| std::ptr::eq(current, attempt), pin);
        }
    }

    pub(crate) fn dispatched(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        let pin = crossbeam_epoch::pin();
        let reserved_at = self
            .advance(job, attempt, JobState::Dispatched, Phase::Dispatched, &pin, |phase| phase == Phase::Reserved)?;
        self.meters.dispatch.record(Duration::from_millis(self.clock.now().saturating_sub(reserved_at)));
        Ok(())
    }

    pub(crate) fn running(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        let pin = crossbeam_epoch::pin();
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
                let state = bound.phase().state().ok_or(JobError::UnknownJob { job })?;
                return Err(JobError::InvalidTransition { job, attempt, state, wanted });
            }
            if record.binding.advance(bound, to) {
                self.touch_session(record);
                return Ok(current.reserved_at);
            }
        }
    }

    pub(crate) fn renew(&self, job: JobId, attempt: u32) -> Result<(), JobError> {
        let pin = crossbeam_epoch::pin();
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
        let pin = crossbeam_epoch::pin();
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
        let held = self.hold(&record, Asked::Plain(&demand), extra, &pin)?;
        let here = self.here();
        let mut next = Box::new(self.attempt(&record, attempt + 1, held, here));
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
                    self.bound(&record, next, here, &pin);
                    if let Some(conversation) = &conversation {
                        self.note(conversation, next, &pin);
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
    let Some(found) = bound.attempt().filter(|_| !bound.is_forgotten()) else {
        return Err(JobError::UnknownJob { job });
    };
    if found.number != attempt {
        return Err(JobError::StaleAttempt { job, attempt, current: found.number });
    }
    Ok((bound, found))
}

/// As [`current`], if it holds a slot.
#[inline(always)]
pub(super) fn active(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
    let bound = record.binding.load();
    match bound.attempt() {
        Some(found) if found.number == attempt && bound.is_active() => Ok((bound, found)),
        _ => active_or_why_not(record, attempt),
    }
}

#[cold]
fn active_or_why_not(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
    let (bound, found) = current(record, attempt)?;
    match bound.phase().state() {
        Some(state) if state.has_ended() => Err(JobError::AlreadyEnded { job: record.id, attempt, state }),
        _ => Ok((bound, found)),
    }
}

/// As [`current`], if it allows a further attempt.
fn retryable(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
    let (bound, found) = current(record, attempt)?;
    match bound.phase().state() {
        Some(state) if !bound.phase().may_retry() => Err(JobError::AlreadyEnded { job: record.id, attempt, state }),
        _ => Ok((bound, found)),
    }
}
