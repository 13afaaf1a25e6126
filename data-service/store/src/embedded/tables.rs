//! The tables of the tree. They are in one database with one journal, so a batch over several of them is
//! atomic.
//!
//! Each large table has a fjall keyspace of its own, with a write buffer of the right size. The small ones
//! share one, where the table's number comes before each key: a keyspace costs files, syncs when it is
//! opened, and a buffer that holds back journals.

use fjall::Slice;

use super::config::EmbeddedConfig;

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
    /// The table's name in errors.
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
            | Self::DirectChannels => KeyspaceId::Small,
        }
    }

    /// A key as its keyspace holds it.
    pub(super) fn stored_key(self, key: impl Into<Slice> + AsRef<[u8]>) -> Slice {
        match self.keyspace() {
            KeyspaceId::Messages | KeyspaceId::Events | KeyspaceId::Changes => key.into(),
            KeyspaceId::Small => {
                let key = key.as_ref();
                let mut stored = Vec::with_capacity(1 + key.len());
                stored.push(self as u8);
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
        assert_eq!((Table::Messages as u8, Table::Removals as u8, Table::Meta as u8), (0, 11, 17));
        assert_eq!(Table::DirectChannels as u8, 18);
    }
}
