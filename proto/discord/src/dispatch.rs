//! Turns a change record into a gateway event: its name, its `d`, encoded once for all sessions, and what a
//! session needs to receive it.
//!
//! [`dispatch`] is pure, so any gateway that replays a record produces the same bytes. The gateway adds each
//! session's envelope and sequence number, and decides by [`Visibility`] and [`DispatchedEvent::passes`] who
//! receives the event. Events of a session's own membership are not made here: when its user joins or leaves
//! a guild, or the guild is created or deleted, the gateway sends that session GUILD_CREATE or GUILD_DELETE
//! instead.
//!
//! Every member receives every channel event of its guild, as GUILD_CREATE and the REST list show all
//! channels: so nobody can come to see a channel without having its row. Only events of what is said in a
//! channel (messages and what hangs on them, typing) require that the user may view the channel after the
//! change.

mod content;
#[cfg(test)]
mod tests;

use content::ContentGate;
use serde::Serialize;
use weir_proto::{
    data::{Channel, EventContext, Message, Role},
    event::{MemberChanged, MemberRemoved, Record, Typing, record::Change},
};

use crate::{
    intent::{Event, Intents, Place},
    object::{
        ChannelObject, ChannelPinsEvent, ContentAccess, DirectChannelObject, MemberAddEvent,
        MemberRemoveEvent, MemberUpdateEvent, MessageDeleteBulkEvent, MessageDeleteEvent, MessageObject,
        MessageParts, NonceEcho, ReactionEvent, ReactionsClearedEvent, Referenced, RoleDeleteEvent,
        RoleEvent, TypingEvent, to_json,
    },
};

/// What a session's user must be able to see, besides having the intents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// Membership of the guild.
    Guild(u64),
    /// The channel, which the user must be able to view after the change.
    Channel(u64),
    /// The user must be one of these, which are in ascending order.
    Users(Vec<u64>),
}

/// An event ready for fan-out.
#[derive(Debug)]
pub struct DispatchedEvent {
    /// The event; [`Event::name`] is the payload's `t`.
    pub event: Event,
    /// What a session's user must be able to see, or who the user must be.
    pub needs: Visibility,
    /// Intents of which a session needs at least one. If the set is empty, it needs none.
    pub intents_any: Intents,
    /// The user whose member was updated; `None` for every other event.
    updated: Option<u64>,
    data: String,
    /// What some users get in place of `data`. There are few entries, because only direct messages have them.
    per_user: Vec<(u64, String)>,
    content: Option<ContentGate>,
}

impl DispatchedEvent {
    /// The payload's `t`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.event.name()
    }

    /// The payload's `d` in full, as JSON.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// True if a session's intents let the event through. A change of the session's own member needs no
    /// intent.
    #[must_use]
    pub fn passes(&self, user_id: u64, intents: Intents) -> bool {
        self.updated == Some(user_id)
            || self.intents_any == Intents::NONE
            || intents.intersects(self.intents_any)
    }

    /// The `d` for a session of this user with these intents. A stripped form is encoded when it is first
    /// needed, and then shared.
    #[must_use]
    pub fn data_for(&self, user_id: u64, intents: Intents) -> &str {
        if let Some((_, data)) = self.per_user.iter().find(|(of, _)| *of == user_id) {
            return data;
        }
        match &self.content {
            Some(gate) if !intents.contains(Intents::MESSAGE_CONTENT) => gate.data_for(&self.data, user_id),
            _ => &self.data,
        }
    }

    fn new(event: Event, place: Place, needs: Visibility, data: String) -> Self {
        Self {
            event,
            needs,
            intents_any: event.intents(place),
            updated: None,
            data,
            per_user: Vec::new(),
            content: None,
        }
    }

    fn in_guild(event: Event, guild_id: u64, data: String) -> Self {
        Self::new(event, Place::Guild, Visibility::Guild(guild_id), data)
    }
}

/// The event of a record. `None` if the record is about a whole guild, holds no change that this version
/// knows, or lacks the row that it is about.
///
/// `context` was rebuilt from the database, for a recovered record that carries none. It takes precedence
/// over the record's own. [`crate::object`] says how values that are in neither are rendered.
#[must_use]
pub fn dispatch(record: &Record, context: Option<&EventContext>) -> Option<DispatchedEvent> {
    let nothing = EventContext::default();
    let context = context.or(record.context.as_ref()).unwrap_or(&nothing);
    match record.change.as_ref()? {
        Change::MessageCreated(row) => Some(message(Event::MessageCreate, record, row, context)),
        Change::MessageEdited(row) => Some(message(Event::MessageUpdate, record, row, context)),
        Change::MessageDeleted(deleted) => Some(DispatchedEvent::new(
            Event::MessageDelete,
            Place::of(record.guild_id),
            in_channel(record, deleted.channel_id),
            to_json(&MessageDeleteEvent::new(deleted, record.guild_id)),
        )),
        Change::MessagesDeleted(deleted) => Some(DispatchedEvent::new(
            Event::MessageDeleteBulk,
            Place::of(record.guild_id),
            in_channel(record, deleted.channel_id),
            to_json(&MessageDeleteBulkEvent::new(deleted, record.guild_id)),
        )),
        Change::PinsChanged(change) => Some(DispatchedEvent::new(
            Event::ChannelPinsUpdate,
            Place::of(record.guild_id),
            in_channel(record, change.channel_id),
            to_json(&ChannelPinsEvent::new(change, record.guild_id)),
        )),
        Change::ReactionAdded(change) => {
            let member = context.member.as_ref().filter(|member| member.user_id == change.user_id);
            let user = context.author.as_ref().filter(|user| user.id == change.user_id);
            let data = ReactionEvent::added(change, record.guild_id, member, user);
            Some(reaction(Event::MessageReactionAdd, record, change.channel_id, &data))
        }
        Change::ReactionRemoved(change) => {
            let data = ReactionEvent::removed(change, record.guild_id);
            Some(reaction(Event::MessageReactionRemove, record, change.channel_id, &data))
        }
        Change::ReactionsCleared(change) => {
            let event = match change.emoji {
                Some(_) => Event::MessageReactionRemoveEmoji,
                None => Event::MessageReactionRemoveAll,
            };
            let data = ReactionsClearedEvent::new(change, record.guild_id);
            Some(reaction(event, record, change.channel_id, &data))
        }
        Change::Typing(row) => Some(typing(record, row, context)),
        Change::RecordsLost(_) | Change::GuildCreated(_) | Change::GuildDeleted(_) => None,
        Change::ChannelCreated(row) if row.guild_id == 0 => Some(direct_channel(record, row, context)),
        Change::ChannelCreated(row) => Some(channel(Event::ChannelCreate, row, context)),
        Change::ChannelUpdated(row) => Some(channel(Event::ChannelUpdate, row, context)),
        Change::ChannelDeleted(row) => Some(channel(Event::ChannelDelete, row, context)),
        Change::RoleCreated(row) => Some(role(Event::GuildRoleCreate, row)),
        Change::RoleUpdated(row) => Some(role(Event::GuildRoleUpdate, row)),
        Change::RoleDeleted(deleted) => Some(DispatchedEvent::in_guild(
            Event::GuildRoleDelete,
            deleted.guild_id,
            to_json(&RoleDeleteEvent::new(deleted)),
        )),
        Change::MemberAdded(change) => member_added(change),
        Change::MemberUpdated(change) => member_updated(change),
        Change::MemberRemoved(change) => member_removed(change),
    }
}

fn message(event: Event, record: &Record, row: &Message, context: &EventContext) -> DispatchedEvent {
    let referenced = context.referenced.as_ref().filter(|referenced| referenced.id == row.reply_to);
    // Every receiver of MESSAGE_CREATE gets the nonce, not only its author. Discord does so too, it keeps the
    // event to one encoding for all, and it discloses nothing of use, because deduplication is by (channel,
    // author, nonce).
    let nonce = if event == Event::MessageCreate {
        NonceEcho::show(context.nonce_is_integer)
    } else {
        NonceEcho::Omit
    };
    let object = MessageObject::new(&MessageParts {
        row,
        users: context,
        guild_id: record.guild_id,
        referenced: referenced.map_or(Referenced::NotFetched, Referenced::Found),
        nonce,
        access: ContentAccess::Full,
        own: None,
    })
    .into_event(record.guild_id, context.member.as_ref());
    let place = Place::of(record.guild_id);
    let (data, gate) = content::encode(&object, row, referenced);
    let needs = in_channel(record, row.channel_id);
    // Direct messages are exempt from the content gate.
    DispatchedEvent {
        content: (place == Place::Guild).then_some(gate),
        ..DispatchedEvent::new(event, place, needs, data)
    }
}

fn reaction(event: Event, record: &Record, channel_id: u64, data: &impl Serialize) -> DispatchedEvent {
    DispatchedEvent::new(event, Place::of(record.guild_id), in_channel(record, channel_id), to_json(data))
}

fn typing(record: &Record, row: &Typing, context: &EventContext) -> DispatchedEvent {
    let data =
        to_json(&TypingEvent::new(row, record.guild_id, context.member.as_ref(), context.author.as_ref()));
    DispatchedEvent::new(
        Event::TypingStart,
        Place::of(record.guild_id),
        in_channel(record, row.channel_id),
        data,
    )
}

/// What receivers of an event in a channel need: to be able to view it or, for a direct message, to be one of
/// its users.
fn in_channel(record: &Record, channel_id: u64) -> Visibility {
    match Place::of(record.guild_id) {
        Place::Guild => Visibility::Channel(channel_id),
        Place::Direct => recipients(record),
    }
}

fn recipients(record: &Record) -> Visibility {
    let mut users = record.recipient_ids.clone();
    users.sort_unstable();
    Visibility::Users(users)
}

/// The event for both users of a direct message. Each is shown the other.
fn direct_channel(record: &Record, row: &Channel, context: &EventContext) -> DispatchedEvent {
    let shown_to = |viewer| to_json(&DirectChannelObject::new(row, viewer, &context.recipients, 0));
    let per_user = row.recipient_ids.iter().map(|id| (*id, shown_to(*id))).collect();
    // The form for no user in particular has both users.
    let dispatch = DispatchedEvent::new(Event::ChannelCreate, Place::Direct, recipients(record), shown_to(0));
    DispatchedEvent { per_user, ..dispatch }
}

fn channel(event: Event, row: &Channel, context: &EventContext) -> DispatchedEvent {
    DispatchedEvent::in_guild(event, row.guild_id, to_json(&ChannelObject::new(row, context.last_message_id)))
}

fn role(event: Event, row: &Role) -> DispatchedEvent {
    DispatchedEvent::in_guild(event, row.guild_id, to_json(&RoleEvent::new(row)))
}

fn member_added(change: &MemberChanged) -> Option<DispatchedEvent> {
    let member = change.member.as_ref()?;
    let data = to_json(&MemberAddEvent::new(member, change.user.as_ref()));
    Some(DispatchedEvent::in_guild(Event::GuildMemberAdd, member.guild_id, data))
}

fn member_updated(change: &MemberChanged) -> Option<DispatchedEvent> {
    let member = change.member.as_ref()?;
    let data = to_json(&MemberUpdateEvent::new(member, change.user.as_ref()));
    let dispatch = DispatchedEvent::in_guild(Event::GuildMemberUpdate, member.guild_id, data);
    Some(DispatchedEvent { updated: Some(member.user_id), ..dispatch })
}

fn member_removed(change: &MemberRemoved) -> Option<DispatchedEvent> {
    let user = change.user.as_ref()?;
    let data = to_json(&MemberRemoveEvent::new(change.guild_id, user));
    Some(DispatchedEvent::in_guild(Event::GuildMemberRemove, change.guild_id, data))
}
