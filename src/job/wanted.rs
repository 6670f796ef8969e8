//! What a job needs, kept for its further attempts.
//!
//! Most jobs of a gateway ask for one of a few things, with the same [`Demand`] or clones of it. A count of those who
//! share the requirements would be written by every create and every end, on whatever thread. So a scheduler keeps
//! requirements that come for a second time for as long as it lives, up to a number, and their jobs name them by that.

use std::sync::Arc;

use crate::capability::{Demand, Exclusions, Requirements};
use crate::sync::{Ordering, PlainOnceLock, Statistic};

/// Requirements that are kept, at most.
const MOST: usize = 1024;

/// Requirements that jobs name by number. Not modelled: each is put in once, and never changed; who finds none under a
/// number does without.
#[derive(Debug)]
pub(crate) struct Kinds {
    scheduler: u64,
    kept: Box<[PlainOnceLock<Arc<Requirements>>]>,
    /// Numbers given out, and more.
    used: Statistic,
}

/// A valid demand.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// What is kept under this number, and nothing beyond.
    Kind(u32),
    /// These, and nothing beyond.
    Own(Arc<Requirements>),
    Further(Box<Further>),
}

#[derive(Debug)]
pub(crate) struct Further {
    requirements: Arc<Requirements>,
    routing_key: Option<u64>,
    exclusions: Exclusions,
}

impl Kinds {
    /// `scheduler` is its number in this process, from 1 on.
    pub(crate) fn new(scheduler: u64) -> Self {
        Self { scheduler, kept: (0..MOST).map(|_| PlainOnceLock::new()).collect(), used: Statistic::new(0) }
    }

    /// Under which number they are kept, from now on perhaps.
    #[inline(always)]
    fn number(&self, requirements: &Arc<Requirements>) -> Option<u32> {
        match requirements.kind.known(self.scheduler) {
            Some(number) if self.kept.get(number)?.get().is_some() => Some(number as u32),
            _ => self.keep(requirements),
        }
    }

    #[cold]
    fn keep(&self, requirements: &Arc<Requirements>) -> Option<u32> {
        // Those that come once are not worth it, and what another scheduler keeps stays that one's.
        let worth = requirements.memo.is_some() && requirements.kind.is_none();
        if !worth || self.used.load(Ordering::Relaxed) >= MOST as u64 {
            return None;
        }
        // Relaxed: only distinctness matters.
        let number = self.used.fetch_add(1, Ordering::Relaxed) as usize;
        self.kept.get(number)?.set(requirements.clone()).ok()?;
        requirements.kind.keep(self.scheduler, number);
        Some(number as u32)
    }

    fn kept(&self, number: u32) -> &Arc<Requirements> {
        self.kept[number as usize].get().expect("a job names what was kept before it began")
    }
}

impl Wanted {
    #[inline(always)]
    pub(crate) fn new(demand: &Demand, kinds: &Kinds) -> Self {
        let requirements = &demand.requirements;
        match kinds.number(requirements) {
            Some(number) if demand.is_plain() => Self::Kind(number),
            _ if demand.is_plain() => Self::Own(requirements.clone()),
            _ => Self::further(demand),
        }
    }

    #[cold]
    fn further(demand: &Demand) -> Self {
        Self::Further(Box::new(Further {
            requirements: demand.requirements.clone(),
            routing_key: demand.routing_key,
            exclusions: demand.exclusions.clone(),
        }))
    }

    pub(crate) fn demand(&self, kinds: &Kinds) -> Demand {
        match self {
            Self::Kind(number) => Demand::of(kinds.kept(*number).clone(), None, Exclusions::default()),
            Self::Own(requirements) => Demand::of(requirements.clone(), None, Exclusions::default()),
            Self::Further(further) => {
                Demand::of(further.requirements.clone(), further.routing_key, further.exclusions.clone())
            }
        }
    }

    /// As [`Demand::fingerprint`].
    pub(crate) fn fingerprint(&self, kinds: &Kinds) -> u64 {
        match self {
            Self::Kind(number) => kinds.kept(*number).fingerprint(None),
            Self::Own(requirements) => requirements.fingerprint(None),
            Self::Further(further) => further.requirements.fingerprint(further.routing_key),
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    /// As after a first selection.
    fn used(demand: Demand) -> Demand {
        demand.requirements.memo.keep(1, 0);
        demand
    }

    #[test]
    fn requirements_are_kept_when_they_come_again_and_while_there_is_room() {
        let (kinds, other) = (Kinds::new(1), Kinds::new(2));
        let demand = Demand::new().service("embed");
        assert!(matches!(Wanted::new(&demand, &kinds), Wanted::Own(_)), "it may never come again");
        let demand = used(demand);
        assert!(matches!(Wanted::new(&demand, &kinds), Wanted::Kind(0)));
        assert!(matches!(Wanted::new(&demand.clone(), &kinds), Wanted::Kind(0)));
        assert!(matches!(Wanted::new(&demand, &other), Wanted::Own(_)), "it is kept by another");
        let keyed = demand.clone().routing_key("tenant");
        assert!(matches!(Wanted::new(&keyed, &kinds), Wanted::Further(_)));
        for more in 1..MOST {
            let wanted = Wanted::new(&used(Demand::new().service("embed").label("model", more.to_string())), &kinds);
            assert!(matches!(wanted, Wanted::Kind(number) if number as usize == more));
        }
        assert!(matches!(Wanted::new(&used(Demand::new().service("asr")), &kinds), Wanted::Own(_)));
        for demand in [demand, keyed] {
            let wanted = Wanted::new(&demand, &kinds);
            assert_eq!(wanted.fingerprint(&kinds), demand.fingerprint());
            assert_eq!(wanted.demand(&kinds).fingerprint(), demand.fingerprint());
        }
    }
}
