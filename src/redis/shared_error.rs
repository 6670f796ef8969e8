//! What goes wrong with an operation that several instances have a part in.

use std::time::Duration;

use super::error::CoordinatorError;

/// Why an operation of a shared scheduler was not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError<E> {
    /// As by a scheduler that is not shared.
    #[error(transparent)]
    Refused(E),
    /// The coordinator could not be asked, or has refused.
    #[error(transparent)]
    Coordinator(CoordinatorError),
    /// The server has lost what it knew of leases, and all nodes that could do this may be full, for all that is known.
    #[error("the coordinator has lost what it knew: slots are given out again in {retry_after:?}")]
    WarmingUp {
        /// When the first of them may be known to be free again.
        retry_after: Duration,
    },
    /// The operation's task has ended without an outcome: the scheduler was being dropped, or there is a bug.
    #[error("the scheduler has stopped")]
    Stopped,
}

impl<E> From<CoordinatorError> for SharedError<E> {
    fn from(error: CoordinatorError) -> Self {
        Self::Coordinator(error)
    }
}

impl<E> SharedError<E> {
    /// The same, of an operation that this one is a part of.
    pub(super) fn map<T: From<E>>(self) -> SharedError<T> {
        match self {
            Self::Refused(error) => SharedError::Refused(error.into()),
            Self::Coordinator(error) => SharedError::Coordinator(error),
            Self::WarmingUp { retry_after } => SharedError::WarmingUp { retry_after },
            Self::Stopped => SharedError::Stopped,
        }
    }
}

macro_rules! refused {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for SharedError<$error> {
                fn from(error: $error) -> Self {
                    Self::Refused(error)
                }
            }
        )*
    };
}

use crate::error::{CreateJobError, NodeError, RegisterError, RetryError};
refused!(CreateJobError, NodeError, RegisterError, RetryError);
