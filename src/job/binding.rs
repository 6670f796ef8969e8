//! The binding of a job to its attempts: one word that says which attempt is current and what state it is in.
//!
//! ```text
//!  63                                 4 3     0
//! | address of the attempt (16-aligned) | phase |
//! ```
//! - `address`: none means the first attempt, which is kept in place.
//! - `phase` (4): see [`Phase`]. From each in which a job has ended there is one in which it is forgotten, too: on its way
//!   out of memory, and nothing changes any more.
//!
//! # Invariants
//! 1. Every transition of a job is one compare-and-swap of this word, so of any number of calls that would end an
//!    attempt (complete, fail, cancel, expire, orphan, retry) exactly one does, and that one releases the slot. Only a job
//!    that was completed or cancelled is forgotten by a store: it cannot be retried, and one alone may forget it (see
//!    `finished`), so there is nothing that would come in between.
//! 2. An attempt, once bound, stays in memory as long as the job does: each keeps the one before.
//! 3. The first attempt is kept in place, and a job is bound to it from the beginning; any other is in a box.
//!
//! ```text
//! Reserved -> Dispatched -> Running ──> Completed | Failed | Cancelled | Expired | Orphaned
//!    └────────────┴───────────┴─ rebind (retry) ─┐             │         │        │
//!    ^───────────────────────────────────────────┴─────────────┴─────────┴────────┘
//!                                                    forget: from every end, once
//! ```
//!
//! # Orderings
//! Every change is AcqRel, every load Acquire: an attempt's fields are written before it is bound and seen by whoever
//! finds it (those of the first one by whoever finds the job); and what was done before a transition is seen by whoever
//! makes the next.

use std::marker::PhantomData;
use std::ptr;

use super::JobState;
use super::attempt::{Attempt, Held};
use crate::sync::{AtomicPtr, Ordering, owned};

const PHASE: usize = 0xf;
/// From the phase of an end to that of being forgotten.
const FORGOTTEN: usize = Phase::ForgottenCompleted as usize - Phase::Completed as usize;

/// Where a job is, as its binding keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Reserved = 0,
    Dispatched,
    Running,
    Completed,
    Failed,
    Cancelled,
    Expired,
    Orphaned,
    // As the ends above, and forgotten.
    ForgottenCompleted,
    ForgottenFailed,
    ForgottenCancelled,
    ForgottenExpired,
    ForgottenOrphaned,
}

impl Phase {
    fn of(bits: usize) -> Self {
        const ALL: [Phase; 13] = [
            Phase::Reserved,
            Phase::Dispatched,
            Phase::Running,
            Phase::Completed,
            Phase::Failed,
            Phase::Cancelled,
            Phase::Expired,
            Phase::Orphaned,
            Phase::ForgottenCompleted,
            Phase::ForgottenFailed,
            Phase::ForgottenCancelled,
            Phase::ForgottenExpired,
            Phase::ForgottenOrphaned,
        ];
        ALL[bits]
    }

    /// Whether the attempt holds a slot.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Reserved | Self::Dispatched | Self::Running)
    }

    /// Whether the job has ended, and is not forgotten.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Expired | Self::Orphaned)
    }

    /// Whether the job has ended in a way that allows nothing more but to be forgotten.
    fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }

    fn is_forgotten(self) -> bool {
        self as usize >= Self::ForgottenCompleted as usize
    }

    /// Whether the job has ended in a way that allows a further attempt.
    pub(crate) fn may_retry(self) -> bool {
        self.is_active() || matches!(self, Self::Failed | Self::Expired | Self::Orphaned)
    }

    /// The state as callers know it.
    pub(crate) fn state(self) -> JobState {
        match self {
            Self::Reserved => JobState::Reserved,
            Self::Dispatched => JobState::Dispatched,
            Self::Running => JobState::Running,
            Self::Completed | Self::ForgottenCompleted => JobState::Completed,
            Self::Failed | Self::ForgottenFailed => JobState::Failed,
            Self::Cancelled | Self::ForgottenCancelled => JobState::Cancelled,
            Self::Expired | Self::ForgottenExpired => JobState::Expired,
            Self::Orphaned | Self::ForgottenOrphaned => JobState::Orphaned,
        }
    }
}

/// See the module's documentation.
pub(crate) struct Binding {
    word: AtomicPtr<Attempt>,
    first: Attempt,
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
    binding: &'a Binding,
}

impl<'a> Bound<'a> {
    pub(crate) fn phase(self) -> Phase {
        Phase::of(self.word.addr() & PHASE)
    }

    /// As [`Phase::is_active`].
    #[inline(always)]
    pub(crate) fn is_active(self) -> bool {
        self.word.addr() & PHASE <= Phase::Running as usize
    }

    pub(crate) fn is_forgotten(self) -> bool {
        self.phase().is_forgotten()
    }

    #[inline(always)]
    pub(crate) fn attempt(self) -> &'a Attempt {
        // SAFETY: null, or an attempt that `rebind` has put there and the binding drops only when it is dropped itself;
        // `'a` borrows the binding. The state bits are cleared, so the address is the attempt's.
        unsafe { untagged(self.word).as_ref() }.unwrap_or(&self.binding.first)
    }
}

fn untagged(word: *mut Attempt) -> *mut Attempt {
    word.map_addr(|addr| addr & !PHASE)
}

fn tagged(attempt: *mut Attempt, phase: Phase) -> *mut Attempt {
    attempt.map_addr(|addr| addr | phase as usize)
}

impl Binding {
    /// Writes that of a job which begins with this slot to where it is kept.
    ///
    /// # Safety
    /// Memory for a binding, which is the caller's alone.
    #[inline(always)]
    pub(super) unsafe fn write(to: *mut Self, held: Held, reserved_at: u64, deadline: u64) {
        const { assert!(align_of::<Attempt>() > PHASE, "the state lives in the low bits of the address") };
        // SAFETY: the memory is the caller's, and these are all fields but one that takes none.
        unsafe {
            Attempt::write(&raw mut (*to).first, 1, held, reserved_at, deadline);
            (&raw mut (*to).word).write(AtomicPtr::new(tagged(ptr::null_mut(), Phase::Reserved)));
        }
    }

    #[inline(always)]
    pub(crate) fn first(&self) -> &Attempt {
        &self.first
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> Bound<'_> {
        // Acquire: pairs with every change.
        Bound { word: self.word.load(Ordering::Acquire), binding: self }
    }

    /// Replaces the attempt found by a further one. `Err` gives it back: the job has moved on since.
    pub(crate) fn rebind(&self, found: Bound<'_>, mut attempt: Box<Attempt>) -> Result<&Attempt, Box<Attempt>> {
        attempt.previous = found.attempt();
        attempt.follows(found.attempt(), found.phase().has_ended());
        let attempt = Box::into_raw(attempt);
        if self.exchange(found.word, tagged(attempt, Phase::Reserved)) {
            // SAFETY: just leaked from a box; the binding owns it now and frees it only when dropped.
            Ok(unsafe { &*attempt })
        } else {
            // SAFETY: leaked from a box just above, and nobody else has seen it.
            let mut attempt = unsafe { Box::from_raw(attempt) };
            attempt.previous = ptr::null();
            Err(attempt)
        }
    }

    /// Moves the attempt found to another phase. `false`: the job has moved on since.
    pub(crate) fn advance(&self, found: Bound<'_>, to: Phase) -> bool {
        self.exchange(found.word, tagged(untagged(found.word), to))
    }

    /// Forgets a job that has ended, for the one who alone may do that of this attempt. `false`: it has moved on since.
    #[inline(always)]
    pub(crate) fn forget(&self, found: Bound<'_>) -> bool {
        let forgotten = found.word.map_addr(|addr| addr + FORGOTTEN);
        if found.phase().is_final() {
            // Nobody else changes it any more. Release: as every change.
            self.word.store(forgotten, Ordering::Release);
            return true;
        }
        found.phase().has_ended() && self.exchange(found.word, forgotten)
    }

    fn exchange(&self, from: *mut Attempt, to: *mut Attempt) -> bool {
        // AcqRel: see the module's documentation.
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Drop for Binding {
    #[inline]
    fn drop(&mut self) {
        let mut attempt = untagged(owned(&mut self.word)).cast_const();
        while !attempt.is_null() && !ptr::eq(attempt, &self.first) {
            // SAFETY: every attempt of the list but the first is in it once, and was put there by `rebind`, leaked from a box.
            let this = unsafe { Box::from_raw(attempt.cast_mut()) };
            attempt = this.previous;
        }
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self.load();
        f.debug_struct("Binding").field("phase", &bound.phase()).field("attempt", &bound.attempt()).finish()
    }
}
