//! Jobs: slots bound to requests.

pub(crate) mod attempt;
pub(crate) mod binding;
mod desk;
mod finished;
mod ids;
mod place;
mod queue;
mod request;
mod request_id;
mod requests;
mod reused;
mod table;
mod vacant;
mod wanted;
mod wheel;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

#[cfg(all(test, slotyard_loom))]
pub(crate) use finished::OwnDesk;
pub(crate) use place::Place;
#[cfg(all(test, any(slotyard_loom, slotyard_shuttle)))]
pub(crate) use place::Places;
pub use request::{JobRequest, SessionMode};
#[cfg(all(test, any(slotyard_loom, slotyard_shuttle)))]
pub(crate) use requests::Requests;
pub(crate) use requests::Spot;
pub(crate) use table::{Jobs, NoPlace, Vacancy};
#[cfg(all(test, slotyard_loom))]
pub(crate) use vacant::Shared;
pub(crate) use wheel::Wheel;

use crate::capability::Demand;
use crate::id::{JobId, NodeId, Prehashed};
use crate::sync::{AtomicU32, Ordering};
use attempt::{Attempt, Held};
use binding::{Binding, Bound, Phase};
use request_id::RequestId;
pub(crate) use reused::InUse;
use reused::{Counted, Holders, Kept};
pub(crate) use wanted::Kinds;
use wanted::Wanted;

/// What state a job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// Its slot is reserved.
    Reserved,
    /// It was sent to the node.
    Dispatched,
    /// The node works on it.
    Running,
    /// It has ended well.
    Completed,
    /// It has ended badly; it may be retried.
    Failed,
    /// It was called off.
    Cancelled,
    /// Its lease ran out; it may be retried.
    Expired,
    /// Its node went offline, was deregistered or replaced; it may be retried.
    Orphaned,
}

impl JobState {
    #[cfg(feature = "redis")]
    pub(crate) const ALL: [Self; 8] = [
        Self::Reserved,
        Self::Dispatched,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Orphaned,
    ];

    /// Whether the job has ended, so that it holds no slot.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Reserved | Self::Dispatched | Self::Running)
    }

    /// Its name, as it is displayed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Orphaned => "orphaned",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A job to be made: what was asked for, and what follows from that.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) request: &'a JobRequest,
    pub(crate) mode: SessionMode,
    /// In ms.
    pub(crate) lease: u64,
    /// The time, in ms, and when a lease taken now runs out.
    pub(crate) now: u64,
    pub(crate) deadline: u64,
    pub(crate) kinds: &'a Kinds,
}

/// The number of the calling thread, and the time in ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    pub(crate) thread: u32,
    pub(crate) now: u64,
}

/// All that is kept of a job.
#[derive(Debug)]
pub(crate) struct JobRecord {
    pub(crate) id: JobId,
    /// Where it is kept.
    pub(crate) place: u32,
    holders: Holders,
    /// 1: it is entered under its request id. Before that its owner may find another there, and have to take it back.
    entered: AtomicU32,
    pub(crate) request: RequestId,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) session_mode: SessionMode,
    pub(crate) wanted: Wanted,
    /// Length of a lease, in ms.
    pub(crate) lease: u64,
    pub(crate) binding: Binding,
}

impl JobRecord {
    /// Writes the record of a job to where it is kept, field by field: a record that is put together elsewhere and copied
    /// waits there for all that was written of it.
    ///
    /// # Safety
    /// Memory for a record, which is the caller's alone.
    #[inline(always)]
    unsafe fn write(to: NonNull<Self>, id: JobId, place: u32, wish: Wish<'_>, held: Held) {
        let Wish { request, mode, lease, now, deadline, kinds } = wish;
        let (to, text) = (to.as_ptr(), &request.request_id);
        // Fails to compile when there is a field that is not written below.
        #[rustfmt::skip]
        const _: fn(JobRecord) = |JobRecord {
            id: _, place: _, holders: _, entered: _, request: _, session: _, session_mode: _, wanted: _, lease: _, binding: _,
        }| {};
        // SAFETY: the memory is the caller's, and these are all fields that there are.
        unsafe {
            Binding::write(&raw mut (*to).binding, held, now, deadline);
            (&raw mut (*to).id).write(id);
            (&raw mut (*to).place).write(place);
            (&raw mut (*to).holders).write(Holders::new());
            (&raw mut (*to).entered).write(AtomicU32::new(0));
            // Apart, or it would be put together elsewhere after all.
            if RequestId::is_short(text) {
                (&raw mut (*to).request).write(RequestId::short(text));
            } else {
                (&raw mut (*to).request).write(RequestId::new(text));
            }
            (&raw mut (*to).session).write(request.session.clone());
            (&raw mut (*to).session_mode).write(mode);
            (&raw mut (*to).wanted).write(Wanted::new(&request.demand, kinds));
            (&raw mut (*to).lease).write(lease);
        }
    }

    /// What a further attempt needs.
    pub(crate) fn demand(&self, kinds: &Kinds) -> Demand {
        self.wanted.demand(kinds)
    }

    /// Of the demand.
    pub(crate) fn fingerprint(&self, kinds: &Kinds) -> u64 {
        self.wanted.fingerprint(kinds)
    }

    /// Whether it is a job to anybody but its owner. Who has not found it by its request id has to ask.
    #[inline(always)]
    pub(crate) fn is_entered(&self) -> bool {
        // Acquire: pairs with `set_entered`.
        self.entered.load(Ordering::Acquire) != 0
    }

    /// For whoever has entered it, or has found it by its request id.
    #[inline(always)]
    pub(crate) fn set_entered(&self) {
        // Release: who sees this sees it entered.
        self.entered.store(1, Ordering::Release);
    }

    fn is_of(&self, key: &Prehashed<&str>) -> bool {
        self.request.as_bytes() == key.text.as_bytes()
    }
}

// SAFETY: always that field, which only `reused` can touch; an integer of 128 bits is aligned to more than 4.
unsafe impl Counted for JobRecord {
    #[inline(always)]
    fn holders(&self) -> &Holders {
        &self.holders
    }
}

/// A job, as its creator refers to it: one attempt. Cheap to clone.
#[derive(Clone)]
pub struct Job {
    record: Kept<JobRecord>,
    attempt: *const Attempt,
}

// SAFETY: `attempt` points into `record`, which is `Send + Sync`, and is only read.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

impl Job {
    /// The attempt that `bound` found.
    pub(crate) fn new(record: InUse<'_, JobRecord>, bound: Bound<'_>) -> Self {
        Self { record: record.keep(), attempt: std::ptr::from_ref(bound.attempt()) }
    }

    /// The first attempt, for the job's owner, who keeps it from the beginning.
    #[inline(always)]
    pub(crate) fn of_owner(record: Kept<JobRecord>) -> Self {
        let attempt = std::ptr::from_ref(record.binding.first());
        Self { record, attempt }
    }

    /// The attempt that the caller has bound, which is one of the record's. Not asked of the binding, which may have gone on
    /// to a later one that is somebody else's.
    #[inline(always)]
    pub(crate) fn of_binder(record: Kept<JobRecord>, attempt: &Attempt) -> Self {
        Self { record, attempt: std::ptr::from_ref(attempt) }
    }

    fn bound_attempt(&self) -> &Attempt {
        // SAFETY: an attempt of `record`, which keeps every attempt that was ever bound for as long as it lives.
        unsafe { &*self.attempt }
    }

    /// Where it is kept.
    #[cfg(all(test, any(slotyard_loom, slotyard_shuttle)))]
    pub(crate) fn place(&self) -> u32 {
        self.record.place
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.record.id
    }

    /// Which attempt this is, from 1 on.
    pub fn attempt(&self) -> u32 {
        self.bound_attempt().number
    }

    /// The node on which the slot is reserved.
    pub fn node_id(&self) -> &NodeId {
        &self.bound_attempt().node.id
    }

    /// The node's incarnation.
    pub fn incarnation(&self) -> u64 {
        self.bound_attempt().node.incarnation
    }

    /// The pool in which the node was found.
    pub fn pool(&self) -> &str {
        &self.bound_attempt().pool().name
    }

    /// The request id.
    pub fn request_id(&self) -> &str {
        self.record.request.as_str()
    }

    /// The session id, if the request named one.
    pub fn session_id(&self) -> Option<&str> {
        self.record.session.as_deref()
    }

    /// The state that the job is in now, of this attempt or a later one; when it has been forgotten, that in which it
    /// ended.
    pub fn state(&self) -> JobState {
        self.record.binding.load().phase().state()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id())
            .field("attempt", &self.attempt())
            .field("node_id", self.node_id())
            .field("request_id", &self.request_id())
            .finish()
    }
}

/// A job, as it was when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// The request id.
    pub request_id: String,
    /// The session id.
    pub session_id: Option<String>,
    /// Its state.
    pub state: JobState,
    /// The current attempt.
    pub attempt: u32,
    /// The node of the current attempt.
    pub node_id: NodeId,
    /// That node's incarnation.
    pub incarnation: u64,
    /// The pool in which the node was found.
    pub pool: String,
}

impl JobView {
    pub(crate) fn of(record: &JobRecord) -> Self {
        let bound = record.binding.load();
        let (state, attempt) = (bound.phase().state(), bound.attempt());
        Self {
            id: record.id,
            request_id: record.request.as_str().to_owned(),
            session_id: record.session.as_deref().map(str::to_owned),
            state,
            attempt: attempt.number,
            node_id: attempt.node.id.clone(),
            incarnation: attempt.node.incarnation,
            pool: attempt.pool().name.to_string(),
        }
    }
}

/// How a job ends by a caller's word or by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Failed,
    Cancelled,
    Expired,
    Orphaned,
}

impl End {
    pub(crate) fn phase(self) -> Phase {
        match self {
            Self::Completed => Phase::Completed,
            Self::Failed => Phase::Failed,
            Self::Cancelled => Phase::Cancelled,
            Self::Expired => Phase::Expired,
            Self::Orphaned => Phase::Orphaned,
        }
    }
}
