//! Checks that a data directory with a store has all of it, undamaged.
//!
//! fjall makes anew what it does not find, and removes what it does not know. A lost file would silently
//! become an empty table, and a lost list of keyspaces would take the others with it. So these pieces are
//! looked for before fjall may touch them:
//!
//! - its own marker, its list of keyspaces, each keyspace's list of tables, and the tables that it names
//!   (`levels` verifies them);
//! - a journal that is neither older nor shorter than `JOURNAL` says, nor without a batch if some were
//!   acknowledged since. That file is written when the store is opened and when it is closed, so a commit
//!   pays nothing for it;
//! - after a clean stop, everything as in the `seal`; after a kill, journals that are consistent (`journal`)
//!   and reach at least to the last acknowledged batch (`acked`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    acked,
    files::failed,
    journal::{self, Ids},
    layout::{JOURNAL_END, LOCK, NOTE, TREE},
    levels::{self, CURRENT},
    open_error::OpenError,
    seal,
    tables::KEYSPACE_COUNT,
};

/// fjall's marker of a database that is complete.
const MARKER: &str = "version";
/// Content of the marker: fjall's name and the version of its format.
const MARKED: &[u8] = b"FJL\x03";
/// Most bytes of tables that are read whole at a start after a kill: a second or two. The rest of a larger
/// store is verified block by block, on reads.
const VERIFIED_BYTES_MAX: u64 = 1 << 30;
/// fjall's folder of keyspaces; number 0 is the list of the others.
const KEYSPACES: &str = "keyspaces";
/// Most bytes read of the note: three numbers and blanks.
const NOTE_BYTES_MAX: u64 = 128;
/// Bytes of the note that earlier builds read, and in which they expect two numbers: the third begins behind
/// them.
const OLD_NOTE_BYTES: usize = 64;

/// The note about the journals, written when the store is opened and when it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    /// The newest journal.
    journal: Journal,
    /// The newest batch of the store at that time; `None` if it was not known, or if an earlier build wrote
    /// the note.
    batch: Option<u64>,
}

/// A journal by number and bytes. One with a higher number is newer; one of the same number only grows while
/// it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Journal {
    number: u64,
    bytes: u64,
}

/// Refuses a directory whose store lacks a piece, as far as that shows without opening the store. Changes
/// nothing.
pub(super) fn check(directory: &Path) -> Result<(), OpenError> {
    let lost = |piece: String| OpenError::Incomplete { directory: directory.to_owned(), piece };
    let tree = directory.join(TREE);
    for piece in [MARKER.to_owned(), LOCK.to_owned(), format!("{KEYSPACES}/0/{CURRENT}")] {
        if !exists(&tree.join(&piece))? {
            return Err(lost(format!("{TREE}/{piece}")));
        }
    }
    let keyspaces = keyspaces(directory)?;
    for (folder, path) in &keyspaces {
        if !exists(&path.join(CURRENT))? {
            return Err(lost(format!("{folder}/{CURRENT}")));
        }
    }
    // The list of the others counts too.
    if keyspaces.len() < KEYSPACE_COUNT + 1 {
        return Err(lost(format!("one of the {} folders of {TREE}/{KEYSPACES}", KEYSPACE_COUNT + 1)));
    }
    let Some(newest) = newest_journal(&tree)? else {
        return Err(lost(format!("the journal, {TREE}/N{JOURNAL_END}")));
    };
    match noted(directory)? {
        Some(Note { journal, .. }) if newest < journal => Err(lost(format!(
            "the end of the journal ({TREE}/{}{JOURNAL_END} had {} bytes, says {NOTE})",
            journal.number, journal.bytes
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a directory that is not as it was written, as far as that shows without reading the tables.
/// Changes nothing. The caller must hold the directory: files of a store in use change meanwhile.
pub(super) fn verify(directory: &Path) -> Result<(), OpenError> {
    let broken =
        |piece: String, reason: String| OpenError::Broken { directory: directory.to_owned(), piece, reason };
    let tree = directory.join(TREE);
    let marker = tree.join(MARKER);
    if fs::read(&marker).map_err(failed("read", &marker))? != MARKED {
        return Err(broken(
            format!("{TREE}/{MARKER}"),
            "it is not the marker of a tree that we know".to_owned(),
        ));
    }
    let mut tables = Vec::new();
    for (folder, path) in keyspaces(directory)? {
        match levels::check(&path).map_err(failed("read", &path))? {
            Ok(listed) => {
                tables.extend(listed.into_iter().map(|table| (folder.clone(), path.clone(), table)))
            }
            Err((piece, reason)) => return Err(broken(format!("{folder}/{piece}"), reason)),
        }
    }
    if !seal::check(directory)? {
        let mut left = VERIFIED_BYTES_MAX;
        for (folder, path, table) in tables {
            let file = path.join(&table.path);
            left = left.saturating_sub(fs::metadata(&file).map_err(failed("look at", &file))?.len());
            if left == 0 {
                break;
            }
            if !levels::is_whole(&path, &table).map_err(failed("read", &file))? {
                let reason = "it does not have the checksum that is noted".to_owned();
                return Err(broken(format!("{folder}/{}", table.path), reason));
            }
        }
    }
    let noted = noted(directory)?;
    let mut journals = journals(&tree)?;
    journals.sort_unstable();
    let mut last: Option<Ids> = None;
    for (index, journal) in journals.iter().enumerate() {
        let name = format!("{TREE}/{}{JOURNAL_END}", journal.number);
        let path = directory.join(&name);
        let walked = journal::walk(&path).map_err(failed("read", &path))?;
        let newest = index + 1 == journals.len();
        let gap = last.zip(walked.first).and_then(|(last, first)| journal::gap(last, first));
        // fjall begins the next journal only when all batches of this one are whole.
        let torn = (walked.torn && !newest).then(|| "its end cannot be read".to_owned());
        if let Some(reason) = walked.damage.or(gap).or(torn) {
            return Err(broken(format!("the journal {name}"), reason));
        }
        last = walked.last.or(last);
        let number = walked.last.and_then(|ids| ids.number);
        let acked = acked::read(directory).map_err(failed("read", directory))?;
        if let Some(number) = number.filter(|number| newest && *number < acked) {
            let reason = format!("it ends with batch {number}, and batch {acked} was acknowledged");
            return Err(broken(format!("the end of the journal {name}"), reason));
        }
        // Batches that were acknowledged since the store was opened are in the journal that was the newest
        // then, unless there is a newer one.
        let has_some = |note: Note| {
            note.journal.number == journal.number && note.batch.is_some_and(|batch| batch < acked)
        };
        if newest && walked.last.is_none() && noted.is_some_and(has_some) {
            let reason = format!("it holds no batch, and batch {acked} was acknowledged");
            return Err(broken(format!("the end of the journal {name}"), reason));
        }
    }
    Ok(())
}

/// Names a table that is not as it was written, if there is one. Reads all tables, for a tree that cannot be
/// opened.
pub(super) fn broken_table(directory: &Path) -> Option<OpenError> {
    for (folder, path) in keyspaces(directory).ok()? {
        for table in levels::check(&path).ok()?.ok()? {
            if !levels::is_whole(&path, &table).ok()? {
                return Some(OpenError::Broken {
                    directory: directory.to_owned(),
                    piece: format!("{folder}/{}", table.path),
                    reason: "it does not have the checksum that is noted".to_owned(),
                });
            }
        }
    }
    None
}

/// The keyspaces' folders: their names within the directory, and their paths.
fn keyspaces(directory: &Path) -> Result<Vec<(String, PathBuf)>, OpenError> {
    let folder = directory.join(TREE).join(KEYSPACES);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
        let entry = entry.map_err(failed("read", &folder))?;
        // Files there are strays, which fjall ignores.
        if entry.file_type().map_err(failed("read", &folder))?.is_dir() {
            found.push((format!("{TREE}/{KEYSPACES}/{}", entry.file_name().display()), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Notes how far the journals reach, and the newest batch if it is known.
pub(super) fn note(directory: &Path, batch: Option<u64>) -> Result<(), OpenError> {
    match newest_journal(&directory.join(TREE))? {
        Some(journal) => write_note(directory, Note { journal, batch }),
        None => Ok(()),
    }
}

/// Withdraws the note's claim on the newest journal's bytes, because recovery is about to cut off what was
/// never acknowledged.
pub(super) fn withdraw_length(directory: &Path) -> Result<(), OpenError> {
    match noted(directory)? {
        Some(note) => write_note(directory, Note { journal: Journal { bytes: 0, ..note.journal }, ..note }),
        None => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(failed("look for", path))
}

fn newest_journal(tree: &Path) -> Result<Option<Journal>, OpenError> {
    Ok(journals(tree)?.into_iter().max())
}

fn journals(tree: &Path) -> Result<Vec<Journal>, OpenError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(tree).map_err(failed("read", tree))? {
        let entry = entry.map_err(failed("read", tree))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(JOURNAL_END)?.parse().ok());
        let Some(number) = number else { continue };
        match entry.metadata() {
            Ok(metadata) => found.push(Journal { number, bytes: metadata.len() }),
            // fjall removes journals that it no longer needs, even during this search.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at", &entry.path())(error)),
        }
    }
    Ok(found)
}

fn noted(directory: &Path) -> Result<Option<Note>, OpenError> {
    let path = directory.join(NOTE);
    let file = match File::open(&path) {
        Ok(file) => file,
        // Earlier builds wrote no note.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).map_err(failed("read", &path))?;
    parse(&text).map(Some).ok_or(OpenError::BadNote { file: path })
}

fn parse(text: &str) -> Option<Note> {
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    let journal = Journal { number: numbers.next()??, bytes: numbers.next()?? };
    let batch = match numbers.next() {
        Some(number) => Some(number?),
        None => None,
    };
    numbers.next().is_none().then_some(Note { journal, batch })
}

/// Writes a whole note or none, by renaming.
fn write_note(directory: &Path, note: Note) -> Result<(), OpenError> {
    let (path, draft) = (directory.join(NOTE), directory.join("JOURNAL.new"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let Note { journal: Journal { number, bytes }, batch } = note;
        write!(file, "{:<OLD_NOTE_BYTES$}", format!("{number} {bytes}"))?;
        if let Some(batch) = batch {
            write!(file, "{batch}")?;
        }
        writeln!(file)?;
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
    fn a_note_is_two_numbers_or_three() {
        let journal = Journal { number: 3, bytes: 17 };
        assert_eq!(parse("3 17\n"), Some(Note { journal, batch: None }));
        assert_eq!(parse("3 17 5\n"), Some(Note { journal, batch: Some(5) }));
        for text in ["", "3", "3 ", "x 1", "3 -1", "3 17 x", "3 17 5 1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_earlier_build_finds_its_two_numbers() {
        let root = tempfile::tempdir().expect("a directory");
        let note = Note { journal: Journal { number: u64::MAX, bytes: u64::MAX }, batch: Some(u64::MAX) };
        write_note(root.path(), note).expect("written");
        assert_eq!(noted(root.path()).expect("readable"), Some(note));
        let text = fs::read_to_string(root.path().join(NOTE)).expect("readable");
        assert_eq!(text[..OLD_NOTE_BYTES].trim(), format!("{0} {0}", u64::MAX));
    }

    #[test]
    fn a_newer_journal_outweighs_a_longer_one() {
        assert!(Journal { number: 1, bytes: 9 } < Journal { number: 2, bytes: 0 });
        assert!(Journal { number: 2, bytes: 0 } < Journal { number: 2, bytes: 1 });
    }
}
