//! A request id, kept with its job.

use std::fmt;
use std::sync::Arc;

/// Longest id that is kept in place, so that the whole is five words.
const INLINE: usize = 38;

/// Most ids are short and cost no allocation; a longer one is shared with the request that brought it.
pub(crate) enum RequestId {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Arc<str>),
}

impl RequestId {
    /// Whether a text is kept in place.
    #[inline(always)]
    pub(crate) fn is_short(text: &str) -> bool {
        text.len() <= INLINE
    }

    /// Of a text that is.
    #[inline(always)]
    pub(crate) fn short(text: &str) -> Self {
        Self::Inline { len: text.len() as u8, bytes: padded(text.as_bytes()) }
    }

    pub(crate) fn new(text: &Arc<str>) -> Self {
        if Self::is_short(text) { Self::short(text) } else { Self::Shared(text.clone()) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Shared(text) => text.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Inline { .. } => std::str::from_utf8(self.as_bytes()).expect("it was made of a whole string"),
            Self::Shared(text) => text,
        }
    }
}

/// Text that is no longer than there is room, and zeros. Put together from words, since what is copied into an array by
/// pieces, and then with that to where it is kept, waits there for the pieces to be written.
#[inline(always)]
fn padded(from: &[u8]) -> [u8; INLINE] {
    const WORD: usize = size_of::<u64>();
    let (whole, rest) = from.as_chunks::<WORD>();
    // What goes beyond whole words comes out of the last eight bytes, less those that are in a word already.
    let rest = match (from.last_chunk(), rest.len()) {
        (_, 0) => 0,
        (Some(last), few) => u64::from_le_bytes(*last) >> (8 * (WORD - few)),
        (None, _) => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let word = |at: usize| match whole.get(at) {
        Some(word) => *word,
        None => if at == whole.len() { rest } else { 0 }.to_le_bytes(),
    };
    let mut bytes = [0; INLINE];
    for (at, piece) in bytes.chunks_mut(WORD).enumerate() {
        piece.copy_from_slice(&word(at)[..piece.len()]);
    }
    bytes
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_length_come_back() {
        for len in 0..100 {
            let text: Arc<str> =
                "ü".repeat(len / 2).chars().chain("x".repeat(len % 2).chars()).collect::<String>().into();
            let id = RequestId::new(&text);
            assert_eq!((id.as_str(), id.as_bytes()), (&*text, text.as_bytes()));
            assert_eq!(matches!(id, RequestId::Shared(_)), len > INLINE);
        }
        assert_eq!(size_of::<RequestId>(), 40);
    }
}
