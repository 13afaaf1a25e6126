//! The tree's errors in words for people, and a search for the cause where the error does not name it.
//!
//! A thread of fjall's that cannot write ends and reports that only in its log; every later write only learns
//! that some earlier one failed. So we try on the disk what the thread was refused.

use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use rustix::io::Errno;

use super::EmbeddedConfig;

/// Name of the file that is written to try the disk.
const PROBE: &str = "probe.tmp";
/// Most bytes written in one call.
const PIECE_BYTES: usize = 1 << 20;

/// An error of the tree in words: the innermost cause, which is the operating system's own. fjall surrounds
/// it with `Debug` output.
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

/// Why the store is poisoned: the error itself, or, if that only says that an earlier one happened, the
/// result of a similar write.
pub(super) fn reason(error: &fjall::Error, config: &EmbeddedConfig) -> String {
    let said = describe(error);
    if !matches!(error, fjall::Error::Poisoned) {
        return said;
    }
    // The size that the largest buffer has as a table, and that of a merge of tables beside it.
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
    // The file may not exist.
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
    fn want_of_descriptors_is_recognized() {
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
