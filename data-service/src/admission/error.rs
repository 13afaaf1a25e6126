//! Reasons why a limit was not set.

use weir_store::{ReadError, WriteError};

/// Reasons why a limit was not set.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The request is not a valid limit.
    #[error("{problem}")]
    Invalid {
        /// The broken rule, and values that would be valid.
        problem: String,
    },
    /// The limit could not be stored, so it is not in force either. If the outcome is not known, it is
    /// repeated until it is, and then the limit comes into force.
    #[error("the limit could not be stored")]
    Store(#[from] WriteError),
    /// The limits could not be read.
    #[error("the limits could not be read")]
    Read(#[from] ReadError),
}

pub(super) fn invalid(problem: impl Into<String>) -> LimitError {
    LimitError::Invalid { problem: problem.into() }
}
