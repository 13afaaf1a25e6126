//! The embedded store: one machine, one directory, on fjall's LSM tree.
//!
//! - `config`: its bounds.
//! - `layout`: the files of a data directory; `files`, `open_error`: steps on them and their errors.
//! - `datadir`: the directory's lock and version; `integrity`: whether the store in it is complete and
//!   undamaged, with what `seal`, `levels`, `journal` and `acked` know of its files.
//! - `tables`, `keys`: which rows are stored where, under the CQL model's keys. `tree`: the open database.
//! - `committer`: the one thread that writes; `draft`, `plan`, `lease` work out what a write changes.
//! - `tree_error`: the tree's errors in words.
//! - `guard`: checks in time that the machine has what the store needs: `spare` descriptors, room on the
//!   disk, and the directory that was opened (`identity`).
//! - `log`: the event log; `bus` implements the bus's traits on it.
//! - `readers`, `view`: reads.
//! - `store`: the [`Store`](crate::Store) trait over them.

mod acked;
mod bus;
mod committer;
mod config;
mod datadir;
mod draft;
mod files;
#[cfg(test)]
mod fuzz;
mod guard;
mod health;
mod identity;
mod integrity;
mod journal;
mod keys;
mod layout;
mod lease;
mod levels;
mod log;
mod memory;
mod open_error;
mod plan;
mod readers;
mod seal;
mod spare;
mod store;
mod tables;
mod tree;
mod tree_error;
mod view;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

pub use config::EmbeddedConfig;
pub use datadir::inspect;
pub use layout::{LAYOUT_VERSION, VERSION_FILE};
pub use memory::StoreMemory;
pub use open_error::OpenError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use weir_bus::RecordRing;

use self::{
    committer::{Act, Answer, Committer, Write},
    datadir::DataDir,
    draft::NewestRevs,
    guard::{FreeBytes, Guard, free_bytes},
    health::Health,
    readers::Readers,
    tree::Tables,
};
use crate::{Halt, WriteError};

/// The embedded store. It is the [`Store`](crate::Store), and on one machine also the
/// [`EventBus`](weir_bus::EventBus), the [`Inbox`](weir_bus::Inbox) and the
/// [`SessionStore`](weir_bus::SessionStore): all four over one directory.
///
/// Dropping it waits for the batch in flight and the last sync. [`close`](Self::close) does the same without
/// blocking the caller's thread.
pub struct EmbeddedStore {
    config: EmbeddedConfig,
    readers: Readers,
    log: Arc<RecordRing>,
    health: Arc<Health>,
    /// `None` only while it is dropped.
    writes: Option<mpsc::Sender<Write>>,
    /// One permit for each byte of writes that may still wait.
    waiting_bytes: Arc<Semaphore>,
    writes_count: AtomicU64,
    batches: Arc<AtomicU64>,
    committer: Mutex<Option<JoinHandle<()>>>,
    guard: Arc<Guard>,
    watch: Mutex<Option<JoinHandle<()>>>,
    /// This field is last, so that the lock outlives everything that uses the files.
    _directory: DataDir,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("directory", &self.config.directory).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the store in its directory, or creates one. Blocks for as long as recovery takes: some seconds
    /// after a crash, see [`EmbeddedConfig::journal_bytes`].
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do about it.
    pub fn open(config: EmbeddedConfig) -> Result<Arc<Self>, OpenError> {
        Self::open_on(config, Box::new(free_bytes))
    }

    /// Does the same as [`Self::open`], but asks `free_bytes` how much room the disk has.
    fn open_on(config: EmbeddedConfig, free_bytes: FreeBytes) -> Result<Arc<Self>, OpenError> {
        let mut directory = DataDir::open(&config.directory)?;
        let tables = Tables::open_safely(&directory, &config)?;
        let extent = log::recover(&tables)?;
        let batch = log::newest_batch(&tables)?;
        directory.require_batch(batch)?;
        directory.opened(batch)?;
        let mut acked = directory.acked()?;
        acked.note(batch);
        let log = Arc::new(RecordRing::new(extent.head, config.ring_records_max, config.ring_bytes_max));
        let health = Arc::new(Health::new());
        let io = |act| {
            let path = config.directory.clone();
            move |source| OpenError::Io { act, path, source }
        };
        let guard = Arc::new(Guard::hold(&config, free_bytes).map_err(io("watch"))?);
        guard.check(&tables, &health);
        let batches = Arc::new(AtomicU64::new(0));
        let (writes, receiver) = mpsc::channel(config.writes_waiting_max.max(1));
        let committer = Committer {
            tables: tables.clone(),
            config: config.clone(),
            writes: receiver,
            extent,
            batch,
            acked,
            newest: NewestRevs::default(),
            log: log.clone(),
            health: health.clone(),
            guard: guard.clone(),
            batches: batches.clone(),
        };
        let thread = thread::Builder::new().name("weir-committer".to_owned()).spawn(|| committer.run());
        let thread = thread.map_err(io("start the committer of"))?;
        let watch = guard.watch(tables.clone(), health.clone()).map_err(io("start the watch of"))?;
        Ok(Arc::new(Self {
            readers: Readers::new(tables, &config),
            log,
            health,
            writes: Some(writes),
            waiting_bytes: Arc::new(Semaphore::new(config.writes_waiting_bytes_max as usize)),
            writes_count: AtomicU64::new(0),
            batches,
            committer: Mutex::new(Some(thread)),
            guard,
            watch: Mutex::new(Some(watch)),
            config,
            _directory: directory,
        }))
    }

    /// Finishes the waiting writes, syncs, and ends the committer. Later writes are not applied and later
    /// reads are refused. The directory's lock is released with the last reference.
    ///
    /// # Cancel safety
    /// Safe: the committer ends by itself once it has the request.
    pub async fn close(&self) {
        // An answer and a closed channel both mean that the committer is ending.
        let _ = self.write(Act::Close, 0).await;
        if let Some(watch) = self.end_watch() {
            // A watch that hangs on a dead disk is abandoned.
            let joined = tokio::task::spawn_blocking(move || watch.join());
            if tokio::time::timeout(self.config.write_timeout, joined).await.is_err() {
                tracing::error!("the watch over the store did not end in time");
            }
        }
        let Some(thread) = self.take_committer() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join());
        if tokio::time::timeout(self.config.write_timeout, joined).await.is_err() {
            tracing::error!("the committer did not end in time; what it had acknowledged is durable");
        }
        self.readers.close();
    }

    /// Batches committed since the store was opened. Writes divided by batches is how many writes each sync
    /// served.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Why the store takes no more writes and the process must end; `None` while the store is healthy.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.health.poisoned().map(str::to_owned)
    }

    /// Why the store takes no writes, for now or for good; `None` while it takes them.
    #[must_use]
    pub fn halted(&self) -> Option<Halt> {
        let lost = self.poisoned().map(|reason| Halt::Lost { reason });
        lost.or_else(|| self.guard.halt())
    }

    /// Flushes that wait and merges under way; 0 for a store at rest.
    #[must_use]
    pub fn working(&self) -> usize {
        self.readers.working()
    }

    /// Asks the watch to end, and gives its thread.
    fn end_watch(&self) -> Option<JoinHandle<()>> {
        self.guard.stop();
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        watch.inspect(|watch| watch.thread().unpark())
    }

    fn take_committer(&self) -> Option<JoinHandle<()>> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hands a write of about `bytes` to the committer and waits until it is durable.
    async fn write(&self, act: Act, bytes: usize) -> Result<Answer, WriteError> {
        let ended = || match self.health.poisoned() {
            // The write was not begun: that is certain even of a poisoned store.
            Some(reason) => WriteError::Halted(Halt::Lost { reason: reason.to_owned() }),
            None => WriteError::NotApplied { reason: "the store is closed".to_owned() },
        };
        // A committer that hangs in a poisoned tree takes nothing more from its queue.
        if self.health.poisoned().is_some() {
            return Err(ended());
        }
        let writes = self.writes.as_ref().ok_or_else(ended)?;
        // One write may be larger than all permits together; then it takes them all.
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.config.writes_waiting_bytes_max);
        let (done, answer) = oneshot::channel();
        let queued = async {
            let permit =
                self.waiting_bytes.clone().acquire_many_owned(share).await.map_err(|_closed| ended())?;
            writes.send(Write { act, bytes, done, _permit: permit }).await.map_err(|_closed| ended())
        };
        match tokio::time::timeout(self.config.write_timeout, queued).await {
            Ok(queued) => queued?,
            Err(_elapsed) => {
                return Err(WriteError::NotApplied {
                    reason: "the committer's queue stayed full".to_owned(),
                });
            }
        }
        self.writes_count.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(self.config.write_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            // The committer ended without an answer, which only a panic causes.
            Ok(Err(_dropped)) => {
                let reason = "the committer ended without an answer".to_owned();
                self.health.poison(reason.clone());
                Err(WriteError::Poisoned { reason })
            }
            Err(_elapsed) => {
                Err(WriteError::Unknown { reason: "the disk did not answer in time".to_owned() })
            }
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        drop(self.writes.take());
        self.end_watch();
        // The thread of a poisoned tree may never end; the process is about to end then.
        if self.health.poisoned().is_none()
            && let Some(thread) = self.take_committer()
            && thread.join().is_err()
        {
            tracing::error!("the committer panicked");
        }
    }
}
