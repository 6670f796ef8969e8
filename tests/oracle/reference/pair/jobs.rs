//! Calls about jobs.

use slotyard::{CreateJobError, Job, JobError, JobId, JobRequest, JobState, RetryError};

use super::super::difference::{Difference, holds, same};
use super::super::model::{Begun, Created, Refused, request_id, session_id};
use super::super::step::{Ask, Move, REQUESTS, Which};
use super::{Outcome, Pair, ms};

impl Ask {
    fn request(&self, request: u8) -> JobRequest {
        let mut sent = JobRequest::new(request_id(request), self.demand());
        if let Some(session) = self.session {
            sent = sent.session(session_id(session));
        }
        if let Some(mode) = self.mode {
            sent = sent.session_mode(mode);
        }
        match self.lease {
            Some(lease) => sent.lease(ms(lease)),
            None => sent,
        }
    }
}

impl Pair<'_> {
    pub(super) fn create(&mut self, request: u8, ask: &Ask) -> Outcome {
        let result = self.scheduler.create_job(&ask.request(request));
        self.created(request, ask, result)
    }

    pub(super) fn create_many(&mut self, from: u8, count: u8, ask: &Ask) -> Outcome {
        let requests: Vec<u8> = (from..from + count).map(|request| request % REQUESTS).collect();
        // Where jobs are forgotten to make room, of those that ended at one time the order is not said; which was is seen
        // only when the call has returned, and so they are created one by one.
        if self.model.jobs.len() + requests.len() > self.model.setup.max_jobs {
            return requests.into_iter().try_for_each(|request| self.create(request, ask));
        }
        let sent: Vec<JobRequest> = requests.iter().map(|request| ask.request(*request)).collect();
        let results = self.scheduler.create_jobs(&sent);
        self.reached.insert("created many".into());
        same!(results.len(), requests.len(), "how many were created or not");
        for (request, result) in requests.into_iter().zip(results) {
            self.created(request, ask, result)?;
        }
        Ok(())
    }

    fn created(&mut self, request: u8, ask: &Ask, result: Result<Job, CreateJobError>) -> Outcome {
        let gone = self.gone();
        self.reach("create: ", &result.as_ref().err());
        match (self.model.ask(request, ask, &gone)?, result) {
            (Created::Known(id), Ok(job)) => {
                same!(job.id(), id, "the job of request {request}");
                self.same_job(request, &job)?;
                self.model.counted.repeated += 1;
                Ok(())
            }
            (Created::Mismatch(id), Err(CreateJobError::RequestMismatch { request_id: named, job })) => {
                same!((named, job), (request_id(request), id), "whose request {request} is");
                Ok(())
            }
            (Created::InvalidLease, Err(CreateJobError::InvalidLease { lease, limit })) => {
                let expected = (ask.lease.map(ms), ms(self.model.setup.max_lease));
                same!((Some(lease), limit), expected, "the lease");
                Ok(())
            }
            (Created::TooManySessions(name), Err(CreateJobError::TooManySessions { session, limit })) => {
                same!((session, limit), (name, self.model.setup.max_sessions), "too many sessions");
                Ok(())
            }
            (Created::TooManyJobs, Err(CreateJobError::TooManyJobs { limit })) => {
                same!(limit, self.model.setup.max_jobs, "too many jobs");
                Ok(())
            }
            (Created::New(wish, legal), Ok(job)) => {
                if wish.pool.is_some_and(|pool| legal.choices.iter().all(|(birth, _)| *birth == pool)) {
                    self.reached.insert("kept to the pool of its session".into());
                }
                if wish.hard.len() + wish.soft.len() > ask.excluded.count_ones() as usize {
                    self.reached.insert("kept off the last node of its session".into());
                }
                let (pool, node) = self.chosen(&legal, job.node_id(), job.incarnation(), Some(job.pool()))?;
                self.keyed(ask, &wish, &legal, pool)?;
                let earlier = self.jobs.get(&request).map(|(job, _)| job.id());
                holds!(earlier != Some(job.id()), "{job:?} is forgotten, and is given again");
                self.model.created(request, ask, &wish, Begun { id: job.id(), node, pool });
                self.same_job(request, &job)?;
                self.jobs.insert(request, (job, JobState::Reserved));
                Ok(())
            }
            (Created::New(_, legal), Err(CreateJobError::NoNode(no_node))) => {
                self.refused(&legal, &ask.needs, &no_node)
            }
            (expected, result) => Err(Difference::new(format!("{result:?}, though the model has {expected:?}"))),
        }
    }

    /// What a creator is told of his job.
    fn same_job(&self, request: u8, job: &Job) -> Outcome {
        let known = &self.model.jobs[&request];
        let shown = (job.attempt(), job.incarnation(), job.pool(), job.request_id(), job.session_id());
        let session = known.ask.session.map(session_id);
        let incarnation = known.nodes.last().expect("a job has a node").1;
        let expected = (known.attempt, incarnation, known.pool.as_str(), &*request_id(request), session.as_deref());
        same!(shown, expected, "a job");
        Ok(())
    }

    /// The job of a request that is named: the one there is, or the latest that was forgotten.
    fn named(&self, request: u8) -> Option<(JobId, bool)> {
        match self.model.jobs.get(&request) {
            Some(job) => Some((job.id, true)),
            None => self.jobs.get(&request).map(|(job, _)| (job.id(), false)),
        }
    }

    pub(super) fn move_on(&mut self, request: u8, which: Which, how: Move) -> Outcome {
        let Some((id, known)) = self.named(request) else { return Ok(()) };
        let attempt = if known { self.model.jobs[&request].attempt(which) } else { 1 };
        let scheduler = self.scheduler;
        let result = match how {
            Move::Dispatched => scheduler.dispatched(id, attempt),
            Move::Running => scheduler.running(id, attempt),
            Move::Renew => scheduler.renew(id, attempt),
            Move::End(JobState::Completed) => scheduler.complete(id, attempt),
            Move::End(JobState::Failed) => scheduler.fail(id, attempt),
            Move::End(_) => scheduler.cancel(id, attempt),
        };
        let expected = match known {
            true => self.model.move_on(request, which, how),
            false => Err(JobError::UnknownJob { job: id }),
        };
        same!(result, expected, "{how:?} of attempt {attempt} of request {request}");
        self.reach("move: ", &result);
        Ok(())
    }

    pub(super) fn complete_many(&mut self, from: u8, count: u8) -> Outcome {
        let requests: Vec<u8> = (from..from + count).map(|request| request % REQUESTS).collect();
        // As in `create_many`.
        if self.model.finished().len() + requests.len() > self.model.setup.max_finished {
            for request in requests {
                self.move_on(request, Which::Current, Move::End(JobState::Completed))?;
                let gone = self.gone();
                self.model.forget_beyond(&gone)?;
            }
            return Ok(());
        }
        let mut attempts = Vec::new();
        for request in requests {
            let Some((id, known)) = self.named(request) else { continue };
            let attempt = if known { self.model.jobs[&request].attempt } else { 1 };
            attempts.push((request, id, attempt, known));
        }
        let refused = self.scheduler.complete_jobs(attempts.iter().map(|(_, id, attempt, _)| (*id, *attempt)));
        let mut expected = Vec::new();
        for (place, (request, id, _, known)) in attempts.into_iter().enumerate() {
            let end = Move::End(JobState::Completed);
            let result = match known {
                true => self.model.move_on(request, Which::Current, end),
                false => Err(JobError::UnknownJob { job: id }),
            };
            expected.extend(result.err().map(|error| (place, error)));
        }
        same!(refused, expected, "jobs that were not completed");
        self.reached.insert("completed many".into());
        Ok(())
    }

    pub(super) fn retry(&mut self, request: u8, which: Which) -> Outcome {
        let Some((id, known)) = self.named(request) else { return Ok(()) };
        let attempt = if known { self.model.jobs[&request].attempt(which) } else { 1 };
        let result = self.scheduler.retry(id, attempt);
        if !known {
            let error = result.err().map(|error| error.to_string());
            same!(error, Some(JobError::UnknownJob { job: id }.to_string()), "retry of a job that is forgotten");
            return Ok(());
        }
        self.reach("retry: ", &result.as_ref().err());
        match (self.model.ask_again(request, which), result) {
            (Err(Refused::Job(expected)), Err(RetryError::Job(error))) => {
                same!(error, expected, "retry of request {request}");
                Ok(())
            }
            (Err(Refused::TooManyAttempts), Err(RetryError::TooManyAttempts { job, limit })) => {
                same!((job, limit), (id, self.model.setup.max_attempts), "too many attempts");
                Ok(())
            }
            (Ok((wish, legal)), Ok(job)) => {
                let (pool, node) = self.chosen(&legal, job.node_id(), job.incarnation(), Some(job.pool()))?;
                same!(job.id(), id, "the job that was retried");
                self.model.retried(request, &wish, Begun { id, node, pool });
                self.same_job(request, &job)?;
                self.jobs.insert(request, (job, JobState::Reserved));
                Ok(())
            }
            (Ok((wish, legal)), Err(RetryError::NoNode(no_node))) => self.refused(&legal, &wish.needs, &no_node),
            (expected, result) => Err(Difference::new(format!("{result:?}, though the model has {expected:?}"))),
        }
    }
}
