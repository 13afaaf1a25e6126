//! The [`Store`] trait, over committer and readers.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use fjall::PersistMode;
use prost::Message as _;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    id::{ChannelId, GuildId, MessageId, ScopeId, UserId},
    pair::UserPair,
};

use super::{
    EmbeddedStore,
    committer::{Act, Answer},
    keys,
    tables::Table,
};
use crate::{
    Active, Commit, Lease, LeaseAnswer, OutboxRecord, PartitionRange, ReadError, RowChange, RowOrder,
    Setting, Store, StoreCounters, WriteError, clock,
    row::{self, RowKey, RowRange},
    stored_id,
};

/// Bytes of a row beside its value, for the committer's bounds: key, header, and the log's index.
const ROW_BYTES: usize = 64;

/// About how many bytes a row takes in a batch.
fn row_bytes(row: &RowChange) -> usize {
    let value = match row {
        RowChange::Put(put) => put.row.len(),
        RowChange::PutMessage(row) | RowChange::MarkMessage(row) => row.encoded_len(),
        RowChange::PutUser(row) => row.encoded_len(),
        RowChange::PutGuild(row) => row.encoded_len(),
        RowChange::PutChannel(row) | RowChange::PutDirect(row) => row.encoded_len(),
        RowChange::PutRole(row) => row.encoded_len(),
        RowChange::PutMember(row) => row.encoded_len(),
        RowChange::DeleteGuild { channel_ids, member_ids, .. } => {
            (channel_ids.len() + member_ids.len()) * ROW_BYTES
        }
        RowChange::Remove { .. }
        | RowChange::RemoveUnder { .. }
        | RowChange::PutToken { .. }
        | RowChange::DeleteMessage { .. }
        | RowChange::DeleteChannel { .. }
        | RowChange::DeleteRole { .. }
        | RowChange::DeleteMember { .. } => 0,
    };
    value + ROW_BYTES
}

/// About how many bytes rows take in a batch.
fn rows_bytes(rows: &[RowChange]) -> usize {
    rows.iter().map(row_bytes).sum()
}

impl EmbeddedStore {
    /// Sends a write whose only answer is that it is durable.
    async fn done(&self, act: Act, bytes: usize) -> Result<(), WriteError> {
        self.write(act, bytes).await.map(drop)
    }

    /// The full key of a setting.
    fn setting_key(kind: &str, key: &[u8]) -> Result<Vec<u8>, String> {
        keys::setting(kind, key)
            .ok_or_else(|| format!("a setting's kind is longer than {} bytes", keys::KIND_MAX))
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn read_buckets(
        &self,
        channel_id: ChannelId,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Result<Vec<Bucket>, ReadError> {
        let channel_id = channel_id.get();
        self.readers.read(move |view| view.buckets(channel_id, from, to, order, limit)).await
    }

    async fn add_bucket(&self, channel_id: ChannelId, bucket: Bucket) -> Result<(), WriteError> {
        self.done(Act::AddBucket(channel_id.get(), bucket), ROW_BYTES).await
    }

    async fn read_partition(
        &self,
        channel_id: ChannelId,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Result<Vec<Message>, ReadError> {
        let channel_id = channel_id.get();
        self.readers.read(move |view| view.partition(channel_id, bucket, range)).await
    }

    async fn read_message(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, ReadError> {
        let (channel_id, message_id) = (channel_id.get(), message_id.get());
        self.readers.read(move |view| view.message(channel_id, message_id)).await
    }

    async fn read_row(&self, table: &'static row::Table, key: RowKey) -> Result<Option<Bytes>, ReadError> {
        self.readers.read(move |view| view.described(table, &key)).await
    }

    async fn read_rows(&self, table: &'static row::Table, range: RowRange) -> Result<Vec<Bytes>, ReadError> {
        self.readers.read(move |view| view.described_rows(table, &range)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), WriteError> {
        commit.check()?;
        let records: usize = commit.records.iter().map(|out| out.record.len() + ROW_BYTES).sum();
        let bytes = rows_bytes(&commit.rows) + records;
        self.done(Act::Commit(commit), bytes).await
    }

    async fn put_rows(&self, rows: Vec<RowChange>, rev: u64) -> Result<(), WriteError> {
        let bytes = rows_bytes(&rows);
        self.done(Act::Load(rows, rev), bytes).await
    }

    async fn read_changes(
        &self,
        scope_id: ScopeId,
        after_rev: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRecord>, ReadError> {
        let scope_id = scope_id.get();
        self.readers.read(move |view| view.changes(scope_id, after_rev, limit)).await
    }

    async fn note_active(&self, _scope_id: ScopeId) -> Result<(), WriteError> {
        Ok(())
    }

    async fn read_active(&self, since_us: u64, limit: usize) -> Result<Active, ReadError> {
        self.readers.read(move |view| view.active(since_us, limit)).await
    }

    async fn read_users(&self, ids: &[UserId]) -> Result<Vec<User>, ReadError> {
        let ids: Vec<u64> = ids.iter().map(|id| id.get()).collect();
        self.readers.read(move |view| view.users(&ids)).await
    }

    async fn read_token(&self, hash: [u8; 32]) -> Result<Option<UserId>, ReadError> {
        let found = self.readers.read(move |view| view.token(hash)).await?;
        found.map(|id| stored_id(Table::Tokens.name(), id)).transpose()
    }

    async fn read_guild(
        &self,
        guild_id: GuildId,
    ) -> Result<Option<(Guild, Vec<Role>, Vec<Channel>)>, ReadError> {
        let guild_id = guild_id.get();
        self.readers.read(move |view| view.guild(guild_id)).await
    }

    async fn read_direct(&self, pair: UserPair) -> Result<Option<ChannelId>, ReadError> {
        let found = self.readers.read(move |view| view.direct(pair)).await?;
        found.map(|id| stored_id(Table::DirectChannels.name(), id)).transpose()
    }

    async fn read_channel(&self, channel_id: ChannelId) -> Result<Option<Channel>, ReadError> {
        let channel_id = channel_id.get();
        self.readers.read(move |view| view.channel(channel_id)).await
    }

    async fn read_member(&self, guild_id: GuildId, user_id: UserId) -> Result<Option<Member>, ReadError> {
        let (guild_id, user_id) = (guild_id.get(), user_id.get());
        self.readers.read(move |view| view.member(guild_id, user_id)).await
    }

    async fn read_members(
        &self,
        guild_id: GuildId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, ReadError> {
        let (guild_id, after) = (guild_id.get(), after.map_or(0, UserId::get));
        self.readers.read(move |view| view.members(guild_id, after, limit)).await
    }

    async fn count_members(&self, guild_id: GuildId) -> Result<u32, ReadError> {
        let guild_id = guild_id.get();
        self.readers.read(move |view| view.member_count(guild_id)).await
    }

    async fn read_user_guilds(
        &self,
        user_id: UserId,
        after: Option<GuildId>,
        limit: usize,
    ) -> Result<Vec<GuildId>, ReadError> {
        let (user_id, after) = (user_id.get(), after.map_or(0, GuildId::get));
        let found = self.readers.read(move |view| view.user_guilds(user_id, after, limit)).await?;
        found.into_iter().map(|id| stored_id(Table::UserGuilds.name(), id)).collect()
    }

    async fn read_settings(&self, kind: &str, limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        let prefix = Self::setting_key(kind, &[]).map_err(|reason| ReadError::Unavailable { reason })?;
        self.readers.read(move |view| view.under(Table::Settings, &prefix, limit)).await
    }

    async fn read_setting(&self, kind: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let key = Self::setting_key(kind, key).map_err(|reason| ReadError::Unavailable { reason })?;
        self.readers.read(move |view| view.small(Table::Settings, &key)).await
    }

    async fn write_settings(&self, settings: Vec<Setting>) -> Result<(), WriteError> {
        let mut rows = Vec::with_capacity(settings.len());
        let mut bytes = 0;
        for Setting { kind, key, value } in settings {
            let key = Self::setting_key(&kind, &key).map_err(|reason| WriteError::NotApplied { reason })?;
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + ROW_BYTES;
            rows.push((key, value));
        }
        self.done(Act::Set(Table::Settings, rows), bytes).await
    }

    async fn take_lease(&self, wanted: Lease, expected: Option<Lease>) -> Result<LeaseAnswer, WriteError> {
        match self.write(Act::TakeLease(wanted, expected), ROW_BYTES).await? {
            Answer::Lease(answer) => Ok(answer),
            Answer::Done => unreachable!("a lease's plan answers with a lease"),
        }
    }

    /// The machine's clock, because there is no other.
    async fn clock_us(&self) -> Result<u64, ReadError> {
        Ok(clock::unix_us())
    }

    async fn ready(&self, within: Duration) -> Result<(), ReadError> {
        if let Some(halt) = self.halted() {
            return Err(ReadError::Unavailable { reason: halt.to_string() });
        }
        let age = Duration::from_millis(self.health.batch_age_ms());
        if age > self.config.write_timeout {
            return Err(ReadError::Unavailable {
                reason: format!("a batch has been in the committer for {age:?}"),
            });
        }
        // fjall's own workers may have failed since the last batch; an empty persist shows that.
        let health = self.health.clone();
        let probe = self.readers.read(move |view| {
            view.tables.db.persist(PersistMode::Buffer).map_err(|error| {
                let reason = format!("a flush or compaction failed before: {error}");
                health.poison(reason.clone());
                ReadError::Unavailable { reason }
            })
        });
        tokio::time::timeout(within, probe).await.unwrap_or(Err(ReadError::Timeout))
    }

    fn counters(&self) -> StoreCounters {
        StoreCounters {
            reads: self.readers.count.load(Ordering::Relaxed),
            writes: self.writes_count.load(Ordering::Relaxed),
        }
    }
}
