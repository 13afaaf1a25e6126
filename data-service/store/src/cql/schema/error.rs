//! Why a schema cannot be used or changed.

use std::time::Duration;

use scylla::errors::{ExecutionError, NewSessionError};

/// Why the schema cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The keyspace's name is not allowed in a statement.
    #[error("the keyspace {keyspace:?} must be at most 48 lower-case letters, digits and _, a letter first")]
    BadKeyspace {
        /// The name.
        keyspace: String,
    },
    /// No session could be opened.
    #[error("cannot connect to the cluster")]
    Unreachable(#[source] Box<NewSessionError>),
    /// The cluster did not answer in time.
    #[error("the cluster did not answer within {0:?}")]
    Timeout(Duration),
    /// A statement failed.
    #[error("{act} failed")]
    Statement {
        /// What was tried.
        act: String,
        /// The database's error.
        #[source]
        source: Box<ExecutionError>,
    },
    /// The database's answer does not have the expected form.
    #[error("{act}: the answer cannot be read: {reason}")]
    Answer {
        /// What was asked.
        act: String,
        /// What is wrong.
        reason: String,
    },
    /// The keyspace lacks migrations.
    #[error(
        "the schema of {keyspace} is at version {found}, this build needs {wanted}: run `weir schema apply`"
    )]
    Old {
        /// The keyspace.
        keyspace: String,
        /// The version in the database; 0 if there is none.
        found: i32,
        /// The version of this build.
        wanted: i32,
    },
    /// A migration in the database differs from that of this build.
    #[error(
        "migration {number} of {keyspace} has checksum {found}, this build's has {wanted}: the schema drifted, compare the two before anything else"
    )]
    Drift {
        /// The keyspace.
        keyspace: String,
        /// The number of the migration.
        number: i32,
        /// The checksum in the database.
        found: String,
        /// The checksum in this build.
        wanted: String,
    },
    /// Another process applies migrations now.
    #[error("another process applies migrations to {keyspace} (or died less than five minutes ago)")]
    Applying {
        /// The keyspace.
        keyspace: String,
    },
    /// The keyspace uses tablets, and this ScyllaDB cannot run lightweight transactions on them.
    #[error(
        "{keyspace} uses tablets, on which this ScyllaDB may refuse the lightweight transactions that leases need: create the keyspace with `tablets = {{'enabled': false}}` before `weir schema apply`, or use a release that supports both and set its experimental switch"
    )]
    Tablets {
        /// The keyspace.
        keyspace: String,
    },
}
