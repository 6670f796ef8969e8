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
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Self::Inline { len: text.len() as u8, bytes }
            }
            None => Self::Shared(text.clone()),
        }
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
