//! Loading a chat file: one JSON object a line, plain or gzip.
//!
//! An import passes over the lines twice, because a job's channels and authors are created before its first
//! message:
//!
//! 1. [`scan`] reads every line once. It finds the file's hash (the job's key), the names in order of first
//!    appearance, and the lines that are wrong.
//! 2. [`convert`] takes the lines that the first pass kept ([`held`]), or reads a long file again. It derives
//!    ids ([`ids`]) and fills batches; [`send`] sends them, a few at a time, while the next is filled.
//!
//! Both passes are deterministic. A job that was killed and is repeated derives the same rows and continues
//! where the service says that it stopped. If a reply comes before its message, or if `--strict` must know
//! whether every time is kept, the first pass goes over the ids once more and leaves a [`plan`]. [`order`]
//! holds what ids need to know of the times' order. [`mod@export`] reads files of DiscordChatExporter,
//! [`mod@format`] names other forms. [`source`] opens the file, [`mod@line`] parses a line, [`names`] numbers
//! names, [`taken`] finds ids that come twice, [`progress`] shows how far the import is.

pub(crate) mod convert;
pub(crate) mod export;
pub(crate) mod format;
#[cfg(test)]
mod fuzz;
pub(crate) mod held;
pub(crate) mod ids;
pub(crate) mod line;
pub(crate) mod names;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod scan;
pub(crate) mod send;
pub(crate) mod source;
pub(crate) mod taken;

use std::{io, path::PathBuf};

use weir_data_client::DataError;

/// Why a file was not imported, or not to its end. Lines that were written stay, and the same command
/// continues after them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The file cannot be read, or is damaged gzip.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system or the decoder.
        #[source]
        source: io::Error,
    },
    /// The file has no line that can be imported.
    #[error("{} holds no message: {bad} lines cannot be imported", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// Number of wrong lines.
        bad: u64,
    },
    /// The file has another form.
    #[error("{} is {name}, not one JSON object a line: {advice}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Name of that form.
        name: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The file has wrong lines and `--strict` was given.
    #[error("{bad} lines cannot be imported and --strict was given: nothing was written")]
    Strict {
        /// Number of wrong lines.
        bad: u64,
    },
    /// Not every message can keep its time and `--strict` was given.
    #[error(
        "not every message can keep its time and --strict was given: {before_epoch} are older than 2015, where ids begin, \
         {moved} share a millisecond with more than it has ids; nothing was written"
    )]
    Times {
        /// Messages that are older than ids can show.
        before_epoch: u64,
        /// Messages that do not fit into their millisecond.
        moved: u64,
    },
    /// The times in the file are in such disorder that ids cannot follow the lines' times.
    #[error("the times in {} are in too great a disorder for a file of that length: sort it by timestamp, or divide it", path.display())]
    Scattered {
        /// The file.
        path: PathBuf,
    },
    /// The file has more channels or authors than the service takes for one guild.
    #[error("the file has more than {max} {what}: divide it")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The file's content differed between the two passes.
    #[error("{} changed while it was read: start again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The service's answer does not fit the request.
    #[error("the service answered for {answered} channels, {asked} were asked for")]
    Answer {
        /// Number of channel ids that it sent.
        answered: usize,
        /// Number of channel names that it was sent.
        asked: usize,
    },
    /// The service rejected a batch.
    #[error("stopped after line {lines_done}; run the same command again and it continues there")]
    Send {
        /// Number of lines that are durable.
        lines_done: u64,
        /// The service's last error.
        #[source]
        source: DataError,
    },
    /// The service accepted no batch for too long.
    #[error(
        "no batch was taken for {waited_s} s; stopped after line {lines_done}; run the same command again and it continues there"
    )]
    Stuck {
        /// Number of lines that are durable.
        lines_done: u64,
        /// How long the call was repeated, in seconds.
        waited_s: u64,
        /// The service's last error.
        #[source]
        source: DataError,
    },
    /// The embedded store in this process has failed for good.
    #[error(
        "the store takes no more writes: {reason}; what was written stays: look at the disk, run the same command again and it continues there"
    )]
    Lost {
        /// The store's first error.
        reason: String,
    },
    /// The process got Ctrl-C or a termination signal.
    #[error("interrupted after line {lines_done}; run the same command again and it continues there")]
    Interrupted {
        /// Number of lines that are durable.
        lines_done: u64,
    },
    /// The thread that reads the file could not be started.
    #[error("no thread can be started to read the file")]
    Thread(#[source] io::Error),
    /// The thread that reads the file panicked.
    #[error("the reader of the file failed")]
    Reader,
}
