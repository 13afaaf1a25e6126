//! Bounds of the embedded store, each with its unit and origin.

use std::{path::PathBuf, time::Duration};

/// Bytes in a mebibyte.
const MIB: u64 = 1024 * 1024;

/// The embedded store's directory and bounds. Without bounds, fjall was seen to take 652 MiB. With these
/// defaults its share is about `cache_bytes` + 6.25 × (`messages_buffer_bytes` + `log_buffer_bytes` + 2 ×
/// `small_buffer_bytes`) at worst: 264 MiB.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// The data directory; created with mode 0700 if missing.
    pub directory: PathBuf,
    /// Bytes of cached blocks. 64 MiB holds the index and the hot blocks of some ten million rows; the
    /// operating system caches the rest.
    pub cache_bytes: u64,
    /// Bytes of new message rows that are held in memory before they are written out as a table. fjall holds
    /// at most five such buffers before it halts writers.
    pub messages_buffer_bytes: u64,
    /// The same for the event log.
    pub log_buffer_bytes: u64,
    /// The same for each of the other keyspaces, which are small.
    pub small_buffer_bytes: u64,
    /// Bytes of full journals on disk before buffers are forced out; the journal being written is about 64
    /// MiB more. At least 64 MiB, which is fjall's minimum. Recovery reads all of them: 2-5 s for 135 MiB,
    /// measured on a machine with busy neighbours.
    pub journal_bytes: u64,
    /// fjall's threads that flush and compact. With two, a long compaction never keeps a flush waiting.
    pub background_threads: usize,
    /// Most records in the event log: at 1,000 records a second about 17 minutes, more than any RESUME
    /// window.
    pub log_records_max: u64,
    /// Most bytes of records in the event log.
    pub log_bytes_max: u64,
    /// Newest records of the log that are also held in memory, so that a reader that keeps up never touches
    /// the tree.
    pub ring_records_max: usize,
    /// Most bytes of records that are held in memory.
    pub ring_bytes_max: usize,
    /// Most reads in the tree at once, each on a thread of its own. A disk serves this many at once well;
    /// more would only queue.
    pub reads_max: usize,
    /// Most reads that may wait for a thread; one more fails at once. The limits above the store stay far
    /// below it.
    pub reads_waiting_max: usize,
    /// Longest time for a read, including its wait for a thread.
    pub read_timeout: Duration,
    /// Most writes that may wait for the committer. Callers wait for room beyond that.
    pub writes_waiting_max: usize,
    /// Most bytes of writes that may wait. Callers wait for room beyond that.
    pub writes_waiting_bytes_max: u32,
    /// Writes in one synced batch. A sync takes 0.1-5 ms, in which this many gather at the fastest rate
    /// measured (300 k/s).
    pub batch_writes_max: usize,
    /// Bytes after which a batch is closed.
    pub batch_bytes_max: usize,
    /// How often descriptors, disk and directory are examined while batch follows batch. The calls of an
    /// examination take a tenth of the time that the sync of a small batch takes. So 2 ms, some eight batches
    /// of one writer, make it a hundredth. With zero, each batch is examined.
    pub check_every: Duration,
    /// Longest wait for a write's answer. A healthy disk answers in milliseconds; after this time the outcome
    /// is reported as unknown.
    pub write_timeout: Duration,
}

impl EmbeddedConfig {
    /// Defaults for a machine of 2 GiB or more.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            cache_bytes: 64 * MIB,
            messages_buffer_bytes: 16 * MIB,
            log_buffer_bytes: 8 * MIB,
            small_buffer_bytes: 4 * MIB,
            journal_bytes: 64 * MIB,
            background_threads: 2,
            log_records_max: 1_000_000,
            log_bytes_max: 512 * MIB,
            ring_records_max: 16_384,
            ring_bytes_max: 32 * 1024 * 1024,
            reads_max: 32,
            reads_waiting_max: 4_096,
            read_timeout: Duration::from_secs(5),
            writes_waiting_max: 4_096,
            writes_waiting_bytes_max: 64 * 1024 * 1024,
            batch_writes_max: 1_024,
            batch_bytes_max: 8 * 1024 * 1024,
            check_every: Duration::from_millis(2),
            write_timeout: Duration::from_secs(30),
        }
    }
}
