//! The event log: records under dense positions, appended in the same batch as the rows whose changes they
//! describe.
//!
//! On disk `events` holds every kept record by position, and `changes` finds a scope's records by revision.
//! The newest records are also in a ring in memory, which serves readers that keep up. The log is bounded in
//! records and bytes: each batch that appends also removes as many of the oldest as it must, so trimming
//! needs no schedule and cannot fall behind.

use bytes::Bytes;
use fjall::{Readable as _, Slice};
use weir_bus::Position;
use weir_proto::id::GuildId;

use super::{
    EmbeddedConfig, OpenError,
    journal::BATCH_KEY,
    keys::{self, number_at},
    tables::Table,
    tree::Tables,
    tree_error,
};
use crate::OutboxRecord;

/// Key in `meta` of the greatest position that is no longer kept, and of the bytes appended up to it.
pub(super) const FLOOR_KEY: &[u8] = b"log_floor";

/// Bytes before a record in `events`: bytes appended up to and including it, scope, guild, revision.
const HEADER_BYTES: usize = 32;

/// The beginning and the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Position of the newest record.
    pub(super) head: Position,
    /// Bytes of all records ever appended.
    pub(super) head_bytes: u64,
    /// Greatest position that is no longer kept.
    pub(super) floor: Position,
    /// Bytes of all records up to the floor.
    pub(super) floor_bytes: u64,
}

impl Extent {
    /// Whether the log exceeds its bounds.
    pub(super) fn over(&self, config: &EmbeddedConfig) -> bool {
        self.head - self.floor > config.log_records_max
            || self.head_bytes - self.floor_bytes > config.log_bytes_max
    }

    /// Value of the floor's row.
    pub(super) fn floor_row(&self) -> (&'static [u8], Slice) {
        (FLOOR_KEY, keys::two(self.floor, self.floor_bytes).into())
    }
}

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Bytes appended up to and including this record.
    pub(super) bytes_until: u64,
    /// Its scope.
    pub(super) scope_id: u64,
    /// Guild, revision, record.
    pub(super) outbox: OutboxRecord,
}

impl Event {
    /// The row's value.
    pub(super) fn encode(&self) -> Slice {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.outbox.record.len());
        let guild_id = self.outbox.guild_id.map_or(0, GuildId::get);
        for number in [self.bytes_until, self.scope_id, guild_id, self.outbox.rev] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.outbox.record);
        bytes.into()
    }

    /// Scope and revision of a row's value. `None` if the value is too short.
    pub(super) fn scope_and_rev(value: &[u8]) -> Option<(u64, u64)> {
        number_at(value, 8).zip(number_at(value, 24))
    }

    /// The record of a row's value. `None` if the value is too short.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        Some(Self {
            bytes_until: number_at(value, 0)?,
            scope_id: number_at(value, 8)?,
            outbox: OutboxRecord {
                guild_id: GuildId::try_from(number_at(value, 16)?).ok(),
                rev: number_at(value, 24)?,
                record: Bytes::copy_from_slice(value.get(HEADER_BYTES..)?),
            },
        })
    }
}

/// Reads the newest batch's number; 0 in a tree that an earlier build wrote.
pub(super) fn newest_batch(tables: &Tables) -> Result<u64, OpenError> {
    let damaged = |reason: String| OpenError::Damaged { table: Table::Meta.name(), reason };
    let row = tables.get(Table::Meta).get(Table::Meta.stored_key(BATCH_KEY));
    match row.map_err(|error| damaged(tree_error::describe(&error)))? {
        Some(row) => number_at(&row, 0).ok_or_else(|| damaged("the batch's number is short".to_owned())),
        None => Ok(0),
    }
}

/// Reads the beginning and the end of the log.
pub(super) fn recover(tables: &Tables) -> Result<Extent, OpenError> {
    let damaged = |table: Table, reason: String| OpenError::Damaged { table: table.name(), reason };
    let tree = |table: Table| move |error: fjall::Error| damaged(table, tree_error::describe(&error));
    let snapshot = tables.db.snapshot();
    let (floor, floor_bytes) = match snapshot
        .get(tables.get(Table::Meta), Table::Meta.stored_key(FLOOR_KEY))
        .map_err(tree(Table::Meta))?
    {
        None => (0, 0),
        Some(row) => (number_at(&row, 0).zip(number_at(&row, 8)))
            .ok_or_else(|| damaged(Table::Meta, "the log's floor is not two numbers".to_owned()))?,
    };
    let Some(last) = snapshot.last_key_value(tables.get(Table::Events)) else {
        return Ok(Extent { head: floor, head_bytes: floor_bytes, floor, floor_bytes });
    };
    let (key, value) = last.into_inner().map_err(tree(Table::Events))?;
    let head = number_at(&key, 0);
    let event = Event::decode(&value);
    let (head, event) = head
        .zip(event)
        .ok_or_else(|| damaged(Table::Events, "the newest record has no position or no header".to_owned()))?;
    Ok(Extent { head, head_bytes: event.bytes_until, floor, floor_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn an_event_survives_the_round_trip() {
        for guild_id in [GuildId::try_from(2).ok(), None] {
            let outbox = OutboxRecord { guild_id, rev: 3, record: bytes("r") };
            let event = Event { bytes_until: 9, scope_id: 1, outbox };
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
        assert_eq!(Event::decode(&[0; HEADER_BYTES - 1]), None);
    }
}
