//! What the driver's errors mean for a read and for a write.
//!
//! For a write only one question matters: can it have happened, or can it still happen? `NotApplied` is given
//! only where the driver or the coordinator refused before anything was sent to a replica. Every other error,
//! known or new, is `Unknown`.

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use crate::{ReadError, WriteError};

/// The kind of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteKind {
    /// A plain write or batch.
    Write,
    /// A lightweight transaction. It has several rounds, so a coordinator that refuses one of them may have
    /// finished an earlier one.
    Transaction,
}

/// Translates the error of a read.
pub(super) fn read_error(error: &ExecutionError) -> ReadError {
    match error {
        ExecutionError::RequestTimeout(_)
        | ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::ReadTimeout { .. }, _)) => {
            ReadError::Timeout
        }
        error => ReadError::Unavailable { reason: error.to_string() },
    }
}

/// Whether another node may succeed at once, because the one that was asked was unreachable or unwilling.
pub(super) fn read_may_be_repeated(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::ConnectionPoolError(_) => true,
        ExecutionError::LastAttemptError(attempt) => match attempt {
            RequestAttemptError::BrokenConnectionError(_) | RequestAttemptError::UnableToAllocStreamId => {
                true
            }
            RequestAttemptError::DbError(error, _) => {
                matches!(error, DbError::IsBootstrapping | DbError::Unavailable { .. } | DbError::ServerError)
            }
            _ => false,
        },
        _ => false,
    }
}

/// Translates the error of a write.
pub(super) fn write_error(error: &ExecutionError, kind: WriteKind) -> WriteError {
    let reason = error.to_string();
    if refused_before(error, kind) {
        WriteError::NotApplied { reason }
    } else {
        WriteError::Unknown { reason }
    }
}

/// Whether it is certain that no replica was asked.
fn refused_before(error: &ExecutionError, kind: WriteKind) -> bool {
    match error {
        // Nothing left this process.
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_) => true,
        ExecutionError::LastAttemptError(attempt) => attempt_refused_before(attempt, kind),
        ExecutionError::RequestTimeout(_)
        | ExecutionError::UseKeyspaceError(_)
        | ExecutionError::SchemaAgreementError(_)
        | ExecutionError::MetadataError(_) => false,
        // The driver's enums may grow; an unknown error counts as harmful.
        _ => false,
    }
}

fn attempt_refused_before(attempt: &RequestAttemptError, kind: WriteKind) -> bool {
    match attempt {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::UnableToAllocStreamId
        // The node did not know the statement, so it did not run it.
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch => true,
        RequestAttemptError::DbError(error, _) => database_refused_before(error, kind),
        // The request was sent, and its answer is lost or not understood.
        RequestAttemptError::BrokenConnectionError(_)
        | RequestAttemptError::BodyExtensionsParseError(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::CqlErrorParseError(_)
        | RequestAttemptError::UnexpectedResponse(_)
        | RequestAttemptError::NonfinishedPagingState => false,
        _ => false,
    }
}

fn database_refused_before(error: &DbError, kind: WriteKind) -> bool {
    match error {
        // The statement itself was refused before it ran.
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::Unprepared { .. }
        | DbError::ProtocolError
        | DbError::IsBootstrapping => true,
        // A coordinator counts live replicas before it sends; in a transaction it also counts them between
        // accepting and committing.
        DbError::Unavailable { .. } => kind == WriteKind::Write,
        DbError::RateLimitReached { rejected_by_coordinator, .. } => *rejected_by_coordinator,
        // Overload is found before replicas are written to, but also meanwhile.
        DbError::Overloaded
        | DbError::ReadTimeout { .. }
        | DbError::WriteTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::WriteFailure { .. }
        | DbError::TruncateError
        | DbError::ServerError
        | DbError::Other(_) => false,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::{
        errors::{OperationType, WriteType},
        statement::Consistency,
    };
    use std::time::Duration;

    fn database(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new()))
    }

    fn unavailable() -> ExecutionError {
        database(DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 })
    }

    #[test]
    fn a_write_that_may_have_reached_a_replica_is_unknown() {
        let write_timeout = DbError::WriteTimeout {
            consistency: Consistency::LocalQuorum,
            received: 1,
            required: 2,
            write_type: WriteType::UnloggedBatch,
        };
        let by_replica =
            DbError::RateLimitReached { op_type: OperationType::Write, rejected_by_coordinator: false };
        let unknown = [
            ExecutionError::RequestTimeout(Duration::from_secs(1)),
            database(write_timeout),
            database(by_replica),
            database(DbError::Overloaded),
            database(DbError::ServerError),
            database(DbError::Other(0x1700)),
        ];
        for error in unknown {
            assert!(matches!(write_error(&error, WriteKind::Write), WriteError::Unknown { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_write_refused_before_any_replica_was_asked_did_not_happen() {
        let by_coordinator =
            DbError::RateLimitReached { op_type: OperationType::Write, rejected_by_coordinator: true };
        let refused = [
            ExecutionError::EmptyPlan,
            ExecutionError::LastAttemptError(RequestAttemptError::UnableToAllocStreamId),
            unavailable(),
            database(DbError::Invalid),
            database(by_coordinator),
        ];
        for error in refused {
            assert!(
                matches!(write_error(&error, WriteKind::Write), WriteError::NotApplied { .. }),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_transaction_is_not_done_with_when_replicas_are_missing() {
        assert!(matches!(write_error(&unavailable(), WriteKind::Transaction), WriteError::Unknown { .. }));
    }

    #[test]
    fn a_read_is_repeated_only_where_another_node_may_do_better() {
        assert!(read_may_be_repeated(&unavailable()));
        assert!(!read_may_be_repeated(&ExecutionError::RequestTimeout(Duration::from_secs(1))));
        assert!(!read_may_be_repeated(&database(DbError::Invalid)));
        assert!(matches!(
            read_error(&ExecutionError::RequestTimeout(Duration::from_secs(1))),
            ReadError::Timeout
        ));
    }
}
