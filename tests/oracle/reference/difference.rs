//! What a scheduler and its model do not agree on.

use std::fmt;

/// In words, with the values of both.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Difference(String);

impl Difference {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// After which step it was found.
    pub(crate) fn at(self, number: usize, step: &dyn fmt::Debug) -> Self {
        Self(format!("step {number}, {step:?}: {self}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns a difference unless both are equal: first what the scheduler says, then what the model does.
macro_rules! same {
    ($found:expr, $expected:expr $(,)?) => {
        same!($found, $expected, "{}", stringify!($found))
    };
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if !(*found == *expected) {
                    let what = format!($($what)+);
                    return Err(Difference::new(format!("{what}: the scheduler says {found:?}, the model {expected:?}")));
                }
            }
        }
    };
}

/// Returns a difference unless this holds.
macro_rules! holds {
    ($condition:expr $(,)?) => {
        holds!($condition, "{} does not hold", stringify!($condition))
    };
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(Difference::new(format!($($what)+)));
        }
    };
}

pub(crate) use {holds, same};
