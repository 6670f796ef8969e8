//! The binding of a job to its attempts: one word that says which attempt is current and what state it is in.
//!
//! ```text
//!  63                                 4 3     0
//! | address of the attempt (16-aligned) | phase |
//! ```
//! - `phase` (4): see [`Phase`]. From each in which a job has ended there is one in which it is forgotten, too: on its way
//!   out of memory, and nothing changes any more.
//!
//! # Invariants
//! 1. Every transition of a job is one compare-and-swap of this word, so of any number of calls that would end an
//!    attempt (complete, fail, cancel, expire, orphan, retry) exactly one does, and that one releases the slot. Only a job
//!    that was completed or cancelled is forgotten by a store: it cannot be retried, and one alone may forget it (see
//!    `finished`), so there is nothing that would come in between.
//! 2. A job is bound by going from `Pending` to `Reserved` once; whoever else has reserved a slot for it gives that
//!    back. So two creates of one request leave one job with one slot.
//! 3. An attempt, once bound, stays in memory as long as the job does: each keeps the one before.
//! 4. The first attempt is kept in place, if the job's owner has bound it, since only he may write there, once, before
//!    others can see it ([`First`]); any other is in a box.
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

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use super::JobState;
use super::attempt::Attempt;
use crate::sync::{AtomicPtr, Ordering, owned};

const PHASE: usize = 0xf;
/// From the phase of an end to that of being forgotten.
const FORGOTTEN: usize = Phase::ForgottenCompleted as usize - Phase::Completed as usize;

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
    // As the ends above, and forgotten.
    ForgottenCompleted,
    ForgottenFailed,
    ForgottenCancelled,
    ForgottenExpired,
    ForgottenOrphaned,
}

impl Phase {
    fn of(bits: usize) -> Self {
        const ALL: [Phase; 15] = [
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
        self as usize > Self::Refused as usize
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
            Self::Completed | Self::ForgottenCompleted => JobState::Completed,
            Self::Failed | Self::ForgottenFailed => JobState::Failed,
            Self::Cancelled | Self::ForgottenCancelled => JobState::Cancelled,
            Self::Expired | Self::ForgottenExpired => JobState::Expired,
            Self::Orphaned | Self::ForgottenOrphaned => JobState::Orphaned,
            Self::Pending | Self::Refused => return None,
        })
    }
}

/// See the module's documentation.
pub(crate) struct Binding {
    word: AtomicPtr<Attempt>,
    /// Written if it is in the list of attempts.
    first: UnsafeCell<MaybeUninit<Attempt>>,
    owns: PhantomData<Box<Attempt>>,
}

/// The right to bind a job's first attempt in place. There is one in the life of a binding.
#[derive(Debug)]
pub(crate) struct First<'a>(&'a Binding);

// SAFETY: it owns its attempts as a list of boxes would, and shares them by reference only; `first` is written before it
// is shared, by the one who has the `First`.
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

    /// As [`Phase::is_active`].
    #[inline(always)]
    pub(crate) fn is_active(self) -> bool {
        (Phase::Reserved as usize..=Phase::Running as usize).contains(&(self.word.addr() & PHASE))
    }

    pub(crate) fn is_forgotten(self) -> bool {
        self.phase().is_forgotten()
    }

    pub(crate) fn attempt(self) -> Option<&'a Attempt> {
        // SAFETY: null, or an attempt that `install` has put there and the binding drops only when it is dropped itself;
        // `'a` borrows the binding. The state bits are cleared, so the address is the attempt's.
        unsafe { untagged(self.word).as_ref() }
    }
}

fn untagged(word: *mut Attempt) -> *mut Attempt {
    word.map_addr(|addr| addr & !PHASE)
}

fn tagged(attempt: *mut Attempt, phase: Phase) -> *mut Attempt {
    attempt.map_addr(|addr| addr | phase as usize)
}

impl Binding {
    /// Of a job that is not bound yet.
    pub(crate) fn new() -> Self {
        const { assert!(align_of::<Attempt>() > PHASE, "the state lives in the low bits of the address") };
        let word = AtomicPtr::new(tagged(ptr::null_mut(), Phase::Pending));
        Self { word, first: UnsafeCell::new(MaybeUninit::uninit()), owns: PhantomData }
    }

    pub(crate) fn load(&self) -> Bound<'_> {
        // Acquire: pairs with every change.
        Bound { word: self.word.load(Ordering::Acquire), job: PhantomData }
    }

    /// The state of a job that was handed out: it is bound, and stays so.
    pub(crate) fn bound_state(&self) -> JobState {
        self.load().phase().state().expect("a job that was handed out is bound")
    }

    /// # Safety
    /// To be asked for once in the life of a binding, that is, before it is dropped or replaced.
    pub(super) unsafe fn first(&self) -> First<'_> {
        First(self)
    }

    /// Binds a pending job, for whoever is not its owner. `Err` gives the attempt back: another create was first, or the
    /// job was refused.
    pub(crate) fn bind(&self, attempt: Attempt) -> Result<&Attempt, Attempt> {
        self.install(tagged(ptr::null_mut(), Phase::Pending), Box::new(attempt)).map_err(|attempt| *attempt)
    }

    /// Replaces the attempt found by a further one. `Err` gives it back: the job has moved on since.
    pub(crate) fn rebind(&self, found: Bound<'_>, mut attempt: Box<Attempt>) -> Result<&Attempt, Box<Attempt>> {
        attempt.previous = untagged(found.word);
        if let Some(previous) = found.attempt() {
            attempt.follows(previous, found.phase().has_ended());
        }
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

impl<'a> First<'a> {
    /// Binds a pending job, as [`Binding::bind`] does.
    pub(crate) fn bind(self, attempt: Attempt) -> Result<&'a Attempt, Attempt> {
        let (binding, first) = (self.0, self.0.first.get());
        // SAFETY: this is the only right there is to write here, and it is used up by this; nobody reads before the exchange
        // below shows it.
        let attempt = unsafe { ptr::from_mut((*first).write(attempt)) };
        if binding.exchange(tagged(ptr::null_mut(), Phase::Pending), tagged(attempt, Phase::Reserved)) {
            // SAFETY: written just now; it stays until the binding is dropped.
            Ok(unsafe { &*attempt })
        } else {
            // SAFETY: written just now, and nobody else has seen it; what is left is as if never written.
            Err(unsafe { attempt.read() })
        }
    }
}

impl Drop for Binding {
    #[inline]
    fn drop(&mut self) {
        let first = self.first.get().cast::<Attempt>();
        let mut attempt = untagged(owned(&mut self.word));
        while !attempt.is_null() {
            let this = attempt;
            // SAFETY: every attempt of the list is in it once, and was put there by `install`, leaked from a box, or by `First`
            // in place, and is not dropped yet.
            unsafe {
                attempt = (*this).previous;
                if this == first { this.drop_in_place() } else { drop(Box::from_raw(this)) }
            }
        }
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self.load();
        f.debug_struct("Binding").field("phase", &bound.phase()).field("attempt", &bound.attempt()).finish()
    }
}
