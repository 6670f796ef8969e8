//! One attempt of a job: a slot held on a node.

use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::node::{Lodging, Node};
use crate::pool::Lent;
use crate::sync::{AtomicU64, Ordering};

/// The deadline of a lease that has run out; none ever ends that early.
const RUN_OUT: u64 = 0;

/// A slot taken for a job and entered with its node.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) node: Arc<Node>,
    pub(crate) entry: u32,
    pub(crate) lodging: Lodging,
    /// The pool, if the node does not keep it.
    pub(crate) pool: Option<Arc<Lent>>,
}

/// Where the node has entered an attempt, and what else fits into the word: from the lowest bit on 28 of the entry, two of
/// the lodging, and one that says that an earlier attempt had ended when this one was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entered(u32);

impl Entered {
    const ENTRY_BITS: u32 = 28;
    const ENTRY: u32 = (1 << Self::ENTRY_BITS) - 1;
    const LODGING: u32 = (1 << Lodging::BITS) - 1;
    const AGAIN: u32 = 1 << (Self::ENTRY_BITS + Lodging::BITS);

    #[inline(always)]
    const fn new(entry: u32, lodging: Lodging) -> Self {
        debug_assert!(entry <= Self::ENTRY, "a node has fewer slots");
        Self(entry | lodging.bits() << Self::ENTRY_BITS)
    }

    #[inline(always)]
    const fn entry(self) -> u32 {
        self.0 & Self::ENTRY
    }

    #[inline(always)]
    const fn lodging(self) -> Lodging {
        Lodging::of(self.0 >> Self::ENTRY_BITS & Self::LODGING)
    }

    #[inline(always)]
    const fn ends_again(self) -> bool {
        self.0 & Self::AGAIN != 0
    }

    const fn with_again(self, again: bool) -> Self {
        Self(if again { self.0 | Self::AGAIN } else { self.0 & !Self::AGAIN })
    }
}

/// An attempt. Nothing but the deadline changes once it is bound. Aligned for the state in the low bits of its
/// address, see [`binding`](super::binding).
#[derive(Debug)]
#[repr(align(16))]
pub(crate) struct Attempt {
    /// From 1 on.
    pub(crate) number: u32,
    entered: Entered,
    pub(crate) node: Arc<Node>,
    /// Its own reference of its pool, if the node does not keep that.
    pool: Option<Arc<Lent>>,
    /// When the slot was reserved, in ms.
    pub(crate) reserved_at: u64,
    /// When the lease runs out, in ms; [`RUN_OUT`] when it has. It only grows until then, so that what was seen of it
    /// does not come back.
    deadline: AtomicU64,
    /// The attempt before; owned by the binding.
    pub(super) previous: *const Attempt,
}

// SAFETY: `previous` is the binding's, and reached only through it; it is shared by reference.
unsafe impl Send for Attempt {}
// SAFETY: as above.
unsafe impl Sync for Attempt {}

impl Attempt {
    pub(crate) fn new(number: u32, held: Held, reserved_at: u64, deadline: u64) -> Self {
        let mut attempt = MaybeUninit::uninit();
        // SAFETY: memory of our own, and then it is written.
        unsafe {
            Self::write(attempt.as_mut_ptr(), number, held, reserved_at, deadline);
            attempt.assume_init()
        }
    }

    /// Writes one to where it is kept, see [`JobRecord::write`](super::JobRecord::write).
    ///
    /// # Safety
    /// Memory for an attempt, which is the caller's alone.
    #[inline(always)]
    pub(super) unsafe fn write(to: *mut Self, number: u32, held: Held, reserved_at: u64, deadline: u64) {
        let Held { node, entry, lodging, pool } = held;
        // SAFETY: the memory is the caller's, and these are all fields.
        unsafe {
            (&raw mut (*to).number).write(number);
            (&raw mut (*to).entered).write(Entered::new(entry, lodging));
            (&raw mut (*to).node).write(node);
            (&raw mut (*to).pool).write(pool);
            (&raw mut (*to).reserved_at).write(reserved_at);
            (&raw mut (*to).deadline).write(AtomicU64::new(deadline));
            (&raw mut (*to).previous).write(std::ptr::null());
        }
    }

    /// Where the node has entered it.
    #[inline(always)]
    pub(crate) fn entry(&self) -> u32 {
        self.entered.entry()
    }

    /// Whether an earlier attempt has ended, so that the job ends again with this one.
    #[inline(always)]
    pub(crate) fn ends_again(&self) -> bool {
        self.entered.ends_again()
    }

    /// Before it is bound.
    pub(super) fn follows(&mut self, previous: &Self, has_ended: bool) {
        self.entered = self.entered.with_again(has_ended || previous.ends_again());
    }

    /// The pool in which the node was found.
    #[inline(always)]
    pub(crate) fn pool(&self) -> &Lent {
        let kept = self.pool.as_deref().or_else(|| self.node.jobs.lent(self.entered.lodging()));
        kept.expect("what is not the attempt's own is kept by the node")
    }

    /// When the lease runs out, in ms.
    pub(crate) fn deadline(&self) -> u64 {
        // Relaxed: `put_off` and `run_out` decide.
        self.deadline.load(Ordering::Relaxed)
    }

    /// Lets the lease run until `deadline`, if it has not run out.
    pub(crate) fn put_off(&self, deadline: u64) -> bool {
        let later = |found: u64| (found != RUN_OUT).then_some(found.max(deadline));
        // Relaxed: renewals and expiry meet at this one word only, each with one compare-and-swap.
        self.deadline.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }

    /// Ends the lease if it is due at `now`, so that it cannot be put off any more; else says when it is due.
    pub(crate) fn run_out(&self, now: u64) -> Result<(), u64> {
        let due = |found| (found <= now).then_some(RUN_OUT);
        // Relaxed: as in `put_off`.
        self.deadline.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).map(drop)
    }

    /// Nodes of the attempts before this one, the latest first, and its own.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        std::iter::successors(Some(self), |attempt| {
            // SAFETY: null, or an attempt that the binding keeps as long as this one.
            unsafe { attempt.previous.as_ref() }
        })
        .map(|attempt| &attempt.node)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_word_are_apart_from_one_another() {
        for entry in [0, 1, Entered::ENTRY - 1, Entered::ENTRY] {
            for lodging in [0, 1, 2, 3].map(Lodging::of) {
                let first = Entered::new(entry, lodging);
                assert_eq!((first.entry(), first.lodging(), first.ends_again()), (entry, lodging, false));
                let again = first.with_again(true);
                assert_eq!((again.entry(), again.lodging(), again.ends_again()), (entry, lodging, true));
                assert_eq!(
                    (first.with_again(false), again.with_again(false), again.with_again(true)),
                    (first, first, again)
                );
            }
        }
    }
}
