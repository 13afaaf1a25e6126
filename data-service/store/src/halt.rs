//! Why a store takes no writes, although it is healthy or because it is lost. Nothing was begun, so each
//! refused write may be sent again.

use std::path::PathBuf;

/// Why writes are refused before anything is done. Reads continue as far as they can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The process may not open enough files to write tables out. The halt passes when some are closed.
    #[error(
        "the process has no file descriptors left for the store (its limit is {limit}): writes are refused until some are free; raise the limit (LimitNOFILE=)"
    )]
    Descriptors {
        /// The process's limit.
        limit: u64,
    },
    /// The disk has too little room to write out what is in memory and to merge tables. The halt passes when
    /// there is room.
    #[error(
        "the disk of {} is full: {} MiB are free, and the store needs {} MiB to go on: writes are refused until there is room",
        directory.display(), free_bytes >> 20, needed_bytes.div_ceil(1 << 20)
    )]
    DiskFull {
        /// The data directory.
        directory: PathBuf,
        /// Bytes that are free for this process.
        free_bytes: u64,
        /// Bytes that must be free.
        needed_bytes: u64,
    },
    /// The store failed earlier and can no longer vouch for its files. The halt does not pass: the process
    /// must end.
    #[error("the store is lost to this process: {reason}")]
    Lost {
        /// The first error.
        reason: String,
    },
}
