//! What the tree's errors are called towards people, and what lies behind the one that says nothing.
//!
//! A thread of fjall's that cannot write ends, and tells nobody but its log; every later write only learns that one did. So the disk is
//! asked for what the thread was refused.

use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use rustix::io::Errno;

use super::EmbeddedConfig;

/// Name of the file with which the disk is asked.
const PROBE: &str = "probe.tmp";
/// Bytes written at once.
const PIECE_BYTES: usize = 1 << 20;

/// An error of the tree in words: the innermost cause, which is the operating system's own. What fjall puts around it is `Debug` output.
pub(super) fn describe(error: &fjall::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    if matches!(error, fjall::Error::Poisoned) {
        return "a thread that writes the tree's tables failed; its error is in the log".to_owned();
    }
    let text = innermost.to_string();
    let bare = ["FjallError: ", "LsmTreeError: "].iter().find_map(|prefix| text.strip_prefix(prefix));
    bare.unwrap_or(&text).to_owned()
}

/// Whether a file could not be opened only because this process, or the machine, has too many open.
pub(super) fn no_descriptors(error: &fjall::Error) -> bool {
    let (fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))) = error else {
        return false;
    };
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Why the store is poisoned: the error, or, if it only says that an earlier one happened, what the disk says to a write like that one.
pub(super) fn reason(error: &fjall::Error, config: &EmbeddedConfig) -> String {
    let said = describe(error);
    if !matches!(error, fjall::Error::Poisoned) {
        return said;
    }
    // What the largest buffer takes as a table, and a merge of tables beside it.
    match probe(&config.directory, 2 * config.messages_buffer_bytes) {
        Ok(()) => said,
        Err(error) => format!("{error}; the tree's tables can be written no more"),
    }
}

/// Tries to write `bytes` bytes, and removes them again.
fn probe(directory: &Path, bytes: u64) -> io::Result<()> {
    let path = directory.join(PROBE);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let piece = vec![0x5a; PIECE_BYTES];
        let mut left = bytes;
        while left > 0 {
            let length = left.min(PIECE_BYTES as u64);
            #[expect(clippy::cast_possible_truncation, reason = "at most a piece")]
            file.write_all(&piece[..length as usize])?;
            left -= length;
        }
        file.sync_data()
    };
    let written = write();
    // It may never have come to be.
    let _ = fs::remove_file(&path);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::Error::from_raw_os_error(28)
    }

    #[test]
    fn the_operating_systems_words_are_kept_and_fjalls_brackets_are_not() {
        for error in [fjall::Error::Io(full()), fjall::Error::Storage(fjall::LsmError::Io(full()))] {
            assert_eq!(describe(&error), "No space left on device (os error 28)");
        }
        let silent = describe(&fjall::Error::Poisoned);
        assert!(!silent.contains("Fjall") && !silent.contains("Poisoned"), "{silent}");
        assert_eq!(describe(&fjall::Error::Locked), "Locked");
    }

    #[test]
    fn want_of_descriptors_is_told_apart() {
        let wanting = |number| fjall::Error::Io(io::Error::from_raw_os_error(number));
        assert!(
            no_descriptors(&wanting(24)) && no_descriptors(&wanting(23)) && !no_descriptors(&wanting(28))
        );
        assert!(!no_descriptors(&fjall::Error::Poisoned));
    }

    #[test]
    fn an_error_that_only_says_that_there_was_one_is_replaced_by_what_the_disk_says() {
        let root = tempfile::tempdir().expect("a directory");
        let config = EmbeddedConfig { messages_buffer_bytes: 10, ..EmbeddedConfig::new(root.path()) };
        assert_eq!(reason(&fjall::Error::Poisoned, &config), describe(&fjall::Error::Poisoned));
        assert_eq!(fs::read_dir(root.path()).expect("there").count(), 0, "the probe is gone");
        let gone =
            EmbeddedConfig { messages_buffer_bytes: 10, ..EmbeddedConfig::new(root.path().join("gone")) };
        assert!(reason(&fjall::Error::Poisoned, &gone).contains("No such file"));
    }
}
