//! The one place where statements leave the process, so that each is counted, bounded in time, and never
//! repeated without our knowledge.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use scylla::{
    client::session::Session,
    deserialize::row::DeserializeRow,
    errors::ExecutionError,
    response::query_result::{QueryResult, QueryRowsResult},
    serialize::row::SerializeRow,
    statement::batch::{Batch, BatchType},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    errors::{WriteKind, read_error, read_may_be_repeated, write_error},
    plan::Bound,
    statements::{Query, Statements},
};
use crate::{ReadError, StoreCounters, WriteError};

/// Most attempts of a read. The second goes to another node if there is one, and only if the first was
/// refused at once.
const READ_ATTEMPTS: usize = 2;

/// Numbers of statements sent so far.
#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// Sends statements and counts them.
pub(super) struct Sender {
    session: Session,
    statements: Statements,
    counters: Counters,
    /// The places for reads in flight.
    reading: Semaphore,
    read_timeout: Duration,
    write_timeout: Duration,
    lease_timeout: Duration,
}

/// The timeouts by kind of statement, and how many reads may be in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) read: Duration,
    pub(super) write: Duration,
    pub(super) lease: Duration,
    pub(super) reads_max: usize,
}

/// An answer of an unexpected form, which only another schema can explain.
fn corrupt(query: Query, error: impl ToString) -> ReadError {
    ReadError::Corrupt { reason: format!("{query:?}: {}", error.to_string()) }
}

impl Sender {
    pub(super) fn new(session: Session, statements: Statements, bounds: Bounds) -> Self {
        Self {
            session,
            statements,
            counters: Counters::default(),
            reading: Semaphore::new(bounds.reads_max),
            read_timeout: bounds.read,
            write_timeout: bounds.write,
            lease_timeout: bounds.lease,
        }
    }

    pub(super) fn counters(&self) -> StoreCounters {
        StoreCounters {
            reads: self.counters.reads.load(Ordering::Relaxed),
            writes: self.counters.writes.load(Ordering::Relaxed),
        }
    }

    /// The deadline of a read that begins now.
    pub(super) fn read_deadline(&self) -> Instant {
        Instant::now() + self.read_timeout
    }

    /// Reads rows, all in one page: every statement bounds their number.
    pub(super) async fn rows<T>(&self, query: Query, values: impl SerializeRow) -> Result<Vec<T>, ReadError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        self.rows_until(query, values, self.read_deadline()).await
    }

    /// As [`rows`](Self::rows), with a deadline of the caller's.
    pub(super) async fn rows_until<T>(
        &self,
        query: Query,
        values: impl SerializeRow,
        deadline: Instant,
    ) -> Result<Vec<T>, ReadError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let result = timeout_at(deadline, async {
            // The semaphore is never closed. The place is given back with the answer, or when the caller
            // leaves.
            let _place = self.reading.acquire().await;
            self.read(query, &values).await
        });
        let result = result.await.map_err(|_elapsed| ReadError::Timeout)??;
        let rows = result.rows::<T>().map_err(|error| corrupt(query, error))?;
        rows.collect::<Result<_, _>>().map_err(|error| corrupt(query, error))
    }

    /// Reads the first row.
    pub(super) async fn row<T>(&self, query: Query, values: impl SerializeRow) -> Result<Option<T>, ReadError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        Ok(self.rows(query, values).await?.into_iter().next())
    }

    async fn read(&self, query: Query, values: &impl SerializeRow) -> Result<QueryRowsResult, ReadError> {
        let mut attempt = 1;
        loop {
            self.counters.reads.fetch_add(1, Ordering::Relaxed);
            match self.session.execute_unpaged(self.statements.get(query), values).await {
                Ok(result) => return result.into_rows_result().map_err(|error| corrupt(query, error)),
                Err(error) if attempt < READ_ATTEMPTS && read_may_be_repeated(&error) => attempt += 1,
                Err(error) => return Err(read_error(&error)),
            }
        }
    }

    /// Sends a write and waits for its answer. An error of the driver says whether it happened; after our own
    /// timeout that is never known.
    async fn written(
        &self,
        kind: WriteKind,
        timeout: Duration,
        write: impl Future<Output = Result<QueryResult, ExecutionError>>,
    ) -> Result<QueryResult, WriteError> {
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(timeout, write).await {
            Ok(answer) => answer.map_err(|error| write_error(&error, kind)),
            Err(_elapsed) => {
                Err(WriteError::Unknown { reason: "the database did not answer in time".to_owned() })
            }
        }
    }

    /// Writes one row.
    pub(super) async fn write(&self, query: Query, values: impl SerializeRow) -> Result<(), WriteError> {
        let write = self.session.execute_unpaged(self.statements.get(query), &values);
        self.written(WriteKind::Write, self.write_timeout, write).await.map(drop)
    }

    /// Writes a batch; a single statement is sent without one.
    pub(super) async fn batch(&self, kind: BatchType, bound: Vec<Bound>) -> Result<(), WriteError> {
        let mut bound = bound;
        if bound.len() == 1
            && let Some(only) = bound.pop()
        {
            return self.write(only.query, only.values).await;
        }
        let mut batch = Batch::new(kind);
        batch.set_is_idempotent(true);
        let mut values = Vec::with_capacity(bound.len());
        for one in bound {
            batch.append_statement(self.statements.get(one.query).clone());
            values.push(one.values);
        }
        let write = self.session.batch(&batch, &values);
        self.written(WriteKind::Write, self.write_timeout, write).await.map(drop)
    }

    /// Runs a lightweight transaction and returns its one row.
    pub(super) async fn transaction<T>(
        &self,
        query: Query,
        values: impl SerializeRow,
    ) -> Result<T, WriteError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let write = self.session.execute_unpaged(self.statements.get(query), &values);
        let result = self.written(WriteKind::Transaction, self.lease_timeout, write).await?;
        // If the answer cannot be read, the outcome is not known.
        let unknown = |error: String| WriteError::Unknown { reason: format!("{query:?}: {error}") };
        let rows = result.into_rows_result().map_err(|error| unknown(error.to_string()))?;
        rows.first_row::<T>().map_err(|error| unknown(error.to_string()))
    }
}
