//! Bounds of the embedded store, each with its unit and origin.

use std::{path::PathBuf, time::Duration};

/// Bytes in a mebibyte.
const MIB: u64 = 1024 * 1024;

/// Where the embedded store lives and what it may use. Unbounded, fjall was seen to take 652 MiB; with these defaults its share is
/// about `cache_bytes` + 6.25 × (`messages_buffer_bytes` + `log_buffer_bytes` + 2 × `small_buffer_bytes`) at worst: 264 MiB.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// The data directory; created with mode 0700 if missing.
    pub directory: PathBuf,
    /// Bytes of blocks cached. 64 MiB holds the index and the hot blocks of some ten million rows; the operating system caches the rest.
    pub cache_bytes: u64,
    /// Bytes of new message rows held in memory before they are written out as a table. fjall holds at most five such buffers before it
    /// halts writers.
    pub messages_buffer_bytes: u64,
    /// The same for the event log.
    pub log_buffer_bytes: u64,
    /// The same for every other table: they are small.
    pub small_buffer_bytes: u64,
    /// Bytes of full journals on disk before buffers are forced out; the one being written comes on top, about 64 MiB. At least 64 MiB
    /// (fjall's floor). Recovery reads all of them: 2-5 s for 135 MiB, measured on a machine with busy neighbours.
    pub journal_bytes: u64,
    /// Threads of fjall that flush and compact. Two, so that a long compaction never keeps a flush waiting.
    pub background_threads: usize,
    /// Records the event log keeps: at 1,000 records a second about 17 minutes, more than any RESUME window.
    pub log_records_max: u64,
    /// Bytes of records the event log keeps.
    pub log_bytes_max: u64,
    /// Newest records of the log also held in memory, so that a reader that keeps up never touches the tree.
    pub ring_records_max: usize,
    /// Bytes of records held in memory.
    pub ring_bytes_max: usize,
    /// Reads in the tree at once, each on a thread of its own. A disk serves this many at once well; more only queue.
    pub reads_max: usize,
    /// Reads that may wait for a thread; beyond it a read fails at once. The limits above the store keep far below it.
    pub reads_waiting_max: usize,
    /// Longest wait for a read, its wait for a thread included.
    pub read_timeout: Duration,
    /// Writes that may wait for the committer; beyond it callers wait for a place.
    pub writes_waiting_max: usize,
    /// Bytes of writes that may wait; beyond it callers wait.
    pub writes_waiting_bytes_max: u32,
    /// Writes in one synced batch. A sync takes 0.1-5 ms, in which this many gather at the fastest rate measured (300 k/s).
    pub batch_writes_max: usize,
    /// Bytes after which a batch is closed.
    pub batch_bytes_max: usize,
    /// How often descriptors, disk and directory are looked at while batch follows batch. The calls of a look are a tenth of what the sync of a
    /// small batch takes, so 2 ms, some eight batches of one writer, make it a hundredth. Zero looks at each.
    pub look_every: Duration,
    /// Longest wait for a write's answer. A healthy disk answers in milliseconds; past this the outcome is reported as unknown.
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
            look_every: Duration::from_millis(2),
            write_timeout: Duration::from_secs(30),
        }
    }
}
