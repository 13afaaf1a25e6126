//! Keys of the read stack: every partition or row that can be read, cached and invalidated.

use weir_proto::{
    bucket::Bucket,
    id::{ChannelId, GuildId, ScopeId, Snowflake, UserId},
    pair::UserPair,
};
use weir_store::row::{Row, RowKey, Table};

/// Class of reads in limits: `class/reads`.
pub const CLASS_READS: u8 = 0;
/// Class of writes in limits: `class/writes`.
pub const CLASS_WRITES: u8 = 1;

/// Subject of a read. Its generations live in the cell that its hash selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A channel's history as a whole: for answers of its tail, and for its limits.
    History(ChannelId),
    /// The list of a channel's buckets.
    Buckets(ChannelId),
    /// The messages of one (channel, bucket).
    Rows(ChannelId, Bucket),
    /// The changes of a channel or guild: who asks for them does not know of which, and one that was deleted
    /// no longer tells.
    Changes(Snowflake),
    /// A channel's own row.
    Channel(ChannelId),
    /// A guild with roles, channels and its member count.
    Guild(GuildId),
    /// A member.
    Member(GuildId, UserId),
    /// The member list of a guild.
    Members(GuildId),
    /// A user's own row.
    User(UserId),
    /// The guilds of a user.
    UserGuilds(UserId),
    /// The channel of a pair's direct messages.
    Direct(UserPair),
    /// The user behind a credential's hash.
    Token([u8; 32]),
    /// The rows of a described table that differ in the last id of their key.
    Listed(&'static Table, RowKey),
}

impl Key {
    /// The rows of a type that lie right under a key.
    #[must_use]
    pub(crate) fn listed<R: Row>(under: RowKey) -> Self {
        Self::Listed(R::TABLE, under)
    }

    /// The channel, guild or user whose revisions show how new a read of the key is; `None` if there is none,
    /// or for changes, which nobody asks for with a token of freshness.
    #[must_use]
    pub fn scope(&self) -> Option<ScopeId> {
        match *self {
            Self::History(id) | Self::Buckets(id) | Self::Rows(id, _) | Self::Channel(id) => {
                Some(ScopeId::Channel(id))
            }
            Self::Guild(id) | Self::Members(id) | Self::Member(id, _) => Some(ScopeId::Guild(id)),
            Self::Direct(pair) => Some(ScopeId::User(pair.low())),
            Self::Listed(table, under) => table.scope_of(&under),
            Self::Changes(_) | Self::User(_) | Self::UserGuilds(_) | Self::Token(_) => None,
        }
    }

    /// The id under which hot channels are counted and limited; `None` for keys that are about no one
    /// channel.
    #[must_use]
    pub fn channel(&self) -> Option<ChannelId> {
        match *self {
            Self::History(channel)
            | Self::Buckets(channel)
            | Self::Rows(channel, _)
            | Self::Channel(channel) => Some(channel),
            Self::Listed(table, under) => match table.scope_of(&under) {
                Some(ScopeId::Channel(channel)) => Some(channel),
                Some(ScopeId::Guild(_) | ScopeId::User(_)) | None => None,
            },
            Self::Changes(_)
            | Self::Guild(_)
            | Self::Member(..)
            | Self::Members(_)
            | Self::User(_)
            | Self::UserGuilds(_)
            | Self::Direct(_)
            | Self::Token(_) => None,
        }
    }

    /// What is read, as metrics name it.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::History(_) | Self::Rows(..) => "ListMessages",
            Self::Buckets(_) => "Buckets",
            Self::Changes(_) => "Changes",
            Self::Channel(_) => "Channel",
            Self::Guild(_) => "Guild",
            Self::Member(..) => "Member",
            Self::Members(_) => "Members",
            Self::User(_) => "User",
            Self::UserGuilds(_) => "UserGuilds",
            Self::Direct(_) => "Direct",
            Self::Token(_) => "Token",
            Self::Listed(table, _) => table.name,
        }
    }
}
