//! What a command can end with, and the exit code of each.

use std::io;

use weir_data_client::DataError;
use weir_data_service::backend::BackendError;
use weir_runtime::{Exit, Problems, admin::TokenError, launch, telemetry::TelemetryError};
use weir_store::cql::schema::SchemaError;

use crate::{
    config::Misplaced, import::ImportError, limit::GrammarError, reach::ReachError, serve::ServeError,
};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A flag of another subcommand.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// An argument is not in its form.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// Arguments that do not go together.
    #[error("{problem}")]
    Usage {
        /// What is wrong, and what would do.
        problem: String,
    },
    /// No service to talk to.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The service's answer.
    #[error("{act}")]
    Data {
        /// What was asked of it.
        act: String,
        /// What it said.
        #[source]
        source: DataError,
    },
    /// What was named is not there.
    #[error("there is no {what}")]
    NotFound {
        /// What was named.
        what: String,
    },
    /// The service left something out of its answer.
    #[error("the service answered without the {what}")]
    Incomplete {
        /// What is missing.
        what: &'static str,
    },
    /// The import.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Serving.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Log output.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// No secret could be made.
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// `weir doctor` found something that must be put right.
    #[error("{failed} of {checks} checks failed")]
    Unhealthy {
        /// Checks that failed.
        failed: usize,
        /// Checks in all.
        checks: usize,
    },
    /// Standard output is closed or full.
    #[error("the result cannot be printed")]
    Print(#[source] io::Error),
    /// The runtime could not be started.
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
}

impl CommandError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Misplaced(_) | Self::Grammar(_) | Self::Usage { .. } => Exit::Usage,
            Self::Reach(error) => reach_exit(error),
            Self::Data { source, .. } => data_exit(source),
            Self::Import(error) => import_exit(error),
            Self::Schema(error) => schema_exit(error),
            Self::Serve(error) => serve_exit(error),
            Self::Incomplete { .. }
            | Self::NotFound { .. }
            | Self::Telemetry(_)
            | Self::Random(_)
            | Self::Unhealthy { .. }
            | Self::Print(_)
            | Self::Runtime(_) => Exit::Failed,
        }
    }

    /// Itself and its causes, each once.
    pub(crate) fn chain(&self) -> String {
        launch::chain(self)
    }
}

fn data_exit(error: &DataError) -> Exit {
    match error {
        DataError::Invalid { .. } => Exit::Usage,
        DataError::Refused { .. } => Exit::Refused,
        DataError::Unavailable { .. } | DataError::DeadlineExceeded => Exit::Unreachable,
        DataError::NotFound { .. } | DataError::OutcomeUnknown { .. } | DataError::Failed { .. } => {
            Exit::Failed
        }
    }
}

fn reach_exit(error: &ReachError) -> Exit {
    match error {
        ReachError::Denied { .. } | ReachError::Token(TokenError::Exposed { .. }) => Exit::Refused,
        ReachError::NoServer { .. }
        | ReachError::NoStore { .. }
        | ReachError::Silent { .. }
        | ReachError::Held { .. } => Exit::Unreachable,
        ReachError::Token(TokenError::Io { .. } | TokenError::Malformed { .. } | TokenError::Random(_))
        | ReachError::Answer { .. }
        | ReachError::AddressFile(_)
        | ReachError::DataService(_) => Exit::Failed,
        ReachError::Backend(error) => backend_exit(error),
    }
}

fn backend_exit(error: &BackendError) -> Exit {
    if error.is_unreachable() { Exit::Unreachable } else { Exit::Failed }
}

fn import_exit(error: &ImportError) -> Exit {
    match error {
        ImportError::Send { source, .. } | ImportError::Stuck { source, .. } => data_exit(source),
        ImportError::Read { .. }
        | ImportError::Nothing { .. }
        | ImportError::Format { .. }
        | ImportError::Strict { .. }
        | ImportError::Times { .. }
        | ImportError::Scattered { .. }
        | ImportError::TooMany { .. }
        | ImportError::Changed { .. }
        | ImportError::Answer { .. }
        | ImportError::Interrupted { .. }
        | ImportError::Lost { .. }
        | ImportError::Thread(_)
        | ImportError::Reader => Exit::Failed,
    }
}

fn schema_exit(error: &SchemaError) -> Exit {
    match error {
        SchemaError::BadKeyspace { .. } => Exit::Usage,
        SchemaError::Unreachable(_) | SchemaError::Timeout(_) => Exit::Unreachable,
        SchemaError::Statement { .. }
        | SchemaError::Answer { .. }
        | SchemaError::Old { .. }
        | SchemaError::Drift { .. }
        | SchemaError::Applying { .. }
        | SchemaError::Tablets { .. } => Exit::Failed,
    }
}

fn serve_exit(error: &ServeError) -> Exit {
    match error {
        ServeError::Backend(error) => backend_exit(error),
        ServeError::Token(TokenError::Exposed { .. }) => Exit::Refused,
        ServeError::Bind { .. }
        | ServeError::Signals(_)
        | ServeError::Threads(_)
        | ServeError::Token(_)
        | ServeError::DataService(_)
        | ServeError::Gateway(_)
        | ServeError::AddressFile(_)
        | ServeError::Directory { .. }
        | ServeError::Print(_)
        | ServeError::Ended { .. }
        | ServeError::StoreLost { .. } => Exit::Failed,
    }
}
