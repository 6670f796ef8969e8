//! How often each language is spoken, and between which ones there is a translation.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use slotyard::Language;

use super::{InputError, Source};

/// More locales make more pairs than a table of demands should hold.
const MAX_LOCALES: usize = 1000;

/// One language as people speak it: how many clips of speech there are, and how long they are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Locale {
    /// A tag, perhaps with a region: `sv-SE`.
    pub(crate) tag: String,
    pub(crate) clips: u64,
    pub(crate) clip_seconds: f64,
}

/// The locales of a corpus, sorted by tag.
#[derive(Debug, Clone)]
pub(crate) struct Languages(pub(crate) Vec<Locale>);

/// Directed translations between primary subtags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs(BTreeSet<(String, String)>);

/// The language that the others are translated through.
pub(crate) const PIVOT: &str = "en";

/// What Argos calls two languages that have no code of their own: traditional Chinese and Brazilian Portuguese.
const ARGOS_NAMES: [(&str, &str); 2] = [("zt", "zh"), ("pb", "pt")];

/// The primary subtag, which is what workers serve: `sv` of `sv-SE`.
pub(crate) fn primary(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

#[derive(Deserialize)]
struct Corpus {
    locales: BTreeMap<Tag, Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    clips: u64,
    #[serde(rename = "avgDurationSecs")]
    clip_seconds: Seconds,
}

/// A clip's length: more than 0, at most an hour.
#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct Seconds(f64);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        let plausible = value > 0.0 && value <= 3600.0;
        if plausible {
            Ok(Self(value))
        } else {
            Err("expected a clip's seconds, more than 0 and at most 3600".to_owned())
        }
    }
}

/// A well-formed language tag.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct Tag(String);

impl TryFrom<String> for Tag {
    type Error = String;

    fn try_from(tag: String) -> Result<Self, String> {
        match Language::new(&tag) {
            Ok(_) => Ok(Self(tag)),
            Err(error) => Err(format!("expected a well-formed language tag: {error}")),
        }
    }
}

impl Languages {
    /// Reads the statistics of a Common Voice corpus.
    pub(crate) fn read(source: &Source) -> Result<Self, InputError> {
        let corpus: Corpus = serde_json::from_str(source.text()).map_err(|error| source.json_error(0, &error))?;
        if corpus.locales.len() > MAX_LOCALES {
            return Err(source.error(1, 1, format!("expected at most {MAX_LOCALES} locales")));
        }
        let locales = corpus.locales.into_iter().filter(|(_, statistics)| statistics.clips > 0);
        let locales: Vec<Locale> = locales
            .map(|(tag, Statistics { clips, clip_seconds })| Locale { tag: tag.0, clips, clip_seconds: clip_seconds.0 })
            .collect();
        if locales.is_empty() {
            return Err(source.error(1, 1, "expected at least one locale with clips, found none"));
        }
        Ok(Self(locales))
    }
}

#[derive(Deserialize)]
struct Package {
    from_code: Tag,
    to_code: Tag,
}

impl Pairs {
    /// Reads an Argos package index.
    pub(crate) fn read(source: &Source) -> Result<Self, InputError> {
        let packages: Vec<Package> =
            serde_json::from_str(source.text()).map_err(|error| source.json_error(0, &error))?;
        let pairs =
            Self::new(packages.iter().map(|package| (package.from_code.0.as_str(), package.to_code.0.as_str())));
        match pairs.0.is_empty() {
            true => Err(source.error(1, 1, "expected at least one pair of two languages, found none")),
            false => Ok(pairs),
        }
    }

    /// These directions, by primary subtag.
    pub(crate) fn new<'a>(directions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let known_as = |code: &str| {
            let code = primary(code).to_ascii_lowercase();
            ARGOS_NAMES.iter().find(|(argos, _)| *argos == code).map_or(code, |(_, tag)| (*tag).to_owned())
        };
        let directions = directions.into_iter().map(|(from, to)| (known_as(from), known_as(to)));
        Self(directions.filter(|(from, to)| from != to).collect())
    }

    /// Whether there is a translation, directly or through English. Both are primary subtags.
    pub(crate) fn translates(&self, from: &str, to: &str) -> bool {
        let direct = |from: &str, to: &str| self.0.contains(&(from.to_owned(), to.to_owned()));
        from != to && (direct(from, to) || (direct(from, PIVOT) && direct(PIVOT, to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_is_the_pivot() {
        let pairs = Pairs::new([("sv", "en"), ("en", "zt"), ("es", "pb")]);
        assert!(pairs.translates("sv", "en") && pairs.translates("sv", "zh") && pairs.translates("es", "pt"));
        assert!(!pairs.translates("zh", "sv") && !pairs.translates("sv", "pt") && !pairs.translates("en", "en"));
    }

    #[test]
    fn corpora_are_read() {
        let text = r#"{"locales": {"sv-SE": {"clips": 5, "users": 1, "avgDurationSecs": 4.5},
            "xx": {"clips": 0, "avgDurationSecs": 1}}, "totalHrs": 3}"#;
        let languages = Languages::read(&Source::named("l", text)).unwrap();
        assert_eq!(languages.0, [Locale { tag: "sv-SE".to_owned(), clips: 5, clip_seconds: 4.5 }]);
        assert_eq!(primary("sv-SE"), "sv");
    }

    #[test]
    fn errors_name_their_place() {
        let languages = |text| Languages::read(&Source::named("l", text)).unwrap_err().to_string();
        assert!(languages("").starts_with("l:1:1: JSON: EOF"), "{}", languages(""));
        assert!(languages("{\"locales\": {}}").starts_with("l:1:1: expected at least one locale"));
        assert!(languages("{\"locales\":\n {\"en\": {\"clips\": -1}}}").starts_with("l:2:20: JSON"));
        let tag = languages("{\"locales\": {\"e_n\": {\"clips\": 1, \"avgDurationSecs\": 5}}}");
        assert!(tag.contains("JSON: expected a well-formed language tag") && tag.starts_with("l:1:"), "{tag}");
        let seconds = languages("{\"locales\": {\"en\": {\"clips\": 1, \"avgDurationSecs\": -5}}}");
        assert!(seconds.contains("JSON: expected a clip's seconds") && seconds.starts_with("l:1:"), "{seconds}");
        let pairs = |text| Pairs::read(&Source::named("p", text)).unwrap_err().to_string();
        assert!(pairs("[]").starts_with("p:1:1: expected at least one pair"));
        assert!(pairs("[{\"from_code\": \"sv\"}]").starts_with("p:1:20: JSON: missing field `to_code`"));
    }
}
