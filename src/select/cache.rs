//! The routes of one snapshot, by what they are for: an open-addressed table that only ever gains entries.
//!
//! # Invariants
//! 1. A slot goes from empty to a route once and stays; so a route that was found is there for as long as the table.
//! 2. A route is in the first slot, from the one of its hash on, that was empty or had it when it came; so a search that
//!    comes to an empty slot has passed all slots in which it could be, and no two slots have routes for the same.
//! 3. At most half of the slots are taken, so every search comes to an empty one.
//!
//! # Orderings
//! Those of [`Published`]: a route is put in place with Release and found with Acquire.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Route;
use crate::capability::Requirements;
use crate::publish::{Published, Shared};
use crate::sync::{OnceLock, Ordering, Statistic, zeroed_slice};

/// See the module's documentation. Bounded: past the bound a route is computed and not kept.
#[derive(Debug)]
pub(crate) struct RouteCache {
    /// A power of two; made with the first route, since many a snapshot never has one.
    slots: OnceLock<Box<[Published<Route>]>>,
    len: Statistic,
    limit: usize,
}

impl RouteCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { slots: OnceLock::new(), len: Statistic::new(0), limit }
    }

    /// The route for these requirements, if it is known.
    #[inline(always)]
    pub(crate) fn get<'g>(&self, wanted: &Arc<Requirements>, pin: &'g Guard) -> Option<Shared<'g, Route>> {
        let slots = self.slots.get()?;
        places(slots, wanted).map_while(|slot| slot.load_shared(pin)).find(|route| route.is_for(wanted))
    }

    /// Keeps a route, or finds the one that another thread was first to keep. `None` when there is no room.
    pub(crate) fn keep<'g>(&self, route: &Arc<Route>, pin: &'g Guard) -> Option<Shared<'g, Route>> {
        let slots = self.slots.get_or_init(|| zeroed_slice((2 * self.limit).next_power_of_two()));
        let wanted = &route.requirements;
        let mut counted = false;
        for slot in places(slots, wanted) {
            if slot.load(pin).is_none() {
                // Relaxed: only the number counts.
                let more = |len| (len < self.limit as u64).then_some(len + 1);
                if !counted && self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
                    return None;
                }
                counted = true;
                if slot.fill(route.clone()).is_ok() {
                    return slot.load_shared(pin);
                }
            }
            let found = slot.load_shared(pin).filter(|found| found.is_for(wanted));
            if found.is_some() {
                if counted {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                }
                return found;
            }
        }
        unreachable!("at most half of the slots are taken")
    }

    /// Calls `visit` with every route.
    pub(crate) fn for_each(&self, pin: &Guard, visit: impl FnMut(&Route)) {
        let slots = self.slots.get().map_or(&[][..], |slots| slots);
        slots.iter().filter_map(|slot| slot.load(pin)).for_each(visit);
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }
}

/// The slots in which the route for these requirements may be, in order, going round once.
#[inline(always)]
fn places<'s>(
    slots: &'s [Published<Route>],
    wanted: &Requirements,
) -> impl Iterator<Item = &'s Published<Route>> + use<'s> {
    let (mask, start) = (slots.len() - 1, wanted.known_hash() as usize);
    (0..slots.len()).map(move |step| &slots[(start + step) & mask])
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::capability::{Capabilities, Demand};
    use crate::pool::{Indexes, Layout, Pool, PoolKind};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn layout() -> Layout {
        let guarantee = Arc::new(Capabilities::new());
        let mixed = Pool::new((0, 0), "mixed".into(), PoolKind::Mixed, guarantee, None, Indexes::new(1).make(0));
        Layout::new(Default::default(), Vec::new(), Vec::new(), Arc::new(mixed))
    }

    fn route(layout: &Layout, number: u32) -> Arc<Route> {
        let requirements = Demand::new().service(format!("s{number}")).requirements;
        Arc::new(Route::compute(&requirements, layout, std::iter::empty()))
    }

    proptest! {
        /// Against a map: the first route for each requirements stays, up to as many as there is room for.
        #[test]
        fn the_first_of_each_is_kept(numbers in proptest::collection::vec(0u32..40, 1..80), limit in 1usize..30) {
            let layout = layout();
            let (cache, pin) = (RouteCache::new(limit), crate::sync::pin());
            let mut kept: HashMap<u32, *const Route> = HashMap::new();
            for number in numbers {
                let new = route(&layout, number);
                prop_assert_eq!(cache.get(&new.requirements, &pin).is_some(), kept.contains_key(&number));
                match cache.keep(&new, &pin) {
                    Some(found) => {
                        let first = *kept.entry(number).or_insert(Arc::as_ptr(&new));
                        prop_assert!(std::ptr::eq(found.get(), first));
                    }
                    None => prop_assert!(kept.len() == limit && !kept.contains_key(&number)),
                }
                prop_assert_eq!(cache.len(), kept.len());
            }
            let mut visited = 0;
            cache.for_each(&pin, |_| visited += 1);
            prop_assert_eq!(visited, kept.len());
        }
    }
}
