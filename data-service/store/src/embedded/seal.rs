//! The seal: a list of the tree's files at the time when the store was stopped, by which the next start
//! notices damage.
//!
//! It is written after fjall has closed its files and removed before fjall may touch them again, so a commit
//! pays nothing for it. It has every file of the tree with its length and a checksum: for a journal, of its
//! batches; for a small file, of its content; for a table, of its last page (its blocks have checksums of
//! their own, which every read verifies). After a kill there is no seal; `levels` and `journal` verify what
//! can be verified then.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    files::{failed, sync},
    journal,
    layout::{JOURNAL_END, LOCK, NOTE, TREE},
    open_error::OpenError,
};

/// Name of the file.
const SEAL: &str = "SEAL";
/// Most bytes read of the file: a store of 100,000 tables needs about 8 MiB.
const SEAL_BYTES_MAX: u64 = 64 << 20;
/// Bytes at a file's end that its checksum covers; a smaller file is covered whole.
const SUMMED_BYTES: u64 = 16 * 1024;
/// Depth of folders within the tree: keyspaces, one of them, its tables.
const DEPTH_MAX: usize = 4;

/// Writes the seal, if fjall has closed its files.
pub(super) fn write(directory: &Path) -> Result<(), OpenError> {
    let tree = directory.join(TREE);
    let lock = File::open(tree.join(LOCK)).map_err(failed("open", &tree.join(LOCK)))?;
    match lock.try_lock() {
        Ok(()) => {}
        // A thread of fjall's still runs, so this was no clean stop.
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(source)) => return Err(failed("lock", &tree.join(LOCK))(source)),
    }
    let mut text = String::new();
    for (name, state) in look(directory)? {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{state} {name}");
    }
    let path = directory.join(SEAL);
    let put = || -> io::Result<()> {
        let draft = directory.join("SEAL.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{:032x}", xxh3_128(text.as_bytes()))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)
    };
    put().map_err(failed("write", &path))?;
    sync(directory)
}

/// Compares the tree with the seal. Gives false if there is no seal of this state. Changes nothing.
pub(super) fn check(directory: &Path) -> Result<bool, OpenError> {
    let path = directory.join(SEAL);
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(SEAL_BYTES_MAX).read_to_end(&mut bytes).map_err(failed("read", &path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let damaged = || OpenError::BadNote { file: path.clone() };
    let text = std::str::from_utf8(&bytes).map_err(|_not_text| damaged())?;
    let (sum, text) = text.split_once('\n').ok_or_else(damaged)?;
    if u128::from_str_radix(sum, 16) != Ok(xxh3_128(text.as_bytes())) {
        return Err(damaged());
    }
    let found = look(directory)?;
    let mut lines = Vec::new();
    for line in text.lines() {
        let (state, name) = line.rsplit_once(' ').ok_or_else(damaged)?;
        lines.push((name, state));
    }
    // An earlier build that opened the store since then left the old seal, and wrote a note of its own.
    let note = |(name, _): &&(&str, &str)| *name == NOTE;
    let found_note = found.iter().find(|(name, _)| name == NOTE).map(|(_, state)| state.as_str());
    if lines.iter().find(note).map(|(_, state)| *state) != found_note {
        return Ok(false);
    }
    for (name, state) in lines {
        let reason = match found.iter().find(|(there, _)| there == name) {
            Some((_, now)) if now == state => continue,
            Some((_, now)) => format!("it is not as it was when the store was stopped ({state}, now {now})"),
            None => "it is missing".to_owned(),
        };
        return Err(OpenError::Broken { directory: directory.to_owned(), piece: name.to_owned(), reason });
    }
    Ok(true)
}

/// Removes the seal, because the tree is about to change.
pub(super) fn remove(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(SEAL);
    match fs::remove_file(&path) {
        Ok(()) => sync(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", &path)(error)),
    }
}

/// Every file that the seal covers, and its state in words.
fn look(directory: &Path) -> Result<Vec<(String, String)>, OpenError> {
    let mut files = Vec::new();
    collect(directory, TREE, DEPTH_MAX, &mut files)?;
    let note = directory.join(NOTE);
    if note.try_exists().map_err(failed("look for", &note))? {
        files.push((NOTE.to_owned(), state(&note).map_err(failed("read", &note))?));
    }
    files.sort();
    Ok(files)
}

fn collect(
    directory: &Path,
    folder: &str,
    depth: usize,
    files: &mut Vec<(String, String)>,
) -> Result<(), OpenError> {
    let path = directory.join(folder);
    for entry in fs::read_dir(&path).map_err(failed("read", &path))? {
        let entry = entry.map_err(failed("read", &path))?;
        let Some(name) = entry.file_name().to_str().map(|name| format!("{folder}/{name}")) else { continue };
        let path = entry.path();
        if entry.file_type().map_err(failed("look at", &path))?.is_dir() {
            if depth > 0 {
                collect(directory, &name, depth - 1, files)?;
            }
        } else if name != format!("{TREE}/{LOCK}") {
            let state = state(&path).map_err(failed("read", &path))?;
            files.push((name, state));
        }
    }
    Ok(())
}

/// Length and checksum of a file's end; for a journal, length and checksum of its batches.
fn state(path: &Path) -> io::Result<String> {
    if path.to_str().is_some_and(|path| path.ends_with(JOURNAL_END)) {
        let walked = journal::walk(path)?;
        return Ok(format!("{}:{:032x}", walked.bytes, walked.checksum));
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SUMMED_BYTES)))?;
    let mut end = Vec::new();
    file.take(SUMMED_BYTES).read_to_end(&mut end)?;
    Ok(format!("{length}:{:032x}", xxh3_128(&end)))
}
