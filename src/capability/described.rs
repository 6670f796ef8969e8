//! What capabilities are made of, shared by all that are clones of one another until one of them is changed.
//!
//! Nodes come by the thousand with the same capabilities: so a clone copies nothing, what is in it is hashed once, and
//! clones are equal without a look at what is in them. So are those that were found equal once, though made apart: they
//! have the same *kind*, a number that no others in the process have. What is shared never changes, so what was found
//! equal to one of a kind is equal to all.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::{CapabilityError, Labels, Languages, Service};
use crate::id::fixed_hasher;
use crate::sync::{Ordering, PlainOnceLock, Sequence, Statistic};

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Described(Arc<Shared>);

/// What is shared. Never changed while it is.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) content: Content,
    /// Of the content; 0: not worked out yet.
    hash: Statistic,
    /// What it was found equal to has the same; 0: it was not found equal to anything yet.
    kind: Statistic,
}

#[derive(Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) services: BTreeMap<Service, Languages>,
    pub(super) labels: Labels,
    /// The first thing that was wrong with what the builder was given.
    pub(super) error: Option<CapabilityError>,
}

impl Described {
    pub(super) fn new(services: BTreeMap<Service, Languages>, labels: Labels) -> Self {
        Self(Arc::new(Shared::from(Content { services, labels, error: None })))
    }

    /// The content, to be changed: of this one alone.
    pub(super) fn change(&mut self) -> &mut Content {
        let shared = Arc::make_mut(&mut self.0);
        // What is in it is about to be another.
        (shared.hash, shared.kind) = (Statistic::new(0), Statistic::new(0));
        &mut shared.content
    }

    /// Whether they were found equal before.
    fn is_of_one_kind_with(&self, other: &Self) -> bool {
        // Relaxed: whatever the kind is, it is right.
        let kind = self.0.kind.load(Ordering::Relaxed);
        kind != 0 && kind == other.0.kind.load(Ordering::Relaxed)
    }

    /// They were found equal.
    fn note_equal(&self, other: &Self) {
        static KINDS: Sequence = Sequence::new(1);
        let (kind, others) = (&self.0.kind, &other.0.kind);
        let known = match (kind.load(Ordering::Relaxed), others.load(Ordering::Relaxed)) {
            // Relaxed: only distinctness matters.
            (0, 0) => KINDS.fetch_add(1, Ordering::Relaxed),
            (0, known) | (known, 0) => known,
            // Of two kinds that are equal one is enough.
            (one, other) => one.min(other),
        };
        kind.store(known, Ordering::Relaxed);
        others.store(known, Ordering::Relaxed);
    }

    pub(super) fn hash_of_content(&self) -> u64 {
        // Relaxed: whoever works it out gets the same.
        match self.0.hash.load(Ordering::Relaxed) {
            0 => {
                let hash = fixed_hasher().hash_one(&self.0.content).max(1);
                self.0.hash.store(hash, Ordering::Relaxed);
                hash
            }
            known => known,
        }
    }
}

impl From<Content> for Shared {
    fn from(content: Content) -> Self {
        Self { content, hash: Statistic::new(0), kind: Statistic::new(0) }
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        self.content.clone().into()
    }
}

impl Default for Described {
    /// Nothing: the same one for all, since every builder begins with it.
    fn default() -> Self {
        static NOTHING: PlainOnceLock<Described> = PlainOnceLock::new();
        NOTHING.get_or_init(|| Described(Arc::default())).clone()
    }
}

impl Deref for Described {
    type Target = Content;

    #[inline]
    fn deref(&self) -> &Content {
        &self.0.content
    }
}

impl PartialEq for Described {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) || self.is_of_one_kind_with(other) {
            return true;
        }
        let equal = self.hash_of_content() == other.hash_of_content() && self.0.content == other.0.content;
        if equal {
            self.note_equal(other);
        }
        equal
    }
}

impl Eq for Described {}

impl Hash for Described {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash_of_content());
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use crate::Capabilities;

    #[test]
    fn a_changed_clone_is_another_and_leaves_the_first_alone() {
        let first = Capabilities::new().asr(["zh", "en"]);
        let hash = |capabilities: &Capabilities| crate::id::fixed_hasher().hash_one(capabilities);
        let before = hash(&first);
        let changed = first.clone().label("zone", "a");
        assert!(changed != first && hash(&changed) != before && hash(&first) == before);
        assert_eq!(first.labels().count(), 0);
        let rebuilt = Capabilities::new().asr(["en", "zh"]);
        assert!(rebuilt == first && hash(&rebuilt) == before && first.clone() == first);
        // Found equal before: of one kind, until it is changed.
        assert!(rebuilt == first && rebuilt.0.is_of_one_kind_with(&first.0));
        // Changed in place, for nobody else has it.
        let rebuilt = rebuilt.label("zone", "a");
        assert!(rebuilt != first && !rebuilt.0.is_of_one_kind_with(&first.0));
        assert_eq!(rebuilt, changed);
    }
}
