//! The tables of the tree, one fjall keyspace each, in one database with one journal: a batch over several of them is atomic.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::{EmbeddedConfig, OpenError};

/// A table. The name is stored: never rename one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
}

/// How many tables there are.
const TABLES: usize = 18;

impl Table {
    /// All, in the order of their numbers.
    const ALL: [Self; TABLES] = [
        Self::Messages,
        Self::Buckets,
        Self::Users,
        Self::Tokens,
        Self::Guilds,
        Self::Roles,
        Self::Channels,
        Self::ChannelsByGuild,
        Self::Members,
        Self::UserGuilds,
        Self::MemberCounts,
        Self::Removals,
        Self::Events,
        Self::Changes,
        Self::Sessions,
        Self::Settings,
        Self::Leases,
        Self::Meta,
    ];

    /// Name of its keyspace.
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
        }
    }

    /// Bytes of its write buffer.
    fn buffer_bytes(self, config: &EmbeddedConfig) -> u64 {
        match self {
            Self::Messages => config.messages_buffer_bytes,
            Self::Events => config.log_buffer_bytes,
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
            | Self::Changes
            | Self::Sessions
            | Self::Settings
            | Self::Leases
            | Self::Meta => config.small_buffer_bytes,
        }
    }
}

/// The open database and its tables.
#[derive(Clone)]
pub(super) struct Tables {
    /// For batches, snapshots and the last sync.
    pub(super) db: Database,
    /// Indexed by a table's number.
    keyspaces: [Keyspace; TABLES],
}

impl Tables {
    /// Opens or creates the database, recovering its journals.
    pub(super) fn open(tree: &Path, config: &EmbeddedConfig) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Tree { path: tree.to_owned(), source };
        let db = Database::builder(tree)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes.max(JOURNAL_BYTES_MIN))
            .worker_threads(config.background_threads.max(1))
            // The committer names its durability with each batch.
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let open = |table: Table| {
            db.keyspace(table.name(), || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(table.buffer_bytes(config))
                    .manual_journal_persist(true)
            })
        };
        let mut keyspaces = Vec::with_capacity(TABLES);
        for table in Table::ALL {
            keyspaces.push(open(table).map_err(failed)?);
        }
        let keyspaces: [Keyspace; TABLES] =
            keyspaces.try_into().unwrap_or_else(|_| unreachable!("one was pushed for each of the tables"));
        Ok(Self { db, keyspaces })
    }

    /// A table's keyspace.
    pub(super) fn get(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table as usize]
    }
}

/// fjall refuses less.
const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_number_is_its_place() {
        for (place, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, place, "{}", table.name());
        }
    }
}
