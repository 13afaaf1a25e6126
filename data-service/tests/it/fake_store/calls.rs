//! The store's trait over the script: the waits, counts and effects of each call.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::sleep;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    id::{ChannelId, GuildId, MessageId, ScopeId, UserId},
    pair::UserPair,
};
use weir_store::{
    Active, Commit, Lease, LeaseAnswer, OutboxRecord, PartitionRange, ReadError, RowChange, RowOrder,
    Setting, Store, StoreCounters, WriteError,
    row::{RowKey, RowRange, Table},
};

use super::{FakeStore, Fate, Rows};

#[async_trait]
impl Store for FakeStore {
    async fn read_buckets(
        &self,
        channel_id: ChannelId,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Result<Vec<Bucket>, ReadError> {
        self.index_reads.fetch_add(1, SeqCst);
        self.read(|rows| rows.read_buckets(channel_id.get(), from, to, order, limit)).await
    }

    async fn add_bucket(&self, channel_id: ChannelId, bucket: Bucket) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        self.dawdle().await;
        self.rows().buckets.insert((channel_id.get(), bucket.0));
        self.dawdle().await;
        Ok(())
    }

    async fn read_partition(
        &self,
        channel_id: ChannelId,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Result<Vec<Message>, ReadError> {
        self.partition_reads.fetch_add(1, SeqCst);
        self.read(|rows| rows.read_partition(channel_id.get(), bucket, range)).await
    }

    async fn read_message(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, ReadError> {
        self.point_reads.fetch_add(1, SeqCst);
        self.read(|rows| rows.read_message(channel_id.get(), message_id.get())).await
    }

    async fn read_row(&self, table: &'static Table, key: RowKey) -> Result<Option<Bytes>, ReadError> {
        self.read(|rows| rows.read_row(table, key)).await
    }

    async fn read_rows(&self, table: &'static Table, range: RowRange) -> Result<Vec<Bytes>, ReadError> {
        self.read(|rows| rows.read_rows(table, range)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Applied);
        self.arrive(&commit, fate);
        let scope_id = commit.scope_id;
        let mut held = self.hold.subscribe();
        // The store outlives the subscription.
        let _ = held.wait_for(|held| !held).await;
        let answer = self.write(fate, move |rows| rows.commit(&commit)).await;
        *self.in_flight.lock().unwrap().entry(scope_id).or_default() -= 1;
        answer
    }

    async fn put_rows(&self, rows: Vec<RowChange>, rev: u64) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        let fate = self.row_fates.lock().unwrap().pop_front().unwrap_or(Fate::Applied);
        let apply = move |all: &mut Rows| {
            for row in &rows {
                all.apply(row, rev, true);
            }
        };
        self.write(fate, apply).await
    }

    async fn read_changes(
        &self,
        scope_id: ScopeId,
        after_rev: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRecord>, ReadError> {
        if self.unreadable.lock().unwrap().get(&scope_id.get()).is_some_and(|above| after_rev >= *above) {
            return Err(ReadError::Unavailable { reason: "as scripted".into() });
        }
        self.read(|rows| rows.read_changes(scope_id.get(), after_rev, limit)).await
    }

    async fn note_active(&self, scope_id: ScopeId) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        let takes = *self.noting_takes.lock().unwrap();
        sleep(takes).await;
        self.dawdle().await;
        let now_us = self.clock.wall_us();
        self.rows().active.insert(scope_id, now_us);
        Ok(())
    }

    async fn read_active(&self, since_us: u64, limit: usize) -> Result<Active, ReadError> {
        // A note's life.
        let since_us = since_us.max(self.clock.wall_us().saturating_sub(25 * 3_600 * 1_000_000));
        self.read(|rows| {
            let noted = rows.active.iter().filter(|(_, noted_us)| **noted_us >= since_us);
            let whole = noted.clone().count() <= limit;
            Active { scopes: noted.take(limit).map(|(id, _)| *id).collect(), whole }
        })
        .await
    }

    async fn read_users(&self, ids: &[UserId]) -> Result<Vec<User>, ReadError> {
        self.read(|rows| ids.iter().filter_map(|id| rows.users.get(&id.get()).cloned()).collect()).await
    }

    async fn read_token(&self, hash: [u8; 32]) -> Result<Option<UserId>, ReadError> {
        self.read(|rows| rows.tokens.get(&hash).map(|id| UserId::try_from(*id).unwrap())).await
    }

    async fn read_guild(
        &self,
        guild_id: GuildId,
    ) -> Result<Option<(Guild, Vec<Role>, Vec<Channel>)>, ReadError> {
        self.read(|rows| rows.read_guild(guild_id.get())).await
    }

    async fn read_direct(&self, pair: UserPair) -> Result<Option<ChannelId>, ReadError> {
        self.read(|rows| rows.direct.get(&pair).map(|(id, _)| ChannelId::try_from(*id).unwrap())).await
    }

    async fn read_channel(&self, channel_id: ChannelId) -> Result<Option<Channel>, ReadError> {
        self.read(|rows| rows.channels.get(&channel_id.get()).cloned()).await
    }

    async fn read_member(&self, guild_id: GuildId, user_id: UserId) -> Result<Option<Member>, ReadError> {
        self.read(|rows| rows.members.get(&(guild_id.get(), user_id.get())).cloned()).await
    }

    async fn read_members(
        &self,
        guild_id: GuildId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, ReadError> {
        let (guild_id, after) = (guild_id.get(), after.map_or(0, UserId::get));
        self.read(|rows| {
            let above = rows.members.range((guild_id, after + 1)..=(guild_id, u64::MAX));
            above.take(limit).map(|(_, row)| row.clone()).collect()
        })
        .await
    }

    async fn count_members(&self, guild_id: GuildId) -> Result<u32, ReadError> {
        let guild_id = guild_id.get();
        self.read(|rows| rows.members.range((guild_id, 0)..=(guild_id, u64::MAX)).count() as u32).await
    }

    async fn read_user_guilds(
        &self,
        user_id: UserId,
        after: Option<GuildId>,
        limit: usize,
    ) -> Result<Vec<GuildId>, ReadError> {
        self.read(|rows| {
            let of_user = rows.members.keys().filter(|key| key.1 == user_id.get());
            let guilds = of_user.map(|key| GuildId::try_from(key.0).unwrap());
            guilds.filter(|id| Some(*id) > after).take(limit).collect()
        })
        .await
    }

    async fn read_settings(&self, kind: &str, limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        self.read(|rows| {
            let of_kind = rows.settings.iter().filter(|((of, _), _)| of == kind);
            of_kind.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect()
        })
        .await
    }

    async fn read_setting(&self, kind: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.read(|rows| rows.settings.get(&(kind.to_owned(), key.to_vec())).cloned()).await
    }

    async fn write_settings(&self, settings: Vec<Setting>) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        let due = |left: &AtomicUsize| left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let removes = settings.iter().any(|setting| setting.value.is_none());
        let fails = removes && due(&self.removals_fail) || due(&self.settings_fail);
        let scripted = self.setting_fates.lock().unwrap().pop_front();
        let fate = scripted.unwrap_or(if fails { Fate::NotApplied } else { Fate::Applied });
        let apply = move |rows: &mut Rows| {
            for Setting { kind, key, value } in settings {
                match value {
                    Some(value) => rows.settings.insert((kind, key), value),
                    None => rows.settings.remove(&(kind, key)),
                };
            }
        };
        self.write(fate, apply).await
    }

    async fn take_lease(&self, wanted: Lease, expected: Option<Lease>) -> Result<LeaseAnswer, WriteError> {
        self.writes.fetch_add(1, SeqCst);
        self.dawdle().await;
        if wanted.name == *self.lease_refused.lock().unwrap() {
            return Err(WriteError::NotApplied { reason: "as scripted".into() });
        }
        let answer = self.rows().take_lease(wanted, expected);
        let takes = *self.leases_take.lock().unwrap();
        sleep(takes).await;
        self.dawdle().await;
        Ok(answer)
    }

    async fn clock_us(&self) -> Result<u64, ReadError> {
        self.dawdle().await;
        Ok(self.clock.wall_us() + self.clock_off_us.load(SeqCst))
    }

    async fn ready(&self, _: Duration) -> Result<(), ReadError> {
        Ok(())
    }

    fn counters(&self) -> StoreCounters {
        StoreCounters { reads: self.reads(), writes: self.writes.load(SeqCst) }
    }
}
