//! Loads the state of a scope before its first change under a tenure.

use std::sync::Arc;

use weir_protect::tail::Tail;
use weir_proto::{
    bucket::Bucket,
    data::{GuildState, Message},
    id::{ChannelId, EPOCH_MS, GuildId, MessageId, ScopeId},
};
use weir_store::{PartitionRange, ReadError, RowOrder, Store};

use super::{
    Live,
    nonce::{NONCES_MAX, REMEMBER_US},
    scope::{Head, Scope, TailMessage},
};
use crate::{
    outbox::rebuild::{KEPT_US, recorded_rev},
    ownership::Tenure,
};

/// Rows read when a channel is loaded: twice the default page, so that the page after a write comes from
/// memory.
const TAIL_ROWS: usize = 100;
/// Buckets searched for those rows; a sparser channel keeps a shorter tail.
const TAIL_BUCKETS: usize = 4;

/// Changes read at once when a scope is loaded.
const CHANGES_PAGE: usize = 1_000;
/// Rows read at once for their nonces when a channel is loaded.
const NONCE_PAGE: usize = 1_000;
/// Rows below the tail whose nonces are loaded; as many as nonces are remembered, and 66 reads. A channel
/// that gets more than 218 messages a second remembers nonces for less than five minutes across a change of
/// owners.
const NONCE_ROWS_MAX: usize = NONCES_MAX;

/// Reads a guild with its roles, channels and member count.
pub(crate) async fn read_guild(
    store: &dyn Store,
    guild_id: GuildId,
) -> Result<Option<GuildState>, ReadError> {
    let Some((guild, roles, channels)) = store.read_guild(guild_id).await? else { return Ok(None) };
    let member_count = store.count_members(guild_id).await?;
    let revs = roles.iter().map(|role| role.rev).chain(channels.iter().map(|channel| channel.rev));
    let rev = revs.fold(guild.rev, u64::max);
    Ok(Some(GuildState { guild: Some(guild), roles, channels, member_count, rev }))
}

/// A channel's tail as read from the store.
struct ReadTail {
    /// Newest first.
    rows: Vec<Message>,
    bucket: Option<Bucket>,
    /// Exclusive lower bound: every live row above it is in `rows`.
    floor: u64,
    /// True if no live row is at or below the floor.
    complete: bool,
}

async fn read_tail(store: &dyn Store, channel_id: ChannelId) -> Result<ReadTail, ReadError> {
    let buckets = store
        .read_buckets(channel_id, Bucket(0), Bucket(u32::MAX), RowOrder::NewestFirst, TAIL_BUCKETS + 1)
        .await?;
    let mut rows: Vec<Message> = Vec::new();
    let bucket = buckets.first().copied();
    let mut floor = u64::MAX;
    for bucket_read in buckets.iter().take(TAIL_BUCKETS) {
        let range = PartitionRange {
            after: None,
            before: None,
            order: RowOrder::NewestFirst,
            limit: TAIL_ROWS - rows.len(),
        };
        rows.extend(store.read_partition(channel_id, *bucket_read, range).await?);
        if let (true, Some(oldest)) = (rows.len() >= TAIL_ROWS, rows.last()) {
            let floor = oldest.id - 1;
            return Ok(ReadTail { rows, bucket, floor, complete: false });
        }
        floor = bucket_read.first_raw().saturating_sub(1);
    }
    let complete = buckets.len() <= TAIL_BUCKETS;
    let floor = if complete { 0 } else { floor };
    Ok(ReadTail { rows, bucket, floor, complete })
}

impl Live {
    /// The scope's head under this tenure. If it is not in memory, it is read with all else that a turn
    /// needs. Called in the turn; `now_us` is its wall time in microseconds since 1970-01-01T00:00Z.
    pub(crate) async fn load(&self, scope: &Scope, tenure: Tenure, now_us: u64) -> Result<Head, ReadError> {
        let known = {
            let mut state = scope.lock();
            let known = state.head.filter(|head| head.epoch == tenure.epoch);
            if known.is_none() && state.head.is_some() {
                state.forget();
            }
            known.map(|head| (head, state.tail_missed && state.tail.is_none()))
        };
        if let Some((head, tail_missed)) = known {
            if let (true, ScopeId::Channel(id)) = (tail_missed, scope.id) {
                self.read_missed_tail(scope, id, tenure).await;
            }
            return Ok(head);
        }
        match scope.id {
            ScopeId::Guild(id) => self.load_guild(scope, id, tenure, now_us).await,
            ScopeId::Channel(id) => self.load_channel(scope, id, tenure, now_us).await,
            // A user's turns write into other scopes and read what they need.
            ScopeId::User(_) => Ok(Head {
                epoch: tenure.epoch,
                last_rev: 0,
                recorded_rev: 0,
                last_message_id: None,
                bucket: None,
            }),
        }
    }

    async fn load_guild(
        &self,
        scope: &Scope,
        guild_id: GuildId,
        tenure: Tenure,
        now_us: u64,
    ) -> Result<Head, ReadError> {
        let guild = read_guild(&*self.store, guild_id).await?;
        let read_rev = guild.as_ref().map_or(0, |guild| guild.rev);
        let recorded_rev = self.last_change(scope.id, read_rev, now_us).await?;
        let mut state = scope.lock();
        let last_rev = recorded_rev.max(state.rev_floor);
        let head = Head { epoch: tenure.epoch, last_rev, recorded_rev, last_message_id: None, bucket: None };
        state.head = Some(head);
        // The guild's rows show neither members' changes nor deletions; `recorded_rev` includes both.
        state.guild = guild.map(|guild| Arc::new(GuildState { rev: recorded_rev, ..guild }));
        Ok(head)
    }

    async fn load_channel(
        &self,
        scope: &Scope,
        channel_id: ChannelId,
        tenure: Tenure,
        now_us: u64,
    ) -> Result<Head, ReadError> {
        self.tails_read.inc();
        let ReadTail { rows, bucket, floor, complete } = read_tail(&*self.store, channel_id).await?;
        let read_rev = rows.iter().map(|row| row.last_rev).max().unwrap_or(0);
        let recorded_by_rows = rows.iter().map(recorded_rev).max().unwrap_or(0);
        let recorded_rev = self.last_change(scope.id, recorded_by_rows, now_us).await?;
        let older =
            if complete { Vec::new() } else { self.rows_with_nonces(channel_id, floor, now_us).await? };
        let last_message_id = rows.first().and_then(|row| MessageId::try_from(row.id).ok());
        let mut state = scope.lock();
        let last_rev = read_rev.max(recorded_rev).max(state.rev_floor);
        let head = Head { epoch: tenure.epoch, last_rev, recorded_rev, last_message_id, bucket };
        state.nonces.clear();
        let oldest_first = older.iter().rev().chain(rows.iter().rev());
        for row in oldest_first.filter(|row| row.rev + REMEMBER_US > now_us) {
            state.nonces.insert_row(row, row.rev);
        }
        state.put_tail(tenure.epoch, self.tail_of(rows, floor, complete));
        state.changed();
        state.head = Some(head);
        Ok(head)
    }

    /// Reads the tail of a scope whose head is known: it was dropped in doubt or for lack of memory, and
    /// readers miss it. If the read fails, the change goes on without a tail, and the next reader that misses
    /// it asks again.
    async fn read_missed_tail(&self, scope: &Scope, channel_id: ChannelId, tenure: Tenure) {
        self.tails_read.inc();
        let read = read_tail(&*self.store, channel_id).await;
        let mut state = scope.lock();
        state.tail_missed = false;
        if let Ok(ReadTail { rows, floor, complete, .. }) = read {
            state.put_tail(tenure.epoch, self.tail_of(rows, floor, complete));
            state.changed();
        }
    }

    /// The scope's last revision: the greatest of its rows and of the changes after them.
    async fn last_change(&self, scope_id: ScopeId, read_rev: u64, now_us: u64) -> Result<u64, ReadError> {
        // Older changes are no longer kept, and they are below any clock.
        let mut after_rev = read_rev.max(now_us.saturating_sub(KEPT_US));
        let mut last_rev = read_rev;
        loop {
            let changes = self.store.read_changes(scope_id, after_rev, CHANGES_PAGE).await?;
            let Some(last) = changes.last() else { return Ok(last_rev) };
            (after_rev, last_rev) = (last.rev, last.rev);
            if changes.len() < CHANGES_PAGE {
                return Ok(last_rev);
            }
        }
    }

    /// Rows at and below `floor` whose nonces still count, newest first: the last five minutes of a crowded
    /// channel reach far below its tail.
    async fn rows_with_nonces(
        &self,
        channel_id: ChannelId,
        floor: u64,
        now_us: u64,
    ) -> Result<Vec<Message>, ReadError> {
        let since_ms = (now_us.saturating_sub(REMEMBER_US) / 1_000).saturating_sub(EPOCH_MS);
        let (after, mut before) = (since_ms << 22, floor.saturating_add(1));
        let mut rows = Vec::new();
        let mut looked_at = 0;
        while before > after && looked_at < NONCE_ROWS_MAX {
            let bucket = Bucket::of_raw(before - 1);
            let range = PartitionRange {
                after: MessageId::try_from(after).ok(),
                before: MessageId::try_from(before).ok(),
                order: RowOrder::NewestFirst,
                limit: NONCE_PAGE,
            };
            let page = self.store.read_partition(channel_id, bucket, range).await?;
            looked_at += page.len();
            before = match page.last() {
                Some(oldest) if page.len() >= NONCE_PAGE => oldest.id,
                Some(_) | None => bucket.first_raw(),
            };
            rows.extend(page.into_iter().filter(|row| !row.nonce.is_empty()));
        }
        Ok(rows)
    }

    /// A tail of all live rows above `floor`; it is `complete` if there are none at or below it.
    pub(super) fn tail_of(&self, rows: Vec<Message>, floor: u64, complete: bool) -> Tail<TailMessage> {
        let mut tail = Tail::new(self.tail_bounds);
        tail.seed(rows.into_iter().map(|row| Arc::new(TailMessage(row))).collect(), floor, complete);
        tail
    }
}
