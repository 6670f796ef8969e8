//! What is to be done when the server is back: ends of jobs, and creates that are to be undone. Bounded, and in order.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::call::Moved;
use super::doubts::Undo;
use super::engine::Engine;
use super::error::CoordinatorError;
use super::protocol::{self, JobAt, Terms};
use super::shared_error::SharedError;
use crate::error::JobError;
use crate::id::JobId;
use crate::job::JobState;
use std::sync::PoisonError;

use crate::sync::{Mutex, Ordering, Statistic};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<VecDeque<Waiting>>,
    limit: usize,
    has_come: Notify,
    /// What was delivered, and what found no room: those jobs' leases run out.
    pub(super) delivered: Statistic,
    pub(super) overflowed: Statistic,
}

/// What waits.
#[derive(Debug, Clone)]
pub(super) enum Waiting {
    End(End),
    Undo(Undo),
}

/// How an attempt of a job has ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    /// Where the job is, if that is known here.
    pub(super) at: Option<JobAt>,
    pub(super) end: JobState,
    pub(super) terms: Terms,
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        let [delivered, overflowed] = std::array::from_fn(|_| Statistic::new(0));
        Self { waiting: Mutex::default(), limit, has_come: Notify::new(), delivered, overflowed }
    }

    fn queue(&self) -> crate::sync::MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.queue().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Has it done when the server can be asked.
    ///
    /// # Errors
    /// There is no room: the job's lease runs out instead.
    pub(super) fn put(&self, waiting: Waiting) -> Result<(), CoordinatorError> {
        let mut queue = self.queue();
        if queue.len() >= self.limit {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            let detail = format!("{} ends of jobs wait for it, the most that max_outbox allows", self.limit);
            return Err(CoordinatorError::Unreachable { detail });
        }
        queue.push_back(waiting);
        drop(queue);
        self.has_come.notify_one();
        Ok(())
    }

    /// Delivers what there is, one after the other; waits for more. Does not end by itself.
    pub(super) async fn deliver(&self, engine: &Arc<Engine>) {
        loop {
            let next = self.queue().front().cloned();
            let Some(next) = next else {
                self.has_come.notified().await;
                continue;
            };
            match engine.deliver(&next).await {
                Err(SharedError::Coordinator(error)) if error.is_of_the_server() => {
                    tokio::time::sleep(engine.config.poll_interval).await;
                    continue;
                }
                Ok(()) => self.delivered.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    tracing::error!(waited = ?next, %error, "what has waited for the coordinator could not be done");
                    self.overflowed.fetch_add(1, Ordering::Relaxed)
                }
            };
            self.queue().pop_front();
        }
    }
}

impl Engine {
    async fn deliver(self: &Arc<Self>, waiting: &Waiting) -> Result<(), SharedError<JobError>> {
        match waiting {
            Waiting::End(end) => self.deliver_end(end).await,
            Waiting::Undo(undo) => Ok(self.undo(undo).await?),
        }
    }

    /// Delivers one end. One that had ended, or is another's by then, has ended so.
    async fn deliver_end(self: &Arc<Self>, waiting: &End) -> Result<(), SharedError<JobError>> {
        let End { job, attempt, at, end, terms } = waiting;
        let (at, binding) = match at {
            Some(at) => (at.clone(), None),
            None => self.place(*job, *attempt).await.map(|(at, binding)| (at, Some(binding)))?,
        };
        if protocol::finish(&self.within(), &at, *end, *terms).await? == Moved::Done
            && let Some(binding) = binding
        {
            self.pass_on(binding.lease.instance, *job, *attempt);
            self.remember_end(&at.request, binding, *end);
        }
        Ok(())
    }
}
