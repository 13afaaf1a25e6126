//! Why a limit was not set.

use weir_store::{ReadError, WriteError};

/// Why a limit was not set.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// What was asked for is not a limit.
    #[error("{problem}")]
    Invalid {
        /// The rule that it breaks, and what would do.
        problem: String,
    },
    /// It could not be stored, so it is not in force either; or, if the outcome is not known, it is sent again until it is known, and in
    /// force then.
    #[error("the limit could not be stored")]
    Store(#[from] WriteError),
    /// The limits could not be read.
    #[error("the limits could not be read")]
    Read(#[from] ReadError),
}

pub(super) fn invalid(problem: impl Into<String>) -> LimitError {
    LimitError::Invalid { problem: problem.into() }
}
