//! The data directory: its lock, and the version that wrote it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    acked::{self, Acked},
    files::{failed, sync},
    integrity,
    layout::{DRAFT_FILE, LAYOUT_VERSION, TREE, VERSION_FILE},
    open_error::OpenError,
    seal,
};

/// Bytes read of a lock or version file; both hold a short number.
const SMALL_FILE_MAX: u64 = 64;

/// A data directory that this process holds. The lock ends with the value or with the process.
#[derive(Debug)]
pub(super) struct DataDir {
    /// Where the tree lives.
    pub(super) tree: PathBuf,
    /// False while the tree is being made for the first time.
    pub(super) complete: bool,
    directory: PathBuf,
    /// Keeps the lock.
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing and takes its lock. Checks its version, and that the store in
    /// it is complete and undamaged.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        private(directory)?;
        let lock = take_lock(directory)?;
        let tree = directory.join(TREE);
        let complete = inspect(directory)?.is_some();
        if complete {
            integrity::verify(directory)?;
            integrity::withdraw_length(directory)?;
            seal::remove(directory)?;
        } else {
            begin(directory, &tree)?;
        }
        Ok(Self { tree, complete, directory: directory.to_owned(), _lock: lock })
    }

    /// Refuses a tree whose newest batch is older than one that was acknowledged.
    pub(super) fn require_batch(&self, batch: u64) -> Result<(), OpenError> {
        let acked = acked::read(&self.directory).map_err(failed("read", &self.directory))?;
        if !self.complete || batch >= acked {
            return Ok(());
        }
        Err(OpenError::Broken {
            directory: self.directory.clone(),
            piece: format!("the end of the journal in {}", TREE),
            reason: format!("the newest batch is {batch}, and batch {acked} was acknowledged"),
        })
    }

    /// Opens the note of the last acknowledged batch.
    pub(super) fn acked(&self) -> Result<Acked, OpenError> {
        Acked::open(&self.directory).map_err(failed("write in", &self.directory))
    }

    /// Notes that the tree is open and complete: from now on the directory holds a store, whose newest batch
    /// is `batch`.
    pub(super) fn opened(&mut self, batch: u64) -> Result<(), OpenError> {
        if !self.complete {
            let path = self.directory.join(VERSION_FILE);
            fs::rename(self.directory.join(DRAFT_FILE), &path).map_err(failed("write", &path))?;
            sync(&self.directory)?;
            self.complete = true;
        }
        integrity::note(&self.directory, Some(batch))
    }

    /// Writes the notes and the seal by which the next start notices a loss.
    fn seal(&self) -> Result<(), OpenError> {
        // If the last batch cannot be read, the note does not name one.
        integrity::note(&self.directory, acked::read(&self.directory).ok().filter(|batch| *batch > 0))?;
        seal::write(&self.directory)
    }
}

impl Drop for DataDir {
    /// Writes the notes and the seal by which the next start notices a loss.
    fn drop(&mut self) {
        if self.complete
            && let Err(error) = self.seal()
        {
            tracing::warn!(error = %in_one_line(&error), "the state of the store could not be noted");
        }
    }
}

/// An error and its cause in one line.
fn in_one_line(error: &OpenError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Inspects a data directory without changing it or taking its lock. Gives the layout of the store in it, or
/// `None` if there is none yet.
///
/// # Errors
/// [`OpenError`] if opening would be refused for something that is visible from outside.
pub fn inspect(directory: &Path) -> Result<Option<u32>, OpenError> {
    let version = read_version(directory)?;
    let tree = directory.join(TREE);
    let there = |path: &Path| path.try_exists().map_err(failed("look for", path));
    match version {
        Some(_) => integrity::check(directory)?,
        None if there(&tree)? && !there(&directory.join(DRAFT_FILE))? => {
            return Err(OpenError::NoVersion { directory: directory.to_owned() });
        }
        None => {}
    }
    Ok(version)
}

/// Makes a directory, if it is missing, that only its owner can read.
fn private(directory: &Path) -> Result<(), OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("create", directory))
}

/// Notes that a store is being made, and removes what an earlier, interrupted try has left.
fn begin(directory: &Path, tree: &Path) -> Result<(), OpenError> {
    let draft = directory.join(DRAFT_FILE);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{LAYOUT_VERSION}")?;
        file.sync_all()
    };
    write().map_err(failed("write", &draft))?;
    sync(directory)?;
    match fs::remove_dir_all(tree) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", tree)(source));
        }
        Ok(()) | Err(_) => {}
    }
    private(tree)
}

/// Locks the directory. The file has the holder's process id, for the error that a second opener gets.
fn take_lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("weir.lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = read_small(&mut lock).unwrap_or_default();
            let pid = if pid.is_empty() { "?".to_owned() } else { pid };
            return Err(OpenError::InUse { directory: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    write_pid(&mut lock).map_err(failed("write", &path))?;
    Ok(lock)
}

/// Replaces the file's content by our process id.
fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// A small file's text without surrounding space.
fn read_small(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(SMALL_FILE_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// The layout's number; `None` if there is no version file.
fn read_version(directory: &Path) -> Result<Option<u32>, OpenError> {
    let path = directory.join(VERSION_FILE);
    let text = match File::open(&path) {
        Ok(mut file) => read_small(&mut file).map_err(failed("read", &path))?,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("open", &path)(source)),
    };
    match text.parse::<u32>() {
        Ok(found) if found > LAYOUT_VERSION => {
            Err(OpenError::Newer { directory: directory.to_owned(), found })
        }
        // Layouts are numbered from 1.
        Ok(0) | Err(_) => Err(OpenError::BadVersion { file: path }),
        Ok(found) => Ok(Some(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_new_directory_is_private_and_a_second_opener_learns_who_holds_it() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("a/b");
        let held = DataDir::open(&directory).expect("new");
        let mode = fs::metadata(&directory).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        match DataDir::open(&directory) {
            Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("opened twice: {other:?}"),
        }
        drop(held);
        DataDir::open(&directory).expect("free again");
    }

    #[test]
    fn a_newer_layout_and_a_foreign_file_are_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let version = |text: String| fs::write(root.path().join("VERSION"), text).expect("written");
        version(format!("{}\n", LAYOUT_VERSION + 1));
        assert!(
            matches!(DataDir::open(root.path()), Err(OpenError::Newer { found, .. }) if found == LAYOUT_VERSION + 1)
        );
        for text in ["soup", "0", ""] {
            version(text.to_owned());
            assert!(matches!(DataDir::open(root.path()), Err(OpenError::BadVersion { .. })), "{text}");
        }
    }

    #[test]
    fn a_first_start_that_was_cut_short_begins_anew() {
        let root = tempfile::tempdir().expect("a directory");
        drop(DataDir::open(root.path()).expect("new"));
        let stray = root.path().join("lsm/keyspaces");
        fs::create_dir(&stray).expect("made");
        assert_eq!(inspect(root.path()).expect("nothing wrong"), None);
        assert!(!DataDir::open(root.path()).expect("new again").complete && !stray.exists());
    }
}
