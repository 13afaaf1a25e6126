//! Event records: the announcement of a plan's changes.

use bytes::Bytes;
use prost::Message as _;
use weir_proto::{
    data::{Channel, EventContext, Message},
    event::{MessageDeleted, MessagesDeleted, Record, record::Change},
    pair::UserPair,
};
use weir_store::OutboxRecord;

/// A record with its topics: those of its audience, and users whose gateways must receive it although they
/// may not yet watch the guild.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Announced {
    pub(crate) outbox: OutboxRecord,
    pub(crate) topics: Vec<u64>,
}

/// Receivers of a channel's or guild's records. They follow from the channel's row, so code that reads a
/// change back from the database knows them too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audience {
    /// 0 for a direct message.
    pub(crate) guild_id: u64,
    /// The users of a direct message; none in a guild.
    pub(crate) recipient_ids: Vec<u64>,
}

impl Audience {
    /// The audience of a guild.
    pub(crate) fn guild(guild_id: u64) -> Self {
        Self { guild_id, recipient_ids: Vec::new() }
    }

    /// The audience of a channel; nobody if there is no such channel.
    pub(crate) fn of(channel: Option<&Channel>) -> Self {
        let Some(channel) = channel else { return Self::default() };
        let pair = UserPair::of_channel(channel);
        Self {
            guild_id: channel.guild_id,
            recipient_ids: pair.map_or_else(Vec::new, |pair| pair.ids().into()),
        }
    }

    /// Topics under which gateways register interest in these records.
    pub(crate) fn topics(&self) -> Vec<u64> {
        if self.guild_id == 0 { self.recipient_ids.clone() } else { vec![self.guild_id] }
    }
}

/// Fields that all records of one change have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) scope_id: u64,
    pub(crate) audience: Audience,
    pub(crate) context: Option<EventContext>,
    pub(crate) accepted_at_us: u64,
}

impl Origin {
    /// The record of `change` at `rev`, after `prev_rev`.
    pub(crate) fn record(self, rev: u64, prev_rev: u64, change: Change) -> Announced {
        let Self { scope_id, audience, context, accepted_at_us } = self;
        let (topics, guild_id) = (audience.topics(), audience.guild_id);
        let record = Record {
            scope_id,
            guild_id,
            rev,
            prev_rev,
            context,
            recovered: false,
            accepted_at_us,
            recipient_ids: audience.recipient_ids,
            change: Some(change),
        };
        let outbox = OutboxRecord { guild_id, rev, record: Bytes::from(record.encode_to_vec()) };
        Announced { outbox, topics }
    }
}

/// The change that a created row shows; such rows are their own outbox record.
pub(crate) fn created(message: Message) -> Change {
    Change::MessageCreated(message)
}

/// The change that a removal makes.
pub(crate) fn deleted(channel_id: u64, id: u64) -> Change {
    Change::MessageDeleted(MessageDeleted { id, channel_id })
}

/// The change that a removal of several messages makes.
pub(crate) fn deleted_together(channel_id: u64, ids: Vec<u64>) -> Change {
    Change::MessagesDeleted(MessagesDeleted { ids, channel_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channels_row_tells_whom_its_records_go_to() {
        let direct = Channel { id: 9, r#type: 1, recipient_ids: vec![3, 4], ..Channel::default() };
        let of_direct = Audience::of(Some(&direct));
        assert_eq!((of_direct.guild_id, of_direct.topics()), (0, vec![3, 4]));
        let in_guild = Audience::of(Some(&Channel { guild_id: 7, ..direct }));
        assert_eq!(
            (in_guild.topics(), in_guild.recipient_ids),
            (vec![7], vec![]),
            "a guild's channel is nobody's own"
        );
        assert_eq!(Audience::of(None).topics(), [0; 0]);
    }
}
