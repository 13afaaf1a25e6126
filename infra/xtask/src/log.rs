//! Log files of servers that xtask starts: creation, readiness lines, and bounded excerpts for error
//! messages.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use anyhow::{Context as _, Result};

/// Lines of a log that an error shows. A Java stack trace with its cause fits; more lines would hide the
/// message above.
const EXCERPT_LINES: usize = 40;

/// Bytes read from the end of a log for an excerpt: [`EXCERPT_LINES`] long lines.
const EXCERPT_BYTES: u64 = 16 * 1024;

/// Creates or empties the log at `path`, opened for appending so that several writers do not overwrite each
/// other.
pub(crate) fn create(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(path, "").with_context(|| format!("empty {}", path.display()))?;
    File::options().append(true).open(path).with_context(|| format!("open {}", path.display()))
}

/// True if the log contains `needle`. An unreadable log contains nothing.
pub(crate) fn contains(path: &Path, needle: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(needle))
}

/// The last lines of the log, with a heading.
pub(crate) fn tail(path: &Path) -> String {
    let text = match read_end(path) {
        Ok(text) => text,
        Err(error) => return format!("(no log at {}: {error})", path.display()),
    };
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(EXCERPT_LINES);
    format!("--- last lines of {}\n{}\n---", path.display(), lines[from..].join("\n"))
}

fn read_end(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(EXCERPT_BYTES)))?;
    let mut bytes = Vec::new();
    // A server may still write, so the amount is bounded too, not only the start.
    file.take(EXCERPT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_bounded_in_lines_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let text: String = (0..100_000).map(|line| format!("line {line}\n")).collect();
        fs::write(&path, text).unwrap();
        let excerpt = tail(&path);
        assert!(excerpt.contains("line 99999"));
        assert!(!excerpt.contains("line 99959\n"));
        assert_eq!(excerpt.lines().count(), EXCERPT_LINES + 2);
    }

    #[test]
    fn missing_log_is_said_so() {
        assert!(tail(Path::new("no/such.log")).contains("no log at"));
    }
}
