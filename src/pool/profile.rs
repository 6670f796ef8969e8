//! What many nodes have in common: capabilities and what follows from them, worked out and kept once.
//!
//! Nodes that offer the same find the same profile by what is in it. The table is bounded: when it is full, profiles that
//! no node has any more make room, and if there are none a node's profile is its own.
//!
//! Fleets have few kinds of nodes, most often, so some profiles are at hand without a look into the table.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::{Layout, Pool};
use crate::capability::Capabilities;
use crate::publish::{Published, Shared};
use crate::sync::{Map, Ordering, Statistic, sized};

/// Profiles that are kept for others to find. Nodes of more kinds than that have a label each, most likely, and nothing
/// in common.
const KEPT: usize = sized(8192, 4) as usize;

/// Profiles at hand, at most.
const AT_HAND: usize = sized(16, 1) as usize;

/// Capabilities, and where nodes that have them sit.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) seating: Seating,
}

/// Where nodes sit, as far as that follows from what they can do.
#[derive(Debug)]
pub(crate) enum Seating {
    /// In pools that are always there; in none, if nothing is configured for them.
    Fixed(Vec<Arc<Pool>>),
    /// In one of the hash pools.
    Hashed,
    /// In the automatic pool of this signature, to be made if there is none.
    Automatic(Automatic),
}

/// See [`Seating`].
#[derive(Debug)]
pub(crate) struct Automatic {
    pub(crate) signature: Arc<Capabilities>,
    /// The key of the pool that was the signature's when last looked for, plus one: finding it again by that costs no
    /// look at what is in the signature. It may have been dropped since.
    last: Statistic,
}

impl Automatic {
    pub(crate) fn new(signature: Arc<Capabilities>) -> Self {
        Self { signature, last: Statistic::new(0) }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        // Relaxed: a hint, held against the pools that there are.
        self.last.load(Ordering::Relaxed).checked_sub(1)
    }

    pub(crate) fn note(&self, pool: &Pool) {
        self.last.store(pool.key + 1, Ordering::Relaxed);
    }
}

/// A profile that was found, which is counted as a reference only when it is kept, if it was at hand.
pub(crate) enum Known<'g> {
    AtHand(Shared<'g, Profile>),
    Found(Arc<Profile>),
}

impl Known<'_> {
    pub(crate) fn into_arc(self) -> Arc<Profile> {
        match self {
            Self::AtHand(profile) => profile.to_arc(),
            Self::Found(profile) => profile,
        }
    }
}

impl std::ops::Deref for Known<'_> {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        match self {
            Self::AtHand(profile) => profile,
            Self::Found(profile) => profile,
        }
    }
}

/// The profiles that nodes share.
#[derive(Debug)]
pub(crate) struct Profiles {
    known: Map<Arc<Capabilities>, Arc<Profile>, ahash::RandomState>,
    /// Some of those, each at the place of its hash: the first that was found there.
    at_hand: [Published<Profile>; AT_HAND],
    /// Profiles that there was no room for since those in use were last told from the rest.
    turned_away: Statistic,
}

impl Profiles {
    pub(crate) fn new() -> Self {
        Self {
            known: Map::with_hasher(crate::id::fixed_hasher().clone()),
            at_hand: Default::default(),
            turned_away: Statistic::new(0),
        }
    }

    pub(crate) fn find<'g>(&self, capabilities: &Capabilities, pin: &'g Guard) -> Option<Known<'g>> {
        let at_hand = &self.at_hand[capabilities.content_hash() as usize % AT_HAND];
        let there = at_hand.load_shared(pin);
        if let Some(profile) = there.filter(|profile| *profile.capabilities == *capabilities) {
            return Some(Known::AtHand(profile));
        }
        let found = self.known.pin().get(capabilities).cloned();
        if let (Some(found), None) = (&found, there) {
            // Another may have been faster, and it is as good.
            let _ = at_hand.fill(found.clone());
        }
        found.map(Known::Found)
    }

    /// The profile of capabilities that are valid.
    pub(crate) fn of(&self, capabilities: Capabilities, layout: &Layout, pin: &Guard) -> Arc<Profile> {
        if let Some(known) = self.find(&capabilities, pin) {
            return known.into_arc();
        }
        let seating = layout.seating(&capabilities);
        let profile = Arc::new(Profile { capabilities: Arc::new(capabilities), seating });
        if self.known.len() >= KEPT && !self.make_room(pin) {
            return profile;
        }
        self.known.pin().get_or_insert_with(profile.capabilities.clone(), || profile).clone()
    }

    /// Forgets profiles that nobody has. Once for as many as are kept: so what looking through them costs is borne by so
    /// many that could not be kept.
    fn make_room(&self, pin: &Guard) -> bool {
        // Relaxed: it decides nothing but who does it.
        if !self.turned_away.fetch_add(1, Ordering::Relaxed).is_multiple_of(KEPT as u64) {
            return false;
        }
        // Those at hand are let go later, so they stay for this time.
        self.at_hand.iter().for_each(|profile| profile.swap(None, pin));
        // One that is taken just now is lost to those who come later, who make another like it.
        let in_use = |profile: &Arc<Profile>| {
            // The table has one of the one and two of the other.
            Arc::strong_count(profile) > 1 || Arc::strong_count(&profile.capabilities) > 2
        };
        let known = self.known.pin();
        known.retain(|_, profile| in_use(profile));
        known.len() < KEPT
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::pool::{Indexes, PoolKind};

    fn labelled(value: usize) -> Capabilities {
        Capabilities::new().asr(["zh", "en"]).label("host", value.to_string())
    }

    fn layout() -> Layout {
        let index = Indexes::new(1).make(0);
        let mixed = Pool::new((0, 0), "mixed".into(), PoolKind::Mixed, Arc::default(), None, index);
        Layout::new(Default::default(), Vec::new(), Vec::new(), Arc::new(mixed))
    }

    #[test]
    fn equal_capabilities_share_a_profile() {
        let (layout, profiles, pin) = (layout(), Profiles::new(), crate::sync::pin());
        let first = profiles.of(labelled(1), &layout, &pin);
        assert!(Arc::ptr_eq(&first, &profiles.of(labelled(1), &layout, &pin)));
        assert!(!Arc::ptr_eq(&first, &profiles.of(labelled(2), &layout, &pin)));
    }

    #[test]
    fn profiles_that_nobody_has_make_room() {
        let (layout, profiles, pin) = (layout(), Profiles::new(), crate::sync::pin());
        let kept: Vec<_> = (0..10).map(|value| profiles.of(labelled(value), &layout, &pin)).collect();
        for value in 0..3 * KEPT {
            profiles.of(labelled(value), &layout, &pin);
            assert!(profiles.known.len() <= KEPT);
        }
        assert!(profiles.known.len() < KEPT);
        for (value, kept) in kept.iter().enumerate() {
            assert!(Arc::ptr_eq(kept, &profiles.of(labelled(value), &layout, &pin)), "{value} is in use");
        }
    }
}
