//! Words of texts that are made of words: what would end one is written as `%` and two hexadecimal digits.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` without spaces, control characters and what is in `also`.
pub(crate) fn escape<'a>(text: &'a str, also: &[char]) -> Cow<'a, str> {
    let ends_a_word =
        |character: char| matches!(character, '%' | ' ' | '\0'..='\x1f' | '\x7f') || also.contains(&character);
    debug_assert!(also.iter().all(char::is_ascii), "two digits are of one byte");
    if !text.contains(ends_a_word) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if ends_a_word(character) {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{:02X}", character as u32);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// What was escaped. What nobody of ours has written is left as it is.
pub(crate) fn unescape(word: &str) -> Cow<'_, str> {
    if !word.contains('%') {
        return Cow::Borrowed(word);
    }
    let mut pieces = word.split('%');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let byte = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii);
        match byte {
            Some(byte) => {
                text.push(byte.into());
                text.push_str(&piece[2..]);
            }
            None => {
                text.push('%');
                text.push_str(piece);
            }
        }
    }
    Cow::Owned(text)
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_comes_back_and_is_one_word(text in any::<String>()) {
            let word = escape(&text, &['{', '}', ',']);
            prop_assert_eq!(unescape(&word), &*text);
            let is_one = !word.contains([' ', '{', '}', ',', '\n', '\r']);
            prop_assert!(is_one);
        }

        #[test]
        fn whatever_is_read_does_no_harm(word in any::<String>()) {
            unescape(&word);
        }
    }
}
