//! The event log: records under dense positions, appended in the same batch as the rows they tell of.
//!
//! On disk `events` holds every kept record by position and `changes` finds a scope's records by revision. The newest are also in a ring in
//! memory, from which a reader that keeps up is served. The log is bounded in records and bytes: each batch that appends also removes as
//! many of the oldest as it must, so there is no trimming to schedule and none to fall behind.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use fjall::{Readable as _, Slice};
use tokio::sync::{broadcast, watch};
use weir_bus::{EPHEMERAL_MAX, Position};

use super::{
    EmbeddedConfig, OpenError,
    keys::{self, number_at},
    tables::{Table, Tables},
};
use crate::OutboxRecord;

/// Key in `meta` of the greatest position that is no longer kept, and of the bytes appended up to it.
pub(super) const FLOOR_KEY: &[u8] = b"log_floor";

/// Bytes before a record in `events`: bytes appended up to and including it, scope, guild, revision.
const HEADER_BYTES: usize = 32;

/// Where the log begins and ends.
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
    /// Whether more is kept than may be.
    pub(super) fn over(&self, config: &EmbeddedConfig) -> bool {
        self.head - self.floor > config.log_records_max || self.head_bytes - self.floor_bytes > config.log_bytes_max
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
        for number in [self.bytes_until, self.scope_id, self.outbox.guild_id, self.outbox.rev] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.outbox.record);
        bytes.into()
    }

    /// The record of a row's value; shares its memory. `None` if the value is too short.
    pub(super) fn decode(value: Slice) -> Option<Self> {
        let value = Bytes::from(value);
        Some(Self {
            bytes_until: number_at(&value, 0)?,
            scope_id: number_at(&value, 8)?,
            outbox: OutboxRecord {
                guild_id: number_at(&value, 16)?,
                rev: number_at(&value, 24)?,
                record: value.slice(HEADER_BYTES..),
            },
        })
    }
}

/// Reads where the log begins and ends.
pub(super) fn recover(tables: &Tables) -> Result<Extent, OpenError> {
    let damaged = |table: Table, reason: String| OpenError::Damaged { table: table.name(), reason };
    let tree = |table: Table| move |error: fjall::Error| damaged(table, error.to_string());
    let snapshot = tables.db.snapshot();
    let (floor, floor_bytes) = match snapshot.get(tables.get(Table::Meta), FLOOR_KEY).map_err(tree(Table::Meta))? {
        None => (0, 0),
        Some(row) => (number_at(&row, 0).zip(number_at(&row, 8)))
            .ok_or_else(|| damaged(Table::Meta, "the log's floor is not two numbers".to_owned()))?,
    };
    let Some(last) = snapshot.last_key_value(tables.get(Table::Events)) else {
        return Ok(Extent { head: floor, head_bytes: floor_bytes, floor, floor_bytes });
    };
    let (key, value) = last.into_inner().map_err(tree(Table::Events))?;
    let head = number_at(&key, 0);
    let event = Event::decode(value);
    let (head, event) = head
        .zip(event)
        .ok_or_else(|| damaged(Table::Events, "the newest record has no position or no header".to_owned()))?;
    Ok(Extent { head, head_bytes: event.bytes_until, floor, floor_bytes })
}

/// Newest records, oldest first.
#[derive(Debug, Default)]
struct Ring {
    records: VecDeque<Bytes>,
    bytes: usize,
    head: Position,
}

/// What readers of the log share with the committer.
#[derive(Debug)]
pub(super) struct Log {
    ring: Mutex<Ring>,
    ring_records_max: usize,
    ring_bytes_max: usize,
    /// Announced only after the records are durable and in the ring.
    head: watch::Sender<Position>,
    /// Records beside the log.
    pub(super) ephemeral: broadcast::Sender<Bytes>,
}

impl Log {
    /// The log as it was found; the ring starts empty at its head.
    pub(super) fn new(config: &EmbeddedConfig, head: Position) -> Self {
        Self {
            ring: Mutex::new(Ring { head, ..Ring::default() }),
            ring_records_max: config.ring_records_max,
            ring_bytes_max: config.ring_bytes_max,
            head: watch::Sender::new(head),
            ephemeral: broadcast::Sender::new(EPHEMERAL_MAX),
        }
    }

    /// Plain data, whole between statements: a panic elsewhere does not damage it.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records that are durable now, and wakes readers.
    pub(super) fn append(&self, records: Vec<Bytes>) {
        if records.is_empty() {
            return;
        }
        let head = {
            let mut ring = self.ring();
            ring.head += records.len() as u64;
            ring.bytes += records.iter().map(Bytes::len).sum::<usize>();
            ring.records.extend(records);
            while ring.records.len() > self.ring_records_max || ring.bytes > self.ring_bytes_max {
                let Some(oldest) = ring.records.pop_front() else { break };
                ring.bytes -= oldest.len();
            }
            ring.head
        };
        self.head.send_replace(head);
    }

    /// Position of the newest record.
    pub(super) fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// Waits until the head is above `after`.
    pub(super) async fn wait(&self, after: Position) {
        let mut head = self.head.subscribe();
        // An error would mean that the sender is gone, but it is ours.
        let _ = head.wait_for(|head| *head > after).await;
    }

    /// Records above `after` from the ring, or `None` if it does not reach back that far.
    pub(super) fn read_ring(&self, after: Position, max: usize) -> Option<Vec<(Position, Bytes)>> {
        let ring = self.ring();
        if after >= ring.head {
            return Some(Vec::new());
        }
        let floor = ring.head - ring.records.len() as u64;
        // At most the ring's length, which is a usize.
        let skip = after.checked_sub(floor)? as usize;
        Some((after + 1..).zip(ring.records.iter().skip(skip).take(max).cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(records_max: usize, bytes_max: usize) -> Log {
        let mut config = EmbeddedConfig::new("unused");
        config.ring_records_max = records_max;
        config.ring_bytes_max = bytes_max;
        Log::new(&config, 10)
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn the_ring_serves_the_newest_and_says_when_it_cannot() {
        let log = log(2, 1_000);
        assert_eq!(log.read_ring(10, 5), Some(vec![]));
        assert_eq!(log.read_ring(9, 5), None);
        log.append(vec![bytes("a"), bytes("b"), bytes("c")]);
        assert_eq!(log.head(), 13);
        assert_eq!(log.read_ring(10, 5), None);
        assert_eq!(log.read_ring(11, 5), Some(vec![(12, bytes("b")), (13, bytes("c"))]));
        assert_eq!(log.read_ring(11, 1), Some(vec![(12, bytes("b"))]));
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_even_by_one_record() {
        let log = log(100, 4);
        log.append(vec![bytes("abc"), bytes("de")]);
        assert_eq!(log.read_ring(11, 5), Some(vec![(12, bytes("de"))]));
        log.append(vec![bytes("too long")]);
        assert_eq!((log.read_ring(12, 5), log.read_ring(13, 5)), (None, Some(vec![])));
    }

    #[test]
    fn an_event_survives_the_round_trip() {
        let outbox = OutboxRecord { guild_id: 2, rev: 3, record: bytes("r") };
        let event = Event { bytes_until: 9, scope_id: 1, outbox };
        assert_eq!(Event::decode(event.encode()), Some(event));
        assert_eq!(Event::decode(Slice::from([0; HEADER_BYTES - 1])), None);
    }
}
