//! What selection does is what explanation says: the rule, whoever it is that draws fleets and demands.

use std::collections::BTreeMap;

use slotyard::{Demand, Explanation, NodeView, Reason, Scheduler};

use super::kind;

/// The kind of refusal that the reasons make; `selected` when there is none.
pub(crate) fn expected_kind(explanation: &Explanation) -> &'static str {
    let any = |reasons: &[Reason]| reasons.iter().any(|reason| explanation.count(*reason) > 0);
    if explanation.invalid.is_some() {
        "invalid"
    } else if any(&[Reason::Available]) {
        "selected"
    } else if any(&[Reason::Full, Reason::Excluded]) {
        "busy"
    } else if any(&[
        Reason::Registering,
        Reason::Draining,
        Reason::Degraded,
        Reason::ResourceThreshold,
        Reason::Stale,
        Reason::Offline,
    ]) {
        "gone"
    } else {
        "unsupported"
    }
}

/// Slots that nobody holds, neither we nor others.
pub(crate) fn free(node: &NodeView) -> u32 {
    node.capacity.saturating_sub(node.external).saturating_sub(node.in_flight)
}

/// Holds selection against explanation, then takes slots until that is refused, and gives them back. `take`, which is told
/// how many it has taken, says on which node.
///
/// The rule: a node is found just when explanation has one available; all of these can be filled, and only these, to the
/// last slot; a refusal is of the kind that the reasons make; and with the slots given back all is as it was. It holds where
/// nothing else goes on, demands may fall back to every pool of their route, and exclusions are hard.
pub(crate) fn selection_does_what_explanation_says<T>(
    scheduler: &Scheduler,
    demand: &Demand,
    mut take: impl FnMut(usize) -> Option<(String, T)>,
    give_back: impl FnMut(T),
) {
    let explanation = scheduler.explain(demand);
    assert_eq!(kind(scheduler, demand), expected_kind(&explanation), "{explanation}");
    let before: BTreeMap<String, u32> =
        scheduler.nodes().iter().map(|node| (node.id.to_string(), free(node))).collect();
    let most = before.values().sum::<u32>() as usize;
    let taken: Vec<(String, T)> = (0..=most).map_while(&mut take).collect();
    let mut slots: BTreeMap<&str, u32> = BTreeMap::new();
    taken.iter().for_each(|(node, _)| *slots.entry(node).or_default() += 1);
    assert_eq!(slots.len(), explanation.count(Reason::Available), "{slots:?}, {explanation}");
    slots.iter().for_each(|(node, taken)| assert_eq!(*taken, before[*node], "slots of {node}, {explanation}"));
    assert_eq!(scheduler.explain(demand).count(Reason::Available), 0);
    taken.into_iter().map(|(_, slot)| slot).for_each(give_back);
    assert_eq!(scheduler.explain(demand), explanation);
}
