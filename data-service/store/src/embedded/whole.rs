//! What must lie in a data directory that says it holds a store.
//!
//! fjall makes anew what it does not find, and removes what it cannot place: a lost file would silently become an empty table, and a lost
//! list of keyspaces would take the others with it. So the pieces are looked for before fjall may touch them:
//!
//! - its own marker, its list of keyspaces, each keyspace's list of tables (which tables there must be, that list says: fjall checks it);
//! - a journal, and not an older or a shorter one than `JOURNAL` says was there. That file is written when the store is opened and when it
//!   is closed: a commit pays nothing for it. So the loss of a journal that began after the start of a process that was then killed is
//!   seen only if no older one is left.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{datadir::failed, tables::HOMES};
use crate::embedded::OpenError;

/// The tree in a data directory.
pub(super) const TREE: &str = "lsm";
/// Says how far the journals reach at least: number of the newest, and its bytes.
const NOTE: &str = "JOURNAL";
/// fjall's marker of a database that was made completely.
const MARKER: &str = "version";
/// fjall's folder of keyspaces; number 0 is the list of the others.
const KEYSPACES: &str = "keyspaces";
/// In a keyspace: which list of tables is in force.
const CURRENT: &str = "current";
/// Ending of a journal's name; the rest is its number.
const JOURNAL_END: &str = ".jnl";
/// Bytes read of the note: two numbers.
const NOTE_BYTES_MAX: u64 = 64;

/// A journal: number, bytes. One with a higher number is newer; one of the same number only grows while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Journal {
    number: u64,
    bytes: u64,
}

/// Refuses a directory whose store has lost a piece that can be missed without opening it. Changes nothing.
pub(super) fn check(directory: &Path) -> Result<(), OpenError> {
    let lost = |piece: String| OpenError::Incomplete { directory: directory.to_owned(), piece };
    let tree = directory.join(TREE);
    for piece in [MARKER.to_owned(), format!("{KEYSPACES}/0/{CURRENT}")] {
        if !exists(&tree.join(&piece))? {
            return Err(lost(format!("{TREE}/{piece}")));
        }
    }
    let mut keyspaces = 0;
    let folder = tree.join(KEYSPACES);
    for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
        let entry = entry.map_err(failed("read", &folder))?;
        // Files there are strays, which fjall leaves alone.
        if !entry.file_type().map_err(failed("read", &folder))?.is_dir() {
            continue;
        }
        keyspaces += 1;
        if !exists(&entry.path().join(CURRENT))? {
            let name = entry.file_name();
            return Err(lost(format!("{TREE}/{KEYSPACES}/{}/{CURRENT}", name.display())));
        }
    }
    // The list counts too.
    if keyspaces < HOMES + 1 {
        return Err(lost(format!("one of the {} folders of {TREE}/{KEYSPACES}", HOMES + 1)));
    }
    let Some(newest) = newest_journal(&tree)? else {
        return Err(lost(format!("the journal, {TREE}/N{JOURNAL_END}")));
    };
    match noted(directory)? {
        Some(note) if newest < note => Err(lost(format!(
            "the end of the journal ({TREE}/{}{JOURNAL_END} had {} bytes)",
            note.number, note.bytes
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Notes how far the journals reach.
pub(super) fn note(directory: &Path) -> Result<(), OpenError> {
    match newest_journal(&directory.join(TREE))? {
        Some(newest) => write_note(directory, newest),
        None => Ok(()),
    }
}

/// Takes back what the note says of the newest journal's bytes: recovery is about to cut off what was never acknowledged.
pub(super) fn loosen(directory: &Path) -> Result<(), OpenError> {
    match noted(directory)? {
        Some(note) => write_note(directory, Journal { bytes: 0, ..note }),
        None => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(failed("look for", path))
}

fn newest_journal(tree: &Path) -> Result<Option<Journal>, OpenError> {
    let mut newest = None;
    for entry in fs::read_dir(tree).map_err(failed("read", tree))? {
        let entry = entry.map_err(failed("read", tree))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(JOURNAL_END)?.parse().ok());
        let Some(number) = number else { continue };
        match entry.metadata() {
            Ok(metadata) => newest = newest.max(Some(Journal { number, bytes: metadata.len() })),
            // fjall removes journals that it needs no longer, also while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at", &entry.path())(error)),
        }
    }
    Ok(newest)
}

fn noted(directory: &Path) -> Result<Option<Journal>, OpenError> {
    let path = directory.join(NOTE);
    let file = match File::open(&path) {
        Ok(file) => file,
        // Builds before this note wrote none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).map_err(failed("read", &path))?;
    parse(&text).map(Some).ok_or(OpenError::BadNote { file: path })
}

fn parse(text: &str) -> Option<Journal> {
    let (number, bytes) = text.trim().split_once(' ')?;
    Some(Journal { number: number.parse().ok()?, bytes: bytes.parse().ok()? })
}

/// Writes a whole note or none, by renaming.
fn write_note(directory: &Path, journal: Journal) -> Result<(), OpenError> {
    let (path, draft) = (directory.join(NOTE), directory.join("JOURNAL.new"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{} {}", journal.number, journal.bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_two_numbers() {
        assert_eq!(parse("3 17\n"), Some(Journal { number: 3, bytes: 17 }));
        for text in ["", "3", "3 ", "x 1", "3 -1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_newer_journal_outweighs_a_longer_one() {
        assert!(Journal { number: 1, bytes: 9 } < Journal { number: 2, bytes: 0 });
        assert!(Journal { number: 2, bytes: 0 } < Journal { number: 2, bytes: 1 });
    }
}
