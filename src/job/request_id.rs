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
    pub(crate) fn new(text: &Arc<str>) -> Self {
        let mut bytes = [0; INLINE];
        let from = text.as_bytes();
        if from.len() > INLINE {
            return Self::Shared(text.clone());
        }
        copy(from, &mut bytes);
        Self::Inline { len: from.len() as u8, bytes }
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

/// Copies text that is no longer than there is room. By pieces of a fixed length, if it is as long as ids mostly are: a call
/// costs more.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8; INLINE]) {
    const PIECE: usize = 16;
    let Some(last) = from.len().checked_sub(PIECE) else { return to[..from.len()].copy_from_slice(from) };
    to[..PIECE].copy_from_slice(&from[..PIECE]);
    if last > PIECE {
        to[PIECE..2 * PIECE].copy_from_slice(&from[PIECE..2 * PIECE]);
    }
    to[last..last + PIECE].copy_from_slice(&from[last..]);
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(all(test, not(slotyard_loom)))]
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
