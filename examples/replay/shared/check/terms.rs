//! Until when the log knows attempts to have had their slots.

use std::collections::{HashMap, HashSet};

use super::super::log::{Attempt, Call, Event, Lease, Line};

/// How the library calls a job whose node has gone.
pub(super) const ORPHANED: &str = "orphaned";

/// Until when the log knows an attempt to have had its slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Term {
    pub(super) until: u64,
    /// It may have lost that before: its node was thought to be gone, or the library has called it off.
    pub(super) uncertain: bool,
}

/// The terms of all attempts, of leases that last so long: what is looked up here may stand later in the log than what is checked by it.
pub(super) fn terms(lines: &[(usize, Line)], lease: u64) -> HashMap<Attempt, Term> {
    let mut terms: HashMap<Attempt, Term> = HashMap::new();
    let mut uncertain = HashSet::new();
    // When the call was made that gave it; and calls whose answers are not in the log, for their process was killed.
    let mut begun: HashMap<&Attempt, u64> = HashMap::new();
    let mut asked: HashMap<(u32, &str), u64> = HashMap::new();
    let mut lasts = |of: &Attempt, until: u64| {
        let term = terms.entry(of.clone()).or_default();
        term.until = term.until.max(until);
    };
    for (_, Line { at, by, event }) in lines {
        match event {
            Event::Asked { request } => drop(asked.insert((*by, request), *at)),
            Event::Given { lease: Lease { attempt, .. }, call: Call::Look, took } => {
                lasts(attempt, at.saturating_sub(*took));
            }
            Event::Given { lease: Lease { attempt, .. }, .. } => {
                if let Some(asked) = asked.remove(&(*by, &*attempt.request)) {
                    let begun = begun.entry(attempt).or_insert(asked);
                    *begun = asked.min(*begun);
                }
            }
            Event::Known { request, state, .. } => {
                asked.remove(&(*by, request));
                if state == ORPHANED {
                    uncertain.insert(request);
                }
            }
            Event::Refused { request, uncertain: is_uncertain, .. } => {
                asked.remove(&(*by, request));
                if *is_uncertain {
                    uncertain.insert(request);
                }
            }
            Event::Moved { of, took } => lasts(of, at.saturating_sub(*took) + lease),
            Event::Ended { of, took, .. } => lasts(of, at.saturating_sub(*took)),
            Event::TurnedDown { of, found } if found == ORPHANED => drop(uncertain.insert(&of.request)),
            _ => {}
        }
    }
    // Who is told of another's lease does not know for how long it has had that. The first of all who asked may have been
    // the one to whom it was given.
    let mut unanswered: HashMap<&str, u64> = HashMap::new();
    for ((_, request), asked) in asked {
        let first = unanswered.entry(request).or_insert(asked);
        *first = asked.min(*first);
    }
    for (of, begun) in &mut begun {
        *begun = unanswered.get(&*of.request).map_or(*begun, |asked| (*asked).min(*begun));
    }
    begun.into_iter().for_each(|(of, begun)| lasts(of, begun + lease));
    for (of, term) in &mut terms {
        term.uncertain = uncertain.contains(&of.request);
    }
    terms
}
