//! The binding of a job to its attempts: one word that says which attempt is current and what state it is in.
//!
//! ```text
//!  63                                 5     4       3     0
//! | address of the attempt (32-aligned) | forgotten | phase |
//! ```
//! - `phase` (4): see [`Phase`].
//! - `forgotten` (1): the job has ended and is on its way out of memory; nothing changes any more.
//!
//! # Invariants
//! 1. Every transition of a job is one compare-and-swap of this word, so of any number of calls that would end an
//!    attempt (complete, fail, cancel, expire, orphan, retry) exactly one does, and that one releases the slot.
//! 2. A job is bound by going from `Pending` to `Reserved` once; whoever else has reserved a slot for it gives that
//!    back. So two creates of one request leave one job with one slot.
//! 3. An attempt, once bound, stays in memory as long as the job does: each keeps the one before.
//!
//! ```text
//! Pending ──bind──> Reserved -> Dispatched -> Running ──> Completed | Failed | Cancelled | Expired | Orphaned
//!    │                 └────────────┴───────────┴─ rebind (retry) ─┐             │         │        │
//!    │                 ^───────────────────────────────────────────┴─────────────┴─────────┴────────┘
//!    └──refuse──> Refused                                        forget: from every end, once
//! ```
//!
//! # Orderings
//! Every change is AcqRel, every load Acquire: an attempt's fields are written before it is bound and seen by whoever
//! finds it; and what was done before a transition is seen by whoever makes the next.

use std::marker::PhantomData;
use std::ptr;

use super::JobState;
use super::attempt::Attempt;
use crate::sync::{AtomicPtr, Ordering, owned};

const PHASE: usize = 0xf;
const FORGOTTEN: usize = 0x10;
const TAG: usize = PHASE | FORGOTTEN;

/// Where a job is, as its binding keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Created, not bound to a node yet.
    Pending = 0,
    Reserved,
    Dispatched,
    Running,
    Completed,
    Failed,
    Cancelled,
    Expired,
    Orphaned,
    /// No node was found; never bound.
    Refused,
}

impl Phase {
    fn of(bits: usize) -> Self {
        const ALL: [Phase; 10] = [
            Phase::Pending,
            Phase::Reserved,
            Phase::Dispatched,
            Phase::Running,
            Phase::Completed,
            Phase::Failed,
            Phase::Cancelled,
            Phase::Expired,
            Phase::Orphaned,
            Phase::Refused,
        ];
        ALL[bits]
    }

    /// Whether the attempt holds a slot.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Reserved | Self::Dispatched | Self::Running)
    }

    /// Whether the job has ended in a way that allows a further attempt.
    pub(crate) fn may_retry(self) -> bool {
        self.is_active() || matches!(self, Self::Failed | Self::Expired | Self::Orphaned)
    }

    /// The state as callers know it; `None` for a job that is not theirs to see.
    pub(crate) fn state(self) -> Option<JobState> {
        Some(match self {
            Self::Reserved => JobState::Reserved,
            Self::Dispatched => JobState::Dispatched,
            Self::Running => JobState::Running,
            Self::Completed => JobState::Completed,
            Self::Failed => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
            Self::Expired => JobState::Expired,
            Self::Orphaned => JobState::Orphaned,
            Self::Pending | Self::Refused => return None,
        })
    }
}

/// See the module's documentation.
pub(crate) struct Binding {
    word: AtomicPtr<Attempt>,
    owns: PhantomData<Box<Attempt>>,
}

// SAFETY: it owns its attempts as a list of boxes would, and shares them by reference only.
unsafe impl Send for Binding where Attempt: Send + Sync {}
// SAFETY: as above; the word itself is atomic.
unsafe impl Sync for Binding where Attempt: Send + Sync {}

/// What a binding said at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Bound<'a> {
    word: *mut Attempt,
    job: PhantomData<&'a Binding>,
}

impl<'a> Bound<'a> {
    pub(crate) fn phase(self) -> Phase {
        Phase::of(self.word.addr() & PHASE)
    }

    pub(crate) fn is_forgotten(self) -> bool {
        self.word.addr() & FORGOTTEN != 0
    }

    pub(crate) fn attempt(self) -> Option<&'a Attempt> {
        // SAFETY: null, or a box leaked by `bind` or `rebind` that the binding frees only when it is dropped; `'a`
        // borrows the binding. The state bits are cleared, so the address is the box's.
        unsafe { untagged(self.word).as_ref() }
    }
}

fn untagged(word: *mut Attempt) -> *mut Attempt {
    word.map_addr(|addr| addr & !TAG)
}

fn tagged(attempt: *mut Attempt, phase: Phase) -> *mut Attempt {
    attempt.map_addr(|addr| addr | phase as usize)
}

impl Binding {
    /// Of a job that is not bound yet.
    pub(crate) fn new() -> Self {
        const { assert!(align_of::<Attempt>() > TAG, "the state lives in the low bits of the address") };
        Self { word: AtomicPtr::new(tagged(ptr::null_mut(), Phase::Pending)), owns: PhantomData }
    }

    pub(crate) fn load(&self) -> Bound<'_> {
        // Acquire: pairs with every change.
        Bound { word: self.word.load(Ordering::Acquire), job: PhantomData }
    }

    /// The state of a job that was handed out: it is bound, and stays so.
    pub(crate) fn bound_state(&self) -> JobState {
        self.load().phase().state().expect("a job that was handed out is bound")
    }

    /// Binds a pending job. `Err` gives the attempt back: another create was first, or the job was refused.
    pub(crate) fn bind(&self, attempt: Box<Attempt>) -> Result<&Attempt, Box<Attempt>> {
        self.install(tagged(ptr::null_mut(), Phase::Pending), attempt)
    }

    /// Replaces the attempt found by a further one. `Err` gives it back: the job has moved on since.
    pub(crate) fn rebind(&self, found: Bound<'_>, mut attempt: Box<Attempt>) -> Result<&Attempt, Box<Attempt>> {
        attempt.previous = untagged(found.word);
        self.install(found.word, attempt).map_err(|mut attempt| {
            attempt.previous = ptr::null_mut();
            attempt
        })
    }

    fn install(&self, from: *mut Attempt, attempt: Box<Attempt>) -> Result<&Attempt, Box<Attempt>> {
        let attempt = Box::into_raw(attempt);
        if self.exchange(from, tagged(attempt, Phase::Reserved)) {
            // SAFETY: just leaked from a box; the binding owns it now and frees it only when dropped.
            Ok(unsafe { &*attempt })
        } else {
            // SAFETY: leaked from a box just above, and nobody else has seen it.
            Err(unsafe { Box::from_raw(attempt) })
        }
    }

    /// Gives up a pending job. `false`: it was bound meanwhile.
    pub(crate) fn refuse(&self) -> bool {
        self.exchange(tagged(ptr::null_mut(), Phase::Pending), tagged(ptr::null_mut(), Phase::Refused))
    }

    /// Moves the attempt found to another phase. `false`: the job has moved on since.
    pub(crate) fn advance(&self, found: Bound<'_>, to: Phase) -> bool {
        self.exchange(found.word, tagged(untagged(found.word), to))
    }

    /// Forgets a job that has ended. `false`: it has moved on since, or another has forgotten it.
    pub(crate) fn forget(&self, found: Bound<'_>) -> bool {
        !found.is_forgotten() && self.exchange(found.word, found.word.map_addr(|addr| addr | FORGOTTEN))
    }

    fn exchange(&self, from: *mut Attempt, to: *mut Attempt) -> bool {
        // AcqRel: see the module's documentation.
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        let mut attempt = untagged(owned(&mut self.word));
        while !attempt.is_null() {
            // SAFETY: every attempt of the list was leaked from a box by `install`, and is in the list once.
            let owned = unsafe { Box::from_raw(attempt) };
            attempt = owned.previous;
        }
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self.load();
        f.debug_struct("Binding").field("phase", &bound.phase()).field("attempt", &bound.attempt()).finish()
    }
}
