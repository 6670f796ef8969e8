//! Jobs created, moved on, ended, tried again; and sessions.

use std::collections::BTreeSet;

use slotyard::{Event, JobError, JobId, JobState, SessionMode};

use super::super::difference::Difference;
use super::super::step::{Ask, Move, Which};
use super::{Birth, Job, Legal, Life, Model, Session, Wish, node_id, request_id, session_id};

/// What a create is to give.
#[derive(Debug)]
pub(crate) enum Created {
    Known(JobId),
    Mismatch(JobId),
    InvalidLease,
    TooManySessions(String),
    TooManyJobs,
    New(Wish, Legal),
}

/// Why a retry is refused before a node is looked for.
#[derive(Debug)]
pub(crate) enum Refused {
    Job(JobError),
    TooManyAttempts,
}

/// An attempt that has got a slot.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) id: JobId,
    pub(crate) node: u8,
    pub(crate) pool: Birth,
}

impl Job {
    /// The number of the attempt that is meant.
    pub(crate) fn attempt(&self, which: Which) -> u32 {
        match which {
            Which::Current => self.attempt,
            Which::Before => self.attempt - 1,
            Which::Next => self.attempt + 1,
        }
    }
}

impl Model {
    /// What becomes of a create, up to where a node is chosen.
    pub(crate) fn ask(&mut self, request: u8, ask: &Ask, gone: &dyn Fn(JobId) -> bool) -> Result<Created, Difference> {
        if ask.lease.is_some_and(|lease| lease == 0 || lease > self.setup.max_lease) {
            return Ok(Created::InvalidLease);
        }
        // Asking is use, whatever comes of it.
        self.touch(ask.session);
        if let Some(job) = self.jobs.get(&request) {
            let same = job.ask.needs == ask.needs && job.ask.key == ask.key;
            return Ok(if same { Created::Known(job.id) } else { Created::Mismatch(job.id) });
        }
        let begins = ask.session.filter(|session| !self.sessions.contains_key(session));
        if let Some(session) = begins.filter(|_| self.sessions.len() >= self.setup.max_sessions) {
            return Ok(Created::TooManySessions(session_id(session)));
        }
        if self.jobs.len() >= self.setup.max_jobs {
            if self.finished().is_empty() {
                return Ok(Created::TooManyJobs);
            }
            self.forget_oldest(gone)?;
        }
        let wish = self.wish(ask);
        let legal = self.legal(&wish);
        Ok(Created::New(wish, legal))
    }

    fn touch(&mut self, session: Option<u8>) {
        let now = self.now;
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(&session)) {
            session.last_used = now;
        }
    }

    fn mode(&self, ask: &Ask) -> SessionMode {
        ask.mode.unwrap_or(self.setup.session_mode)
    }

    /// What is wished for of a job's node, for its session's sake, too.
    fn wish(&self, ask: &Ask) -> Wish {
        let mut wish = Wish::of(ask);
        let session = ask.session.and_then(|session| self.sessions.get(&session));
        match (self.mode(ask), session) {
            (SessionMode::Affinity, Some(session)) => wish.pool = session.pool,
            (SessionMode::Spread(mode), Some(Session { last: Some(last), .. })) if self.is_current(*last) => {
                wish.avoid(last.0, mode);
            }
            _ => {}
        }
        wish
    }

    /// The session has a job here now. `wished`: the pool to which it kept before.
    fn note(&mut self, ask: &Ask, wished: Option<Birth>, life: Life, pool: Birth) {
        let Some(id) = ask.session else { return };
        if !self.sessions.contains_key(&id) && self.sessions.len() >= self.setup.max_sessions {
            return;
        }
        let (now, affinity) = (self.now, self.mode(ask) == SessionMode::Affinity);
        let lost = wished.is_none_or(|pool| !self.pools.contains_key(&pool));
        let session = self.sessions.entry(id).or_insert(Session { pool: None, last: None, last_used: now });
        (session.last, session.last_used) = (Some(life), now);
        if affinity && lost && session.pool == wished {
            session.pool = Some(pool);
        }
    }

    pub(crate) fn created(&mut self, request: u8, ask: &Ask, wish: &Wish, begun: Begun) {
        let life = self.life(begun.node).expect("it was chosen");
        let pool = self.pools[&begun.pool].name.clone();
        let deadline = self.now + ask.lease.unwrap_or(self.setup.lease);
        let job = Job {
            id: begun.id,
            ask: *ask,
            state: JobState::Reserved,
            attempt: 1,
            nodes: vec![life],
            pool,
            deadline,
            ended_at: 0,
        };
        self.jobs.insert(request, job);
        self.note(ask, wish.pool, life, begun.pool);
        self.counted.reserved += 1;
        self.counted.created += 1;
    }

    /// Whether a call that names this attempt of a job is refused, whatever it is for.
    fn current(&self, job: &Job, attempt: u32) -> Result<(), JobError> {
        if attempt == job.attempt {
            Ok(())
        } else {
            Err(JobError::StaleAttempt { job: job.id, attempt, current: job.attempt })
        }
    }

    /// Moves the job on; says what the call is to give.
    pub(crate) fn move_on(&mut self, request: u8, which: Which, how: Move) -> Result<(), JobError> {
        let job = &self.jobs[&request];
        let (id, state, session, attempt) = (job.id, job.state, job.ask.session, job.attempt(which));
        self.current(job, attempt)?;
        if state.has_ended() {
            return Err(JobError::AlreadyEnded { job: id, attempt, state });
        }
        let deadline = self.now + job.ask.lease.unwrap_or(self.setup.lease);
        match how {
            Move::End(state) => self.end(request, state),
            Move::Renew => self.jobs.get_mut(&request).expect("it is there").deadline = deadline,
            Move::Dispatched | Move::Running => {
                let wanted = if how == Move::Running { JobState::Running } else { JobState::Dispatched };
                if state >= wanted {
                    return Err(JobError::InvalidTransition { job: id, attempt, state, wanted });
                }
                self.jobs.get_mut(&request).expect("it is there").state = wanted;
                self.dispatched += u64::from(how == Move::Dispatched);
            }
        }
        self.touch(session);
        Ok(())
    }

    /// The job ends: its slot is given back, once.
    pub(super) fn end(&mut self, request: u8, state: JobState) {
        let now = self.now;
        let job = self.jobs.get_mut(&request).expect("the caller knows the job");
        assert!(!job.state.has_ended(), "a job ends once");
        (job.state, job.ended_at) = (state, now);
        let (id, attempt, session) = (job.id, job.attempt, job.ask.session);
        let node = node_id(job.nodes.last().expect("a job has a node").0).into();
        let request_id = request_id(request).into();
        self.endings.insert(request, state);
        self.touch(session);
        self.counted.released += 1;
        match state {
            JobState::Completed => self.counted.completed += 1,
            JobState::Failed => self.counted.failed += 1,
            JobState::Cancelled => self.counted.cancelled += 1,
            JobState::Expired => {
                self.counted.expired += 1;
                self.tell(Event::JobExpired { job: id, attempt, node, request_id });
            }
            _ => {
                self.counted.orphaned += 1;
                self.tell(Event::JobOrphaned { job: id, attempt, node, request_id });
            }
        }
    }

    /// Forgets those that ended first until there are as few as may be. `gone`: whether the scheduler has forgotten a job.
    pub(crate) fn forget_beyond(&mut self, gone: &dyn Fn(JobId) -> bool) -> Result<(), Difference> {
        while self.finished().len() > self.setup.max_finished {
            self.forget_oldest(gone)?;
        }
        Ok(())
    }

    /// Forgets the finished job that ended first; of several that ended at that time, one that the scheduler has forgotten.
    fn forget_oldest(&mut self, gone: &dyn Fn(JobId) -> bool) -> Result<(), Difference> {
        let finished = self.finished();
        let oldest = finished.iter().map(|request| self.jobs[request].ended_at).min();
        let candidates: BTreeSet<u8> =
            finished.into_iter().filter(|request| Some(self.jobs[request].ended_at) == oldest).collect();
        let forgotten = candidates.iter().find(|request| gone(self.jobs[request].id));
        let request = forgotten.ok_or_else(|| {
            let jobs: Vec<String> = candidates.iter().map(|request| request_id(*request)).collect();
            Difference::new(format!("one of {jobs:?} was to be forgotten"))
        })?;
        self.jobs.remove(request);
        Ok(())
    }

    /// What becomes of a retry, up to where a node is chosen.
    pub(crate) fn ask_again(&mut self, request: u8, which: Which) -> Result<(Wish, Legal), Refused> {
        let job = &self.jobs[&request];
        let (id, state, attempt) = (job.id, job.state, job.attempt(which));
        self.current(job, attempt).map_err(Refused::Job)?;
        if matches!(state, JobState::Completed | JobState::Cancelled) {
            return Err(Refused::Job(JobError::AlreadyEnded { job: id, attempt, state }));
        }
        if attempt >= self.setup.max_attempts {
            return Err(Refused::TooManyAttempts);
        }
        let (ask, nodes) = (job.ask, job.nodes.clone());
        self.touch(ask.session);
        let mut wish = self.wish(&ask);
        for life in nodes.into_iter().filter(|life| self.is_current(*life)) {
            wish.avoid(life.0, self.setup.retry_exclusion);
        }
        let legal = self.legal(&wish);
        Ok((wish, legal))
    }

    pub(crate) fn retried(&mut self, request: u8, wish: &Wish, begun: Begun) {
        let life = self.life(begun.node).expect("it was chosen");
        let (pool, now, lease) = (self.pools[&begun.pool].name.clone(), self.now, self.setup.lease);
        let job = self.jobs.get_mut(&request).expect("the caller knows the job");
        let was_active = !job.state.has_ended();
        job.nodes.push(life);
        (job.attempt, job.state, job.pool) = (job.attempt + 1, JobState::Reserved, pool);
        job.deadline = now + job.ask.lease.unwrap_or(lease);
        let ask = job.ask;
        self.note(&ask, wish.pool, life, begun.pool);
        self.counted.reserved += 1;
        self.counted.retried += 1;
        self.counted.released += u64::from(was_active);
    }

    /// A refusal of this kind was given.
    pub(crate) fn refused(&mut self, kind: &str) {
        match kind {
            "busy" => self.counted.refused_busy += 1,
            "gone" => self.counted.refused_gone += 1,
            _ => self.counted.refused_unsupported += 1,
        }
    }
}
