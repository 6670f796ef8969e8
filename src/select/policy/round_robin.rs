//! One node after the other, in the order of their positions, those that are full left out.
//!
//! The pool's counter runs over positions, so in each turn over the pool a node comes up once. A node whose weight is
//! a share of the largest is taken in that share of the turns, spread evenly over them (as in Bresenham's line).

use crate::select::{Candidate, Drawing};

/// Nodes passed over in favour of heavier ones before one is taken all the same.
const TRIES: u32 = 16;

pub(super) fn choose<'d>(drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
    let mut last = None;
    for _ in 0..TRIES {
        let Some((candidate, turn)) = drawing.next_in_turn() else { break };
        let (weight, max) = (u64::from(candidate.weight()), u64::from(candidate.max_weight()).max(1));
        let due = (turn + 1) * weight / max > turn * weight / max;
        last = Some(candidate);
        if due || weight >= max {
            break;
        }
    }
    last
}
