//! Places: where jobs are kept, and what links them.
//!
//! A place is never freed, so it is named by a number and may be looked at at any time; all that is in it is atomic.
//! Everything that has many jobs in it (the requests, the finished, the wheel, what is vacant) is a list through places:
//! it allocates nothing, and to enter or leave it costs a link.
//!
//! # Invariants
//! 1. A place is vacant, or belongs to one job: from [`Place::fill`] until its job is withdrawn. It is
//!    vacant again only when every pin has ended that was there then. So while a caller is pinned, a place in which he has
//!    found a job, or that he has found linked, is not used again.
//! 2. Each link is used by one structure at a time: `next` by the requests; `link` by the
//!    finished, by those put away, and by what is vacant; `lot` by what is put away or vacant; `note_next` by the wheel.

use crossbeam_epoch::Guard;

use super::attempt::Held;
use super::reused::{InUse, Kept, Reused};
use super::vacant::{Lot, VacantPlace};
use super::{JobRecord, Wish};
use crate::arena::Arena;
use crate::id::JobId;
use crate::sync::{AtomicU32, AtomicU64, Zeroed, sized};

/// A place's number plus one; 0: none.
pub(super) type Link = u32;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(super) record: Reused<JobRecord>,
    /// Where it comes among the requests.
    pub(crate) order: AtomicU64,
    /// When the wheel's note of this place comes due; 0: it has none.
    pub(super) note: AtomicU64,
    pub(super) next: AtomicU32,
    pub(super) note_next: AtomicU32,
    pub(super) link: AtomicU32,
    pub(super) lot: AtomicU32,
    /// Whether it is among the finished, see there.
    pub(super) listed: AtomicU64,
}

// SAFETY: atomic integers, and a `Reused`, which is `Zeroed` itself.
unsafe impl Zeroed for Place {}

impl Place {
    /// A job begins here. It, for its owner, and to keep.
    #[inline(always)]
    pub(super) fn fill<'g>(
        vacant: VacantPlace<'g>,
        pin: &'g Guard,
        (id, wish): (JobId, Wish<'_>),
        held: Held,
    ) -> (InUse<'g, JobRecord>, Kept<JobRecord>) {
        // Consumed: it is not vacant any more.
        let place = vacant.place();
        let room = place.record.room();
        // SAFETY: a place is vacant when it was never filled, or was cleared; and whoever has found it so has it alone. The
        // job is withdrawn by its owner, who has not entered it, or by the one who forgets it, and then put away once.
        unsafe {
            JobRecord::write(room, id, vacant.number, wish, held);
            place.record.fill(room, pin)
        }
    }

    /// Drops what is kept of a job that was withdrawn, but for whoever has a handle of it.
    pub(super) fn clear(&self, _lot: &Lot) {
        // SAFETY: a place is in one lot, from when it is put away, and lots are cleared when all pins have ended that were
        // there then (`Jobs::clear_later`).
        unsafe { self.record.clear() }
    }
}

/// All of them.
pub(crate) type Places = Arena<Place, { sized(8, 1) }>;

impl Places {
    /// The job at a place, if there is one, for as long as the pin.
    pub(crate) fn record<'g>(&self, place: u32, pin: &'g Guard) -> Option<InUse<'g, JobRecord>> {
        self.get(place)?.record.load(pin)
    }
}
