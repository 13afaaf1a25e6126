//! Reads. Each has a thread of its own, because it may wait for the disk, and their number is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fjall::Snapshot;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{EmbeddedConfig, tree::Tables};
use crate::ReadError;

/// Runs reads.
pub(super) struct Readers {
    tables: Tables,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    timeout: Duration,
    /// The runtime whose threads read: that of the store's opener. So a caller whose threads yield to others
    /// cannot keep one of the reads that all share.
    home: Option<Handle>,
    /// Number of reads begun.
    pub(super) count: AtomicU64,
}

/// The state that a read sees: the tables as they were between two batches.
pub(super) struct View {
    /// The tables.
    pub(super) tables: Tables,
    /// The snapshot of that state.
    pub(super) snapshot: Snapshot,
}

/// Counts a waiting read for as long as it waits, even if its caller leaves.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Readers {
    pub(super) fn new(tables: Tables, config: &EmbeddedConfig) -> Self {
        Self {
            tables,
            permits: Arc::new(Semaphore::new(config.reads_max.max(1))),
            waiting: AtomicUsize::new(0),
            waiting_max: config.reads_waiting_max,
            timeout: config.read_timeout,
            home: Handle::try_current().ok(),
            count: AtomicU64::new(0),
        }
    }

    /// Runs `read` on a consistent view.
    ///
    /// # Cancel safety
    /// Safe. A read that has begun runs to its end and keeps its thread until then.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&View) -> Result<T, ReadError> + Send + 'static,
    {
        tokio::time::timeout(self.timeout, self.run(read)).await.unwrap_or(Err(ReadError::Timeout))
    }

    async fn run<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&View) -> Result<T, ReadError> + Send + 'static,
    {
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            return Err(ReadError::Unavailable { reason: "too many reads wait for a thread".to_owned() });
        }
        let permit = self.permits.clone().acquire_owned().await;
        drop(waiting);
        let permit =
            permit.map_err(|_closed| ReadError::Unavailable { reason: "the store is closed".to_owned() })?;
        self.count.fetch_add(1, Ordering::Relaxed);
        let tables = self.tables.clone();
        let read = move || {
            let view = View { snapshot: tables.db.snapshot(), tables };
            let result = read(&view);
            drop(permit);
            result
        };
        let task = match &self.home {
            Some(home) => home.spawn_blocking(read),
            None => tokio::task::spawn_blocking(read),
        };
        task.await
            .unwrap_or_else(|error| Err(ReadError::Unavailable { reason: format!("a read failed: {error}") }))
    }

    /// The database, for its counters.
    pub(super) fn database(&self) -> &fjall::Database {
        &self.tables.db
    }

    /// Flushes that wait and merges under way.
    pub(super) fn working(&self) -> usize {
        self.tables.db.outstanding_flushes() + self.tables.db.active_compactions()
    }

    /// Refuses reads from now on.
    pub(super) fn close(&self) {
        self.permits.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedStore;

    #[test]
    fn reads_run_on_the_threads_of_whoever_opened_the_store() {
        let runtime = |name: &str| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).thread_name(name).enable_all().build().expect("threads")
        };
        let (home, other) = (runtime("home"), runtime("other"));
        let root = tempfile::tempdir().expect("a directory");
        let config = EmbeddedConfig::new(root.path());
        let store = home.block_on(async { EmbeddedStore::open(config) }).expect("opens");
        let name = store.readers.read(|_| Ok(std::thread::current().name().map(str::to_owned)));
        assert_eq!(other.block_on(name).expect("read").as_deref(), Some("home"));
    }
}
