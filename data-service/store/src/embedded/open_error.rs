//! The errors of opening the embedded store, worded so that an operator can act on them.

use std::{io, path::PathBuf};

use super::layout::LAYOUT_VERSION;

/// Why the embedded store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("{} is in use by process {pid}", directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The holder's process id as it wrote it, or "?".
        pid: String,
    },
    /// A newer build wrote the directory.
    #[error("{} has layout {found}, this build knows layouts up to {LAYOUT_VERSION}: use the newer build", directory.display())]
    Newer {
        /// The data directory.
        directory: PathBuf,
        /// Its layout number.
        found: u32,
    },
    /// The version file does not hold a number.
    #[error("{} is not a layout number: the directory is damaged or not Weir's", file.display())]
    BadVersion {
        /// The version file.
        file: PathBuf,
    },
    /// There is a tree, but the file with its layout number is gone.
    #[error(
        "{} holds a store, but its file VERSION is missing: restore the directory from a backup, or move it away to begin anew",
        directory.display()
    )]
    NoVersion {
        /// The data directory.
        directory: PathBuf,
    },
    /// A part of the store is gone. Opening it would create that part anew, empty.
    #[error(
        "{} holds a store of which a part is missing, {piece}: restore the directory from a backup, or move it away to begin anew",
        directory.display()
    )]
    Incomplete {
        /// The data directory.
        directory: PathBuf,
        /// What is missing.
        piece: String,
    },
    /// A part of the store is not as it was written. Nothing was opened, changed or removed.
    #[error(
        "{} holds a store of which a part is damaged, {piece}: {reason}; restore the directory from a backup, or move it away to begin anew",
        directory.display()
    )]
    Broken {
        /// The data directory.
        directory: PathBuf,
        /// Which part.
        piece: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A note about the tree's contents is not as it was written.
    #[error("{} is damaged, and the store beside it may be: restore the directory from a backup, or remove this one file if you know the rest is whole", file.display())]
    BadNote {
        /// The file.
        file: PathBuf,
    },
    /// The operating system refused a step.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The tree cannot be opened or recovered.
    #[error("cannot open the tree in {}: {reason}", path.display())]
    Tree {
        /// The tree's directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A row that the store needs at start cannot be decoded.
    #[error("the tree's {table} table is damaged: {reason}")]
    Damaged {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
}
