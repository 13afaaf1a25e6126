//! Event records: what a plan tells the world.

use bytes::Bytes;
use prost::Message as _;
use weir_proto::{
    data::{EventContext, Message},
    event::{MessageDeleted, Record, record::Change},
};
use weir_store::OutboxRecord;

/// A record with its extra topics: users whose gateways must hear of it although they may not yet watch the guild.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Announced {
    pub(crate) outbox: OutboxRecord,
    pub(crate) also: Vec<u64>,
}

/// What all records of one change have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) scope_id: u64,
    pub(crate) guild_id: u64,
    pub(crate) context: Option<EventContext>,
    pub(crate) accepted_at_us: u64,
}

impl Origin {
    /// The record of `change` at `rev`, after `prev_rev`.
    pub(crate) fn record(self, rev: u64, prev_rev: u64, change: Change) -> Announced {
        let Self { scope_id, guild_id, context, accepted_at_us } = self;
        let record = Record {
            scope_id,
            guild_id,
            rev,
            prev_rev,
            context,
            recovered: false,
            accepted_at_us,
            change: Some(change),
        };
        let outbox = OutboxRecord { guild_id, rev, record: Bytes::from(record.encode_to_vec()) };
        Announced { outbox, also: Vec::new() }
    }
}

/// The change that a row tells of, for rows that are their own outbox record.
pub(crate) fn created(message: Message) -> Change {
    Change::MessageCreated(message)
}

/// The change that a removal tells of.
pub(crate) fn deleted(channel_id: u64, id: u64) -> Change {
    Change::MessageDeleted(MessageDeleted { id, channel_id })
}
