//! What a job needs, kept for its further attempts.

use std::sync::Arc;

use crate::capability::{Demand, Exclusions, Requirements};

/// A valid demand in two words, if it asks for nothing beyond its requirements, as most do.
#[derive(Debug)]
pub(crate) struct Wanted {
    requirements: Arc<Requirements>,
    further: Option<Box<Further>>,
}

#[derive(Debug)]
struct Further {
    routing_key: Option<u64>,
    exclusions: Exclusions,
}

impl Wanted {
    pub(crate) fn new(demand: &Demand) -> Self {
        let further = || Further { routing_key: demand.routing_key, exclusions: demand.exclusions.clone() };
        let further = (!demand.is_plain()).then(|| Box::new(further()));
        Self { requirements: demand.requirements.clone(), further }
    }

    pub(crate) fn demand(&self) -> Demand {
        let (routing_key, exclusions) = match &self.further {
            Some(further) => (further.routing_key, further.exclusions.clone()),
            None => (None, Exclusions::default()),
        };
        Demand::of(self.requirements.clone(), routing_key, exclusions)
    }

    /// As [`Demand::fingerprint`].
    pub(crate) fn fingerprint(&self) -> u64 {
        let routing_key = self.further.as_ref().and_then(|further| further.routing_key);
        self.requirements.fingerprint(routing_key)
    }
}
