//! The small things that inputs are made of: names, languages, times. Mostly good ones, sometimes whatever the bytes say.
//!
//! A good one is one byte: where each takes many, most of what the fuzzer changes is of no consequence, and few inputs get as
//! far as a demand that a node can do.

use std::borrow::Cow;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use slotyard::{IntoLanguage, Language, LanguageError};

/// A name of a few that recur, or any, or one of a length that may be too much.
#[derive(Debug, Clone)]
pub enum Name<'a> {
    /// One of a few, so that several things have the same.
    Known(u8),
    /// Any.
    Any(&'a str),
    /// So many bytes.
    Long(u8, u16),
}

impl<'a> Arbitrary<'a> for Name<'a> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match bytes.arbitrary()? {
            known @ 0..=247 => Self::Known(known),
            248..=251 => Self::Any(bytes.arbitrary()?),
            _ => Self::Long(bytes.arbitrary()?, bytes.arbitrary()?),
        })
    }
}

impl Name<'_> {
    /// The name, where these are the known ones.
    pub fn text(&self, known: &'static [&'static str]) -> Cow<'_, str> {
        match self {
            Self::Known(n) => known[usize::from(*n) % known.len()].into(),
            Self::Any(text) => Cow::Borrowed(text),
            Self::Long(letter, len) => char::from(b'a' + letter % 26).to_string().repeat((*len % 1100).into()).into(),
        }
    }
}

/// A language, or what is none.
#[derive(Debug, Clone)]
pub enum Tag<'a> {
    /// One of a few, which may match themselves only.
    Known(u8),
    /// Any.
    Any(&'a str),
    /// Any that matches itself only.
    Exact(&'a str),
}

impl<'a> Arbitrary<'a> for Tag<'a> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match bytes.arbitrary()? {
            known @ 0..=247 => Self::Known(known),
            248..=251 => Self::Any(bytes.arbitrary()?),
            _ => Self::Exact(bytes.arbitrary()?),
        })
    }
}

impl IntoLanguage for &Tag<'_> {
    fn into_language(self) -> Result<Language, LanguageError> {
        const TAGS: [&str; 6] = ["zh", "zh-CN", "zh-TW", "en", "de", "x-own"];
        match self {
            Tag::Known(n) if n % 4 == 3 => Language::exact(TAGS[usize::from(n / 4) % TAGS.len()]),
            Tag::Known(n) => Language::new(TAGS[usize::from(n / 4) % TAGS.len()]),
            Tag::Any(text) => Language::new(text),
            Tag::Exact(text) => Language::exact(text),
        }
    }
}

/// Well-formed tags that differ, so many.
pub fn many_tags(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| [n / 676, n / 26, n].map(|n| char::from(b'a' + (n % 26) as u8)).iter().collect())
}

/// A time.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Time {
    /// Milliseconds, up to a minute.
    Short(u16),
    /// Seconds, up to two years.
    Long(u32),
    /// Any.
    Any(u64, u32),
}

impl Time {
    /// The time.
    pub fn duration(self) -> Duration {
        match self {
            Self::Short(ms) => Duration::from_millis(ms.into()),
            Self::Long(seconds) => Duration::from_secs((seconds % (732 * 24 * 3600)).into()),
            Self::Any(seconds, nanos) => Duration::new(seconds, nanos % 1_000_000_000),
        }
    }
}
