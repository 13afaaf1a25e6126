//! The data directory: who may use it, and which version wrote it.
//!
//! ```text
//! DIR/weir.lock   held exclusively while open; contains the holder's process id
//! DIR/VERSION     the layout's number; a newer one than ours is refused
//! DIR/lsm/        the tree
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Name of the file that holds the layout's number: a directory without it has no embedded store.
pub const VERSION_FILE: &str = "VERSION";

/// Number of the layout this build writes. Raise it when an older build could no longer read what a newer one wrote.
pub const LAYOUT_VERSION: u32 = 1;

/// Bytes read of a lock or version file; both hold a short number.
const SMALL_FILE_MAX: u64 = 64;

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
    /// The version file is not a number.
    #[error("{} is not a layout number: the directory is damaged or not Weir's", file.display())]
    BadVersion {
        /// The version file.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which path.
        path: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// The tree cannot be opened or recovered.
    #[error("cannot open the tree in {}", path.display())]
    Tree {
        /// The tree's directory.
        path: PathBuf,
        /// What fjall said.
        #[source]
        source: fjall::Error,
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

/// Names the failed act on a path.
fn failed<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { act, path: path.to_owned(), source }
}

/// A data directory that this process holds. The lock ends with the value, or with the process.
#[derive(Debug)]
pub(super) struct DataDir {
    /// Where the tree lives.
    pub(super) tree: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, takes its lock and checks its version.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create", directory))?;
        let lock = take_lock(directory)?;
        check_version(directory)?;
        Ok(Self { tree: directory.join("lsm"), _lock: lock })
    }
}

/// Locks the directory; the holder's process id is in the file for the one who comes second.
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

/// Writes the version of a new directory, refuses that of a newer build.
fn check_version(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(VERSION_FILE);
    let text = match File::open(&path) {
        Ok(mut file) => read_small(&mut file).map_err(failed("read", &path))?,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return write_version(directory, &path).map_err(failed("write", &path));
        }
        Err(source) => return Err(failed("open", &path)(source)),
    };
    match text.parse::<u32>() {
        Ok(found) if found > LAYOUT_VERSION => {
            Err(OpenError::Newer { directory: directory.to_owned(), found })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(OpenError::BadVersion { file: path }),
    }
}

/// Writes a whole file or none, by renaming: a crash between create and write must not leave an empty version.
fn write_version(directory: &Path, path: &Path) -> io::Result<()> {
    let draft = directory.join("VERSION.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{LAYOUT_VERSION}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(directory)?.sync_all()
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
        drop(DataDir::open(root.path()).expect("new"));
        fs::write(root.path().join("VERSION"), format!("{}\n", LAYOUT_VERSION + 1)).expect("written");
        assert!(
            matches!(DataDir::open(root.path()), Err(OpenError::Newer { found, .. }) if found == LAYOUT_VERSION + 1)
        );
        fs::write(root.path().join("VERSION"), "soup").expect("written");
        assert!(matches!(DataDir::open(root.path()), Err(OpenError::BadVersion { .. })));
    }
}
