//! Languages: BCP-47 tags, matched by their primary subtag unless said otherwise.

use std::fmt;
use std::sync::Arc;

use oxilangtag::LanguageTag;

/// A tag longer than this is refused; RFC 5646 asks implementations to take at least 35 bytes.
pub const MAX_TAG_LEN: usize = 64;

/// A language, as a BCP-47 tag (`zh`, `zh-CN`, `pt-BR`).
///
/// Two languages match when their primary subtags are equal, so `zh-CN` serves `zh` and the other way round. One
/// made by [`Language::exact`] matches only the very same tag.
///
/// ```
/// use slotyard::Language;
///
/// let mainland = Language::new("zh-cn")?;
/// assert_eq!(mainland.tag(), "zh-CN"); // normalised
/// assert!(mainland.matches(&Language::new("zh")?));
/// assert!(!Language::exact("zh-TW")?.matches(&mainland));
/// # Ok::<(), slotyard::LanguageError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Language {
    tag: Arc<str>,
    exact: bool,
    /// It stands for whatever tags have this primary subtag, as in a pool of nodes that differ in the rest.
    family: bool,
}

/// A language tag that is not well-formed BCP-47.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("language tag {tag:?} is malformed: {reason}")]
pub struct LanguageError {
    /// The tag as it was given, cut to 64 bytes.
    pub tag: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Language {
    /// A language that matches by its primary subtag.
    ///
    /// # Errors
    /// [`LanguageError`] when `tag` is not well-formed BCP-47 or longer than 64 bytes.
    pub fn new(tag: impl AsRef<str>) -> Result<Self, LanguageError> {
        Self::parse(tag.as_ref(), false)
    }

    /// A language that matches only the very same tag (compared without regard to case).
    ///
    /// # Errors
    /// As [`Language::new`].
    pub fn exact(tag: impl AsRef<str>) -> Result<Self, LanguageError> {
        Self::parse(tag.as_ref(), true)
    }

    fn parse(tag: &str, exact: bool) -> Result<Self, LanguageError> {
        let shown = &tag[..tag.floor_char_boundary(MAX_TAG_LEN)];
        let refuse = |reason: String| LanguageError { tag: shown.to_owned(), reason };
        if tag.len() > MAX_TAG_LEN {
            return Err(refuse(format!("{} bytes, at most {MAX_TAG_LEN} are taken", tag.len())));
        }
        let parsed = LanguageTag::parse_and_normalize(tag).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { tag: parsed.as_str().into(), exact, family: false })
    }

    /// The normalised tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The primary subtag: `zh` of `zh-CN`. Of a tag that has none, private (`x-elvish`) or irregular (`i-default`), the
    /// whole.
    pub fn primary(&self) -> &str {
        match self.tag.split_once('-') {
            Some((primary, _)) if primary.len() > 1 => primary,
            _ => &self.tag,
        }
    }

    /// Whether this language matches the very same tag only.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether one may stand for the other: equal tags if either is exact, else equal primary subtags.
    pub fn matches(&self, other: &Language) -> bool {
        if self.exact || other.exact {
            self.tag == other.tag && !self.family && !other.family
        } else {
            self.primary() == other.primary()
        }
    }

    /// This language, matched by its primary subtag where the other side allows.
    pub(crate) fn loose(&self) -> Language {
        Self { exact: false, ..self.clone() }
    }

    /// What pools of equal nodes are told apart by: the whole tag if exact, else the primary subtag.
    pub(crate) fn canonical(&self) -> Language {
        if self.exact { self.clone() } else { Self { tag: self.primary().into(), exact: false, family: true } }
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.exact { "=" } else { "" }, self.tag)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tag)
    }
}

/// What the builders take where they ask for a language: a tag, or a [`Language`].
pub trait IntoLanguage {
    /// The language, or what is wrong with the tag.
    ///
    /// # Errors
    /// [`LanguageError`] when the tag is malformed.
    fn into_language(self) -> Result<Language, LanguageError>;
}

impl IntoLanguage for &str {
    fn into_language(self) -> Result<Language, LanguageError> {
        Language::new(self)
    }
}

impl IntoLanguage for &&str {
    fn into_language(self) -> Result<Language, LanguageError> {
        Language::new(self)
    }
}

impl IntoLanguage for String {
    fn into_language(self) -> Result<Language, LanguageError> {
        Language::new(self)
    }
}

impl IntoLanguage for &String {
    fn into_language(self) -> Result<Language, LanguageError> {
        Language::new(self)
    }
}

impl IntoLanguage for Language {
    fn into_language(self) -> Result<Language, LanguageError> {
        Ok(self)
    }
}

impl IntoLanguage for &Language {
    fn into_language(self) -> Result<Language, LanguageError> {
        Ok(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_subtags_match_unless_exact() {
        let zh = Language::new("zh").unwrap();
        let cn = Language::new("ZH-cn").unwrap();
        let tw = Language::exact("zh-TW").unwrap();
        assert!(zh.matches(&cn) && cn.matches(&zh));
        assert!(!tw.matches(&zh) && !zh.matches(&tw) && !tw.matches(&cn));
        assert!(tw.matches(&Language::new("zh-tw").unwrap()));
        assert_eq!((cn.canonical(), tw.canonical()), (zh.canonical(), tw.clone()));
        // Nodes of `zh-CN` and of `zh-TW` share a pool, so the pool as such serves neither exactly.
        assert!(cn.canonical().matches(&cn) && !cn.canonical().matches(&tw));
        assert!(!zh.canonical().matches(&Language::exact("zh").unwrap()));
    }

    #[test]
    fn malformed_tags_are_named() {
        for bad in ["", "z_h", "1", "toolonglanguage", &"a".repeat(65)] {
            let error = Language::new(bad).unwrap_err();
            assert!(bad.starts_with(&error.tag), "{error}");
        }
    }
}
