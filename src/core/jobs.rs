//! Jobs created, moved on, ended.
//!
//! Creating is *announce, reserve, bind*: the record is entered under its request id, then a slot is reserved, then
//! the record is bound to it by one compare-and-swap. A second create of the same id finds the record. If that is not
//! bound yet, it does not wait: it reserves a slot, too, and whoever binds second gives his back.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use super::holding::Held;
use super::nodes::check_id;
use super::selecting::{Asked, Cells, Extra};
use crate::capability::{Demand, ExclusionMode};
use crate::clock::millis;
use crate::error::{CreateJobError, JobError, NoNode, RetryError};
use crate::event::Event;
use crate::id::{JobId, Prehashed};
use crate::job::attempt::Attempt;
use crate::job::binding::{Bound, Phase};
use crate::job::{Begun, Claim, End, InUse, Job, JobRecord, JobRequest, JobState, SessionMode};
use crate::node::Node;
use crate::node::word::Flags;
use crate::session::Session;
use crate::stats::Count;

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
    pub(crate) fn create_job(&self, request: &JobRequest, pin: &Guard) -> Result<Job, CreateJobError> {
        let id_limit = self.config.max_id_len;
        check_id("request", &request.request_id, id_limit)?;
        if let Some(session) = &request.session {
            check_id("session", session, id_limit)?;
        }
        let lease = self.lease(request.lease)?;
        request.demand.validate().map_err(NoNode::Invalid)?;
        let mode = request.session_mode.unwrap_or(self.config.session_mode);
        let conversation = self.converse(request.session.as_deref(), mode);

        let key = self.prehash(&request.request_id);
        loop {
            let make = |id, place| JobRecord::new(id, place, request, mode, lease);
            let claim = self.jobs.claim(&key, (self.threads.ordinal(), self.clock.now()), pin, make);
            let claim = claim.ok_or(CreateJobError::TooManyJobs { limit: self.config.max_jobs })?;
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
            if owner.is_none() && record.fingerprint() != request.demand.fingerprint() {
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

    fn lease(&self, asked: Option<Duration>) -> Result<u64, CreateJobError> {
        let limit = self.config.max_lease;
        match asked {
            None => Ok(millis(self.config.default_lease)),
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
    fn touch_session(&self, record: &JobRecord) {
        if let Some(id) = record.session.as_deref() {
            self.sessions.find(&self.prehash(id), self.clock.now());
        }
    }

    /// The session has a job on this attempt's node now.
    fn note(&self, conversation: &Conversation<'_>, attempt: &Attempt, pin: &Guard) {
        let Conversation { id, mode, pool, .. } = conversation;
        // Full by now, or full when the session of an earlier attempt was forgotten: the job goes without.
        let Some(session) = self.sessions.used(id, self.clock.now()) else { return };
        session.note_node(attempt.node.cell, attempt.node.incarnation);
        let lost = pool.is_some_and(|key| !self.pool_exists(key, pin));
        if *mode == SessionMode::Affinity && (pool.is_none() || lost) {
            session.bind(*pool, attempt.pool.key);
        }
    }

    /// Reserves a slot for a pending job and binds it, maybe as its owner. `None`: the job was refused on behalf of
    /// another create, so this one has to begin again.
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
            Err(no_node) => {
                // Only the owner may give the job up; another create has been refused for itself alone.
                if owner && self.give_up_job(&record) {
                    return Some(Err(no_node));
                }
                return match Job::new(record, record.binding.load()) {
                    Some(job) => {
                        self.count(Count::repeated);
                        Some(Ok(job))
                    }
                    None if owner => None,
                    None => Some(Err(no_node)),
                };
            }
        };
        let attempt = self.attempt(&record, 1, held);
        let (bound, kept) = match begun {
            Some(Begun { first, kept, .. }) => (first.bind(attempt), Some(kept)),
            None => (record.get().binding.bind(attempt), None),
        };
        match bound {
            Ok(attempt) => {
                self.bound(&record, attempt, pin);
                if let Some(conversation) = conversation {
                    self.note(conversation, attempt, pin);
                }
                self.count(Count::created);
                let job = match kept {
                    Some(kept) => Job::of_owner(kept),
                    None => Job::new(record, record.binding.load()),
                };
                job.map(Ok)
            }
            Err(attempt) => {
                self.let_go(&record, &attempt);
                let job = Job::new(record, record.binding.load())?;
                self.count(Count::repeated);
                Some(Ok(job))
            }
        }
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

    fn attempt(&self, record: &JobRecord, number: u32, held: Held) -> Attempt {
        let now = self.clock.now();
        let deadline = self.deadline(now, record.lease);
        Attempt::new(number, held.entry, held.node, held.pool, now, deadline)
    }

    /// When a lease taken now runs out. The clock may be behind by a tick, which must not shorten the lease; a
    /// clock that the embedder moves is never behind.
    fn deadline(&self, now: u64, lease: u64) -> u64 {
        now.saturating_add(lease).saturating_add(self.clock_lag())
    }

    /// What follows from an attempt having been bound.
    fn bound(&self, record: &JobRecord, attempt: &Attempt, pin: &Guard) {
        self.wheel.note(self.jobs.places(), record.place, attempt.deadline(), self.threads.ordinal());
        // The node may have gone between the reservation and the entry: then whoever orphans its jobs may have missed
        // this one. Touching the slot word decides: either he came before and is seen here, or he will see the entry.
        let node = &attempt.node;
        let flags = self.cells.at(node.cell).touch().flags();
        if flags.has(Flags::GONE) || flags.has(Flags::OFFLINE) {
            self.orphan(record, node, pin);
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

    fn record<'g>(&self, job: JobId, pin: &'g Guard) -> Result<&'g JobRecord, JobError> {
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

    /// Ends a job by a caller's word.
    pub(crate) fn end(&self, job: JobId, attempt: u32, end: End, pin: &Guard) -> Result<(), JobError> {
        let record = self.record(job, pin)?;
        loop {
            let (bound, current) = active(record, attempt)?;
            if record.binding.advance(bound, end.phase()) {
                self.ended(record, current, end, pin);
                return Ok(());
            }
        }
    }

    /// What follows from an attempt having ended, for the one who ended it: the slot is given back, once.
    fn ended(&self, record: &JobRecord, attempt: &Attempt, end: End, pin: &Guard) {
        self.let_go(record, attempt);
        self.touch_session(record);
        let now = self.clock.now();
        if end == End::Completed {
            attempt.pool.tally.note_duration(now.saturating_sub(attempt.reserved_at));
        }
        self.jobs.finished(record, attempt.number, (self.threads.ordinal(), now), pin);
        let told = || (record.id, attempt.number, attempt.node.id.clone(), Arc::from(record.request.as_str()));
        self.count(match end {
            End::Completed => Count::completed,
            End::Failed => Count::failed,
            End::Cancelled => Count::cancelled,
            End::Expired => {
                self.events.emit(|| {
                    let (job, attempt, node, request_id) = told();
                    Event::JobExpired { job, attempt, node, request_id }
                });
                Count::expired
            }
            End::Orphaned => {
                self.events.emit(|| {
                    let (job, attempt, node, request_id) = told();
                    Event::JobOrphaned { job, attempt, node, request_id }
                });
                Count::orphaned
            }
        });
    }

    /// Orphans every job that holds a slot of a node that is out of use.
    pub(super) fn orphan_jobs(&self, node: &Arc<Node>, pin: &Guard) {
        node.jobs.numbers(|number| {
            if let Some(record) = self.jobs.numbered(number, pin) {
                self.orphan(&record, node, pin);
            }
        });
    }

    fn orphan(&self, record: &JobRecord, node: &Arc<Node>, pin: &Guard) {
        loop {
            let bound = record.binding.load();
            let Some(attempt) = bound.attempt().filter(|attempt| Arc::ptr_eq(&attempt.node, node)) else { return };
            if !bound.phase().is_active() {
                return;
            }
            if record.binding.advance(bound, Phase::Orphaned) {
                return self.ended(record, attempt, End::Orphaned, pin);
            }
        }
    }

    /// Looks at the leases that may have run out by now. In their own order, not in that of the wheel, which hangs on when
    /// places have become vacant: with a seed, a run repeats itself.
    pub(super) fn look_at_leases(&self, now: u64, pin: &Guard) {
        let places = self.jobs.places();
        let mut due = Vec::new();
        self.wheel.turn(places, now, |place| due.push(place));
        due.sort_by_cached_key(|place| {
            let record = places.record(*place, pin)?;
            Some((record.binding.load().attempt()?.deadline(), record.id))
        });
        due.into_iter().for_each(|place| self.look_at_lease(place, now, pin));
    }

    /// Looks at a place because a lease of its job may have run out: it may have been renewed, the job may have ended, or
    /// be another.
    pub(super) fn look_at_lease(&self, place: u32, now: u64, pin: &Guard) {
        let Some(record) = self.jobs.places().record(place, pin) else { return };
        loop {
            let bound = record.binding.load();
            let Some(attempt) = bound.attempt().filter(|_| bound.phase().is_active()) else { return };
            if let Err(deadline) = attempt.run_out(now) {
                return self.wheel.note(self.jobs.places(), place, deadline, self.threads.ordinal());
            }
            if record.binding.advance(bound, Phase::Expired) {
                return self.ended(&record, attempt, End::Expired, pin);
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
        let demand = record.demand();
        let held = self.hold(&record, Asked::Plain(&demand), extra, &pin)?;
        let mut next = Box::new(self.attempt(&record, attempt + 1, held));
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
                        self.jobs.revived(self.threads.ordinal());
                    }
                    self.bound(&record, next, &pin);
                    if let Some(conversation) = &conversation {
                        self.note(conversation, next, &pin);
                    }
                    self.count(Count::retried);
                    return Job::new(record, record.binding.load()).ok_or(JobError::UnknownJob { job }.into());
                }
                Err(back) => next = back,
            }
        }
    }
}

/// The attempt that a caller means, if it is the job's current one.
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
fn active(record: &JobRecord, attempt: u32) -> Result<(Bound<'_>, &Attempt), JobError> {
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
