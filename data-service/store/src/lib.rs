//! The store: what the data service asks of a database. Two implementations, held to one conformance suite: `embedded` (fjall) and `cql`
//! (ScyllaDB, Cassandra).
//!
//! A store knows rows and partitions; it knows nothing of limits, caches, order or events. Order is the sequencer's: it hands over
//! commits of one scope (a channel or a guild) strictly one after another, each with revisions above the last.

mod clock;
mod commit;
pub mod cql;
pub mod embedded;
mod halt;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    pair::UserPair,
};

pub use halt::Halt;

/// Why a read failed. Reads change nothing, so all may be repeated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Timeout,
    /// The database cannot be reached, or refused.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// What the driver or the operating system said.
        reason: String,
    },
    /// A row could not be decoded: the data is damaged or from a newer version.
    #[error("a stored row cannot be decoded: {reason}")]
    Corrupt {
        /// Which row, and what is wrong with it.
        reason: String,
    },
}

/// Why a write failed: the difference that matters is whether it may have happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// It did not happen and will not. Safe to repeat or to give up.
    #[error("the write was not applied: {reason}")]
    NotApplied {
        /// Why.
        reason: String,
    },
    /// It did not happen and will not: the store takes no writes now.
    #[error(transparent)]
    Halted(#[from] Halt),
    /// It may have happened or may still happen: repeat it with the same revisions until it is known.
    #[error("the write's outcome is not known: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// The store failed in a way it cannot vouch for (an I/O error on its files): every later write is refused with
    /// [`Halt::Lost`], the process must end.
    #[error("the store is poisoned and takes no more writes: {reason}")]
    Poisoned {
        /// The first error.
        reason: String,
    },
}

/// Order in which rows of a partition are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowOrder {
    /// Greatest id first.
    NewestFirst,
    /// Smallest id first.
    OldestFirst,
}

/// A range of one partition's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartitionRange {
    /// Ids greater than this; 0 for no border.
    pub after: u64,
    /// Ids smaller than this; `u64::MAX` for no border.
    pub before: u64,
    /// Which end to start from.
    pub order: RowOrder,
    /// Rows at most; 1 to 1,000.
    pub limit: usize,
}

impl PartitionRange {
    /// The ids it covers, both ends included; `None` if there are none.
    #[must_use]
    pub fn ids(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let from = self.after.checked_add(1)?;
        let to = if self.before == u64::MAX { u64::MAX } else { self.before.checked_sub(1)? };
        (from <= to).then_some(from..=to)
    }
}

/// A change of one row.
///
/// A row's own revision is its timestamp; one of 0 stands for the commit's. A row never replaces one of a higher revision, and a removal
/// holds against everything up to its own revision, so repeating is safe, and so is loading an old export again.
#[derive(Debug, Clone, PartialEq)]
pub enum RowChange {
    /// Writes a message's set columns, with `last_rev` as timestamp. In [`Store::commit`] one whose `last_rev` is above its `rev` is an
    /// edit: it replaces the columns that can be edited of the row that is there, and never makes a row. In [`Store::put_rows`] it is the
    /// whole row.
    PutMessage(Message),
    /// Removes a message, with `rev` as timestamp.
    DeleteMessage {
        /// The channel.
        channel_id: u64,
        /// The message.
        message_id: u64,
        /// Revision of the removal.
        rev: u64,
    },
    /// Writes a user.
    PutUser(User),
    /// Maps a credential's hash to its user.
    PutToken {
        /// SHA-256 of the token.
        hash: [u8; 32],
        /// Whose it is.
        user_id: u64,
    },
    /// Writes a guild.
    PutGuild(Guild),
    /// Removes a guild's own row, its roles, channels, members and their reverse entries. Messages stay until their channels' deletion
    /// is collected.
    DeleteGuild {
        /// The guild.
        guild_id: u64,
        /// Its channels and members, for the reverse tables.
        channel_ids: Vec<u64>,
        /// As above.
        member_ids: Vec<u64>,
    },
    /// Writes a channel, both by id and by guild.
    PutChannel(Channel),
    /// Writes the channel of a pair's direct messages, both by id and by the pair that its recipients are. One whose recipients are no
    /// pair is refused. The pair of a higher revision stays.
    PutDirect(Channel),
    /// Removes a channel.
    DeleteChannel {
        /// Its guild.
        guild_id: u64,
        /// The channel.
        channel_id: u64,
    },
    /// Writes a role.
    PutRole(Role),
    /// Removes a role.
    DeleteRole {
        /// Its guild.
        guild_id: u64,
        /// The role.
        role_id: u64,
    },
    /// Writes a member, both by guild and by user.
    PutMember(Member),
    /// Removes a member.
    DeleteMember {
        /// The guild.
        guild_id: u64,
        /// The user.
        user_id: u64,
    },
}

/// A record for the outbox and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRecord {
    /// The guild whose gateways get it; 0 for a direct message, whose record names its users.
    pub guild_id: u64,
    /// Its revision in the scope: each record's is above the one's before.
    pub rev: u64,
    /// Encoded `weir.event.v1.Record`.
    pub record: Bytes,
}

/// Scopes that wrote lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active {
    /// Id, and whether it is a channel.
    pub scopes: Vec<(u64, bool)>,
    /// False if there are more, or if the store no longer knows so far back.
    pub whole: bool,
}

/// One atomic step of one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The channel or guild whose turn it is.
    pub scope_id: u64,
    /// Revision of rows that carry none of their own; the highest of the commit.
    pub rev: u64,
    /// Rows; for creates all of one (channel, bucket), at most 64 KiB.
    pub rows: Vec<RowChange>,
    /// One record for each change, in order. A store with a log appends all of them in the same step.
    pub records: Vec<OutboxRecord>,
    /// True if the rows are created messages only: each row is its own outbox record, so a store without a log need not keep `records`.
    /// False: `records` go to `changes((scope, day), rev)` in the same step.
    pub rows_are_outbox: bool,
}

/// Settings written in one step. A database's batch over several partitions is to stay small; a step of an operator changes two rows and
/// removes a handful.
pub const SETTINGS_MAX: usize = 100;

/// A small row that is known by its kind and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it is, e.g. `limit`; at most 255 bytes.
    pub kind: String,
    /// Which one.
    pub key: Vec<u8>,
    /// The row; `None` removes it.
    pub value: Option<Bytes>,
}

/// A lease: a named right that one holder has until a time on the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased, e.g. `worker/17` or `slots/all`.
    pub name: String,
    /// Who holds it: unique for each start of a process. Empty if it was given up.
    pub holder: String,
    /// Ids and revisions may be minted below this time only: microseconds since 1970-01-01T00:00Z.
    pub mint_until_us: u64,
}

/// What came of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// Taken now, until the asked time: nobody held it, or it was the expected one.
    Held,
    /// It was the asking holder's already, and nobody else's since that holder took it; held until the asked time.
    Renewed,
    /// Somebody else holds it: its row as read.
    HeldBy(Lease),
}

/// A database.
///
/// # Cancel safety
/// Reads: safe. Writes: a dropped write may or may not happen; the sequencer never drops one.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- history --------------------------------------------------------------------------------------------------

    /// Known buckets of a channel between two borders, both included; newest first if `order` says so; at most `limit` (1 to 1,000).
    async fn read_buckets(
        &self,
        channel_id: u64,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Result<Vec<Bucket>, ReadError>;

    /// Adds a bucket to the channel's index. Idempotent; durable before the bucket's first message.
    async fn add_bucket(&self, channel_id: u64, bucket: Bucket) -> Result<(), WriteError>;

    /// Live rows of one partition; rows without an author are left out.
    async fn read_partition(
        &self,
        channel_id: u64,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Result<Vec<Message>, ReadError>;

    /// One live message.
    async fn read_message(&self, channel_id: u64, message_id: u64) -> Result<Option<Message>, ReadError>;

    // ---- change ---------------------------------------------------------------------------------------------------

    /// Commits one scope's step: all of it or nothing becomes visible, and it is durable when it returns.
    async fn commit(&self, commit: Commit) -> Result<(), WriteError>;

    /// Writes rows idempotently and durably, in any order, not atomically: bulk loading. `rev` is the timestamp of rows without one.
    async fn put_rows(&self, rows: Vec<RowChange>, rev: u64) -> Result<(), WriteError>;

    /// Records of a scope's `changes` above `after_rev`, oldest first, at most `limit` (1 to 1,000). Created messages are not among them
    /// unless the store keeps a log of them; the reader merges them from the rows.
    async fn read_changes(
        &self,
        scope_id: u64,
        after_rev: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRecord>, ReadError>;

    /// Notes that a scope writes now, before its first commit of a while, so that whoever must publish its records (again) knows where to
    /// look. A store whose commit includes a log has nothing to note: the log says it.
    async fn note_active(&self, scope_id: u64, is_channel: bool) -> Result<(), WriteError>;

    /// At most `limit` (at least 1) scopes that were noted active, or wrote records, at or after `since_us` (microseconds since
    /// 1970-01-01T00:00Z); others may be among them. What is noted lives for an hour more than a day, so that whatever `changes` still has
    /// can be found; a log may be bounded more narrowly, and then the answer is not whole.
    async fn read_active(&self, since_us: u64, limit: usize) -> Result<Active, ReadError>;

    // ---- directory ------------------------------------------------------------------------------------------------

    /// Those of `ids` (at most 1,000) that exist.
    async fn read_users(&self, ids: &[u64]) -> Result<Vec<User>, ReadError>;
    /// Whose credential a hash is.
    async fn read_token(&self, hash: [u8; 32]) -> Result<Option<u64>, ReadError>;
    /// A guild's row, roles and channels.
    async fn read_guild(&self, guild_id: u64) -> Result<Option<(Guild, Vec<Role>, Vec<Channel>)>, ReadError>;
    /// The channel of a pair's direct messages.
    async fn read_direct(&self, pair: UserPair) -> Result<Option<u64>, ReadError>;
    /// A channel by id.
    async fn read_channel(&self, channel_id: u64) -> Result<Option<Channel>, ReadError>;
    /// A member.
    async fn read_member(&self, guild_id: u64, user_id: u64) -> Result<Option<Member>, ReadError>;
    /// Members by user id, ascending, above `after`, at most `limit` (1 to 1,000).
    async fn read_members(&self, guild_id: u64, after: u64, limit: usize) -> Result<Vec<Member>, ReadError>;
    /// How many members a guild has.
    async fn count_members(&self, guild_id: u64) -> Result<u32, ReadError>;
    /// Guilds of a user, ascending, above `after`, at most `limit` (1 to 1,000).
    async fn read_user_guilds(&self, user_id: u64, after: u64, limit: usize) -> Result<Vec<u64>, ReadError>;

    // ---- settings: limits, their history, import jobs --------------------------------------------------------------

    /// Rows of one kind, by key ascending, at most `limit` (1 to 10,000).
    async fn read_settings(&self, kind: &str, limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError>;
    /// One row.
    async fn read_setting(&self, kind: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError>;
    /// Writes and removes rows, at most [`SETTINGS_MAX`] and none twice, all or none of them; durable when it returns.
    async fn write_settings(&self, settings: Vec<Setting>) -> Result<(), WriteError>;
    /// Writes or, with `None`, removes one row; durable when it returns.
    async fn write_setting(&self, kind: &str, key: &[u8], value: Option<Bytes>) -> Result<(), WriteError> {
        self.write_settings(vec![Setting { kind: kind.to_owned(), key: key.to_vec(), value }]).await
    }

    // ---- coordination ---------------------------------------------------------------------------------------------

    /// Takes, renews or extends a lease in one linearizable step: succeeds if nobody holds it, if `expected` equals the row there (a taker
    /// that waited it out), or if the holder is the same.
    async fn take_lease(&self, wanted: Lease, expected: Option<Lease>) -> Result<LeaseAnswer, WriteError>;
    /// Microseconds since 1970-01-01T00:00Z on the database's clock.
    async fn clock_us(&self) -> Result<u64, ReadError>;

    // ---- life -----------------------------------------------------------------------------------------------------

    /// Whether it can serve now; the error says what is wrong. Answers within `within`.
    async fn ready(&self, within: Duration) -> Result<(), ReadError>;
    /// Queries sent to the database so far, (reads, writes): counted where they are sent, retries included.
    fn counters(&self) -> StoreCounters;
}

/// Queries sent to a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Reads, each partition or point read as one.
    pub reads: u64,
    /// Commits and other writes.
    pub writes: u64,
}
