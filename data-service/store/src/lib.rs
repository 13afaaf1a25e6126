//! The store: what the data service needs of a database. There are two implementations, `embedded` (fjall)
//! and `cql` (ScyllaDB, Cassandra), which must pass one conformance suite.
//!
//! A store knows rows and partitions; it knows nothing of limits and caches, and of records only that their
//! revisions rise. The sequencer keeps the order: it hands over commits of one scope (a channel or a guild)
//! strictly one after another, each with revisions above the last.

mod clock;
mod commit;
pub mod cql;
pub mod described;
pub mod embedded;
mod halt;
pub mod row;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    id::{ChannelId, GuildId, MessageId, RoleId, ScopeId, SnowflakeError, UserId},
    pair::UserPair,
};

pub use halt::Halt;

use row::{RowKey, RowPut, RowRange, Table};

/// Why a read failed. Reads change nothing, so every one may be repeated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Timeout,
    /// The database cannot be reached, or refused.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// The driver's or the operating system's error.
        reason: String,
    },
    /// A row could not be decoded: the data is damaged or from a newer version.
    #[error("a stored row cannot be decoded: {reason}")]
    Corrupt {
        /// Which row, and what is wrong with it.
        reason: String,
    },
}

/// The id in a stored row.
///
/// # Errors
/// [`ReadError::Corrupt`] for 0, which is never an id.
fn stored_id<Id: TryFrom<u64, Error = SnowflakeError>>(table: &str, raw: u64) -> Result<Id, ReadError> {
    Id::try_from(raw).map_err(|error| ReadError::Corrupt { reason: format!("{table}: {error}") })
}

/// Why a write failed. The variants differ in whether the write may have happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// It did not happen and will not. It is safe to repeat it or to give up.
    #[error("the write was not applied: {reason}")]
    NotApplied {
        /// Why.
        reason: String,
    },
    /// It did not happen and will not: the store takes no writes now.
    #[error(transparent)]
    Halted(#[from] Halt),
    /// It may have happened or may still happen. The caller must repeat it with the same revisions until its
    /// outcome is known.
    #[error("the write's outcome is not known: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// The store failed in a way that it cannot vouch for (an I/O error on its files). Every later write is
    /// refused with [`Halt::Lost`]; the process must end.
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
    /// Only ids greater than this; `None` for no border.
    pub after: Option<MessageId>,
    /// Only ids smaller than this; `None` for no border.
    pub before: Option<MessageId>,
    /// The end from which rows are read.
    pub order: RowOrder,
    /// Most rows; 1 to 1,000.
    pub limit: usize,
}

impl PartitionRange {
    /// The ids in the range, both ends included; `None` if there are none.
    #[must_use]
    pub fn ids(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let from = self.after.map_or(0, MessageId::get).checked_add(1)?;
        let to = self.before.map_or(u64::MAX, |before| before.get() - 1);
        (from <= to).then_some(from..=to)
    }
}

/// A change of one row.
///
/// A row's own revision is its timestamp; a revision of 0 means that of the commit. A row never replaces one
/// of a higher revision, and a removal holds against everything up to its own revision. So repeating is safe,
/// and so is loading an old export again.
#[derive(Debug, Clone, PartialEq)]
pub enum RowChange {
    /// Writes a row of a described type ([`row::Row`]) whole.
    Put(RowPut),
    /// Removes a row of a described type.
    Remove {
        /// Its table.
        table: &'static Table,
        /// Its whole key.
        key: RowKey,
        /// Revision of the removal.
        rev: u64,
    },
    /// Removes the rows of a described type that lie below a key; see [`row::REMOVED_UNDER_MAX`].
    RemoveUnder {
        /// Their table.
        table: &'static Table,
        /// The first ids of their keys, at least those of the partition.
        key: RowKey,
        /// Revision of the removal.
        rev: u64,
    },
    /// Writes a message's set columns, with `last_rev` as timestamp. In [`Store::commit`], a message whose
    /// `last_rev` is above its `rev` is an edit: it replaces the editable columns of the stored row, and
    /// never creates a row. In [`Store::put_rows`] it is the whole row.
    PutMessage(Message),
    /// Writes what hangs on a message that is there (its pin, its reactions) and its `last_rev`, which is the
    /// timestamp. Its other fields are as stored already, so a store may leave them alone: the change stays
    /// small and in one step, however long the message is. It never creates a row.
    MarkMessage(Message),
    /// Removes a message, with `rev` as timestamp.
    DeleteMessage {
        /// The channel.
        channel_id: ChannelId,
        /// The message.
        message_id: MessageId,
        /// Revision of the removal.
        rev: u64,
    },
    /// Writes a user.
    PutUser(User),
    /// Maps a credential's hash to its user.
    PutToken {
        /// SHA-256 of the token.
        hash: [u8; 32],
        /// The token's user.
        user_id: UserId,
    },
    /// Writes a guild.
    PutGuild(Guild),
    /// Removes a guild's own row, its roles, channels, members and their reverse entries. Messages stay until
    /// their channels' deletion is collected.
    DeleteGuild {
        /// The guild.
        guild_id: GuildId,
        /// Its channels and members, for the reverse tables.
        channel_ids: Vec<ChannelId>,
        /// Its members, for the same purpose.
        member_ids: Vec<UserId>,
    },
    /// Writes a channel, both by id and by guild.
    PutChannel(Channel),
    /// Writes the channel of a pair's direct messages, both by id and by the pair of its recipients. A
    /// channel whose recipients are not a pair is refused. The pair keeps the channel with the higher
    /// revision.
    PutDirect(Channel),
    /// Removes a channel.
    DeleteChannel {
        /// Its guild.
        guild_id: GuildId,
        /// The channel.
        channel_id: ChannelId,
    },
    /// Writes a role.
    PutRole(Role),
    /// Removes a role.
    DeleteRole {
        /// Its guild.
        guild_id: GuildId,
        /// The role.
        role_id: RoleId,
    },
    /// Writes a member, both by guild and by user.
    PutMember(Member),
    /// Removes a member.
    DeleteMember {
        /// The guild.
        guild_id: GuildId,
        /// The user.
        user_id: UserId,
    },
}

/// A record for the outbox and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRecord {
    /// The guild whose gateways receive it; `None` for a direct message, whose record names its users.
    pub guild_id: Option<GuildId>,
    /// Its revision in the scope, which is above that of the record before.
    pub rev: u64,
    /// Encoded `weir.event.v1.Record`.
    pub record: Bytes,
}

/// Scopes that wrote lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active {
    /// Channels and guilds, each once. A scope that is no channel is taken for a guild.
    pub scopes: Vec<ScopeId>,
    /// False if there are more, or if the store no longer remembers that far back.
    pub whole: bool,
}

/// One atomic step of one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The channel or guild that the step belongs to.
    pub scope_id: ScopeId,
    /// Revision of rows that carry none of their own; the highest of the commit.
    pub rev: u64,
    /// The rows. Created messages are all of one (channel, bucket), at most 64 KiB.
    pub rows: Vec<RowChange>,
    /// One record for each change, in order. A store with a log appends all of them in the same step.
    pub records: Vec<OutboxRecord>,
    /// True if the rows are created messages only. Then each row is its own outbox record, and a store
    /// without a log need not keep `records`. If false, `records` go to `changes((scope, day), rev)` in the
    /// same step.
    pub rows_are_outbox: bool,
}

/// Most settings that are written in one step. A database's batch over several partitions should stay small;
/// an operator's step changes two rows and removes a handful.
pub const SETTINGS_MAX: usize = 100;

/// A small row under its kind and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The kind of row, e.g. `limit`; at most 255 bytes.
    pub kind: String,
    /// The key within the kind.
    pub key: Vec<u8>,
    /// The row; `None` removes it.
    pub value: Option<Bytes>,
}

/// A lease: a named right that one holder has until a time on the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The name of the right, e.g. `worker/17` or `slots/all`.
    pub name: String,
    /// The holder's name, unique for each start of a process. Empty if the lease was given up.
    pub holder: String,
    /// The holder may mint ids and revisions only below this time: microseconds since 1970-01-01T00:00Z.
    pub mint_until_us: u64,
}

/// The result of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The lease was taken now, until the asked time: nobody held it, or it was the expected one.
    Held,
    /// The asking holder had it already, and no other has had it since that holder took it. It is held until
    /// the asked time.
    Renewed,
    /// Another holder has it; this is its row.
    HeldBy(Lease),
}

/// A database.
///
/// # Cancel safety
/// Reads are safe to drop. A dropped write may or may not happen; the sequencer never drops one.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- history
    // --------------------------------------------------------------------------------------------------

    /// Known buckets of a channel between two borders, both included, at most `limit` (1 to 1,000). `order`
    /// says whether the newest comes first.
    async fn read_buckets(
        &self,
        channel_id: ChannelId,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Result<Vec<Bucket>, ReadError>;

    /// Adds a bucket to the channel's index. Idempotent; durable before the bucket's first message.
    async fn add_bucket(&self, channel_id: ChannelId, bucket: Bucket) -> Result<(), WriteError>;

    /// Live rows of one partition; rows without an author are left out.
    async fn read_partition(
        &self,
        channel_id: ChannelId,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Result<Vec<Message>, ReadError>;

    /// One live message.
    async fn read_message(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, ReadError>;

    // ---- rows of described types
    // ----------------------------------------------------------------------------------

    /// The encoded row under a whole key. Code that knows the type calls [`described::get`].
    async fn read_row(&self, table: &'static Table, key: RowKey) -> Result<Option<Bytes>, ReadError>;

    /// Encoded rows of a range, by the last id of their key ascending. Code that knows the type calls
    /// [`described::list`].
    async fn read_rows(&self, table: &'static Table, range: RowRange) -> Result<Vec<Bytes>, ReadError>;

    // ---- change
    // ---------------------------------------------------------------------------------------------------

    /// Commits one scope's step: all of it or nothing becomes visible, and it is durable when this returns.
    async fn commit(&self, commit: Commit) -> Result<(), WriteError>;

    /// Writes rows for a bulk load: idempotently and durably, in any order, not atomically. `rev` is the
    /// timestamp of rows without one.
    async fn put_rows(&self, rows: Vec<RowChange>, rev: u64) -> Result<(), WriteError>;

    /// Records of a scope's `changes` above `after_rev`, oldest first, at most `limit` (1 to 1,000). Created
    /// messages are not among them unless the store keeps a log of them; the reader merges them from the
    /// rows.
    async fn read_changes(
        &self,
        scope_id: ScopeId,
        after_rev: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRecord>, ReadError>;

    /// Notes that a scope writes now, before its first commit after a while, so that a publisher that must
    /// publish its records (again) finds it. A store whose commit includes a log notes nothing, because the
    /// log shows it.
    async fn note_active(&self, scope_id: ScopeId) -> Result<(), WriteError>;

    /// At most `limit` (at least 1) scopes that were noted active, or wrote records, at or after `since_us`
    /// (microseconds since 1970-01-01T00:00Z); others may be among them. A note lives for an hour more than a
    /// day, so that everything that `changes` still has can be found. A log may have narrower bounds; then
    /// the answer is not whole.
    async fn read_active(&self, since_us: u64, limit: usize) -> Result<Active, ReadError>;

    // ---- directory
    // ------------------------------------------------------------------------------------------------

    /// Those of `ids` (at most 1,000) that exist.
    async fn read_users(&self, ids: &[UserId]) -> Result<Vec<User>, ReadError>;
    /// The user of a credential, by its hash.
    async fn read_token(&self, hash: [u8; 32]) -> Result<Option<UserId>, ReadError>;
    /// A guild's row, roles and channels.
    async fn read_guild(
        &self,
        guild_id: GuildId,
    ) -> Result<Option<(Guild, Vec<Role>, Vec<Channel>)>, ReadError>;
    /// The channel of a pair's direct messages.
    async fn read_direct(&self, pair: UserPair) -> Result<Option<ChannelId>, ReadError>;
    /// A channel by id.
    async fn read_channel(&self, channel_id: ChannelId) -> Result<Option<Channel>, ReadError>;
    /// A member.
    async fn read_member(&self, guild_id: GuildId, user_id: UserId) -> Result<Option<Member>, ReadError>;
    /// Members by user id, ascending, above `after` if it is set, at most `limit` (1 to 1,000).
    async fn read_members(
        &self,
        guild_id: GuildId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, ReadError>;
    /// The number of a guild's members.
    async fn count_members(&self, guild_id: GuildId) -> Result<u32, ReadError>;
    /// Guilds of a user, ascending, above `after` if it is set, at most `limit` (1 to 1,000).
    async fn read_user_guilds(
        &self,
        user_id: UserId,
        after: Option<GuildId>,
        limit: usize,
    ) -> Result<Vec<GuildId>, ReadError>;

    // ---- settings: limits, their history, import jobs
    // --------------------------------------------------------------

    /// Rows of one kind, by key ascending, at most `limit` (1 to 10,000).
    async fn read_settings(&self, kind: &str, limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError>;
    /// One row, if it exists.
    async fn read_setting(&self, kind: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError>;
    /// Writes and removes rows, at most [`SETTINGS_MAX`] and each row once. All or none are changed; they are
    /// durable when this returns.
    async fn write_settings(&self, settings: Vec<Setting>) -> Result<(), WriteError>;
    /// Writes or, with `None`, removes one row. It is durable when this returns.
    async fn write_setting(&self, kind: &str, key: &[u8], value: Option<Bytes>) -> Result<(), WriteError> {
        self.write_settings(vec![Setting { kind: kind.to_owned(), key: key.to_vec(), value }]).await
    }

    // ---- coordination
    // ---------------------------------------------------------------------------------------------

    /// Takes, renews or extends a lease in one linearizable step. It succeeds if nobody holds the lease, if
    /// `expected` equals the stored row (the taker waited until it had expired), or if the holder is the
    /// same.
    async fn take_lease(&self, wanted: Lease, expected: Option<Lease>) -> Result<LeaseAnswer, WriteError>;
    /// Microseconds since 1970-01-01T00:00Z on the database's clock.
    async fn clock_us(&self) -> Result<u64, ReadError>;

    // ---- life
    // -----------------------------------------------------------------------------------------------------

    /// Whether the store can serve now; the error says what is wrong. Answers within `within`.
    async fn ready(&self, within: Duration) -> Result<(), ReadError>;
    /// Number of queries sent to the database so far, reads and writes. They are counted where they are sent,
    /// retries included.
    fn counters(&self) -> StoreCounters;
}

/// Queries sent to a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Reads; each partition or point read counts as one.
    pub reads: u64,
    /// Commits and other writes.
    pub writes: u64,
}
