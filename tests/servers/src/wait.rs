//! All that sleeps or reads a clock in this package. No verdict hangs on it: what is waited for comes, or never will.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// A minute at least, for a machine that does much else; a sentinel that was itself stopped does nothing for half of that.
const LOOKS: u32 = 12_000;

/// Looks again and again until something is there, or for so long that it will not come any more.
pub(crate) fn poll<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return Some(found);
        }
        pause();
    }
    None
}

/// Leaves the processor to others for a moment.
pub(crate) fn pause() {
    thread::sleep(PAUSE);
}

/// Waits until something holds, and looks every few milliseconds.
///
/// # Panics
/// When it does not for more than a minute; `what` says what was waited for.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    assert!(poll(|| holds().then_some(())).is_some(), "waited in vain until {what}");
}

/// A moment to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due(Instant);

impl Due {
    /// So long from now.
    pub(crate) fn after(delay: Duration) -> Self {
        Self(Instant::now() + delay)
    }

    /// How long it is until then; nothing once it is past.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
