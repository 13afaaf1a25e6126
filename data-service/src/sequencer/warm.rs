//! Warming: where a scope stands is read before its first change under a tenure.

use std::sync::Arc;

use weir_protect::tail::{Tail, TailBounds};
use weir_proto::{
    bucket::Bucket,
    data::{GuildState, Message},
};
use weir_store::{PartitionRange, ReadError, RowOrder, Store};

use super::{
    Sequencer,
    nonce::REMEMBER_US,
    scope::{Scope, ScopeKind, Standing, TailMessage},
};
use crate::ownership::Tenure;

/// Rows read when a channel warms: a default page twice, so that the page that follows a write comes from memory.
const WARM_ROWS: usize = 100;
/// Buckets looked at for those rows; a sparser channel keeps a shorter tail.
const WARM_BUCKETS: usize = 4;

/// Reads a guild with its roles, channels and member count.
pub(crate) async fn read_guild(store: &dyn Store, guild_id: u64) -> Result<Option<GuildState>, ReadError> {
    let Some((guild, roles, channels)) = store.read_guild(guild_id).await? else { return Ok(None) };
    let member_count = store.count_members(guild_id).await?;
    let revs = roles.iter().map(|role| role.rev).chain(channels.iter().map(|channel| channel.rev));
    let rev = revs.fold(guild.rev, u64::max);
    Ok(Some(GuildState { guild: Some(guild), roles, channels, member_count, rev }))
}

/// The end of a channel as read.
pub(crate) struct ReadTail {
    /// Newest first.
    pub(crate) rows: Vec<Message>,
    pub(crate) bucket: Option<Bucket>,
    /// Exclusive: every live row above it is in `rows`.
    pub(crate) floor: u64,
    /// No live row is at or below the floor.
    pub(crate) complete: bool,
}

async fn read_tail(store: &dyn Store, channel_id: u64) -> Result<ReadTail, ReadError> {
    let buckets = store
        .read_buckets(channel_id, Bucket(0), Bucket(u32::MAX), RowOrder::NewestFirst, WARM_BUCKETS + 1)
        .await?;
    let mut rows: Vec<Message> = Vec::new();
    let bucket = buckets.first().copied();
    let mut floor = u64::MAX;
    for bucket_read in buckets.iter().take(WARM_BUCKETS) {
        let range = PartitionRange {
            after: 0,
            before: u64::MAX,
            order: RowOrder::NewestFirst,
            limit: WARM_ROWS - rows.len(),
        };
        rows.extend(store.read_partition(channel_id, *bucket_read, range).await?);
        if let (true, Some(oldest)) = (rows.len() >= WARM_ROWS, rows.last()) {
            let floor = oldest.id - 1;
            return Ok(ReadTail { rows, bucket, floor, complete: false });
        }
        floor = bucket_read.first_raw().saturating_sub(1);
    }
    let complete = buckets.len() <= WARM_BUCKETS;
    let floor = if complete { 0 } else { floor };
    Ok(ReadTail { rows, bucket, floor, complete })
}

impl Sequencer {
    /// Makes sure that the scope's standing is known under this tenure. In the turn.
    pub(super) async fn warm(&self, scope: &Scope, tenure: Tenure) -> Result<Standing, ReadError> {
        {
            let mut state = scope.lock();
            match state.standing {
                Some(standing) if standing.epoch == tenure.epoch => return Ok(standing),
                Some(_) => state.forget(),
                None => {}
            }
        }
        let now_us = self.clock.wall_us();
        let changes =
            self.store.read_changes(scope.id, now_us.saturating_sub(crate::changes::KEPT_US), 1_000).await?;
        // Changes come oldest first and a page may not reach the newest; the clock is above all of them by then, because a tenure begins
        // only after the last one's end.
        let changed_rev = changes.last().map_or(0, |change| change.rev);
        match scope.kind {
            ScopeKind::Guild => {
                let guild = read_guild(&*self.store, scope.id).await?;
                let last_rev = guild.as_ref().map_or(0, |guild| guild.rev).max(changed_rev);
                let mut state = scope.lock();
                let last_rev = last_rev.max(state.rev_floor);
                let standing = Standing { epoch: tenure.epoch, last_rev, last_message_id: 0, bucket: None };
                state.standing = Some(standing);
                state.guild = guild.map(Arc::new);
                Ok(standing)
            }
            ScopeKind::Channel => {
                let ReadTail { rows, bucket, floor, complete } = read_tail(&*self.store, scope.id).await?;
                let last_rev = rows.iter().map(|row| row.last_rev).fold(changed_rev, u64::max);
                let last_message_id = rows.first().map_or(0, |row| row.id);
                let mut state = scope.lock();
                let last_rev = last_rev.max(state.rev_floor);
                let standing = Standing { epoch: tenure.epoch, last_rev, last_message_id, bucket };
                state.nonces.clear();
                for row in rows.iter().rev().filter(|row| row.rev + REMEMBER_US > now_us) {
                    state.nonces.insert(row.author_id, &row.nonce, row.id, row.rev);
                }
                state.tail = Some(self.tail_of(rows, floor, complete));
                state.changed();
                state.standing = Some(standing);
                Ok(standing)
            }
        }
    }

    /// A tail of all live rows above `floor`; `complete` if there is none at or below it.
    pub(crate) fn tail_of(&self, rows: Vec<Message>, floor: u64, complete: bool) -> Tail<TailMessage> {
        let bounds =
            TailBounds { rows_max: self.config.tail_rows_max, bytes_max: self.config.tail_bytes_max };
        let mut tail = Tail::new(bounds);
        tail.seed(rows.into_iter().map(|row| Arc::new(TailMessage(row))).collect(), floor, complete);
        tail
    }
}
