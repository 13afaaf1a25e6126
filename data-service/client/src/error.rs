//! The errors of the data service, as its callers see them.

use std::time::Duration;

use weir_connect::error::{Code, ConnectError};
use weir_proto::data::{Refusal, RefusalReason};

use crate::TransportError;

/// Full name of [`Refusal`] on the wire.
pub const REFUSAL_TYPE: &str = "weir.data.v1.Refusal";

/// Why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataError {
    /// The thing that was asked for does not exist.
    #[error("not found: {what}")]
    NotFound {
        /// The service's words.
        what: String,
    },
    /// The request itself is wrong; repeating it does not help.
    #[error("invalid request: {problem}")]
    Invalid {
        /// The service's words.
        problem: String,
    },
    /// A limit, overload or the database's state refused the call: nothing was changed.
    #[error("refused: {message}")]
    Refused {
        /// Why it was refused.
        reason: RefusalReason,
        /// Which limit refused it; empty if none did.
        limit: String,
        /// How long to wait before the next try; zero if waiting does not help.
        retry_after: Duration,
        /// The service's words, for people.
        message: String,
    },
    /// A write may or may not have happened.
    #[error("the write's outcome is not known: {reason}")]
    OutcomeUnknown {
        /// What is known of the write.
        reason: String,
    },
    /// The deadline passed. A write that was under way has an unknown outcome, so it gives
    /// [`DataError::OutcomeUnknown`] instead.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The service cannot be reached, or the connection broke. Only reads give this, so nothing was changed.
    #[error("the data service is unavailable: {reason}")]
    Unavailable {
        /// What the transport said.
        reason: String,
    },
    /// A defect of the service, or a reply that does not decode.
    #[error("the data service failed: {reason}")]
    Failed {
        /// The service's words.
        reason: String,
    },
}

impl DataError {
    /// Translates a transport's error. `write` says whether the call changes something.
    #[must_use]
    pub(crate) fn from_transport(error: TransportError, write: bool) -> Self {
        match error {
            TransportError::NotSent { reason } => Self::Unavailable { reason },
            TransportError::Unknown { reason } if write => Self::OutcomeUnknown { reason },
            TransportError::Unknown { reason } => Self::Unavailable { reason },
            TransportError::Answered(error) => Self::from_answer(error, write),
        }
    }

    fn from_answer(error: ConnectError, write: bool) -> Self {
        let refusal = error.detail::<Refusal>(REFUSAL_TYPE);
        if let Some(refusal) = refusal {
            return Self::Refused {
                reason: refusal.reason(),
                retry_after: Duration::from_millis(refusal.retry_after_ms),
                limit: refusal.limit,
                message: error.message,
            };
        }
        let reason = error.message;
        match error.code {
            Code::NotFound => Self::NotFound { what: reason },
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::AlreadyExists => {
                Self::Invalid { problem: reason }
            }
            // The service answers `unknown` for a write in doubt. It drops a call at its deadline without
            // knowing how far the call was.
            Code::Unknown | Code::Canceled | Code::DeadlineExceeded | Code::Aborted if write => {
                Self::OutcomeUnknown { reason }
            }
            Code::DeadlineExceeded | Code::Canceled => Self::DeadlineExceeded,
            Code::Unavailable | Code::Aborted => Self::Unavailable { reason },
            Code::ResourceExhausted => Self::Refused {
                reason: RefusalReason::Overloaded,
                limit: String::new(),
                retry_after: Duration::ZERO,
                message: reason,
            },
            Code::Unknown
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Self::Failed { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_reason_limit_and_time() {
        let refusal = Refusal {
            reason: RefusalReason::WriteLimit.into(),
            limit: "channel/7/writes".into(),
            retry_after_ms: 250,
        };
        let answer = ConnectError::resource_exhausted("slow down").with_detail(REFUSAL_TYPE, &refusal);
        let error = DataError::from_transport(TransportError::Answered(answer), true);
        assert!(matches!(
            &error,
            DataError::Refused { reason: RefusalReason::WriteLimit, limit, retry_after, message }
                if message == "slow down" && limit == "channel/7/writes" && *retry_after == Duration::from_millis(250)
        ));
    }

    #[test]
    fn every_code_of_a_write_that_may_have_happened_says_so() {
        for code in Code::ALL {
            let answer = || TransportError::Answered(ConnectError::new(code, "x"));
            let in_doubt =
                matches!(DataError::from_transport(answer(), true), DataError::OutcomeUnknown { .. });
            let expected =
                matches!(code, Code::Unknown | Code::Canceled | Code::DeadlineExceeded | Code::Aborted);
            assert_eq!(in_doubt, expected, "{code}");
            assert!(
                !matches!(DataError::from_transport(answer(), false), DataError::OutcomeUnknown { .. }),
                "{code}"
            );
        }
        let lost = TransportError::Unknown { reason: "reset".into() };
        assert!(matches!(DataError::from_transport(lost, true), DataError::OutcomeUnknown { .. }));
    }
}
