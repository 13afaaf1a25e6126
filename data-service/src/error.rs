//! What a caller is told: one table from every failure inside to a Connect error.

use weir_connect::error::{Code, ConnectError};
use weir_data_client::error::REFUSAL_TYPE;
use weir_protect::{ReadError, RefusalReason as Gate};
use weir_proto::data::{Refusal, RefusalReason};

use crate::{
    read_path::Failure,
    sequencer::op::{ChangeError, Refused},
};

/// Milliseconds after which a caller may try again when the database or ownership is the reason: about a lease's renewal.
const RETRY_LATER_MS: u64 = 1_000;

/// An error with a typed refusal.
fn refusal(
    code: Code,
    reason: RefusalReason,
    limit: &str,
    retry_after_ms: u64,
    message: String,
) -> ConnectError {
    let detail = Refusal { reason: reason.into(), limit: limit.to_owned(), retry_after_ms };
    ConnectError::new(code, message).with_detail(REFUSAL_TYPE, &detail)
}

/// Milliseconds, rounded up: a caller that comes back after them finds room.
fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// The wire's reason for a gate's refusal.
#[must_use]
pub fn reason_of(gate: Gate) -> RefusalReason {
    match gate {
        Gate::RequestLimit => RefusalReason::RequestLimit,
        Gate::DatabaseReadLimit => RefusalReason::DatabaseReadLimit,
        Gate::WriteLimit => RefusalReason::WriteLimit,
        Gate::ConcurrencyQueueFull | Gate::ConcurrencyWait => RefusalReason::Concurrency,
        // `FlightsFull`, and what a later version of the layer adds: the node is full.
        _ => RefusalReason::Overloaded,
    }
}

/// The error of a read.
#[must_use]
pub fn of_read(failure: Failure) -> ConnectError {
    match failure {
        ReadError::DeadlineExceeded { stage } => {
            ConnectError::deadline_exceeded(format!("the deadline passed ({})", stage.label()))
        }
        ReadError::Refused(refused) => refusal(
            Code::ResourceExhausted,
            reason_of(refused.reason),
            &refused.limit,
            ms(refused.retry_after),
            format!("refused by {} {}", refused.reason.label(), refused.limit),
        ),
        ReadError::Store(error) => match error {
            weir_store::ReadError::Timeout | weir_store::ReadError::Unavailable { .. } => {
                database(error.to_string())
            }
            weir_store::ReadError::Corrupt { .. } => {
                tracing::error!(error = %error, "stored data is damaged");
                ConnectError::new(Code::DataLoss, error.to_string())
            }
        },
        ReadError::StoreTimeout { after } => {
            database(format!("the database did not answer within {after:?}"))
        }
        ReadError::Panicked => ConnectError::internal("the read failed; it is logged"),
        ReadError::Stopped => refusal(
            Code::Unavailable,
            RefusalReason::Stopping,
            "",
            RETRY_LATER_MS,
            "the data service is stopping".to_owned(),
        ),
        // The layer may add kinds of errors; none of them changed anything.
        other => ConnectError::unavailable(other.to_string()),
    }
}

fn database(message: String) -> ConnectError {
    refusal(Code::Unavailable, RefusalReason::DatabaseUnavailable, "", RETRY_LATER_MS, message)
}

/// The error of a change.
#[must_use]
pub fn of_change(error: &ChangeError) -> ConnectError {
    let message = error.to_string();
    match error {
        ChangeError::NotFound(_) => ConnectError::not_found(message),
        ChangeError::Invalid(_) => ConnectError::invalid_argument(message),
        ChangeError::Conflict(_) => refusal(Code::Aborted, RefusalReason::Conflict, "", 0, message),
        // `deadline_exceeded` of a write means doubt to callers; this one certainly did not happen, and says so by its refusal.
        ChangeError::Deadline => refusal(Code::ResourceExhausted, RefusalReason::Overloaded, "", 0, message),
        // `unknown` is Connect's word for it; clients of ours read it as doubt for every write.
        ChangeError::OutcomeUnknown => ConnectError::unknown(message),
        ChangeError::Refused(refused) => match refused {
            Refused::Overloaded | Refused::TableFull => {
                refusal(Code::ResourceExhausted, RefusalReason::Overloaded, "", RETRY_LATER_MS, message)
            }
            Refused::Database(_) => database(message),
            Refused::NotOwner => {
                refusal(Code::Unavailable, RefusalReason::NotOwner, "", RETRY_LATER_MS, message)
            }
            Refused::Clock(_) => {
                refusal(Code::Unavailable, RefusalReason::Clock, "", RETRY_LATER_MS, message)
            }
            Refused::Limit { limit, reason, retry_after } => {
                refusal(Code::ResourceExhausted, *reason, limit, ms(*retry_after), message)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refusal_tells_reason_limit_and_time_rounded_up() {
        let error = of_change(&ChangeError::Refused(Refused::Limit {
            limit: "channel/7/writes".into(),
            reason: RefusalReason::WriteLimit,
            retry_after: Duration::from_micros(1_001),
        }));
        let detail: Refusal = error.detail(REFUSAL_TYPE).expect("typed");
        assert_eq!((detail.reason(), detail.retry_after_ms), (RefusalReason::WriteLimit, 2));
        assert_eq!(detail.limit, "channel/7/writes");
    }

    #[test]
    fn only_doubt_is_told_as_doubt() {
        assert_eq!(of_change(&ChangeError::OutcomeUnknown).code, Code::Unknown);
        for error in [
            ChangeError::Deadline,
            ChangeError::Conflict("role"),
            ChangeError::Refused(Refused::TableFull),
            ChangeError::Refused(Refused::NotOwner),
            ChangeError::Refused(Refused::Database("down".into())),
        ] {
            assert!(of_change(&error).detail::<Refusal>(REFUSAL_TYPE).is_some(), "{error:?}");
        }
    }
}
