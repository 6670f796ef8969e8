//! The contenders: slotyard first, then a file for each peer.

mod dashmap_scan;
mod dynamo;
mod loadwise;
mod locked_map;
mod locked_vec;
mod node;
mod pingora;
mod slotyard;
mod tower;

use crate::peer::{Does, Entry};

/// All contenders. Those of slotyard come first: each [`Does`] has one, which the peers that do as much are compared to.
pub(crate) fn all() -> Vec<Entry> {
    [
        slotyard::entries(),
        dynamo::entries(),
        tower::entries(),
        pingora::entries(),
        loadwise::entries(),
        locked_vec::entries(),
        locked_map::entries(),
        dashmap_scan::entries(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The place in [`all`] of slotyard's own that does as much.
pub(crate) fn ours(does: Does) -> usize {
    match does {
        Does::Reserve => 0,
        Does::Select => 1,
    }
}

/// How many are slotyard's own.
pub(crate) const OURS: usize = 2;

/// Slots of each node, where a contender knows of slots.
const SLOTS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Operation;

    #[test]
    fn slotyard_comes_first_and_has_every_operation() {
        let all = all();
        for does in [Does::Reserve, Does::Select] {
            assert_eq!(all[ours(does)].does, does);
            assert!(ours(does) < OURS);
        }
        assert!(all[..OURS].iter().all(|entry| entry.name.starts_with("slotyard")));
        assert!(Operation::ALL.iter().all(|operation| all[ours(Does::Reserve)].has(*operation)));
    }

    #[test]
    fn no_contender_panics_at_what_it_says_it_has() {
        for entry in all() {
            let mut peer = entry.with_nodes(10).unwrap_or_else(|refusal| panic!("{}: {refusal:?}", entry.name));
            for operation in Operation::ALL.into_iter().filter(|operation| entry.has(*operation)) {
                peer.run(operation, 3);
            }
            peer.run(Operation::Select, 100);
        }
    }
}
