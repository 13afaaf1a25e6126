//! The tables of the tree. They are in one database with one journal, so a batch over several of them is
//! atomic.
//!
//! Each large table has a fjall keyspace of its own, with a write buffer of the right size. The small ones
//! share one, where the table's number comes before each key: a keyspace costs files, syncs when it is
//! opened, and a buffer that holds back journals.

use fjall::Slice;

use super::config::EmbeddedConfig;
use crate::row;

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// (table, key) → revision at which the row was removed, so that a repeated older write does not bring it
    /// back, as a tombstone does in CQL.
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
    /// The key's ids → (revision, row): a described table.
    Row(&'static row::Table),
}

/// A fjall keyspace. Its name is stored: never rename one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyspaceId {
    Messages,
    Events,
    Changes,
    Small,
}

/// Number of keyspaces.
pub(super) const KEYSPACE_COUNT: usize = KeyspaceId::ALL.len();

impl KeyspaceId {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Self; 4] = [Self::Messages, Self::Events, Self::Changes, Self::Small];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Events => "events",
            Self::Changes => "changes",
            Self::Small => "small",
        }
    }

    pub(super) fn buffer_bytes(self, config: &EmbeddedConfig) -> u64 {
        match self {
            Self::Messages => config.messages_buffer_bytes,
            Self::Events => config.log_buffer_bytes,
            Self::Changes | Self::Small => config.small_buffer_bytes,
        }
    }
}

impl Table {
    /// The table's number, which is stored: never change one, and never give one to another table. And its
    /// name in errors.
    const fn number_and_name(self) -> (u8, &'static str) {
        match self {
            Self::Messages => (0, "messages"),
            Self::Buckets => (1, "buckets"),
            Self::Users => (2, "users"),
            Self::Tokens => (3, "tokens"),
            Self::Guilds => (4, "guilds"),
            Self::Roles => (5, "roles"),
            Self::Channels => (6, "channels"),
            Self::ChannelsByGuild => (7, "channels_by_guild"),
            Self::Members => (8, "members"),
            Self::UserGuilds => (9, "user_guilds"),
            Self::MemberCounts => (10, "member_counts"),
            Self::Removals => (11, "removals"),
            Self::Events => (12, "events"),
            Self::Changes => (13, "changes"),
            Self::Sessions => (14, "sessions"),
            Self::Settings => (15, "settings"),
            Self::Leases => (16, "leases"),
            Self::Meta => (17, "meta"),
            Self::DirectChannels => (18, "direct_channels"),
            Self::Row(table) => (table.number, table.name),
        }
    }

    /// The table's number.
    pub(super) const fn number(self) -> u8 {
        self.number_and_name().0
    }

    /// The table's name in errors.
    pub(super) const fn name(self) -> &'static str {
        self.number_and_name().1
    }

    /// The keyspace that holds the table.
    pub(super) fn keyspace(self) -> KeyspaceId {
        match self {
            Self::Messages => KeyspaceId::Messages,
            Self::Events => KeyspaceId::Events,
            Self::Changes => KeyspaceId::Changes,
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
            | Self::DirectChannels
            | Self::Row(_) => KeyspaceId::Small,
        }
    }

    /// A key as its keyspace holds it.
    pub(super) fn stored_key(self, key: impl Into<Slice> + AsRef<[u8]>) -> Slice {
        match self.keyspace() {
            KeyspaceId::Messages | KeyspaceId::Events | KeyspaceId::Changes => key.into(),
            KeyspaceId::Small => {
                let key = key.as_ref();
                let mut stored = Vec::with_capacity(1 + key.len());
                stored.push(self.number());
                stored.extend_from_slice(key);
                stored.into()
            }
        }
    }

    /// A key as the table uses it.
    pub(super) fn own_key(self, stored: Slice) -> Slice {
        match self.keyspace() {
            KeyspaceId::Messages | KeyspaceId::Events | KeyspaceId::Changes => stored,
            // Every stored key of a shared keyspace begins with its table's number.
            KeyspaceId::Small => stored.get(1..).unwrap_or_default().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspaces_number_is_its_index() {
        for (index, id) in KeyspaceId::ALL.into_iter().enumerate() {
            assert_eq!(id as usize, index, "{}", id.name());
        }
    }

    #[test]
    fn small_tables_share_a_keyspace_without_meeting() {
        let key = |table: Table| table.stored_key(*b"key");
        assert_ne!(key(Table::Users), key(Table::Guilds));
        for table in [Table::Users, Table::Events] {
            assert_eq!(table.own_key(key(table)), b"key");
        }
        // Numbers are stored, so these must never change.
        assert_eq!((Table::Messages.number(), Table::Removals.number(), Table::Meta.number()), (0, 11, 17));
        assert_eq!(Table::DirectChannels.number(), 18);
    }
}
