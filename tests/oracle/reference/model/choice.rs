//! Who may be chosen.

use std::collections::BTreeSet;

use slotyard::{ExclusionMode, NodeState, Reason, ReasonCounts};

use super::super::ability::{Lack, Needs, bits};
use super::super::difference::{Difference, holds};
use super::super::step::Ask;
use super::{Birth, Model};

/// What is asked of a choice.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) needs: Needs,
    /// Nodes that are never to be used, and those that are not while there are others.
    pub(crate) hard: BTreeSet<u8>,
    pub(crate) soft: BTreeSet<u8>,
    /// The session's pool.
    pub(crate) pool: Option<Birth>,
}

/// What may come of a choice.
#[derive(Debug, Default)]
pub(crate) struct Legal {
    /// Each with the pool in which it is found.
    pub(crate) choices: BTreeSet<(Birth, u8)>,
    /// Whether nobody may be found.
    pub(crate) may_refuse: bool,
}

impl Wish {
    /// Without what a job's history adds.
    pub(crate) fn of(ask: &Ask) -> Self {
        let excluded = bits(ask.excluded).collect();
        let (hard, soft) = match ask.exclusion {
            ExclusionMode::Hard => (excluded, BTreeSet::new()),
            _ => (BTreeSet::new(), excluded),
        };
        Self { needs: ask.needs, hard, soft, pool: None }
    }

    pub(super) fn avoid(&mut self, node: u8, mode: ExclusionMode) {
        let set = if mode == ExclusionMode::Hard { &mut self.hard } else { &mut self.soft };
        set.insert(node);
    }
}

impl Model {
    pub(crate) fn legal(&self, wish: &Wish) -> Legal {
        let all: BTreeSet<u8> = wish.hard.union(&wish.soft).copied().collect();
        let first = self.legal_without(wish, &all);
        if !first.may_refuse || wish.soft.is_empty() {
            return first;
        }
        let second = self.legal_without(wish, &wish.hard);
        Legal { choices: first.choices.union(&second.choices).copied().collect(), may_refuse: second.may_refuse }
    }

    /// Where demands go on to further pools, the first of these in their order that have somebody: the session's, then tier
    /// by tier. (A routing key's pool within a tier is the scheduler's to say.) Where they do not, those of one pool: the
    /// session's, or any of the first tier.
    fn legal_without(&self, wish: &Wish, excluded: &BTreeSet<u8>) -> Legal {
        let tiers = self.tiers(&wish.needs);
        let wanted = |birth: Birth| -> BTreeSet<(Birth, u8)> {
            let free = |id: &u8| {
                !excluded.contains(id) && self.nodes[id].able().meets(&wish.needs).is_ok() && self.is_free(*id)
            };
            self.members(birth).filter(free).map(|id| (birth, id)).collect()
        };
        if let Some(pool) = wish.pool.filter(|pool| tiers.iter().any(|tier| tier.contains(pool))) {
            let choices = wanted(pool);
            if !choices.is_empty() || !self.setup.fallback {
                return Legal { may_refuse: choices.is_empty(), choices };
            }
        }
        for tier in &tiers {
            let of_each: Vec<_> = tier.iter().map(|birth| wanted(*birth)).collect();
            let may_refuse = !self.setup.fallback && of_each.iter().any(BTreeSet::is_empty);
            let choices: BTreeSet<_> = of_each.into_iter().flatten().collect();
            if !choices.is_empty() || !self.setup.fallback {
                return Legal { choices, may_refuse };
            }
        }
        Legal { choices: BTreeSet::new(), may_refuse: true }
    }

    /// Whether it can be that a routing key leads to one and the same pool of a tier whenever that has room: notes that this
    /// pool was chosen, among these, and says what is wrong if then no pool can be the key's.
    pub(crate) fn keeps_to_pool(
        &mut self,
        wish: &Wish,
        key: u8,
        legal: &Legal,
        chosen: Birth,
    ) -> Result<(), Difference> {
        let tiers = self.tiers(&wish.needs);
        let Some(tier) = tiers.into_iter().find(|tier| tier.contains(&chosen)) else { return Ok(()) };
        // A session comes first, and who keeps nodes off may have to go elsewhere.
        if wish.pool.is_some() || !wish.hard.is_empty() || !wish.soft.is_empty() {
            return Ok(());
        }
        let weights: Vec<(Birth, u64)> = tier.iter().map(|birth| (*birth, self.capacity(*birth))).collect();
        let possible = self.keyed.entry((key, weights)).or_insert_with(|| tier.iter().copied().collect());
        // Had it been one of the others that have room, that would have been chosen.
        possible.retain(|birth| *birth == chosen || legal.choices.iter().all(|(free, _)| free != birth));
        let name = |birth: &Birth| self.pools[birth].name.clone();
        let tier: Vec<String> = tier.iter().map(name).collect();
        holds!(!possible.is_empty(), "key {key} led to {}, of {tier:?}, and elsewhere before", name(&chosen));
        Ok(())
    }

    /// Those that can do it, in whatever state, and are in a pool that serves it.
    fn able(&self, needs: &Needs) -> impl Iterator<Item = u8> {
        let route: BTreeSet<Birth> = self.tiers(needs).into_iter().flatten().collect();
        let able = self.nodes.iter().filter(move |(_, node)| {
            node.able().meets(needs).is_ok() && node.homes.iter().any(|home| route.contains(home))
        });
        able.map(|(id, _)| *id)
    }

    /// What a refusal is to say.
    pub(crate) fn kind_of_refusal(&self, needs: &Needs) -> &'static str {
        let any_ready = self.able(needs).any(|id| self.nodes[&id].state() == NodeState::Ready);
        if any_ready {
            "busy"
        } else if self.able(needs).next().is_some() {
            "gone"
        } else {
            "unsupported"
        }
    }

    /// The counts of a refusal: every member of the pools that may serve it.
    pub(crate) fn reasons_of_refusal(&self, needs: &Needs) -> ReasonCounts {
        let route: Vec<Birth> = self.tiers(needs).into_iter().flatten().collect();
        let count = |state| route.iter().map(|birth| self.count(*birth, state) as u64).sum();
        let mut counts = ReasonCounts::default();
        counts.full = count(NodeState::Ready);
        counts.registering = count(NodeState::Registering);
        counts.degraded = count(NodeState::Degraded);
        counts.draining = count(NodeState::Draining);
        counts.offline = count(NodeState::Offline);
        counts
    }

    /// What an explanation is to say of a node.
    pub(crate) fn reason(&self, id: u8, ask: &Ask) -> Reason {
        let node = &self.nodes[&id];
        match node.able().meets(&ask.needs) {
            Err(Lack::Service) => return Reason::NoService,
            Err(Lack::Label) => return Reason::Label,
            Err(Lack::Source) => return Reason::SourceLanguage,
            Err(Lack::Target) => return Reason::TargetLanguage,
            Ok(()) => {}
        }
        if !node.homes.iter().any(|home| !self.pools[home].tenant || ask.needs.tenant) {
            return Reason::OtherTenant;
        }
        match node.state() {
            NodeState::Offline => Reason::Offline,
            NodeState::Draining => Reason::Draining,
            NodeState::Registering => Reason::Registering,
            NodeState::Degraded if node.is_unready() => Reason::Degraded,
            NodeState::Degraded => Reason::ResourceThreshold,
            _ if bits(ask.excluded).any(|excluded| excluded == id) => Reason::Excluded,
            _ if self.is_free(id) => Reason::Available,
            _ => Reason::Full,
        }
    }
}
