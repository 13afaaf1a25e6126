//! The errors that callers get: one table from every internal failure to a Connect error.

use std::time::Duration;

use weir_connect::error::{Code, ConnectError};
use weir_data_client::error::REFUSAL_TYPE;
use weir_protect::{ReadError, RefusalReason as Gate};
use weir_proto::{
    data::{Refusal, RefusalReason},
    refusal::RefusalCause,
};

use crate::{
    ownership::mint::{AHEAD_MS_MAX, MintError},
    read::Failure,
    write::error::{ChangeError, Refused},
};

/// Milliseconds after which a caller may retry when the database or ownership is the reason: about a lease's
/// renewal.
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

/// Longest wait sent to a caller, in milliseconds: the reason may end sooner (a clock that is set right).
const RETRY_MAX_MS: u64 = 60_000;

/// Milliseconds, rounded up: a caller that comes back after them finds room.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// The wire's reason for a gate's refusal.
#[must_use]
pub fn reason_of(gate: Gate) -> RefusalReason {
    match gate {
        Gate::RequestLimit => RefusalReason::RequestLimit,
        Gate::DatabaseReadLimit => RefusalReason::DatabaseReadLimit,
        Gate::WriteLimit => RefusalReason::WriteLimit,
        // Only writes are charged several at once.
        Gate::BeyondBurst => RefusalReason::WriteBurst,
        Gate::ConcurrencyQueueFull | Gate::ConcurrencyWait => RefusalReason::Concurrency,
        // `FlightsFull`, and reasons that a later version of the layer adds: the node is full.
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
            over(&refused.limit, refused.reason.label(), refused.retry_after),
        ),
        ReadError::Store(error) => match error {
            weir_store::ReadError::Timeout | weir_store::ReadError::Unavailable { .. } => {
                database(error.to_string())
            }
            weir_store::ReadError::Corrupt { .. } => ConnectError::new(Code::DataLoss, error.to_string()),
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

/// A limit's refusal in words: the limit, the reason, and the wait.
fn over(limit: &str, reason: &str, wait: Duration) -> String {
    let seconds = ms(wait) as f64 / 1_000.0;
    if limit.is_empty() {
        return format!("{reason}: retry after {seconds} s");
    }
    format!("over the limit {limit} ({reason}): retry after {seconds} s")
}

/// The answer of a data service that cannot serve yet.
pub(crate) fn standing_by() -> ConnectError {
    let message = "this data service is opening its store, or waits for another one's lease; see its /readyz";
    refusal(Code::Unavailable, RefusalReason::NotOwner, "", RETRY_LATER_MS, message.to_owned())
}

/// Cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller or a limit caused it: nothing is wrong here.
    Callers,
    /// The database or this service caused it; it may pass.
    Database,
    /// Stored data is damaged; it does not pass by itself.
    Damage,
}

/// The name of a refusal in metrics and logs.
#[must_use]
pub fn word_of(reason: RefusalReason) -> &'static str {
    reason.label()
}

/// The name of an error in metrics, and its cause.
#[must_use]
pub fn fault_of(error: &ConnectError) -> (&'static str, Fault) {
    if let Some(refusal) = error.detail::<Refusal>(REFUSAL_TYPE) {
        let reason = refusal.reason();
        let fault = match reason.cause() {
            RefusalCause::Database => Fault::Database,
            // Refusals of ownership and clock are logged separately at their begin and end.
            RefusalCause::Request | RefusalCause::Service => Fault::Callers,
        };
        return (word_of(reason), fault);
    }
    let fault = match error.code {
        Code::DataLoss => Fault::Damage,
        Code::Unknown | Code::Internal | Code::Unavailable => Fault::Database,
        Code::Canceled
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Fault::Callers,
    };
    (error.code.as_str(), fault)
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
        ChangeError::NotAllowed(_) => {
            refusal(Code::PermissionDenied, RefusalReason::NotAllowed, "", 0, message)
        }
        ChangeError::Conflict(_) => refusal(Code::Aborted, RefusalReason::Conflict, "", 0, message),
        // It is not `resource_exhausted`: waiting does not help.
        ChangeError::Maximum(what) => refusal(Code::FailedPrecondition, what.reason(), "", 0, message),
        ChangeError::OwnedGuilds => {
            refusal(Code::FailedPrecondition, RefusalReason::OwnedGuilds, "", 0, message)
        }
        // For callers, `deadline_exceeded` of a write means doubt; this one certainly did not happen, and its
        // refusal says so.
        ChangeError::Deadline => refusal(Code::ResourceExhausted, RefusalReason::Overloaded, "", 0, message),
        // `unknown` is Connect's code for it; our clients read it as doubt for every write.
        ChangeError::OutcomeUnknown => ConnectError::unknown(message),
        ChangeError::Refused(refused) => match refused {
            Refused::Overloaded | Refused::TableFull => {
                refusal(Code::ResourceExhausted, RefusalReason::Overloaded, "", RETRY_LATER_MS, message)
            }
            Refused::Database(_) => database(message),
            Refused::NotOwner => {
                refusal(Code::Unavailable, RefusalReason::NotOwner, "", RETRY_LATER_MS, message)
            }
            Refused::ClockBehind(MintError::Ahead { ahead_ms }) => {
                let wait_ms = ahead_ms.saturating_sub(AHEAD_MS_MAX).clamp(1, RETRY_MAX_MS);
                refusal(Code::Unavailable, RefusalReason::Clock, "", wait_ms, message)
            }
            Refused::ClockBehind(MintError::LeaseEnded) | Refused::ClockOff(_) => {
                refusal(Code::Unavailable, RefusalReason::Clock, "", RETRY_LATER_MS, message)
            }
            // It is not `resource_exhausted`: waiting does not help.
            Refused::Limit { limit, reason: reason @ RefusalReason::WriteBurst, .. } => {
                let message = format!("more changes at once than the limit {limit} ever lets through");
                refusal(Code::FailedPrecondition, *reason, limit, 0, message)
            }
            Refused::Limit { limit, reason, retry_after } => {
                let message = over(limit, word_of(*reason), *retry_after);
                refusal(Code::ResourceExhausted, *reason, limit, ms(*retry_after), message)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::error::Maximum;

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
        assert_eq!(error.message, "over the limit channel/7/writes (write_limit): retry after 0.002 s");
    }

    #[test]
    fn a_clock_behind_tells_how_far_and_an_honest_wait() {
        for (ahead_ms, wait_ms, said) in [(3_600_250, 60_000, "3600.2 s"), (2_500, 2_000, "2.5 s")] {
            let error = of_change(&ChangeError::Refused(Refused::ClockBehind(MintError::Ahead { ahead_ms })));
            let detail: Refusal = error.detail(REFUSAL_TYPE).expect("typed");
            assert_eq!((detail.reason(), detail.retry_after_ms), (RefusalReason::Clock, wait_ms));
            assert!(error.message.contains(said), "{}", error.message);
        }
    }

    #[test]
    fn only_doubt_is_told_as_doubt() {
        assert_eq!(of_change(&ChangeError::OutcomeUnknown).code, Code::Unknown);
        for error in [
            ChangeError::Deadline,
            ChangeError::Conflict("role"),
            ChangeError::Maximum(Maximum::Roles),
            ChangeError::OwnedGuilds,
            ChangeError::Refused(Refused::TableFull),
            ChangeError::Refused(Refused::NotOwner),
            ChangeError::Refused(Refused::Database("down".into())),
        ] {
            assert!(of_change(&error).detail::<Refusal>(REFUSAL_TYPE).is_some(), "{error:?}");
        }
    }
}
