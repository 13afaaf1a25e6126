//! The open database, with a fjall keyspace for each [`KeyspaceId`].

use std::panic::{self, AssertUnwindSafe};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::{
    config::EmbeddedConfig,
    datadir::DataDir,
    integrity,
    open_error::OpenError,
    spare,
    tables::{KEYSPACE_COUNT, KeyspaceId, Table},
    tree_error,
};

/// Smallest value that fjall accepts.
const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// The open database and its tables.
#[derive(Clone)]
pub(super) struct Tables {
    /// Used for batches, snapshots and the last sync.
    pub(super) db: Database,
    /// Indexed by a keyspace's number.
    keyspaces: [Keyspace; KEYSPACE_COUNT],
}

impl Tables {
    /// Opens or creates the database and recovers its journals.
    ///
    /// # Errors
    /// [`OpenError::Incomplete`] if a store was made here and fjall does not find one of its keyspaces: it
    /// would make an empty one.
    pub(super) fn open(directory: &DataDir, config: &EmbeddedConfig) -> Result<Self, OpenError> {
        let failed = |error: fjall::Error| unopened(directory, config, tree_error::describe(&error));
        let db = Database::builder(&directory.tree)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes.max(JOURNAL_BYTES_MIN))
            .worker_threads(config.background_threads.max(1))
            .max_cached_files(Some(spare::cached_files(spare::limit())))
            // The committer sets the durability of each batch.
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let known = db.list_keyspace_names();
        let lost = |id: &&KeyspaceId| !known.iter().any(|name| **name == *id.name());
        if directory.complete
            && let Some(id) = KeyspaceId::ALL.iter().find(lost)
        {
            let piece = format!("the keyspace {}", id.name());
            return Err(OpenError::Incomplete { directory: config.directory.clone(), piece });
        }
        // A keyspace keeps the options that it was created with; these apply only to a new one.
        let open = |id: KeyspaceId| {
            db.keyspace(id.name(), || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(id.buffer_bytes(config))
                    .manual_journal_persist(true)
            })
        };
        let [messages, events, changes, small] = KeyspaceId::ALL.map(open);
        let keyspaces = [
            messages.map_err(failed)?,
            events.map_err(failed)?,
            changes.map_err(failed)?,
            small.map_err(failed)?,
        ];
        Ok(Self { db, keyspaces })
    }

    /// Does the same as [`Self::open`], and turns a panic of the tree into an error.
    pub(super) fn open_safely(directory: &DataDir, config: &EmbeddedConfig) -> Result<Self, OpenError> {
        let opened = panic::catch_unwind(AssertUnwindSafe(|| Self::open(directory, config)));
        opened.unwrap_or_else(|_panic| Err(unopened(directory, config, "its reader panicked".to_owned())))
    }

    /// Bytes of all tables on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.keyspaces.iter().map(Keyspace::disk_space).sum()
    }

    /// A table's keyspace.
    pub(super) fn get(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table.keyspace() as usize]
    }
}

/// Reads a tree that cannot be opened whole, to name the damaged part: fjall does not say which it is.
fn unopened(directory: &DataDir, config: &EmbeddedConfig, reason: String) -> OpenError {
    let path = directory.tree.clone();
    let broken = directory.complete.then(|| integrity::broken_table(&config.directory)).flatten();
    broken.unwrap_or(OpenError::Tree { path, reason })
}
