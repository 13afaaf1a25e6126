//! Loading a chat file: one JSON object a line, plain or gzip.
//!
//! Two passes over the lines, because a job's channels and authors are created before its first message:
//! 1. [`scan`] reads every line once: the file's hash (the job's key), names in order of first appearance, what is wrong with which line;
//! 2. [`convert`] takes the lines that the first kept ([`held`]), of a long file reads it again, derives ids ([`ids`]) and fills batches;
//!    [`send`] sends them, a few at a time, while the next is filled.
//!
//! Both passes are deterministic: whoever repeats a job that was killed derives the same rows and goes on where
//! the service says it was. Where a reply comes before its message, or `--strict` must know whether every time
//! is kept, the first pass goes over the ids once more and leaves a [`plan`]; [`order`] is what ids need to know
//! of the times. [`mod@export`] reads what DiscordChatExporter writes, [`mod@format`] names other forms.
//! [`source`] opens the file, [`mod@line`] understands a line, [`names`] numbers names, [`taken`] finds ids that
//! come twice, [`progress`] tells how far it is.

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

/// Why a file was not imported, or not to its end. What was written stays, and the same command continues after it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The file cannot be read, or is damaged gzip.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system or the decoder said.
        #[source]
        source: io::Error,
    },
    /// It has no line that can be imported.
    #[error("{} holds no message: {bad} lines cannot be imported", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// Lines that are wrong.
        bad: u64,
    },
    /// It is of another form.
    #[error("{} is {name}, not one JSON object a line: {advice}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its form.
        name: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// It has wrong lines and `--strict` was given.
    #[error("{bad} lines cannot be imported and --strict was given: nothing was written")]
    Strict {
        /// Lines that are wrong.
        bad: u64,
    },
    /// Not every message can keep its time and `--strict` was given.
    #[error(
        "not every message can keep its time and --strict was given: {before_epoch} are older than 2015, where ids begin, \
         {moved} share a millisecond with more than it has ids; nothing was written"
    )]
    Times {
        /// Messages older than ids.
        before_epoch: u64,
        /// Messages that do not fit into their millisecond.
        moved: u64,
    },
    /// Its times are in too great a disorder for ids that are the line's own.
    #[error("the times in {} are in too great a disorder for a file of that length: sort it by timestamp, or divide it", path.display())]
    Scattered {
        /// The file.
        path: PathBuf,
    },
    /// More channels or authors than a guild of this service takes.
    #[error("the file has more than {max} {what}: divide it")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many may be.
        max: usize,
    },
    /// Its content was not the same in both passes.
    #[error("{} changed while it was read: start again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The service's answer does not fit the request.
    #[error("the service answered for {answered} channels, {asked} were asked for")]
    Answer {
        /// Channel ids it sent.
        answered: usize,
        /// Channel names it was sent.
        asked: usize,
    },
    /// The service did not take a batch.
    #[error("stopped after line {lines_done}; run the same command again and it continues there")]
    Send {
        /// Lines that are durable.
        lines_done: u64,
        /// The last answer.
        #[source]
        source: DataError,
    },
    /// The service did not take a batch for too long.
    #[error(
        "no batch was taken for {waited_s} s; stopped after line {lines_done}; run the same command again and it continues there"
    )]
    Stuck {
        /// Lines that are durable.
        lines_done: u64,
        /// How long it was tried, in seconds.
        waited_s: u64,
        /// The last answer.
        #[source]
        source: DataError,
    },
    /// The embedded store in this process has failed for good.
    #[error(
        "the store takes no more writes: {reason}; what was written stays: look at the disk, run the same command again and it continues there"
    )]
    Lost {
        /// Its first error.
        reason: String,
    },
    /// Ctrl-C, or a termination.
    #[error("interrupted after line {lines_done}; run the same command again and it continues there")]
    Interrupted {
        /// Lines that are durable.
        lines_done: u64,
    },
    /// The thread that reads the file could not be started.
    #[error("no thread can be started to read the file")]
    Thread(#[source] io::Error),
    /// That thread ended without a word: it panicked.
    #[error("the reader of the file failed")]
    Reader,
}
