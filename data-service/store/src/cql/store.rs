//! The [`Store`] trait, over statements.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::{statement::batch::BatchType, value::CqlTimeuuid};
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    id::{ChannelId, GuildId, MessageId, ScopeId, UserId},
    pair::UserPair,
};

use super::{
    CqlStore,
    columns::{Column, MessageRow, blob, boolean, border, decode, ordered, small},
    lease, plan,
    statements::{Query, RowQuery},
};
use crate::{
    Active, Commit, Lease, LeaseAnswer, OutboxRecord, PartitionRange, ReadError, RowChange, RowOrder,
    Setting, Store, StoreCounters, WriteError, clock,
    row::{RowKey, RowRange, Table},
    stored_id,
};

/// Partitions over which active scopes are spread.
const ACTIVE_SHARDS: u32 = 16;
/// A row that is one blob.
type BlobRow = (Option<Vec<u8>>,);

/// A limit as CQL takes it.
fn limited(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

/// A bucket as CQL orders it. Beyond CQL's numbers there are no buckets.
fn bucket_border(bucket: Bucket) -> i32 {
    i32::try_from(bucket.0).unwrap_or(i32::MAX)
}

/// The partition of a scope. Ids of one moment share their upper bits, and most ids share the lower ones, so
/// both are mixed in.
fn active_shard(scope_id: u64) -> u32 {
    // The factor is 2^64 divided by the golden ratio, which spreads neighbours evenly over the upper bits.
    (scope_id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as u32
}

/// The ids of a key. Those that CQL cannot hold have no row.
fn ids(key: &RowKey) -> Result<Vec<Column>, WriteError> {
    key.ids().iter().map(|id| ordered(*id)).collect()
}

/// Microseconds since 1970 of a time UUID, which counts 100 ns since 1582-10-15.
fn unix_us(uuid: CqlTimeuuid) -> u64 {
    const UNIX_EPOCH: u64 = 0x01B2_1DD2_1381_4000;
    let (low, mid, high, _) = uuid.as_fields();
    let ticks = u64::from(high & 0x0FFF) << 48 | u64::from(mid) << 32 | u64::from(low);
    ticks.saturating_sub(UNIX_EPOCH) / 10
}

impl CqlStore {
    /// Rows that are one blob each.
    async fn blobs<T: prost::Message + Default>(
        &self,
        query: Query,
        values: Vec<Column>,
    ) -> Result<Vec<T>, ReadError> {
        let rows: Vec<BlobRow> = self.sender.rows(query, values).await?;
        rows.into_iter().map(|(row,)| decode(&format!("{query:?}"), row)).collect()
    }

    /// The row under one or two ids. Ids that CQL cannot hold have no row.
    async fn blob<T: prost::Message + Default>(
        &self,
        query: Query,
        key: &[u64],
    ) -> Result<Option<T>, ReadError> {
        let Ok(values) = key.iter().map(|id| ordered(*id)).collect::<Result<Vec<_>, _>>() else {
            return Ok(None);
        };
        Ok(self.blobs(query, values).await?.pop())
    }

    /// Sends the batches of a bulk load, several at once. If one fails, the outcome of the others is not
    /// known.
    async fn load(&self, rows: Vec<RowChange>, rev: u64) -> Result<(), WriteError> {
        let batches = plan::load(rows, rev)?;
        let only = batches.len() == 1;
        let sent = stream::iter(batches)
            .map(|batch| self.sender.batch(BatchType::Unlogged, batch))
            .buffer_unordered(self.call_concurrency)
            .try_collect::<()>()
            .await;
        match sent {
            Err(WriteError::NotApplied { reason }) if !only => Err(WriteError::Unknown { reason }),
            sent => sent,
        }
    }

    /// Ids above `after` in a table of pairs.
    async fn above(&self, query: Query, key: u64, after: u64, limit: usize) -> Result<Vec<i64>, ReadError> {
        let values = (border(key), border(after), limited(limit));
        let rows: Vec<(i64,)> = self.sender.rows(query, values).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }
}

#[async_trait]
impl Store for CqlStore {
    async fn read_buckets(
        &self,
        channel_id: ChannelId,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Result<Vec<Bucket>, ReadError> {
        let channel_id = channel_id.get();
        let query = match order {
            RowOrder::NewestFirst => Query::BucketsNewest,
            RowOrder::OldestFirst => Query::BucketsOldest,
        };
        let values = (border(channel_id), bucket_border(from), bucket_border(to), limited(limit));
        let rows: Vec<(i32,)> = self.sender.rows(query, values).await?;
        Ok(rows.into_iter().map(|(bucket,)| Bucket(bucket.cast_unsigned())).collect())
    }

    async fn add_bucket(&self, channel_id: ChannelId, bucket: Bucket) -> Result<(), WriteError> {
        let channel_id = channel_id.get();
        self.sender.write(Query::AddBucket, vec![ordered(channel_id)?, small(bucket.0)?]).await
    }

    /// Rows without an author are left out after the read. So a page may take more than one statement, each
    /// of which begins where the last ended.
    async fn read_partition(
        &self,
        channel_id: ChannelId,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Result<Vec<Message>, ReadError> {
        let channel_id = channel_id.get();
        let Some(ids) = range.ids() else { return Ok(Vec::new()) };
        let (mut least, mut greatest) = (border(*ids.start()), border(*ids.end()));
        let query = match range.order {
            RowOrder::NewestFirst => Query::PageNewest,
            RowOrder::OldestFirst => Query::PageOldest,
        };
        let deadline = self.sender.read_deadline();
        let mut page: Vec<Message> = Vec::new();
        while least <= greatest {
            let missing = range.limit - page.len();
            let values = (border(channel_id), bucket_border(bucket), least, greatest, limited(missing));
            let rows: Vec<MessageRow> = self.sender.rows_until(query, values, deadline).await?;
            let (count, last) = (rows.len(), rows.last().map(MessageRow::id));
            for row in rows {
                page.extend(row.into_message(channel_id)?);
            }
            let Some(last) = last else { break };
            if count < missing || page.len() >= range.limit {
                break;
            }
            match range.order {
                RowOrder::NewestFirst => greatest = last - 1,
                RowOrder::OldestFirst => least = last + 1,
            }
        }
        Ok(page)
    }

    async fn read_message(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, ReadError> {
        let (channel_id, message_id) = (channel_id.get(), message_id.get());
        let id = border(message_id);
        let bucket = bucket_border(Bucket::of_raw(message_id));
        let row: Option<MessageRow> =
            self.sender.row(Query::PageNewest, (border(channel_id), bucket, id, id, 1)).await?;
        row.map_or(Ok(None), |row| row.into_message(channel_id))
    }

    async fn read_row(&self, table: &'static Table, key: RowKey) -> Result<Option<Bytes>, ReadError> {
        let Ok(values) = ids(&key) else { return Ok(None) };
        let row: Option<(Vec<u8>,)> = self.sender.row(Query::Row(table, RowQuery::Get), values).await?;
        Ok(row.map(|(row,)| row.into()))
    }

    async fn read_rows(&self, table: &'static Table, range: RowRange) -> Result<Vec<Bytes>, ReadError> {
        let (Ok(mut values), Ok(after)) = (ids(&range.under), ordered(range.after)) else {
            return Ok(Vec::new());
        };
        // Beyond CQL's numbers there are no ids.
        let before = range.before.min(i64::MAX.cast_unsigned());
        let last = ordered(before).and_then(|before| Ok([after, before, small(range.limit as u32)?]));
        values.extend(last.map_err(|error| ReadError::Unavailable { reason: error.to_string() })?);
        let rows: Vec<(Vec<u8>,)> = self.sender.rows(Query::Row(table, RowQuery::List), values).await?;
        Ok(rows.into_iter().map(|(row,)| row.into()).collect())
    }

    async fn commit(&self, commit: Commit) -> Result<(), WriteError> {
        commit.check()?;
        let kind = if commit.rows_are_outbox { BatchType::Unlogged } else { BatchType::Logged };
        for (sent, batch) in plan::commit(commit)?.into_iter().enumerate() {
            match self.sender.batch(kind, batch).await {
                Ok(()) => {}
                // An earlier part of the commit has happened.
                Err(WriteError::NotApplied { reason }) if sent > 0 => {
                    return Err(WriteError::Unknown { reason });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn put_rows(&self, rows: Vec<RowChange>, rev: u64) -> Result<(), WriteError> {
        self.load(rows, rev).await
    }

    /// A row lives for a day, so only the partitions of yesterday, today and, for clocks that differ,
    /// tomorrow can hold any.
    async fn read_changes(
        &self,
        scope_id: ScopeId,
        after_rev: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRecord>, ReadError> {
        let scope_id = scope_id.get();
        let today = plan::day(clock::unix_us());
        let first = plan::day(after_rev).max(today.saturating_sub(1));
        let mut records = Vec::new();
        for day in first..=today + 1 {
            let missing = limit - records.len();
            if missing == 0 {
                break;
            }
            let values = (border(scope_id), limited(day as usize), border(after_rev), limited(missing));
            let rows: Vec<(i64, Option<i64>, Option<Vec<u8>>)> =
                self.sender.rows(Query::Changes, values).await?;
            records.extend(rows.into_iter().map(|(rev, guild_id, record)| OutboxRecord {
                guild_id: guild_id.and_then(|id| GuildId::try_from(id.cast_unsigned()).ok()),
                rev: rev.cast_unsigned(),
                record: Bytes::from(record.unwrap_or_default()),
            }));
        }
        Ok(records)
    }

    async fn note_active(&self, scope_id: ScopeId) -> Result<(), WriteError> {
        let (scope_id, is_channel) = (scope_id.get(), scope_id.is_channel());
        let values = vec![small(active_shard(scope_id))?, ordered(scope_id)?, boolean(is_channel)];
        self.sender.write(Query::NoteActive, values).await
    }

    async fn read_active(&self, since_us: u64, limit: usize) -> Result<Active, ReadError> {
        let shards = stream::iter(0..ACTIVE_SHARDS)
            .map(|shard| {
                self.sender.rows::<(i64, Option<bool>, Option<i64>)>(
                    Query::Active,
                    (limited(shard as usize), limited(limit)),
                )
            })
            .buffer_unordered(self.call_concurrency)
            .try_collect::<Vec<_>>()
            .await?;
        // A shard that filled its limit may hold more.
        let all_read = shards.iter().all(|shard| shard.len() < limit);
        let noted = shards.into_iter().flatten();
        let mut scopes = noted
            .filter(|(_, _, noted_us)| noted_us.is_some_and(|noted_us| noted_us.cast_unsigned() >= since_us))
            .map(|(scope, is_channel, _)| match is_channel {
                Some(true) => stored_id("active_scopes", scope.cast_unsigned()).map(ScopeId::Channel),
                Some(false) | None => stored_id("active_scopes", scope.cast_unsigned()).map(ScopeId::Guild),
            })
            .collect::<Result<Vec<ScopeId>, ReadError>>()?;
        let whole = all_read && scopes.len() <= limit;
        scopes.truncate(limit);
        Ok(Active { scopes, whole })
    }

    async fn read_users(&self, ids: &[UserId]) -> Result<Vec<User>, ReadError> {
        // The keys are owned, because the stream's futures must not borrow from the caller's slice.
        let users = stream::iter(ids.to_vec())
            .map(|id| async move { self.blob::<User>(Query::User, &[id.get()]).await })
            .buffered(self.call_concurrency)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(users.into_iter().flatten().collect())
    }

    async fn read_token(&self, hash: [u8; 32]) -> Result<Option<UserId>, ReadError> {
        let row: Option<(Option<i64>,)> = self.sender.row(Query::Token, vec![blob(hash)]).await?;
        row.and_then(|(user,)| user).map(|id| stored_id("tokens", id.cast_unsigned())).transpose()
    }

    async fn read_guild(
        &self,
        guild_id: GuildId,
    ) -> Result<Option<(Guild, Vec<Role>, Vec<Channel>)>, ReadError> {
        let guild_id = guild_id.get();
        let Ok(key) = ordered(guild_id) else { return Ok(None) };
        let id = [guild_id];
        let (guild, roles, channels) = tokio::try_join!(
            self.blob::<Guild>(Query::Guild, &id),
            self.blobs::<Role>(Query::Roles, vec![key.clone()]),
            self.blobs::<Channel>(Query::ChannelsOfGuild, vec![key]),
        )?;
        Ok(guild.map(|guild| (guild, roles, channels)))
    }

    async fn read_direct(&self, pair: UserPair) -> Result<Option<ChannelId>, ReadError> {
        let [low, high] = pair.ids().map(border);
        let row: Option<(Option<i64>,)> = self.sender.row(Query::Direct, (low, high)).await?;
        row.and_then(|(id,)| id).map(|id| stored_id("direct_channels", id.cast_unsigned())).transpose()
    }

    async fn read_channel(&self, channel_id: ChannelId) -> Result<Option<Channel>, ReadError> {
        self.blob(Query::Channel, &[channel_id.get()]).await
    }

    async fn read_member(&self, guild_id: GuildId, user_id: UserId) -> Result<Option<Member>, ReadError> {
        self.blob(Query::Member, &[guild_id.get(), user_id.get()]).await
    }

    async fn read_members(
        &self,
        guild_id: GuildId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, ReadError> {
        let (guild_id, after) = (guild_id.get(), after.map_or(0, UserId::get));
        let values = (border(guild_id), border(after), limited(limit));
        let rows: Vec<BlobRow> = self.sender.rows(Query::Members, values).await?;
        rows.into_iter().map(|(row,)| decode("members", row)).collect()
    }

    /// The database counts the rows, at a cost that grows with their number, so a guild's owner keeps the
    /// figure.
    async fn count_members(&self, guild_id: GuildId) -> Result<u32, ReadError> {
        let guild_id = guild_id.get();
        let row: Option<(i64,)> = self.sender.row(Query::CountMembers, (border(guild_id),)).await?;
        Ok(row.map_or(0, |(count,)| u32::try_from(count).unwrap_or(u32::MAX)))
    }

    async fn read_user_guilds(
        &self,
        user_id: UserId,
        after: Option<GuildId>,
        limit: usize,
    ) -> Result<Vec<GuildId>, ReadError> {
        let (user_id, after) = (user_id.get(), after.map_or(0, GuildId::get));
        let ids = self.above(Query::GuildsOfUser, user_id, after, limit).await?;
        ids.into_iter().map(|id| stored_id("user_guilds", id.cast_unsigned())).collect()
    }

    async fn read_settings(&self, kind: &str, limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        let rows: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            self.sender.rows(Query::Settings, (kind, limited(limit))).await?;
        Ok(rows.into_iter().map(|(key, value)| (key, Bytes::from(value.unwrap_or_default()))).collect())
    }

    async fn read_setting(&self, kind: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let row: Option<BlobRow> = self.sender.row(Query::Setting, (kind, key)).await?;
        Ok(row.map(|(value,)| Bytes::from(value.unwrap_or_default())))
    }

    /// The timestamp is this process's and strictly rises: coordinators' clocks differ, and a later call must
    /// win.
    async fn write_settings(&self, settings: Vec<Setting>) -> Result<(), WriteError> {
        let bound = plan::settings(settings, self.next_timestamp())?;
        self.sender.batch(BatchType::Logged, bound).await
    }

    async fn take_lease(&self, wanted: Lease, expected: Option<Lease>) -> Result<LeaseAnswer, WriteError> {
        lease::take(&self.sender, &wanted, expected.as_ref()).await
    }

    /// The time comes from a time UUID, which has microseconds where `toTimestamp` has milliseconds.
    async fn clock_us(&self) -> Result<u64, ReadError> {
        let row: Option<(CqlTimeuuid,)> = self.sender.row(Query::Clock, ()).await?;
        let corrupt = || ReadError::Corrupt { reason: "system.local is empty".to_owned() };
        row.map(|(uuid,)| unix_us(uuid)).ok_or_else(corrupt)
    }

    async fn ready(&self, within: Duration) -> Result<(), ReadError> {
        let ping = self.sender.row::<(String,)>(Query::Ping, ());
        tokio::time::timeout(within, ping).await.unwrap_or(Err(ReadError::Timeout)).map(drop)
    }

    fn counters(&self) -> StoreCounters {
        self.sender.counters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_uuid_tells_microseconds() {
        // A UUID of version 1 for 2015-01-01T00:00:00.000001Z: the UUID epoch's offset plus the time, in 100
        // ns.
        let ticks: u64 = 0x01B2_1DD2_1381_4000 + (1_420_070_400_000_001 * 10);
        let uuid = CqlTimeuuid::from_fields(
            ticks as u32,
            (ticks >> 32) as u16,
            (ticks >> 48) as u16 & 0x0FFF | 0x1000,
            &[0x80, 0, 0, 0, 0, 0, 0, 0],
        );
        assert_eq!(unix_us(uuid), 1_420_070_400_000_001);
    }

    #[test]
    fn active_scopes_spread_over_every_shard() {
        let mut filled = [0_u32; ACTIVE_SHARDS as usize];
        for minute in 0..1_600_u64 {
            filled[active_shard((minute * 60_000) << 22) as usize] += 1;
        }
        assert!(filled.iter().all(|count| (50..200).contains(count)), "{filled:?}");
    }
}
