//! Why nobody was found.

use std::time::Duration;

use crossbeam_epoch::Guard;

use super::Core;
use crate::capability::Unmet;
use crate::error::NoNode;
use crate::node::{Node, NodeState};
use crate::publish::Shared;
use crate::select::{Missing, Refusal, Route, describe};
use crate::stats::Count;

impl Core {
    /// Says why nobody was found.
    #[cold]
    pub(super) fn refuse(&self, route: Shared<'_, Route>, pin: &Guard, thread: u32) -> NoNode {
        let sure = route.tiers.iter().filter(|tier| !tier.checked).flat_map(|tier| tier.pools.iter());
        let mut ready = route.ready();
        let mut able: u64 = sure.map(|pool| pool.members()).sum();
        let mut unmet = Vec::new();
        if ready == 0 {
            // Only now are the members asked one by one of which only some may do it.
            self.for_each_checked(&route, pin, |state, satisfied| match satisfied {
                Ok(()) => {
                    able += 1;
                    ready += u64::from(state == NodeState::Ready);
                }
                Err(lack) if !unmet.contains(&lack) => unmet.push(lack),
                Err(_) => {}
            });
        }
        let refusal = |retry_after, missing| Refusal::new(route.to_arc(), retry_after, missing);
        let (count, no_node) = if ready > 0 {
            (Count::refused_busy, NoNode::Busy(refusal(Some(self.retry_after(&route)), Missing::Nothing)))
        } else if able > 0 {
            (Count::refused_gone, NoNode::Gone(refusal(None, Missing::Nothing)))
        } else if unmet.is_empty() {
            (Count::refused_unsupported, NoNode::Unsupported(refusal(None, Missing::AsRouted)))
        } else {
            let missing = describe(unmet, &route.requirements).into_vec().into();
            (Count::refused_unsupported, NoNode::Unsupported(refusal(None, Missing::Found(missing))))
        };
        self.meters.counts.add(thread, count);
        no_node
    }

    /// Holds every member of the pools in which only some may do it against the requirements.
    fn for_each_checked(&self, route: &Route, pin: &Guard, mut visit: impl FnMut(NodeState, Result<(), Unmet>)) {
        for pool in route.tiers.iter().filter(|tier| tier.checked).flat_map(|tier| tier.pools.iter()) {
            for position in 0..pool.index.high_water() {
                let Some(cell) = pool.index.member(position).map(|cell| self.cells.at(cell)) else { continue };
                let word = cell.word();
                let effective = cell.node.load(pin).map(|node: &Node| node.effective(pin));
                if let Some(effective) = effective {
                    visit(NodeState::of(word.flags()), effective.satisfies(&route.requirements));
                }
            }
        }
    }

    /// When one of the slots of these pools may come free: with each held for as long as jobs last on average, and
    /// all of them somewhere in the middle of it, the first in the average duration divided by the slots. Before any
    /// job has ended, jobs are taken to last as long as their leases.
    fn retry_after(&self, route: &Route) -> Duration {
        let (mut slots, mut weighted) = (0u128, 0u128);
        for pool in route.pools() {
            let capacity = u128::from(pool.tally.capacity());
            let duration = match pool.tally.duration_ms() {
                0 => self.config.default_lease.as_millis(),
                known => u128::from(known),
            };
            slots += capacity;
            weighted += capacity * duration;
        }
        let average = weighted / slots.max(1);
        let wait = average / slots.max(1);
        Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)).max(self.config.tick_interval)
    }
}
