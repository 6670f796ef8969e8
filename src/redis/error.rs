//! What goes wrong between an instance and the server.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why the coordinator has not done what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinatorError {
    /// There is no connection, and none could be made in the time there was. Nothing was done.
    #[error("no connection to the coordinator: {detail}")]
    Unreachable {
        /// What came of the last attempt.
        detail: String,
    },
    /// The server has not answered in time. Whether it has done it is not known.
    #[error("the coordinator has not answered within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The connection was lost before the answer came. Whether it was done is not known.
    #[error("the connection to the coordinator was lost: {detail}")]
    Lost {
        /// What was seen of it.
        detail: String,
    },
    /// The user or the password is wrong, or one is needed. Nothing was done.
    #[error("the coordinator does not let us in: {detail}")]
    Unauthenticated {
        /// What the server said.
        detail: String,
    },
    /// The user may not do what is needed: `docs::redis` has what that is. Nothing was done.
    #[error("the coordinator's user lacks a permission: {detail}")]
    NotPermitted {
        /// What the server said.
        detail: String,
    },
    /// The server is older than what is needed. Nothing was done.
    #[error("the coordinator is Redis {found}: 7.0 is needed")]
    WrongVersion {
        /// Its version.
        found: String,
    },
    /// The server is a replica, or one that has been made one. Nothing was done.
    #[error("the coordinator is read-only: {detail}")]
    ReadOnly {
        /// What the server said.
        detail: String,
    },
    /// The server has reached `maxmemory`. Nothing was done; jobs can be moved on and ended yet.
    #[error("the coordinator is out of memory: {detail}")]
    OutOfMemory {
        /// What the server said.
        detail: String,
    },
    /// The server is reading its data yet, or a script has kept it busy for long. Nothing was done.
    #[error("the coordinator is busy: {detail}")]
    Busy {
        /// What the server said.
        detail: String,
    },
    /// The server does not do it for now: too few replicas are there for `min-replicas-to-write`, it could not write its data
    /// to its disk, or its cluster lacks a master. Nothing was done.
    #[error("the coordinator does not do it for now: {detail}")]
    Unavailable {
        /// What the server said.
        detail: String,
    },
    /// The server said what this library does not understand. Keys of this prefix may be another program's, or a later
    /// version's.
    #[error("the coordinator's answer was not understood: {detail}")]
    Malformed {
        /// What it said.
        detail: String,
    },
    /// The library was built without what is needed to connect as is asked, or that is a contradiction. Nothing was done.
    #[error("the coordinator cannot be connected to as is asked: {detail}")]
    Unsupported {
        /// What is missing.
        detail: String,
    },
    /// Anything else that the server refuses. Nothing was done.
    #[error("the coordinator refused: {detail}")]
    Refused {
        /// What the server said.
        detail: String,
    },
}

impl CoordinatorError {
    /// Whether it may have been done all the same. To ask for it once more does no harm.
    pub fn outcome_is_unknown(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Lost { .. } | Self::Malformed { .. })
    }

    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Lost { .. } | Self::ReadOnly { .. } => true,
            Self::OutOfMemory { .. } | Self::Busy { .. } | Self::Unavailable { .. } => true,
            Self::Unauthenticated { .. } | Self::NotPermitted { .. } | Self::WrongVersion { .. } => false,
            Self::Malformed { .. } | Self::Unsupported { .. } | Self::Refused { .. } => false,
        }
    }

    /// Whether it is of the server or of the way to it, and says nothing of what was asked: to ask for that again makes sense
    /// when it has passed, or somebody has mended it.
    pub(super) fn is_of_the_server(&self) -> bool {
        match self {
            Self::Unauthenticated { .. } | Self::NotPermitted { .. } | Self::WrongVersion { .. } => true,
            _ => self.is_transient(),
        }
    }

    /// The same, of connecting: nothing was asked for yet, and whatever it was is tried again.
    pub(super) fn of_connecting(self) -> Self {
        match self {
            Self::TimedOut { .. } | Self::Lost { .. } | Self::Malformed { .. } | Self::Refused { .. } => {
                Self::Unreachable { detail: self.to_string() }
            }
            other => other,
        }
    }

    /// What the server has said, or what came of the connection on the way.
    pub(super) fn of(error: &RedisError) -> Self {
        let detail = error.to_string();
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
                Self::Unauthenticated { detail }
            }
            (ErrorKind::Server(ServerErrorKind::NoPerm), _) => Self::NotPermitted { detail },
            (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => Self::ReadOnly { detail },
            (ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown), _) => Self::Busy { detail },
            (_, Some("BUSY")) => Self::Busy { detail },
            (_, Some("OOM")) => Self::OutOfMemory { detail },
            // Of scripts it has forgotten one that it was just told.
            (ErrorKind::Server(ServerErrorKind::ClusterDown | ServerErrorKind::NoScript), _)
            | (_, Some("NOREPLICAS" | "MISCONF")) => Self::Unavailable { detail },
            (ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::EmptySentinelList, _) => Self::Unreachable { detail },
            (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => Self::Malformed { detail },
            (ErrorKind::Io, _) => Self::Lost { detail },
            _ if error.is_unrecoverable_error() => Self::Lost { detail },
            _ => Self::Refused { detail },
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_told_from_what_is_final() {
        let of = |said: &str| {
            let answer = redis::parse_redis_value(format!("-{said} and more\r\n").as_bytes());
            CoordinatorError::of(&answer.and_then(redis::Value::extract_error).unwrap_err())
        };
        for said in
            ["NOREPLICAS", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "BUSY", "OOM", "READONLY", "NOSCRIPT"]
        {
            let error = of(said);
            assert!(error.is_transient() && error.is_of_the_server() && !error.outcome_is_unknown(), "{error:?}");
            assert!(error.to_string().contains("and more"), "{error}");
        }
        for said in ["NOAUTH", "WRONGPASS", "NOPERM"] {
            let error = of(said);
            assert!(!error.is_transient() && error.is_of_the_server(), "{error:?}");
            assert_eq!(error.clone().of_connecting(), error);
        }
        let refused = of("ERR max number of clients reached");
        assert!(!refused.is_transient() && !refused.is_of_the_server(), "{refused:?}");
        assert!(refused.of_connecting().is_transient());
        let no_master = RedisError::from((redis::ErrorKind::MasterNameNotFoundBySentinel, "no master"));
        assert!(CoordinatorError::of(&no_master).is_transient());
        // Nothing was asked for yet.
        let late = CoordinatorError::TimedOut { after: Duration::from_secs(1) };
        assert!(late.outcome_is_unknown() && !late.of_connecting().outcome_is_unknown());
    }
}
