//! What workers can do. A team is all workers with the same abilities, which the scheduler should make a pool of.

use std::collections::{BTreeMap, BTreeSet};

use slotyard::Capabilities;

use crate::demands::{Demands, Kind};
use crate::input::{Machine, PIVOT, Pairs};

/// The languages are dealt into this many blocks; a special team has two of them, so that every pair of languages is
/// in some team.
const BLOCKS: usize = 4;
/// Share of the slots with the team that serves everything, and alone does semantic repair.
const GENERAL_SHARE: f64 = 0.3;
/// Of a special team's slots, the share without speech synthesis.
const TEXT_SHARE: f64 = 0.08;

/// Workers with the same abilities.
#[derive(Debug)]
pub(crate) struct Team {
    languages: BTreeSet<String>,
    speaks: bool,
    repairs: bool,
    /// Of all slots, the share that it should have.
    share: f64,
}

/// All teams; the first serves everything.
#[derive(Debug)]
pub(crate) struct Teams {
    teams: Vec<Team>,
    /// For every demand the teams that can serve it, one bit each.
    servers: Vec<u32>,
}

impl Teams {
    pub(crate) fn new(demands: &Demands, pairs: &Pairs) -> Self {
        let mut teams = vec![Team {
            languages: demands.directions().flat_map(|(from, to, _)| [from.to_owned(), to.to_owned()]).collect(),
            speaks: true,
            repairs: true,
            share: GENERAL_SHARE,
        }];
        let sets = special_sets(demands);
        // A direction's requests are expected to spread evenly over the sets that serve it.
        let mut weights = vec![0.0; sets.len()];
        for (source, target, share) in demands.directions() {
            let serving: Vec<usize> =
                (0..sets.len()).filter(|set| sets[*set].contains(source) && sets[*set].contains(target)).collect();
            for set in &serving {
                weights[*set] += share / serving.len() as f64;
            }
        }
        for (languages, weight) in sets.into_iter().zip(weights).filter(|(_, weight)| *weight > 0.0) {
            for (speaks, part) in [(true, 1.0 - TEXT_SHARE), (false, TEXT_SHARE)] {
                let share = (1.0 - GENERAL_SHARE) * weight * part;
                teams.push(Team { languages: languages.clone(), speaks, repairs: false, share });
            }
        }
        let servers = demands.all().map(|(source, target, kind)| {
            let serving = (0..teams.len()).filter(|team| teams[*team].serves(source, target, kind, pairs));
            serving.fold(0, |mask, team| mask | 1 << team)
        });
        Self { servers: servers.collect(), teams }
    }

    pub(crate) fn len(&self) -> usize {
        self.teams.len()
    }

    /// Whether a team can serve a demand.
    pub(crate) fn serves(&self, team: usize, demand: usize) -> bool {
        self.servers[demand] >> team & 1 == 1
    }

    pub(crate) fn capabilities(&self, team: usize, pairs: &Pairs) -> Capabilities {
        self.teams[team].capabilities(pairs)
    }

    pub(crate) fn speaks(&self, team: usize) -> bool {
        self.teams[team].speaks
    }

    /// Deals machines out, each to the team that lacks most of its share; the first to the one that serves everything.
    pub(crate) fn deal(&self, machines: &[Machine]) -> Vec<usize> {
        let total: f64 = machines.iter().map(|machine| f64::from(machine.slots)).sum();
        let mut lacking: Vec<f64> = self.teams.iter().map(|team| team.share * total).collect();
        let deal = |(turn, machine): (usize, &Machine)| {
            let neediest = (0..lacking.len()).max_by(|a, b| lacking[*a].total_cmp(&lacking[*b]));
            let team = if turn == 0 { 0 } else { neediest.unwrap_or(0) };
            lacking[team] -= f64::from(machine.slots);
            team
        };
        machines.iter().enumerate().map(deal).collect()
    }
}

impl Team {
    fn serves(&self, source: &str, target: &str, kind: Kind, pairs: &Pairs) -> bool {
        let knows = |language: &str| self.languages.contains(language);
        let languages = match kind {
            Kind::Detected => self.languages.iter().any(|from| knows(target) && pairs.translates(from, target)),
            _ => knows(source) && knows(target) && pairs.translates(source, target),
        };
        languages && (self.speaks || !kind.speaks()) && (self.repairs || kind != Kind::Repaired)
    }

    fn capabilities(&self, pairs: &Pairs) -> Capabilities {
        let directions = || self.languages.iter().flat_map(|from| self.languages.iter().map(move |to| (from, to)));
        let complete = directions().all(|(from, to)| from == to || pairs.translates(from, to));
        let heard = Capabilities::new().asr(&self.languages);
        let translated = match complete {
            true => heard.nmt_any(&self.languages),
            false => heard.nmt_pairs(directions().filter(|(from, to)| pairs.translates(from, to))),
        };
        let spoken = if self.speaks { translated.tts(&self.languages) } else { translated };
        if self.repairs { spoken.semantic(&self.languages) } else { spoken }
    }
}

/// Unions of two blocks of languages each, with about the same number of requests in every block; English is in all,
/// as every worker that translates through it knows it.
fn special_sets(demands: &Demands) -> Vec<BTreeSet<String>> {
    let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
    for (source, target, share) in demands.directions() {
        *weights.entry(source).or_default() += share;
        *weights.entry(target).or_default() += share;
    }
    let pivot = weights.remove(PIVOT).map(|_| PIVOT);
    let mut by_weight: Vec<_> = weights.into_iter().collect();
    by_weight.sort_by(|(a, weight_a), (b, weight_b)| weight_b.total_cmp(weight_a).then(a.cmp(b)));
    let mut blocks: [(f64, BTreeSet<String>); BLOCKS] = Default::default();
    for (language, weight) in by_weight {
        let lightest = blocks.iter_mut().min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((sum, block)) = lightest {
            *sum += weight;
            block.insert(language.to_owned());
        }
    }
    let unions = (0..BLOCKS).flat_map(|a| (a + 1..BLOCKS).map(move |b| (a, b)));
    let unions: BTreeSet<BTreeSet<String>> = unions
        .map(|(a, b)| {
            let languages = blocks[a].1.iter().chain(&blocks[b].1).cloned();
            languages.chain(pivot.map(str::to_owned)).collect()
        })
        .collect();
    unions.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;

    fn teams() -> (Demands, Teams) {
        let (languages, pairs) = (embedded::languages(), embedded::pairs());
        let demands = Demands::new(&languages, &pairs).unwrap();
        let teams = Teams::new(&demands, &pairs);
        (demands, teams)
    }

    #[test]
    fn every_demand_has_a_team_and_most_have_several() {
        let (demands, teams) = teams();
        assert_eq!(teams.len(), 1 + 6 * 2);
        for demand in 0..demands.all().count() {
            assert!(teams.serves(0, demand));
        }
        let several = (0..demands.all().count()).filter(|demand| teams.servers[*demand].count_ones() > 1).count();
        assert!(several * 4 > demands.all().count() * 3 - 4, "all but semantic repair: {several}");
    }

    #[test]
    fn slots_are_dealt_by_share() {
        let (_, teams) = teams();
        let machines: Vec<_> = (0..1000).map(|n| Machine::new(&n.to_string(), 1 + n % 8, "T4").unwrap()).collect();
        let dealt = teams.deal(&machines);
        assert_eq!(dealt[0], 0);
        let slots: u32 = machines.iter().map(|machine| machine.slots).sum();
        for (team, Team { share, .. }) in teams.teams.iter().enumerate() {
            let got: u32 = machines
                .iter()
                .zip(&dealt)
                .filter(|(_, dealt)| **dealt == team)
                .map(|(machine, _)| machine.slots)
                .sum();
            let got = f64::from(got) / f64::from(slots);
            assert!((got - share).abs() < 0.01, "team {team}: {got} of {share}");
        }
    }
}
