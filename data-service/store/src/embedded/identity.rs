//! Whether the directory is still the one that was opened. Removed files still accept writes until their last
//! descriptor closes, and lose them then. So a store whose files are gone may acknowledge nothing.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::layout::{TREE, VERSION_FILE};

/// Ending of a journal's name.
const JOURNAL: &str = "jnl";

/// Open files by which the directory is recognized.
#[derive(Debug)]
pub(super) struct Identity {
    directory: PathBuf,
    tree: PathBuf,
    /// Both directories, open.
    open: [File; 2],
    /// The newest journal at the last search.
    journal: Option<(u64, File)>,
}

impl Identity {
    /// Remembers the directory of an open store.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let tree = directory.join(TREE);
        let open = [File::open(directory)?, File::open(&tree)?];
        let mut identity = Self { directory: directory.to_owned(), tree, open, journal: None };
        identity.journal = identity.newest_journal()?;
        Ok(identity)
    }

    /// Names what is gone, if anything is.
    pub(super) fn check(&mut self) -> Option<String> {
        for (held, path) in self.open.iter().zip([&self.directory, &self.tree]) {
            let same = |held: &fs::Metadata, there: &fs::Metadata| {
                (held.dev(), held.ino()) == (there.dev(), there.ino())
            };
            match (held.metadata(), fs::metadata(path)) {
                (Ok(held), Ok(there)) if same(&held, &there) => {}
                (Ok(_), Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                    // It cannot be examined now; the next write will show its state.
                    tracing::debug!(%error, path = %path.display(), "the store's directory cannot be examined");
                }
                _ => {
                    return Some(format!(
                        "{} was removed or replaced while it was in use: restore it from a backup, or begin anew without it",
                        path.display()
                    ));
                }
            }
        }
        let version = self.directory.join(VERSION_FILE);
        if matches!(version.try_exists(), Ok(false)) {
            return Some(format!("{} was removed while it was in use", version.display()));
        }
        match self.newest_journal() {
            // The numbers of journals only rise.
            Ok(newest)
                if newest.as_ref().map(|(number, _)| *number)
                    < self.journal.as_ref().map(|(number, _)| *number)
                    || newest.is_none() =>
            {
                Some(format!("journals in {} were removed while they were in use", self.tree.display()))
            }
            Ok(newest) => {
                self.journal = newest;
                None
            }
            // Most likely there are no descriptors. The journal that is held open still shows the most.
            Err(_) => None,
        }
    }

    /// Does the same at a fraction of the cost, before a batch is acknowledged: checks whether the open files
    /// still have names.
    pub(super) fn check_quickly(&mut self) -> Option<String> {
        let named = |file: &File| file.metadata().is_ok_and(|found| found.nlink() > 0);
        // The journal may have been replaced by the next one in good order.
        let sound = self.open.iter().all(named) && self.journal.as_ref().is_none_or(|(_, file)| named(file));
        if sound { None } else { self.check() }
    }

    /// The journal with the greatest number; `None` if there is no journal at all.
    fn newest_journal(&self) -> io::Result<Option<(u64, File)>> {
        let mut newest = None;
        for entry in fs::read_dir(&self.tree)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if path.extension().is_some_and(|ending| ending == JOURNAL) {
                newest = newest.max(number);
            }
        }
        match (newest, &self.journal) {
            (None, _) => Ok(None),
            (Some(number), Some((held, file))) if number == *held && file.metadata()?.nlink() > 0 => {
                Ok(Some((number, file.try_clone()?)))
            }
            (Some(number), _) => {
                Ok(Some((number, File::open(self.tree.join(format!("{number}.{JOURNAL}")))?)))
            }
        }
    }
}
