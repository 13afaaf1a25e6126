//! The reads themselves, on a consistent view.

use std::{collections::HashSet, ops::RangeInclusive};

use bytes::Bytes;
use fjall::{Readable as _, Slice};
use weir_bus::Position;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    id::{ChannelId, GuildId, ScopeId},
    pair::UserPair,
};

use super::{
    keys::{self, number_at},
    log::{Event, FLOOR_KEY},
    readers::View,
    tables::Table,
};
use crate::{
    Active, OutboxRecord, PartitionRange, ReadError, RowOrder,
    row::{self, RowKey, RowRange},
    stored_id,
};

/// How many records in a row must have older revisions before the search of the log stops: by default as many
/// commits as may wait for the disk at once, which is all that can lie between the minting of a revision and
/// its place in the log. About 2 MiB to read.
const OVERTAKEN_MAX: usize = 4_096;

/// A guild's state as it is read.
pub(super) type GuildRows = (Guild, Vec<Role>, Vec<Channel>);

/// Translates an error of the tree while a table is read: the disk does not answer, or the data is not as it
/// was written. The tree does not say in which of the table's files.
fn failed(table: Table) -> impl Fn(fjall::Error) -> ReadError {
    use std::io::ErrorKind;
    move |error| {
        let damaged = match &error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::NotFound
            ),
            // Checksums, tags, headers, trailers, compression: the data is not as it was written.
            fjall::Error::Storage(_)
            | fjall::Error::Decompress(_)
            | fjall::Error::InvalidTrailer
            | fjall::Error::InvalidTag(_)
            | fjall::Error::InvalidVersion(_)
            | fjall::Error::Unrecoverable => true,
            _ => false,
        };
        let reason = format!("table {}: {error}", table.name());
        if damaged { ReadError::Corrupt { reason } } else { ReadError::Unavailable { reason } }
    }
}

/// A row of a table is malformed.
fn corrupt(table: Table, reason: impl ToString) -> ReadError {
    ReadError::Corrupt { reason: format!("{}: {}", table.name(), reason.to_string()) }
}

/// Decodes a row.
fn decode<T: prost::Message + Default>(table: Table, value: &Slice) -> Result<T, ReadError> {
    T::decode(&**value).map_err(|error| corrupt(table, error))
}

/// The number in a key or value.
fn number(table: Table, bytes: &[u8], at: usize) -> Result<u64, ReadError> {
    number_at(bytes, at).ok_or_else(|| corrupt(table, "a number is missing"))
}

/// The row behind its revision.
fn behind_rev(table: Table, value: &Slice) -> Result<Bytes, ReadError> {
    value.get(8..).map(Bytes::copy_from_slice).ok_or_else(|| corrupt(table, "a row without its revision"))
}

impl View {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, ReadError> {
        self.snapshot.get(self.tables.get(table), table.stored_key(key)).map_err(failed(table))
    }

    fn row<T: prost::Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<T>, ReadError> {
        self.value(table, key)?.map(|value| decode(table, &value)).transpose()
    }

    /// Keys and values between two keys, in either direction.
    fn range<const N: usize>(
        &self,
        table: Table,
        range: RangeInclusive<[u8; N]>,
        backwards: bool,
    ) -> impl Iterator<Item = Result<(Slice, Slice), ReadError>> {
        let (from, to) = range.into_inner();
        let rows = self.snapshot.range(self.tables.get(table), table.stored_key(from)..=table.stored_key(to));
        let (forward, backward) = if backwards { (None, Some(rows.rev())) } else { (Some(rows), None) };
        let rows = forward.into_iter().flatten().chain(backward.into_iter().flatten());
        rows.map(move |row| {
            let (key, value) = row.into_inner().map_err(failed(table))?;
            Ok((table.own_key(key), value))
        })
    }

    /// The second ids of the keys that begin with `first`, above `after`.
    fn seconds(&self, table: Table, first: u64, after: u64, limit: usize) -> Result<Vec<u64>, ReadError> {
        let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
        let rows = self.range(table, keys::two(first, from)..=keys::two(first, u64::MAX), false);
        rows.take(limit).map(|row| number(table, &row?.0, 8)).collect()
    }

    /// A row of a described table, without its revision.
    pub(super) fn described(
        &self,
        table: &'static row::Table,
        key: &RowKey,
    ) -> Result<Option<Bytes>, ReadError> {
        let table = Table::Row(table);
        self.value(table, &keys::row(key))?.map(|value| behind_rev(table, &value)).transpose()
    }

    /// Rows of a described table that differ in the last id.
    pub(super) fn described_rows(
        &self,
        table: &'static row::Table,
        range: &RowRange,
    ) -> Result<Vec<Bytes>, ReadError> {
        let (Some(from), Some(to)) = (range.after.checked_add(1), range.before.checked_sub(1)) else {
            return Ok(Vec::new());
        };
        if from > to {
            return Ok(Vec::new());
        }
        let table = Table::Row(table);
        let key = |last: u64| {
            let mut key = keys::row(&range.under);
            key.extend_from_slice(&last.to_be_bytes());
            table.stored_key(key)
        };
        let rows = self.snapshot.range(self.tables.get(table), key(from)..=key(to)).take(range.limit);
        rows.map(|row| behind_rev(table, &row.into_inner().map_err(failed(table))?.1)).collect()
    }

    pub(super) fn buckets(
        &self,
        channel_id: u64,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Result<Vec<Bucket>, ReadError> {
        if from > to {
            return Ok(Vec::new());
        }
        let range = keys::bucket(channel_id, from)..=keys::bucket(channel_id, to);
        let rows = self.range(Table::Buckets, range, order == RowOrder::NewestFirst);
        let bucket = |row: Result<(Slice, Slice), ReadError>| {
            let (key, _) = row?;
            let bytes = key.get(8..12).and_then(|bytes| bytes.try_into().ok());
            bytes
                .map(|bytes| Bucket(u32::from_be_bytes(bytes)))
                .ok_or_else(|| corrupt(Table::Buckets, "a short key"))
        };
        rows.take(limit).map(bucket).collect()
    }

    pub(super) fn partition(
        &self,
        channel_id: u64,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Result<Vec<Message>, ReadError> {
        let Some(ids) = range.ids() else { return Ok(Vec::new()) };
        // Ids are inverted: the greatest id has the smallest key.
        let keys =
            keys::message(channel_id, bucket, *ids.end())..=keys::message(channel_id, bucket, *ids.start());
        let rows = self.range(Table::Messages, keys, range.order == RowOrder::OldestFirst);
        rows.map(|row| row.and_then(|(_, value)| decode::<Message>(Table::Messages, &value)))
            .filter(|row| !matches!(row, Ok(message) if message.author_id == 0))
            .take(range.limit)
            .collect()
    }

    pub(super) fn message(&self, channel_id: u64, message_id: u64) -> Result<Option<Message>, ReadError> {
        let key = keys::message(channel_id, Bucket::of_raw(message_id), message_id);
        let row = self.row::<Message>(Table::Messages, &key)?;
        Ok(row.filter(|message| message.author_id != 0))
    }

    pub(super) fn changes(
        &self,
        scope_id: u64,
        after_rev: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRecord>, ReadError> {
        let Some(from) = after_rev.checked_add(1) else { return Ok(Vec::new()) };
        let range = keys::two(scope_id, from)..=keys::two(scope_id, u64::MAX);
        let mut records = Vec::new();
        for row in self.range(Table::Changes, range, false).take(limit) {
            let position = number(Table::Changes, &row?.1, 0)?;
            let value = self.value(Table::Events, &keys::one(position))?;
            let event = value.and_then(|value| Event::decode(&value));
            let event = event
                .ok_or_else(|| corrupt(Table::Events, format!("position {position} is missing or short")))?;
            records.push(event.outbox);
        }
        Ok(records)
    }

    pub(super) fn users(&self, ids: &[u64]) -> Result<Vec<User>, ReadError> {
        ids.iter().filter_map(|id| self.row(Table::Users, &keys::one(*id)).transpose()).collect()
    }

    pub(super) fn token(&self, hash: [u8; 32]) -> Result<Option<u64>, ReadError> {
        self.value(Table::Tokens, &hash)?.map(|value| number(Table::Tokens, &value, 0)).transpose()
    }

    pub(super) fn guild(&self, guild_id: u64) -> Result<Option<GuildRows>, ReadError> {
        let Some(guild) = self.row::<Guild>(Table::Guilds, &keys::one(guild_id))? else { return Ok(None) };
        let whole = keys::two(guild_id, 0)..=keys::two(guild_id, u64::MAX);
        let roles = self.range(Table::Roles, whole, false).map(|row| decode(Table::Roles, &row?.1));
        let roles = roles.collect::<Result<Vec<Role>, _>>()?;
        let channels = self.seconds(Table::ChannelsByGuild, guild_id, 0, usize::MAX)?;
        let channels = channels.into_iter().filter_map(|id| self.channel(id).transpose());
        Ok(Some((guild, roles, channels.collect::<Result<_, _>>()?)))
    }

    pub(super) fn channel(&self, channel_id: u64) -> Result<Option<Channel>, ReadError> {
        self.row(Table::Channels, &keys::one(channel_id))
    }

    pub(super) fn direct(&self, pair: UserPair) -> Result<Option<u64>, ReadError> {
        let [low, high] = pair.ids();
        let value = self.value(Table::DirectChannels, &keys::two(low, high))?;
        value.map(|value| number(Table::DirectChannels, &value, 0)).transpose()
    }

    pub(super) fn member(&self, guild_id: u64, user_id: u64) -> Result<Option<Member>, ReadError> {
        self.row(Table::Members, &keys::two(guild_id, user_id))
    }

    pub(super) fn members(&self, guild_id: u64, after: u64, limit: usize) -> Result<Vec<Member>, ReadError> {
        let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
        let rows =
            self.range(Table::Members, keys::two(guild_id, from)..=keys::two(guild_id, u64::MAX), false);
        rows.take(limit).map(|row| decode(Table::Members, &row?.1)).collect()
    }

    pub(super) fn member_count(&self, guild_id: u64) -> Result<u32, ReadError> {
        let Some(value) = self.value(Table::MemberCounts, &keys::one(guild_id))? else { return Ok(0) };
        let count = number(Table::MemberCounts, &value, 0)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(super) fn user_guilds(&self, user_id: u64, after: u64, limit: usize) -> Result<Vec<u64>, ReadError> {
        self.seconds(Table::UserGuilds, user_id, after, limit)
    }

    /// Rows whose key begins with `prefix`; the keys are given without it.
    pub(super) fn under(
        &self,
        table: Table,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        let rows = self.snapshot.prefix(self.tables.get(table), table.stored_key(prefix)).take(limit);
        rows.map(|row| {
            let (key, value) = row.into_inner().map_err(failed(table))?;
            let key = table.own_key(key);
            Ok((key.get(prefix.len()..).unwrap_or_default().to_vec(), Bytes::copy_from_slice(&value)))
        })
        .collect()
    }

    /// One small row.
    pub(super) fn small(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.value(table, key)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Greatest position that the log no longer keeps.
    pub(super) fn log_floor(&self) -> Result<Position, ReadError> {
        self.value(Table::Meta, FLOOR_KEY)?.map_or(Ok(0), |row| number(Table::Meta, &row, 0))
    }

    /// Scopes with records in the log at or above a revision, newest first.
    ///
    /// The log is in the order of commits, and a revision is minted before its commit. So one record that is
    /// old enough says nothing yet about those before it. Many of them in a row do, because only so many
    /// commits can have waited while another overtook them.
    pub(super) fn active(&self, since_rev: u64, limit: usize) -> Result<Active, ReadError> {
        let mut found = HashSet::new();
        let mut older = 0;
        // This holds for an empty log too.
        let mut below = self.log_floor()? + 1;
        for row in self.range(Table::Events, keys::one(0)..=keys::one(u64::MAX), true) {
            let (key, value) = row?;
            below = number(Table::Events, &key, 0)?;
            let (scope_id, rev) =
                Event::scope_and_rev(&value).ok_or_else(|| corrupt(Table::Events, "a short record"))?;
            if rev < since_rev {
                older += 1;
            } else {
                older = 0;
                found.insert(scope_id);
            }
            if older >= OVERTAKEN_MAX || found.len() > limit {
                break;
            }
        }
        let whole = found.len() <= limit && (older >= OVERTAKEN_MAX || below <= 1);
        let scopes = found.into_iter().take(limit);
        let scopes = scopes.map(|scope_id| match self.channel(scope_id)? {
            Some(_) => stored_id::<ChannelId>(Table::Events.name(), scope_id).map(ScopeId::Channel),
            None => stored_id::<GuildId>(Table::Events.name(), scope_id).map(ScopeId::Guild),
        });
        Ok(Active { scopes: scopes.collect::<Result<_, ReadError>>()?, whole })
    }

    /// Records of the log above a position.
    pub(super) fn events(&self, after: Position, max: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
        let rows = self.range(Table::Events, keys::one(from)..=keys::one(u64::MAX), false);
        rows.take(max)
            .map(|row| {
                let (key, value) = row?;
                let event = Event::decode(&value).ok_or_else(|| corrupt(Table::Events, "a short record"))?;
                Ok((number(Table::Events, &key, 0)?, event.outbox.record))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn what_was_not_written_so_is_damage_and_a_silent_disk_is_not() {
        let of = |error| failed(Table::Messages)(error);
        for error in [
            fjall::Error::Storage(fjall::LsmError::InvalidTrailer),
            fjall::Error::Storage(fjall::LsmError::InvalidHeader("block")),
            fjall::Error::Storage(fjall::LsmError::Io(Error::from(ErrorKind::UnexpectedEof))),
            fjall::Error::Io(Error::from(ErrorKind::NotFound)),
        ] {
            let found = of(error);
            assert!(
                matches!(&found, ReadError::Corrupt { reason } if reason.contains("messages")),
                "{found}"
            );
        }
        for error in [
            fjall::Error::Io(Error::from(ErrorKind::TimedOut)),
            fjall::Error::Storage(fjall::LsmError::Io(Error::from(ErrorKind::PermissionDenied))),
            fjall::Error::Poisoned,
        ] {
            assert!(matches!(of(error), ReadError::Unavailable { .. }));
        }
    }
}
