//! Event records: the announcement of a plan's changes.

use bytes::Bytes;
use prost::Message as _;
use weir_bus::Topic;
use weir_proto::{
    data::{Channel, EventContext, Message},
    event::{MessageDeleted, MessagesDeleted, Record, record::Change},
    id::{ChannelId, GuildId, MessageId, ScopeId},
    pair::UserPair,
};
use weir_store::OutboxRecord;

/// A record with its topics: those of its audience, and users whose gateways must receive it although they
/// may not yet watch the guild.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Announced {
    pub(crate) outbox: OutboxRecord,
    pub(crate) topics: Vec<Topic>,
}

/// Receivers of a channel's or guild's records. They follow from the channel's row, so code that reads a
/// change back from the database knows them too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Audience {
    /// There is no such channel.
    #[default]
    Nobody,
    /// Those of the guild who may see the channel.
    Guild(GuildId),
    /// The two users of a direct message.
    Direct(UserPair),
}

impl Audience {
    /// The audience of a channel; nobody if there is no such channel.
    pub(crate) fn of(channel: Option<&Channel>) -> Self {
        let Some(channel) = channel else { return Self::Nobody };
        match GuildId::try_from(channel.guild_id) {
            Ok(guild_id) => Self::Guild(guild_id),
            Err(_) => UserPair::of_channel(channel).map_or(Self::Nobody, Self::Direct),
        }
    }

    /// The guild, if the records are a guild's.
    pub(crate) fn guild_id(self) -> Option<GuildId> {
        match self {
            Self::Guild(guild_id) => Some(guild_id),
            Self::Nobody | Self::Direct(_) => None,
        }
    }

    /// The users of a direct message, as a record names them; none in a guild.
    pub(crate) fn recipient_ids(self) -> Vec<u64> {
        match self {
            Self::Direct(pair) => pair.ids().into(),
            Self::Nobody | Self::Guild(_) => Vec::new(),
        }
    }

    /// Topics under which gateways register interest in these records.
    pub(crate) fn topics(self) -> Vec<Topic> {
        match self {
            Self::Nobody => Vec::new(),
            Self::Guild(guild_id) => vec![Topic::Guild(guild_id)],
            Self::Direct(pair) => vec![Topic::User(pair.low()), Topic::User(pair.high())],
        }
    }
}

/// Fields that all records of one change have in common.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) scope_id: ScopeId,
    pub(crate) audience: Audience,
    pub(crate) context: Option<EventContext>,
    pub(crate) accepted_at_us: u64,
}

impl Origin {
    /// The record of `change` at `rev`, after `prev_rev`.
    pub(crate) fn record(self, rev: u64, prev_rev: u64, change: Change) -> Announced {
        let Self { scope_id, audience, context, accepted_at_us } = self;
        let (topics, guild_id) = (audience.topics(), audience.guild_id());
        let record = Record {
            scope_id: scope_id.get(),
            guild_id: guild_id.map_or(0, GuildId::get),
            rev,
            prev_rev,
            context,
            recovered: false,
            accepted_at_us,
            recipient_ids: audience.recipient_ids(),
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
pub(crate) fn deleted(channel_id: ChannelId, id: MessageId) -> Change {
    Change::MessageDeleted(MessageDeleted { id: id.get(), channel_id: channel_id.get() })
}

/// The change that a removal of several messages makes.
pub(crate) fn deleted_together(channel_id: ChannelId, ids: &[MessageId]) -> Change {
    let ids = ids.iter().map(|id| id.get()).collect();
    Change::MessagesDeleted(MessagesDeleted { ids, channel_id: channel_id.get() })
}

#[cfg(test)]
mod tests {
    use weir_proto::id::UserId;

    use super::*;

    #[test]
    fn the_channels_row_tells_whom_its_records_go_to() {
        let direct = Channel { id: 9, r#type: 1, recipient_ids: vec![3, 4], ..Channel::default() };
        let of_direct = Audience::of(Some(&direct));
        let users = [3, 4].map(|id| Topic::User(UserId::try_from(id).expect("not 0")));
        assert_eq!((of_direct.guild_id(), of_direct.topics()), (None, users.to_vec()));
        let in_guild = Audience::of(Some(&Channel { guild_id: 7, ..direct.clone() }));
        let guild = Topic::Guild(GuildId::try_from(7).expect("not 0"));
        assert_eq!(
            (in_guild.topics(), in_guild.recipient_ids()),
            (vec![guild], vec![]),
            "a guild's channel is nobody's own"
        );
        assert!(Audience::of(None).topics().is_empty());
        let nobodys = Channel { recipient_ids: vec![3], ..direct };
        assert_eq!(Audience::of(Some(&nobodys)), Audience::Nobody, "one is no pair");
    }
}
