//! The least loaded of some nodes drawn at random.

use crate::select::{Candidate, Drawing};

pub(super) fn choose<'d>(drawing: &mut Drawing<'d>, draws: u32) -> Option<Candidate<'d>> {
    let mut best = drawing.draw()?;
    for _ in 1..draws {
        let Some(next) = drawing.draw() else { break };
        best = drawing.less_loaded(best, next);
    }
    Some(best)
}
