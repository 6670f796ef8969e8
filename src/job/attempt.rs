//! One attempt of a job: a slot held on a node.

use std::sync::Arc;

use crate::node::Node;
use crate::pool::Pool;
use crate::sync::{AtomicU64, Ordering};

/// An attempt. Nothing but the deadline changes once it is bound. Aligned for the state in the low bits of its
/// address, see [`binding`](super::binding).
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Attempt {
    /// From 1 on.
    pub(crate) number: u32,
    /// Where the node has entered it.
    pub(crate) entry: u32,
    pub(crate) node: Arc<Node>,
    pub(crate) pool: Arc<Pool>,
    /// When the slot was reserved, in ms.
    pub(crate) reserved_at: u64,
    /// When the lease runs out, in ms.
    deadline: AtomicU64,
    /// The attempt before; owned.
    pub(super) previous: *mut Attempt,
}

// SAFETY: `previous` is owned like a box, and reached only through the binding, which shares it by reference.
unsafe impl Send for Attempt {}
// SAFETY: as above.
unsafe impl Sync for Attempt {}

impl Attempt {
    pub(crate) fn new(
        number: u32,
        entry: u32,
        node: Arc<Node>,
        pool: Arc<Pool>,
        reserved_at: u64,
        deadline: u64,
    ) -> Box<Self> {
        Box::new(Self {
            number,
            entry,
            node,
            pool,
            reserved_at,
            deadline: AtomicU64::new(deadline),
            previous: std::ptr::null_mut(),
        })
    }

    pub(crate) fn deadline(&self) -> u64 {
        // Relaxed: ordered by the binding's word, which a renewal changes after this and an expiry reads before.
        self.deadline.load(Ordering::Relaxed)
    }

    /// To be followed by [`Binding::renew`](super::binding::Binding::renew).
    pub(crate) fn put_off(&self, deadline: u64) {
        self.deadline.store(deadline, Ordering::Relaxed);
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
