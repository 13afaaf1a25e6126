//! Errors of the commands, and the exit code of each.

use std::io;

use weir_data_client::DataError;
use weir_data_service::backend::BackendError;
use weir_runtime::{Exit, Problems, admin::AdminTokenError, launch, telemetry::TelemetryError};
use weir_store::cql::schema::SchemaError;

use crate::{
    config::Misplaced, import::ImportError, limit::GrammarError, reach::ReachError, serve::ServeError,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A flag belongs to another subcommand.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// An argument has the wrong form.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// Arguments contradict each other.
    #[error("{problem}")]
    Usage {
        /// What is wrong, and what is accepted.
        problem: String,
    },
    /// There is no service to call.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The service answered with an error.
    #[error("{act}")]
    Data {
        /// The request.
        act: String,
        /// The service's error.
        #[source]
        source: DataError,
    },
    /// Something that the operator named does not exist.
    #[error("there is no {what}")]
    NotFound {
        /// The thing that was named.
        what: String,
    },
    /// The service's answer lacks something.
    #[error("the service answered without the {what}")]
    Incomplete {
        /// What is missing.
        what: &'static str,
    },
    /// The import failed.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The schema could not be applied.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Logs could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// No secret could be created.
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// `weir doctor` found something that must be put right.
    #[error("{failed} of {checks} checks failed")]
    Unhealthy {
        /// Number of checks that failed.
        failed: usize,
        /// Number of all checks.
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
    /// The exit code of the error.
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

    /// The error and its causes, each once.
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
        ReachError::Denied { .. } | ReachError::Token(AdminTokenError::Exposed { .. }) => Exit::Refused,
        ReachError::NoServer { .. }
        | ReachError::NoStore { .. }
        | ReachError::Silent { .. }
        | ReachError::Held { .. } => Exit::Unreachable,
        ReachError::Token(
            AdminTokenError::Io { .. } | AdminTokenError::Malformed { .. } | AdminTokenError::Random(_),
        )
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
        ServeError::Token(AdminTokenError::Exposed { .. }) => Exit::Refused,
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
