//! A node drawn at random, in proportion to its weight.
//!
//! A draw is taken with the probability that its weight has of the pool's largest, else drawn again. After
//! [`TRIES`] the last one is taken all the same, so weights below about a tenth of the largest count for a tenth.

use crate::select::{Candidate, Drawing};

const TRIES: u32 = 16;

pub(super) fn choose<'d>(drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
    let mut drawn = drawing.draw()?;
    for _ in 1..TRIES {
        let (weight, max) = (u32::from(drawn.weight()), u32::from(drawn.max_weight()));
        if weight >= max || drawing.below(max) < weight {
            break;
        }
        let Some(next) = drawing.draw() else { break };
        drawn = next;
    }
    Some(drawn)
}
