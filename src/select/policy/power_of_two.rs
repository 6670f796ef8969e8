//! The less loaded of two nodes drawn at random.

use crate::select::{Candidate, Drawing};

#[inline(always)]
pub(super) fn choose<'d>(drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
    let first = drawing.draw()?;
    // The second draw may find the pool empty by now, or the same node again.
    let Some(second) = drawing.draw() else { return Some(first) };
    Some(drawing.less_loaded(first, second))
}
