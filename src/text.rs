//! A string that never changes, kept in place if it is short: then it costs no allocation, and no further line of memory
//! has to be fetched to compare it.
//!
//! Invariant: what is kept in place is the beginning of a `bytes` and came from a `str` of that length.

use std::sync::Arc;

/// Bytes that are kept in place: as many as go into the room that the other form takes with its tag.
const IN_PLACE: usize = 22;

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Text(Form);

#[derive(Clone)]
enum Form {
    Short { len: u8, bytes: [u8; IN_PLACE] },
    Long(Arc<str>),
}

impl Text {
    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            // SAFETY: made in `from` of all the bytes of a `str`, and never changed.
            Form::Short { len, bytes } => unsafe { std::str::from_utf8_unchecked(&bytes[..usize::from(*len)]) },
            Form::Long(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let len = text.len();
        if len > IN_PLACE {
            return Self(Form::Long(text.into()));
        }
        let mut bytes = [0; IN_PLACE];
        bytes[..len].copy_from_slice(text.as_bytes());
        Self(Form::Short { len: len as u8, bytes })
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_is_what_it_was_made_of(text in "\\PC{0,30}") {
            let kept = Text::from(&*text);
            prop_assert_eq!(kept.as_str(), text);
        }
    }

    #[test]
    fn texts_of_every_length_about_the_limit_come_back() {
        for len in 0..2 * IN_PLACE {
            let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
            assert_eq!(Text::from(&*text).clone().as_str(), text);
        }
        assert_eq!(size_of::<Text>(), IN_PLACE + 2);
    }
}
