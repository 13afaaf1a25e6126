//! Watches what the store needs of the machine, so that a shortage is noticed before it does harm: file
//! descriptors, room on the disk, and the store's directory.
//!
//! The first file that fjall cannot open or write makes it unusable for good, whatever took the last
//! descriptor or filled the disk. So while there is less than the work it has begun may need, nothing new is
//! begun. Writes are refused with the reason ([`Halt`]), reads go on, and writes are taken again once there
//! is enough. A directory that was removed does not come back: the store is poisoned.
//!
//! A thread checks twenty times a second. The committer checks before a batch and once more before it
//! acknowledges one, but of batches that follow each other within [`EmbeddedConfig::check_every`] it checks
//! only the first. A shortage that is shorter than that is met as if it had occurred between a check and its
//! write.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    EmbeddedConfig,
    health::Health,
    identity::Identity,
    spare::{self, Spare},
    tree::Tables,
};
use crate::Halt;

/// How often the thread checks while nothing is written. A check costs some fifty microseconds.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// Largest batch that relies on the last check: the batches of that time together are far below
/// [`SLACK_BYTES`].
const SMALL_BATCH: usize = 64 << 10;
/// How often it checks while there are no descriptors: a check takes all free ones for a moment.
const CHECK_SCARCE_EVERY: Duration = Duration::from_millis(500);
/// Most bytes that a merge of tables takes beside its inputs: eight tables of 64 MiB, more than fjall's
/// levels choose at once. It never takes more than all tables have.
const MERGE_BYTES_MAX: u64 = 512 << 20;
/// Bytes for notes, lists of tables, and the file system's own needs.
const SLACK_BYTES: u64 = 8 << 20;
/// Before writes are taken again, the free bytes must exceed the needed ones by one part in this many, so
/// that the state does not flap.
const RESUME_SHARE: u64 = 8;

/// Asks how many bytes of the disk below a path are free for this process.
pub(super) type FreeBytes = Box<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// The free bytes that the file system reports.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes that must be free for what is in memory (`buffered`, and a batch to come) and on disk (`tables`).
/// Each buffer becomes a table, the batch goes to the journal first, and tables are merged into others before
/// they are removed.
fn needed_bytes(buffered: u64, batch: u64, tables: u64) -> u64 {
    let written = buffered.saturating_add(batch).saturating_mul(2).saturating_add(batch);
    written.saturating_add(tables.min(MERGE_BYTES_MAX)).saturating_add(SLACK_BYTES)
}

/// Bytes that must be free if writes are refused already.
fn bytes_to_resume(needed: u64) -> u64 {
    needed.saturating_add(needed / RESUME_SHARE)
}

/// The watch over one store.
pub(super) struct Guard {
    directory: PathBuf,
    free_bytes: FreeBytes,
    /// The interval of checks while batch follows batch.
    check_every: Duration,
    state: Mutex<State>,
    /// Bytes of all tables at the last check.
    table_bytes: AtomicU64,
    halt: Mutex<Option<Halt>>,
    stopped: AtomicBool,
}

struct State {
    spare: Spare,
    identity: Identity,
    /// When the committer last checked before and after a batch.
    before: Option<Instant>,
    after: Option<Instant>,
}

/// Whether it is time to check again; if so, notes that the caller does.
fn is_due(last: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let due = last.is_none_or(|last| now.duration_since(last) >= every);
    if due {
        *last = Some(now);
    }
    due
}

/// How thorough a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Before a batch.
    Quick,
    /// At intervals.
    Thorough,
}

impl Guard {
    /// Begins to watch an open store.
    pub(super) fn hold(config: &EmbeddedConfig, free_bytes: FreeBytes) -> io::Result<Self> {
        let directory = &config.directory;
        let (spare, identity) = (Spare::take(spare::limit())?, Identity::of(directory)?);
        let state = State { spare, identity, before: None, after: None };
        Ok(Self {
            directory: directory.to_owned(),
            free_bytes,
            check_every: config.check_every,
            state: Mutex::new(state),
            table_bytes: AtomicU64::new(0),
            halt: Mutex::new(None),
            stopped: AtomicBool::new(false),
        })
    }

    /// Why writes are refused for now.
    pub(super) fn halt(&self) -> Option<Halt> {
        lock(&self.halt).clone()
    }

    /// Checks before a batch of about `bytes`. Gives the reason why the batch may not be begun.
    pub(super) fn before(&self, bytes: usize, tables: &Tables, health: &Health) -> Option<Halt> {
        let due = is_due(&mut lock(&self.state).before, Instant::now(), self.check_every);
        // After a refusal, the first write for which there is enough is taken.
        if due || bytes > SMALL_BATCH || health.poisoned().is_some() || self.halt().is_some() {
            return self.examine(Depth::Quick, bytes as u64, tables, health);
        }
        None
    }

    /// Checks after a batch, before it is acknowledged, whether it went into files that still have names.
    pub(super) fn after(&self, health: &Health) {
        let gone = {
            let mut state = lock(&self.state);
            if is_due(&mut state.after, Instant::now(), self.check_every) {
                state.identity.check_quickly()
            } else {
                None
            }
        };
        if let Some(reason) = gone {
            health.poison(reason);
        }
    }

    /// Makes a thorough check.
    pub(super) fn check(&self, tables: &Tables, health: &Health) {
        self.table_bytes.store(tables.bytes(), Ordering::Relaxed);
        self.examine(Depth::Thorough, 0, tables, health);
    }

    fn examine(&self, depth: Depth, batch: u64, tables: &Tables, health: &Health) -> Option<Halt> {
        let (descriptors, gone) = {
            let mut state = lock(&self.state);
            match depth {
                Depth::Quick => (state.spare.check_quickly(), None),
                Depth::Thorough => (state.spare.check(), state.identity.check()),
            }
        };
        if let Some(reason) = gone {
            health.poison(reason);
        }
        let found = match (health.poisoned(), descriptors) {
            (Some(reason), _) => Some(Halt::Lost { reason: reason.to_owned() }),
            (None, false) => Some(Halt::Descriptors { limit: spare::limit() }),
            (None, true) => self.full(batch, tables.db.write_buffer_size()),
        };
        self.report(found.clone());
        found
    }

    fn full(&self, batch: u64, buffered: u64) -> Option<Halt> {
        // If the disk cannot be asked now, the next write will show its state.
        let free_bytes = (self.free_bytes)(&self.directory).ok()?;
        let needed = needed_bytes(buffered, batch, self.table_bytes.load(Ordering::Relaxed));
        let refused = matches!(*lock(&self.halt), Some(Halt::DiskFull { .. }));
        let needed_bytes = if refused { bytes_to_resume(needed) } else { needed };
        (free_bytes < needed_bytes).then(|| Halt::DiskFull {
            directory: self.directory.clone(),
            free_bytes,
            needed_bytes,
        })
    }

    /// Keeps the result; the beginning and the end of a halt are logged once.
    fn report(&self, found: Option<Halt>) {
        let mut halt = lock(&self.halt);
        match (&*halt, &found) {
            (None, Some(reason)) => tracing::error!(%reason, "the embedded store takes no writes"),
            (Some(_), None) => tracing::info!("the embedded store takes writes again"),
            _ => {}
        }
        *halt = found;
    }

    /// Checks until it is stopped.
    pub(super) fn watch(self: &Arc<Self>, tables: Tables, health: Arc<Health>) -> io::Result<JoinHandle<()>> {
        let guard = Arc::clone(self);
        thread::Builder::new().name("weir-store-watch".to_owned()).spawn(move || {
            while !guard.stopped.load(Ordering::Acquire) {
                guard.check(&tables, &health);
                let scarce = matches!(guard.halt(), Some(Halt::Descriptors { .. }));
                thread::park_timeout(if scarce { CHECK_SCARCE_EVERY } else { CHECK_EVERY });
            }
        })
    }

    /// Ends the watch. The caller must unpark and join its thread.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}

/// Recovers a poisoned lock: its data is changed in one step each time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{
        Commit, PartitionRange, RowChange, RowOrder, Store as _, WriteError, embedded::EmbeddedStore,
    };
    use weir_proto::{
        bucket::Bucket,
        data::Message,
        id::{ChannelId, ScopeId},
    };

    const MIB: u64 = 1 << 20;
    /// Longest wait for a change of the store's state.
    const WITHIN: Duration = Duration::from_secs(5);

    fn channel() -> ChannelId {
        ChannelId::try_from(7).expect("not 0")
    }

    /// A store on a disk that has as much room as the number says.
    fn on_disk(directory: &Path, free: &Arc<AtomicU64>) -> Arc<EmbeddedStore> {
        let free = free.clone();
        let config = EmbeddedConfig { check_every: Duration::ZERO, ..EmbeddedConfig::new(directory) };
        EmbeddedStore::open_on(config, Box::new(move |_| Ok(free.load(Ordering::Relaxed)))).expect("opens")
    }

    async fn write(store: &EmbeddedStore, id: u64) -> Result<(), WriteError> {
        let channel_id = channel().get();
        let message = Message { id, channel_id, author_id: 1, rev: id, last_rev: id, ..Message::default() };
        let rows = vec![RowChange::PutMessage(message)];
        let scope_id = ScopeId::Channel(channel());
        let commit = Commit { scope_id, rev: id, rows, records: Vec::new(), rows_are_outbox: true };
        store.commit(commit).await
    }

    async fn count(store: &EmbeddedStore) -> usize {
        let range = PartitionRange { after: None, before: None, order: RowOrder::NewestFirst, limit: 100 };
        store.read_partition(channel(), Bucket::of_raw(1), range).await.expect("reads go on").len()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_refuses_writes_says_so_and_goes_on_when_there_is_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let free = Arc::new(AtomicU64::new(1 << 40));
        let store = on_disk(directory.path(), &free);
        write(&store, 1).await.expect("there is room");
        free.store(3 * MIB, Ordering::Relaxed);
        let refused = write(&store, 2).await.expect_err("no room").to_string();
        let place = directory.path().display().to_string();
        assert!(refused.contains(&format!("the disk of {place} is full: 3 MiB are free")), "{refused}");
        assert_eq!((count(&store).await, store.poisoned()), (1, None));
        let message = store.ready(WITHIN).await.expect_err("not ready").to_string();
        assert!(message.contains("is full"), "{message}");
        free.store(1 << 40, Ordering::Relaxed);
        write(&store, 3).await.expect("there is room again");
        store.ready(WITHIN).await.expect("ready again");
        assert_eq!((count(&store).await, store.halted()), (2, None));
        store.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_acknowledged_into_a_directory_that_was_removed() {
        for gone in ["", "lsm", "VERSION"] {
            let directory = tempfile::tempdir().expect("a directory");
            let root = directory.path().join("data");
            let store = on_disk(&root, &Arc::new(AtomicU64::new(1 << 40)));
            write(&store, 1).await.expect("it is there");
            let path = if gone.is_empty() { root.clone() } else { root.join(gone) };
            if path.is_dir() {
                std::fs::remove_dir_all(&path).expect("ours");
                let written = write(&store, 2).await;
                let lost = matches!(
                    written,
                    Err(WriteError::Poisoned { .. } | WriteError::Halted(Halt::Lost { .. }))
                );
                assert!(lost, "{gone}: {written:?}");
            } else {
                std::fs::remove_file(&path).expect("ours");
            }
            // Nothing is written, so the watch must find it.
            let found = async {
                while store.poisoned().is_none() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(1), found).await.expect("within a second");
            let message = store.ready(WITHIN).await.expect_err("not ready").to_string();
            assert!(
                message.contains("removed") && message.contains(&path.display().to_string()),
                "{gone}: {message}"
            );
            let refused = write(&store, 3).await;
            assert!(matches!(refused, Err(WriteError::Halted(Halt::Lost { .. }))), "{gone}: {refused:?}");
        }
    }

    #[test]
    fn batch_after_batch_is_looked_at_in_a_while_and_a_batch_after_a_pause_always() {
        let (mut last, start, every) = (None, Instant::now(), Duration::from_millis(2));
        assert!(is_due(&mut last, start, every));
        let at = |micros| start + Duration::from_micros(micros);
        let due: Vec<u64> =
            (0..40).map(|step| step * 250).filter(|step| is_due(&mut last, at(*step), every)).collect();
        assert_eq!(due, [2_000, 4_000, 6_000, 8_000]);
        assert!(is_due(&mut last, at(1_000_000), every));
    }

    #[test]
    fn what_must_be_free_grows_with_what_is_in_memory_and_on_disk() {
        assert_eq!(needed_bytes(0, 0, 0), SLACK_BYTES);
        assert_eq!(needed_bytes(16 * MIB, MIB, 5 * MIB), (2 * 17 + 1 + 5) * MIB + SLACK_BYTES);
        assert_eq!(needed_bytes(0, 0, u64::MAX), MERGE_BYTES_MAX + SLACK_BYTES);
        assert_eq!(needed_bytes(u64::MAX, 1, 1), u64::MAX);
        assert!(bytes_to_resume(100) > 100);
    }
}
