//! Ends of jobs that wait for the server to come back: bounded, and in order.

use std::collections::VecDeque;

use tokio::sync::Notify;

use super::engine::Engine;
use super::error::CoordinatorError;
use super::protocol::{self, JobAt, Terms};
use crate::job::JobState;
use std::sync::PoisonError;

use crate::sync::{Mutex, Ordering, Statistic};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<VecDeque<End>>,
    limit: usize,
    has_come: Notify,
    /// Ends delivered, and ends that found no room: those jobs' leases run out.
    pub(super) delivered: Statistic,
    pub(super) overflowed: Statistic,
}

#[derive(Debug, Clone)]
struct End {
    at: JobAt,
    end: JobState,
    terms: Terms,
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        let [delivered, overflowed] = std::array::from_fn(|_| Statistic::new(0));
        Self { waiting: Mutex::default(), limit, has_come: Notify::new(), delivered, overflowed }
    }

    fn queue(&self) -> crate::sync::MutexGuard<'_, VecDeque<End>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.queue().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Has a job ended when the server can be asked.
    ///
    /// # Errors
    /// There is no room: the job's lease runs out instead.
    pub(super) fn put(&self, at: JobAt, end: JobState, terms: Terms) -> Result<(), CoordinatorError> {
        let mut queue = self.queue();
        if queue.len() >= self.limit {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            let detail = format!("{} ends of jobs wait for it, the most that max_outbox allows", self.limit);
            return Err(CoordinatorError::Unreachable { detail });
        }
        queue.push_back(End { at, end, terms });
        drop(queue);
        self.has_come.notify_one();
        Ok(())
    }

    /// Delivers what there is, one after the other; waits for more. Does not end by itself.
    pub(super) async fn deliver(&self, engine: &Engine) {
        loop {
            let next = self.queue().front().cloned();
            let Some(End { at, end, terms }) = next else {
                self.has_come.notified().await;
                continue;
            };
            match protocol::finish(&engine.within(), &at, end, terms).await {
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(engine.config.poll_interval).await;
                    continue;
                }
                // It had ended, or was another's by then: that is how it ended.
                Ok(_) => self.delivered.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    tracing::error!(job = %at.job, %end, %error, "the end of a job could not be delivered");
                    self.overflowed.fetch_add(1, Ordering::Relaxed)
                }
            };
            self.queue().pop_front();
        }
    }
}
