//! What requests ask for: which languages, how often, and which services.

use rand::Rng;
use rand_distr::Distribution;
use rand_distr::weighted::WeightedAliasIndex;
use slotyard::{Demand, Service};

use crate::input::{Languages, Locale, Pairs, primary};

/// The services that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Speech to speech.
    Speech,
    /// Speech to text.
    Subtitles,
    /// Speech to speech, with semantic repair of what was recognised.
    Repaired,
    /// Speech to speech, from a language that the worker is to find out.
    Detected,
}

/// The kinds, each with its share of the requests.
const KINDS: [(Kind, f64); 4] =
    [(Kind::Speech, 0.72), (Kind::Subtitles, 0.20), (Kind::Repaired, 0.05), (Kind::Detected, 0.03)];

impl Kind {
    pub(crate) fn speaks(self) -> bool {
        self != Self::Subtitles
    }

    fn demand(self, source: &str, target: &str) -> Demand {
        let [asr, nmt, tts, semantic] = Service::PREDEFINED;
        match self {
            Self::Speech => Demand::translate(source, target).services([asr, nmt, tts]),
            Self::Subtitles => Demand::translate(source, target).services([asr, nmt]),
            Self::Repaired => Demand::translate(source, target).services([asr, nmt, tts, semantic]),
            Self::Detected => Demand::translate("auto", target).services([asr, nmt, tts]),
        }
    }
}

/// From which locale to which; indices in [`Demands::locales`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direction {
    pub(crate) source: usize,
    pub(crate) target: usize,
    /// Its share of the requests.
    pub(crate) share: f64,
}

/// Every demand that requests may have, and how often they have it.
#[derive(Debug)]
pub(crate) struct Demands {
    locales: Vec<Locale>,
    directions: Vec<Direction>,
    odds: WeightedAliasIndex<f64>,
    /// Those of one direction follow each other, in the order of [`KINDS`].
    demands: Vec<Demand>,
}

impl Demands {
    /// The source is drawn by clips among the locales that can be translated, the target likewise among those that
    /// the source can be translated to. `None` when nothing can be.
    pub(crate) fn new(languages: &Languages, pairs: &Pairs) -> Option<Self> {
        let locales = languages.0.clone();
        let mut directions = Vec::new();
        for (source, from) in locales.iter().enumerate() {
            let translates = |to: &Locale| pairs.translates(primary(&from.tag), primary(&to.tag));
            let targets: Vec<_> = locales.iter().enumerate().filter(|(_, to)| translates(to)).collect();
            let clips: f64 = targets.iter().map(|(_, to)| to.clips as f64).sum();
            directions.extend(targets.into_iter().map(|(target, to)| {
                let share = from.clips as f64 * (to.clips as f64 / clips);
                Direction { source, target, share }
            }));
        }
        let total: f64 = directions.iter().map(|direction| direction.share).sum();
        for direction in &mut directions {
            direction.share /= total;
        }
        let odds = WeightedAliasIndex::new(directions.iter().map(|direction| direction.share).collect()).ok()?;
        let demands = directions.iter().flat_map(|direction| {
            let (source, target) = (&locales[direction.source].tag, &locales[direction.target].tag);
            KINDS.map(|(kind, _)| kind.demand(source, target))
        });
        Some(Self { demands: demands.collect(), odds, directions, locales })
    }

    /// Draws a direction.
    pub(crate) fn direction(&self, random: &mut impl Rng) -> usize {
        self.odds.sample(random)
    }

    /// Draws what is needed in a direction: the index of a demand.
    pub(crate) fn in_direction(&self, direction: usize, draw: f64) -> usize {
        let mut below = 0.0;
        let kind = KINDS.iter().position(|(_, share)| {
            below += share;
            draw < below
        });
        direction * KINDS.len() + kind.unwrap_or(0)
    }

    pub(crate) fn demand(&self, index: usize) -> &Demand {
        &self.demands[index]
    }

    /// Whether a demand needs speech synthesis.
    pub(crate) fn speaks(&self, index: usize) -> bool {
        KINDS[index % KINDS.len()].0.speaks()
    }

    /// How long a clip in the demand's source language is, in seconds.
    pub(crate) fn clip_seconds(&self, index: usize) -> f64 {
        self.locales[self.directions[index / KINDS.len()].source].clip_seconds
    }

    /// The mean of that over all requests.
    pub(crate) fn mean_clip_seconds(&self) -> f64 {
        self.directions.iter().map(|direction| direction.share * self.locales[direction.source].clip_seconds).sum()
    }

    /// Every direction, by primary subtags.
    pub(crate) fn directions(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        let tag = |locale: usize| primary(&self.locales[locale].tag);
        self.directions.iter().map(move |direction| (tag(direction.source), tag(direction.target), direction.share))
    }

    /// Every demand, in the order of its index: source and target by primary subtag, and the kind.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str, Kind)> {
        self.directions().flat_map(|(source, target, _)| KINDS.map(|(kind, _)| (source, target, kind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locale(tag: &str, clips: u64) -> Locale {
        Locale { tag: tag.to_owned(), clips, clip_seconds: clips as f64 }
    }

    #[test]
    fn sources_and_targets_are_drawn_by_clips_among_the_pairs() {
        let languages = Languages(vec![locale("de", 3), locale("en", 1), locale("rw", 99), locale("zh-CN", 2)]);
        let pairs = Pairs::new([("de", "en"), ("en", "de"), ("en", "zh")]);
        let demands = Demands::new(&languages, &pairs).unwrap();
        let directions: Vec<_> = demands.directions().collect();
        assert_eq!(directions.len(), 4, "de-en, de-zh, en-de, en-zh; nothing translates rw, nor from zh");
        let share = |source, target| {
            directions.iter().find(|direction| (direction.0, direction.1) == (source, target)).unwrap().2
        };
        assert!((share("de", "en") - 0.75 / 3.0).abs() < 1e-9);
        assert!((share("de", "zh") - 0.75 * 2.0 / 3.0).abs() < 1e-9);
        assert!((demands.mean_clip_seconds() - (0.75 * 3.0 + 0.25)).abs() < 1e-9);
        assert_eq!(demands.all().count(), 16);
        assert!(Demands::new(&Languages(vec![locale("rw", 1)]), &pairs).is_none());
    }

    #[test]
    fn kinds_are_drawn_by_share() {
        let languages = Languages(vec![locale("de", 3), locale("en", 1)]);
        let demands = Demands::new(&languages, &Pairs::new([("de", "en")])).unwrap();
        assert_eq!([0.0, 0.73, 0.93, 0.98, 1.0].map(|draw| demands.in_direction(0, draw)), [0, 1, 2, 3, 0]);
        assert!(demands.speaks(0) && !demands.speaks(1));
    }
}
