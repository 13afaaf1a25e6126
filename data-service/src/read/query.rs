//! What is read behind the gates: the queries and values of the protection layer's store, and how they meet
//! the database.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_protect::{Dependence, Query, ReadContext, Stamped, TailQuery, Value};
use weir_proto::{
    bucket::Bucket,
    data::{Channel, GuildState, Member, Message, User},
    id::{ChannelId, GuildId, MessageId, ScopeId, UserId},
};
use weir_store::{PartitionRange, ReadError, RowOrder, Store, row::RowRange};

use crate::{
    key::Key,
    live::{
        self, EncodedPage, Live, encode_page,
        weight::{channel_bytes, guild_bytes, member_bytes, message_bytes},
    },
    outbox::rebuild::{self, Changes},
};

/// Rows in a page at most; Discord's bound.
pub const PAGE_MAX: usize = 100;
/// Rows in a page whose caller does not say; Discord's default.
pub const PAGE_DEFAULT: usize = 50;
/// Buckets read for a channel: at one each ten days 27 years.
const BUCKETS_MAX: usize = 1_000;

/// A request for one key; compared whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadQuery {
    /// The one thing that the key names.
    Whole,
    /// Rows of a partition.
    Range(PartitionRange),
    /// One message of a partition.
    Point(MessageId),
    /// Members of a guild above a user, at most so many.
    MembersAfter(Option<UserId>, usize),
    /// Guilds of a user above a guild, at most so many.
    GuildsAfter(Option<GuildId>, usize),
    /// Rows of a described table with a last id above one and below another, at most so many.
    Between(u64, u64, usize),
    /// A page of a history, wherever its rows lie.
    Page(TailQuery),
    /// Changes above a revision, at most so many.
    Changes {
        /// Whose.
        scope: ScopeId,
        /// The revision.
        after_rev: u64,
        /// How many.
        limit: usize,
    },
}

/// Whose memory a read may use: which cached answers it may be given, and which reads under way it may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// All that was read under this tenure: nobody else changed anything during it.
    Tenure(u64),
    /// Nothing: without ownership somebody else's change may have been acknowledged since any earlier read
    /// began. The number is the read's own.
    Alone(u64),
}

/// A query and the memory that it may be answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    pub(crate) memory: Memory,
    pub(crate) query: ReadQuery,
}

/// Sizes of pages that others are cut from: those in which the newest page is read, and clients ask for.
const WIDER: [usize; 2] = [PAGE_DEFAULT, PAGE_MAX];

impl Query for Asked {
    fn wider(&self) -> Vec<Self> {
        // A read that shares nothing finds nobody's page.
        let (Memory::Tenure(_), ReadQuery::Range(range)) = (self.memory, self.query) else {
            return Vec::new();
        };
        let wider = WIDER.into_iter().filter(|limit| *limit > range.limit);
        wider
            .map(|limit| Self { query: ReadQuery::Range(PartitionRange { limit, ..range }), ..*self })
            .collect()
    }
}

/// Rows of one partition as they were read, and their encoded reply once somebody needed it.
#[derive(Debug)]
struct ReadRows {
    rows: Vec<Message>,
    encoded: OnceLock<EncodedPage>,
}

/// Rows of one partition, in the order asked for; perhaps the first ones of a larger read, with which they
/// are shared.
#[derive(Debug, Clone)]
pub struct Rows {
    read: Arc<ReadRows>,
    /// How many of them.
    count: usize,
}

impl Rows {
    fn new(rows: Vec<Message>) -> Self {
        Self { count: rows.len(), read: Arc::new(ReadRows { rows, encoded: OnceLock::new() }) }
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[Message] {
        &self.read.rows[..self.count]
    }

    /// The first `count` of them, or all.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self { count: self.count.min(count), ..self.clone() }
    }

    /// The rows as an encoded `ListMessagesResponse`: made once for all who share the whole read.
    #[must_use]
    pub fn encoded(&self) -> EncodedPage {
        if self.count < self.read.rows.len() {
            return encode_page(self.rows().iter());
        }
        self.read.encoded.get_or_init(|| encode_page(self.rows().iter())).clone()
    }
}

/// An answer; cheap to clone.
#[derive(Debug, Clone)]
pub enum ReadValue {
    /// Newest first.
    Buckets(Arc<[Bucket]>),
    /// Rows of a partition.
    Rows(Rows),
    /// One message.
    Message(Option<Arc<Message>>),
    /// A channel's row.
    Channel(Option<Arc<Channel>>),
    /// A guild.
    Guild(Option<Arc<GuildState>>),
    /// A member.
    Member(Option<Arc<Member>>),
    /// Members, ascending.
    Members(Arc<[Member]>),
    /// A user.
    User(Option<Arc<User>>),
    /// Guild ids, ascending.
    Guilds(Arc<[GuildId]>),
    /// A channel's id.
    Direct(Option<ChannelId>),
    /// A user id.
    Token(Option<UserId>),
    /// A page, encoded as a `ListMessagesResponse`.
    Page(EncodedPage),
    /// Changes of a scope.
    Changes(Arc<Changes>),
    /// Rows of a described table, encoded.
    Listed(Arc<[Bytes]>),
}

impl Value<Asked> for ReadValue {
    fn dependence(&self, asked: &Asked, requested: Dependence) -> Dependence {
        match (self, &asked.query) {
            // Rows from the old end, and all that were asked for are there: what is appended comes after
            // them.
            (Self::Rows(rows), ReadQuery::Range(range))
                if range.order == RowOrder::OldestFirst && rows.rows().len() >= range.limit =>
            {
                Dependence::Mutate
            }
            // A message that is there is only changed, not appended.
            (Self::Message(Some(_)), _) => Dependence::Mutate,
            _ => requested,
        }
    }

    fn cut(&self, from: &Asked, to: &Asked) -> Option<Self> {
        let (Self::Rows(rows), ReadQuery::Range(from), ReadQuery::Range(to)) = (self, from.query, to.query)
        else {
            return None;
        };
        let same = from == PartitionRange { limit: from.limit, ..to };
        (same && from.limit >= to.limit).then(|| Self::Rows(rows.first(to.limit)))
    }
}

/// Bytes of a page cache's entry beside its value: key, query, stamp, and what moka keeps for each entry.
/// Measured as growth of the resident memory by 200,000 entries that hold an empty list: 468 bytes each.
const ENTRY_BYTES: usize = 480;

impl ReadValue {
    /// Bytes that an entry costs in the cache.
    fn weight(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Buckets(buckets) => buckets.len() * 4,
                // Twice: the rows and their encoded form.
                Self::Rows(rows) => rows.read.rows.iter().map(|row| 2 * message_bytes(row)).sum(),
                Self::Message(row) => row.as_deref().map_or(0, message_bytes),
                Self::Channel(row) => row.as_deref().map_or(0, channel_bytes),
                Self::Guild(state) => state.as_deref().map_or(0, guild_bytes),
                Self::Member(row) => row.as_deref().map_or(0, member_bytes),
                Self::Members(rows) => rows.iter().map(member_bytes).sum(),
                Self::User(row) => row
                    .as_ref()
                    .map_or(0, |row| 80 + row.username.len() + row.global_name.len() + row.avatar.len()),
                Self::Guilds(ids) => ids.len() * 8,
                Self::Direct(_) | Self::Token(_) => 8,
                Self::Page(encoded) => encoded.bytes.len(),
                Self::Listed(rows) => rows.iter().map(|row| size_of::<Bytes>() + row.len()).sum(),
                // Never kept.
                Self::Changes(_) => 0,
            }
    }
}

/// The database as the protection layer sees it.
pub struct Database {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) live: Arc<Live>,
}

impl weir_protect::Store for Database {
    type Key = Key;
    type Query = Asked;
    type Value = ReadValue;
    type Error = ReadError;

    /// The database is asked at `LOCAL_QUORUM`, whatever the context says; the embedded one is a single copy.
    const QUORUM: bool = true;

    async fn read(&self, key: &Key, asked: &Asked, _: ReadContext) -> Result<ReadValue, ReadError> {
        let store = &*self.store;
        Ok(match (*key, asked.query) {
            (Key::Buckets(channel), _) => {
                let all = (Bucket(0), Bucket(u32::MAX));
                let found =
                    store.read_buckets(channel, all.0, all.1, RowOrder::NewestFirst, BUCKETS_MAX).await?;
                ReadValue::Buckets(found.into())
            }
            (Key::Rows(channel, _), ReadQuery::Point(id)) => {
                ReadValue::Message(store.read_message(channel, id).await?.map(Arc::new))
            }
            (Key::Rows(channel, bucket), ReadQuery::Range(range)) => {
                let rows = store.read_partition(channel, bucket, range).await?;
                ReadValue::Rows(Rows::new(rows))
            }
            (Key::Channel(id), _) => ReadValue::Channel(store.read_channel(id).await?.map(Arc::new)),
            (Key::Guild(id), _) => ReadValue::Guild(live::read_guild(store, id).await?.map(Arc::new)),
            (Key::Member(guild, user), _) => {
                ReadValue::Member(store.read_member(guild, user).await?.map(Arc::new))
            }
            (Key::Members(guild), ReadQuery::MembersAfter(after, limit)) => {
                ReadValue::Members(store.read_members(guild, after, limit).await?.into())
            }
            (Key::User(id), _) => ReadValue::User(store.read_users(&[id]).await?.pop().map(Arc::new)),
            (Key::UserGuilds(user), ReadQuery::GuildsAfter(after, limit)) => {
                ReadValue::Guilds(store.read_user_guilds(user, after, limit).await?.into())
            }
            (Key::Direct(pair), _) => ReadValue::Direct(store.read_direct(pair).await?),
            (Key::Token(hash), _) => ReadValue::Token(store.read_token(hash).await?),
            (Key::Listed(table, under), ReadQuery::Between(after, before, limit)) => {
                let rows = store.read_rows(table, RowRange { under, after, before, limit }).await?;
                ReadValue::Listed(rows.into())
            }
            (Key::Changes(_), ReadQuery::Changes { scope, after_rev, limit }) => {
                let found = rebuild::read(store, scope, after_rev, limit).await?;
                ReadValue::Changes(Arc::new(found))
            }
            (
                Key::History(_)
                | Key::Rows(..)
                | Key::Changes(_)
                | Key::Members(_)
                | Key::UserGuilds(_)
                | Key::Listed(..),
                query,
            ) => {
                return Err(ReadError::Corrupt { reason: format!("{key:?} cannot be asked for {query:?}") });
            }
        })
    }

    fn floor(&self, key: &Key) -> u64 {
        key.scope().map_or(0, |scope| self.live.resolved_rev(scope))
    }
}

/// The bounded page store: moka, by weight. What may be served from it is the protection layer's decision, by
/// the stamp.
pub struct MokaCache {
    entries: moka::sync::Cache<(Key, Asked), Stamped<ReadValue>>,
}

impl MokaCache {
    /// A cache of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let weigh = |_: &(Key, Asked), entry: &Stamped<ReadValue>| {
            u32::try_from(entry.value.weight()).unwrap_or(u32::MAX)
        };
        Self { entries: moka::sync::Cache::builder().max_capacity(bytes_max).weigher(weigh).build() }
    }

    /// Bytes of what it holds, as it weighs them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from(self.entries.weighted_size()).unwrap_or(usize::MAX)
    }

    /// Entries held, and their weight in bytes, now that all that is due has left.
    pub(crate) fn weighed(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

impl weir_protect::PageCache<Key, Asked, ReadValue> for MokaCache {
    fn get(&self, key: &Key, asked: &Asked) -> Option<Stamped<ReadValue>> {
        self.entries.get(&(*key, *asked))
    }

    fn put(&self, key: &Key, asked: &Asked, entry: Stamped<ReadValue>) {
        match asked.memory {
            // Each is asked for by those who follow at that moment, and never again.
            Memory::Tenure(_) if matches!(key, Key::Changes(_)) => {}
            Memory::Tenure(_) => self.entries.insert((*key, *asked), entry),
            // Nobody could hit it.
            Memory::Alone(_) => {}
        }
    }
}

/// The read came back as something else than the key holds: a defect, told as damaged data.
pub(crate) fn mismatch(value: &ReadValue) -> weir_protect::ReadError<ReadError> {
    let reason = format!("a read answered with {:?}", std::mem::discriminant(value));
    weir_protect::ReadError::Store(ReadError::Corrupt { reason })
}
