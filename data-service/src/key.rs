//! Keys of the read stack: every partition or row that can be read, cached and invalidated.

use weir_proto::{bucket::Bucket, pair::UserPair};
use weir_store::row::{RowKey, Table};

/// Class of reads in limits: `class/reads`.
pub const CLASS_READS: u8 = 0;
/// Class of writes in limits: `class/writes`.
pub const CLASS_WRITES: u8 = 1;

/// Subject of a read. Its generations live in the cell that its hash selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A channel's history as a whole: for answers of its tail, and for its limits.
    History(u64),
    /// The list of a channel's buckets.
    Buckets(u64),
    /// The messages of one (channel, bucket).
    Rows(u64, Bucket),
    /// The changes of a channel or guild.
    Changes(u64),
    /// A channel's own row.
    Channel(u64),
    /// A guild with roles, channels and its member count.
    Guild(u64),
    /// A member.
    Member(u64, u64),
    /// The member list of a guild.
    Members(u64),
    /// A user's own row.
    User(u64),
    /// The guilds of a user.
    UserGuilds(u64),
    /// The channel of a pair's direct messages.
    Direct(UserPair),
    /// The user behind a credential's hash.
    Token([u8; 32]),
    /// The rows of a described table that differ in the last id of their key.
    Listed(&'static Table, RowKey),
}

impl Key {
    /// The channel, guild or user whose revisions show how new a read of the key is; `None` if there is none.
    #[must_use]
    pub fn scope(&self) -> Option<u64> {
        match *self {
            Self::History(id)
            | Self::Buckets(id)
            | Self::Rows(id, _)
            | Self::Changes(id)
            | Self::Channel(id)
            | Self::Guild(id)
            | Self::Members(id) => Some(id),
            Self::Member(guild, _) => Some(guild),
            Self::Listed(_, under) => Some(under.scope()),
            Self::Direct(pair) => Some(pair.low().get()),
            Self::User(_) | Self::UserGuilds(_) | Self::Token(_) => None,
        }
    }

    /// The id under which hot channels are counted and limited: the channel for history, 0 for keys without
    /// one.
    #[must_use]
    pub fn channel(&self) -> u64 {
        match *self {
            Self::History(channel)
            | Self::Buckets(channel)
            | Self::Rows(channel, _)
            | Self::Channel(channel) => channel,
            Self::Listed(table, under) if table.of_channel => under.scope(),
            Self::Changes(_)
            | Self::Guild(_)
            | Self::Member(..)
            | Self::Members(_)
            | Self::User(_)
            | Self::UserGuilds(_)
            | Self::Direct(_)
            | Self::Token(_)
            | Self::Listed(..) => 0,
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
