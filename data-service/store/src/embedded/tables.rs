//! The tables of the tree, in one database with one journal: a batch over several of them is atomic.
//!
//! The large ones have a keyspace of fjall's each, with a write buffer to their measure. The small ones share one, their keys behind the
//! table's number: a keyspace costs files, syncs when it is opened, and a buffer that holds back journals.

use std::panic::{self, AssertUnwindSafe};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Slice};

use super::{EmbeddedConfig, OpenError, datadir::DataDir, fault, spare, whole};

/// A table. Its number is stored: never change one, and never give one to another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Table {
    /// (channel, bucket, inverted message id) → `Message`.
    Messages,
    /// (channel, bucket) → nothing.
    Buckets,
    /// user → `User`.
    Users,
    /// hash → user.
    Tokens,
    /// guild → `Guild`.
    Guilds,
    /// (guild, role) → `Role`.
    Roles,
    /// channel → `Channel`.
    Channels,
    /// (guild, channel) → nothing.
    ChannelsByGuild,
    /// (guild, user) → `Member`.
    Members,
    /// (user, guild) → nothing.
    UserGuilds,
    /// guild → number of its members.
    MemberCounts,
    /// (table, key) → revision at which the row was removed, so that an older write that comes again does not bring it back, as a
    /// tombstone does in CQL.
    Removals,
    /// position → header and record: the log.
    Events,
    /// (scope, revision) → position in the log.
    Changes,
    /// session id → state.
    Sessions,
    /// (kind, key) → value.
    Settings,
    /// name → (end, holder).
    Leases,
    /// Numbers of the store itself.
    Meta,
    /// (low user, high user) → (channel, revision): direct messages.
    DirectChannels,
}

/// A keyspace of fjall's. Its name is stored: never rename one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Messages,
    Events,
    Changes,
    Small,
}

/// How many keyspaces there are.
pub(super) const HOMES: usize = Home::ALL.len();

impl Home {
    /// All, in the order of their numbers.
    const ALL: [Self; 4] = [Self::Messages, Self::Events, Self::Changes, Self::Small];

    fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Events => "events",
            Self::Changes => "changes",
            Self::Small => "small",
        }
    }

    fn buffer_bytes(self, config: &EmbeddedConfig) -> u64 {
        match self {
            Self::Messages => config.messages_buffer_bytes,
            Self::Events => config.log_buffer_bytes,
            Self::Changes | Self::Small => config.small_buffer_bytes,
        }
    }
}

impl Table {
    /// What it is called in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Buckets => "buckets",
            Self::Users => "users",
            Self::Tokens => "tokens",
            Self::Guilds => "guilds",
            Self::Roles => "roles",
            Self::Channels => "channels",
            Self::ChannelsByGuild => "channels_by_guild",
            Self::Members => "members",
            Self::UserGuilds => "user_guilds",
            Self::MemberCounts => "member_counts",
            Self::Removals => "removals",
            Self::Events => "events",
            Self::Changes => "changes",
            Self::Sessions => "sessions",
            Self::Settings => "settings",
            Self::Leases => "leases",
            Self::Meta => "meta",
            Self::DirectChannels => "direct_channels",
        }
    }

    /// Where it lives.
    fn home(self) -> Home {
        match self {
            Self::Messages => Home::Messages,
            Self::Events => Home::Events,
            Self::Changes => Home::Changes,
            Self::Buckets
            | Self::Users
            | Self::Tokens
            | Self::Guilds
            | Self::Roles
            | Self::Channels
            | Self::ChannelsByGuild
            | Self::Members
            | Self::UserGuilds
            | Self::MemberCounts
            | Self::Removals
            | Self::Sessions
            | Self::Settings
            | Self::Leases
            | Self::Meta
            | Self::DirectChannels => Home::Small,
        }
    }

    /// A key as its keyspace holds it.
    pub(super) fn stored_key(self, key: impl Into<Slice> + AsRef<[u8]>) -> Slice {
        match self.home() {
            Home::Messages | Home::Events | Home::Changes => key.into(),
            Home::Small => {
                let key = key.as_ref();
                let mut stored = Vec::with_capacity(1 + key.len());
                stored.push(self as u8);
                stored.extend_from_slice(key);
                stored.into()
            }
        }
    }

    /// A key as the table knows it.
    pub(super) fn own_key(self, stored: Slice) -> Slice {
        match self.home() {
            Home::Messages | Home::Events | Home::Changes => stored,
            // Every stored key of a shared keyspace begins with its table's number.
            Home::Small => stored.get(1..).unwrap_or_default().into(),
        }
    }
}

/// The open database and its tables.
#[derive(Clone)]
pub(super) struct Tables {
    /// For batches, snapshots and the last sync.
    pub(super) db: Database,
    /// Indexed by a home's number.
    keyspaces: [Keyspace; Home::ALL.len()],
}

impl Tables {
    /// Opens or creates the database, recovering its journals.
    ///
    /// # Errors
    /// [`OpenError::Incomplete`] if a store was made here and fjall does not find one of its keyspaces: it would make an empty one.
    pub(super) fn open(directory: &DataDir, config: &EmbeddedConfig) -> Result<Self, OpenError> {
        let failed = |error: fjall::Error| unopened(directory, config, fault::describe(&error));
        let db = Database::builder(&directory.tree)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes.max(JOURNAL_BYTES_MIN))
            .worker_threads(config.background_threads.max(1))
            .max_cached_files(Some(spare::cached_files(spare::limit())))
            // The committer names its durability with each batch.
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let known = db.list_keyspace_names();
        let lost = |home: &&Home| !known.iter().any(|name| **name == *home.name());
        if directory.complete
            && let Some(home) = Home::ALL.iter().find(lost)
        {
            let piece = format!("the keyspace {}", home.name());
            return Err(OpenError::Incomplete { directory: config.directory.clone(), piece });
        }
        // The options are kept with a keyspace: for one that exists already they are what it was created with.
        let open = |home: Home| {
            db.keyspace(home.name(), || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(home.buffer_bytes(config))
                    .manual_journal_persist(true)
            })
        };
        let [messages, events, changes, small] = Home::ALL.map(open);
        let keyspaces = [
            messages.map_err(failed)?,
            events.map_err(failed)?,
            changes.map_err(failed)?,
            small.map_err(failed)?,
        ];
        Ok(Self { db, keyspaces })
    }

    /// As [`Self::open`]; a panic of the tree's is an error as others are.
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
        &self.keyspaces[table.home() as usize]
    }
}

/// What cannot be opened is looked at whole, to name the part: fjall does not say which.
fn unopened(directory: &DataDir, config: &EmbeddedConfig, reason: String) -> OpenError {
    let path = directory.tree.clone();
    let broken = directory.complete.then(|| whole::broken_table(&config.directory)).flatten();
    broken.unwrap_or(OpenError::Tree { path, reason })
}

/// fjall refuses less.
const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_homes_number_is_its_place() {
        for (place, home) in Home::ALL.into_iter().enumerate() {
            assert_eq!(home as usize, place, "{}", home.name());
        }
    }

    #[test]
    fn small_tables_share_a_keyspace_without_meeting() {
        let key = |table: Table| table.stored_key(*b"key");
        assert_ne!(key(Table::Users), key(Table::Guilds));
        for table in [Table::Users, Table::Events] {
            assert_eq!(table.own_key(key(table)), b"key");
        }
        // Numbers are stored: these must never change.
        assert_eq!((Table::Messages as u8, Table::Removals as u8, Table::Meta as u8), (0, 11, 17));
        assert_eq!(Table::DirectChannels as u8, 18);
    }
}
