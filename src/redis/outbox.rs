//! What is to be done when the server is back: ends of jobs, and creates that are to be undone. Bounded, and in order.
//!
//! What one server of a cluster keeps waiting does not keep what is for others: there is a line for each set of servers that
//! has a part in what is to be done, and only what is in one line is done one after the other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::call::Moved;
use super::doubts::Undo;
use super::engine::Engine;
use super::error::CoordinatorError;
use super::lease::Binding;
use super::protocol::{self, JobAt, Terms};
use super::shared_error::SharedError;
use crate::error::JobError;
use crate::id::JobId;
use crate::job::JobState;
use crate::sync::{Mutex, Ordering, Statistic};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    limit: usize,
    has_come: Notify,
    /// What was delivered, and what found no room: those jobs' leases run out.
    pub(super) delivered: Statistic,
    pub(super) overflowed: Statistic,
}

/// The servers that have a part in something, by their addresses in order; none where there is but one.
pub(super) type Line = Vec<String>;

#[derive(Debug, Default)]
struct Queue {
    /// What has come and is in no line yet.
    new: VecDeque<Entry>,
    /// Each is there for as long as something is in it, and a task sees to it.
    lines: BTreeMap<Line, VecDeque<Entry>>,
    /// All there are.
    count: usize,
    /// How attempts have ended whose ends wait. So there is one for each, and it does not matter in which lines ends are.
    ends: HashMap<(JobId, u32), JobState>,
}

/// What waits, and what has been found out about it.
#[derive(Debug, Clone)]
struct Entry {
    waiting: Waiting,
    known: Known,
}

/// Where a job is that is ended here and was not held here.
#[derive(Debug, Clone)]
enum Known {
    Nothing,
    Request(String),
    Place(Box<(JobAt, Binding)>),
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
        Self { queue: Mutex::default(), limit, has_come: Notify::new(), delivered, overflowed }
    }

    fn queue(&self) -> crate::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.queue().count
    }

    /// Whether something waits for these servers.
    pub(super) fn keeps_waiting(&self, line: impl FnOnce() -> Line) -> bool {
        let queue = self.queue();
        queue.count > 0 && (!queue.new.is_empty() || queue.lines.contains_key(&line()))
    }

    /// How an attempt has ended, if its end waits.
    pub(super) fn end_of(&self, job: JobId, attempt: u32) -> Option<JobState> {
        self.queue().ends.get(&(job, attempt)).copied()
    }

    /// Has it done when the server can be asked.
    ///
    /// # Errors
    /// There is no room: the job's lease runs out instead.
    pub(super) fn put(&self, waiting: Waiting) -> Result<(), CoordinatorError> {
        let mut queue = self.queue();
        if queue.count >= self.limit {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            let detail = format!("{} ends of jobs wait for it, the most that max_outbox allows", self.limit);
            return Err(CoordinatorError::Unreachable { detail });
        }
        if let Waiting::End(End { job, attempt, end, .. }) = &waiting {
            queue.ends.entry((*job, *attempt)).or_insert(*end);
        }
        queue.count += 1;
        queue.new.push_back(Entry { waiting, known: Known::Nothing });
        drop(queue);
        self.has_come.notify_one();
        Ok(())
    }

    /// Delivers what there is; waits for more. Does not end by itself.
    pub(super) async fn deliver(&self, engine: &Arc<Engine>) {
        let mut tasks = JoinSet::new();
        loop {
            for line in self.sort(engine) {
                let engine = engine.clone();
                tasks.spawn(async move { engine.outbox.deliver_line(&engine, line).await });
            }
            self.has_come.notified().await;
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Puts what has come into its lines: those that there were not before.
    fn sort(&self, engine: &Engine) -> Vec<Line> {
        let (mut queue, mut begun) = (self.queue(), Vec::new());
        while let Some(entry) = queue.new.pop_front() {
            let line = engine.line_of(&entry);
            if !queue.lines.contains_key(&line) {
                begun.push(line.clone());
            }
            queue.lines.entry(line).or_default().push_back(entry);
        }
        begun
    }

    /// Delivers what is in a line, one after the other, until there is nothing left.
    async fn deliver_line(&self, engine: &Arc<Engine>, line: Line) {
        let mut said = None;
        loop {
            let Some(mut entry) = self.first(&line) else { return };
            match engine.deliver(&mut entry).await {
                Err(SharedError::Coordinator(error)) if error.is_of_the_server() => {
                    if !error.is_transient() && said.as_ref() != Some(&error) {
                        tracing::warn!(%error, "what waits for the coordinator goes on waiting");
                        said = Some(error);
                    }
                    // It may be another server's by now, or found to be.
                    if engine.line_of(&entry) != line {
                        let mut queue = self.queue();
                        queue.lines.get_mut(&line).and_then(VecDeque::pop_front);
                        queue.new.push_back(entry);
                        drop(queue);
                        self.has_come.notify_one();
                        continue;
                    }
                    if let Some(first) = self.queue().lines.get_mut(&line).and_then(VecDeque::front_mut) {
                        *first = entry;
                    }
                    tokio::time::sleep(engine.config.poll_interval).await;
                    continue;
                }
                Ok(()) => self.delivered.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    tracing::error!(waited = ?entry.waiting, %error, "what has waited for the coordinator could not be done");
                    self.overflowed.fetch_add(1, Ordering::Relaxed)
                }
            };
            let mut queue = self.queue();
            queue.lines.get_mut(&line).and_then(VecDeque::pop_front);
            queue.count -= 1;
            if let Waiting::End(End { job, attempt, .. }) = entry.waiting {
                queue.ends.remove(&(job, attempt));
            }
        }
    }

    /// What is first in a line. A line in which there is nothing is no more.
    fn first(&self, line: &Line) -> Option<Entry> {
        let mut queue = self.queue();
        let first = queue.lines.get(line)?.front().cloned();
        if first.is_none() {
            queue.lines.remove(line);
        }
        first
    }
}

impl Engine {
    /// The servers that have a part in it, as far as is known.
    fn line_of(&self, Entry { waiting, known }: &Entry) -> Line {
        match (waiting, known) {
            (Waiting::End(End { at: Some(at), .. }), _) => self.line_to(at),
            (Waiting::End(_), Known::Place(place)) => self.line_to(&place.0),
            (Waiting::End(_), Known::Request(request)) => self.servers.homes([self.keys.request(request)]),
            (Waiting::End(End { job, .. }), Known::Nothing) => self.servers.homes([self.keys.job(*job)]),
            (Waiting::Undo(undo), _) => {
                let (request, places) = self.places_of(undo);
                let keys = places.iter().map(|node| self.keys.slots(node));
                self.servers.homes([self.keys.request(request)].into_iter().chain(keys))
            }
        }
    }

    /// The servers that have a part in what is done to a job.
    pub(super) fn line_to(&self, at: &JobAt) -> Line {
        self.servers.homes([self.keys.request(&at.request), self.keys.slots(&at.node)])
    }

    async fn deliver(self: &Arc<Self>, Entry { waiting, known }: &mut Entry) -> Result<(), SharedError<JobError>> {
        match waiting {
            Waiting::End(end) => self.deliver_end(end, known).await,
            Waiting::Undo(undo) => Ok(self.undo(undo).await?),
        }
    }

    /// Delivers one end. One that had ended, or is another's by then, has ended so.
    async fn deliver_end(self: &Arc<Self>, waiting: &End, known: &mut Known) -> Result<(), SharedError<JobError>> {
        let End { job, attempt, at, end, terms } = waiting;
        if let Some(at) = at {
            protocol::finish(&self.within(), at, *end, *terms).await?;
            return Ok(());
        }
        // Each step is noted: if the next one fails, it is for what that needs.
        if let Known::Nothing = known {
            *known = Known::Request(self.noted(*job).await?.0);
        }
        if let Known::Request(request) = known {
            let (at, binding) = self.bound(*job, request).await?;
            *known = Known::Place(Box::new((JobAt { attempt: *attempt, ..at }, binding)));
        }
        let Known::Place(place) = &*known else { return Ok(()) };
        let (at, binding) = (**place).clone();
        if protocol::finish(&self.within(), &at, *end, *terms).await? == Moved::Done {
            self.pass_on(binding.lease.instance, *job, *attempt);
            self.remember_end(&at.request, binding, *end);
        }
        Ok(())
    }
}
