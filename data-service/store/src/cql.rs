//! The store on a CQL cluster: ScyllaDB in production, Apache Cassandra in tests; both speak the same
//! protocol.
//!
//! - `config`, `session`: the cluster's address, and the driver's policies.
//! - [`schema`]: the tables and their migrations.
//! - `statements`, `columns`: prepared statements, and how rows become columns.
//! - `plan`: which statements a write becomes, and in which batches; `send` sends and counts them.
//! - `errors`: what a failure means for a read and for a write.
//! - `lease`: leases by lightweight transactions.
//! - `store`: the [`Store`](crate::Store) trait over them.

mod columns;
mod config;
mod errors;
mod lease;
mod plan;
pub mod schema;
mod send;
mod session;
mod statements;
mod store;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub use config::{CqlConfig, Credentials, Linearizable, Replication};
use scylla::errors::{NewSessionError, PrepareError};

use self::{
    schema::SchemaError,
    send::{Bounds, Sender},
    statements::{Query, Statements},
};
use crate::clock;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The keyspace is missing, old or changed, or its name is not valid.
    #[error("the schema cannot be used")]
    Schema(#[from] SchemaError),
    /// No session could be opened.
    #[error("cannot connect to the cluster")]
    Unreachable(#[source] Box<NewSessionError>),
    /// The cluster did not answer in time.
    #[error("the cluster did not answer within {0:?}")]
    Timeout(std::time::Duration),
    /// A statement could not be prepared although the schema's version is right.
    #[error("a statement cannot be prepared")]
    Prepare(#[source] Box<PrepareError>),
}

/// The store on a CQL cluster.
pub struct CqlStore {
    sender: Sender,
    call_concurrency: usize,
    /// Last timestamp that was given to a row without a revision, in microseconds.
    timestamp_us: AtomicU64,
}

impl std::fmt::Debug for CqlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlStore").finish_non_exhaustive()
    }
}

impl CqlStore {
    /// Connects, checks the schema and prepares every statement, within `connect_timeout` in all.
    ///
    /// # Errors
    /// [`ConnectError`]; [`SchemaError::Old`] says to run `weir schema apply`.
    ///
    /// # Cancel safety
    /// Safe: connecting changes nothing.
    pub async fn connect(config: CqlConfig) -> Result<Arc<Self>, ConnectError> {
        if !config.keyspace_is_valid() {
            return Err(SchemaError::BadKeyspace { keyspace: config.keyspace }.into());
        }
        let timeout = config.connect_timeout;
        let connected = tokio::time::timeout(timeout, Self::open(config)).await;
        connected.unwrap_or(Err(ConnectError::Timeout(timeout))).map(Arc::new)
    }

    async fn open(config: CqlConfig) -> Result<Self, ConnectError> {
        let opened = session::open(&config).await;
        let session = opened.map_err(|error| ConnectError::Unreachable(Box::new(error)))?;
        schema::check(&session, &config.keyspace).await?;
        let prepared = Statements::prepare(&session, &config.keyspace).await;
        let mut statements = prepared.map_err(|error| ConnectError::Prepare(Box::new(error)))?;
        statements.get_mut(Query::Lease).set_consistency(session::serial_read(&config));
        let bounds = Bounds {
            read: config.read_timeout,
            write: config.write_timeout,
            lease: config.lease_timeout,
            reads_max: config.reads_max.max(1),
        };
        Ok(Self {
            sender: Sender::new(session, statements, bounds),
            call_concurrency: config.call_concurrency.max(1),
            timestamp_us: AtomicU64::new(0),
        })
    }

    /// A timestamp above every earlier one of this process, and not below the clock.
    fn next_timestamp(&self) -> u64 {
        let now = clock::unix_us();
        let raise = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.timestamp_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
        now.max(last.unwrap_or_else(|last| last).saturating_add(1))
    }
}
