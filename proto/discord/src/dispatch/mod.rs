//! A change record becomes a gateway event: its name, its `d` encoded once for all sessions, and what a session needs to receive it.
//!
//! [`dispatch`] is pure, so any gateway that replays a record produces the same bytes. The gateway adds the envelope and sequence number of
//! each session, keeps [`GuildView`](crate::permission::GuildView)s up to date and decides by [`Visibility`], [`Dispatch::passes`] and
//! [`Dispatch::subject`]. Its part of the contract:
//!
//! - A session whose own user [`Membership::Joined`] receives GUILD_CREATE (built from [`GuildCreateParts`]) in place of the dispatch, and
//!   one whose user [`Membership::Left`] receives [`Dispatch::own_leave`].
//! - Every member is told of every channel of its guild, as GUILD_CREATE and the REST list show all of them: so nobody sees a channel
//!   whose row it lacks, however it came to see it. Only what is said in a channel needs sight of it, by the view after the change.

mod content;
#[cfg(test)]
mod tests;

pub use content::ContentGate;
use weir_proto::{
    data::{Channel, EventContext, Member, Message, Role, User},
    event::{GuildCreated, MemberChanged, MemberRemoved, Record, Typing, record::Change},
};

use crate::{
    intent::{Event, Intents, Place},
    object::{
        Availability, ChannelObject, ContentAccess, DirectChannelObject, GuildCreateEvent, GuildCreateParts,
        GuildDeleteEvent, MemberAddEvent, MemberRemoveEvent, MemberUpdateEvent, MessageDeleteBulkEvent,
        MessageDeleteEvent, MessageObject, MessageParts, NonceEcho, Referenced, RoleDeleteEvent, RoleEvent,
        TypingEvent, to_json,
    },
};

/// What the gateway found out besides the record. Everything is optional: what is missing renders as [`crate::object`] says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hydration<'a> {
    /// Context rebuilt from the database, for a recovered record that carries none. It goes before the record's own.
    pub context: Option<&'a EventContext>,
    /// Members that a GUILD_CREATE to the first members of a new guild lists, with their users.
    pub members: &'a [(Member, User)],
}

/// What must be visible to a session's user, besides the intents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// Membership of the guild.
    Guild(u64),
    /// The channel, after the change.
    Channel(u64),
    /// Being one of these users, ascending.
    Users(Vec<u64>),
}

/// How a record changes the membership of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// The subject is a member now.
    Joined,
    /// The subject's roles or nick changed, and with them perhaps what it sees.
    Changed,
    /// The subject is no member any more.
    Left,
}

/// Whom a membership record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The guild.
    pub guild_id: u64,
    /// The user.
    pub user_id: u64,
    /// What happened.
    pub membership: Membership,
}

/// An event ready for fan-out.
#[derive(Debug)]
pub struct Dispatch {
    /// The event; [`Event::name`] is the payload's `t`.
    pub event: Event,
    /// What a session's user must see or be.
    pub needs: Visibility,
    /// Intents of which a session needs at least one; none needed if empty.
    pub intents_any: Intents,
    /// Whose membership changed; `None` for everything but membership events.
    pub subject: Option<Subject>,
    data: String,
    /// What a user is shown in place of `data`, where that differs by user: few, because only direct messages have it.
    own: Vec<(u64, String)>,
    content: Option<ContentGate>,
}

impl Dispatch {
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

    /// The gate of the MESSAGE_CONTENT intent; `None` if nothing in `d` is gated.
    #[must_use]
    pub fn content_gated(&self) -> Option<&ContentGate> {
        self.content.as_ref()
    }

    /// True if a session's intents let the event through. A change of the session's own member needs no intent.
    #[must_use]
    pub fn passes(&self, user_id: u64, intents: Intents) -> bool {
        let own = self.event == Event::GuildMemberUpdate
            && self.subject.is_some_and(|subject| subject.user_id == user_id);
        own || self.intents_any == Intents::NONE || intents.intersects(self.intents_any)
    }

    /// The `d` for a session of this user with these intents. The stripped forms are encoded at the first demand and shared.
    #[must_use]
    pub fn data_for(&self, user_id: u64, intents: Intents) -> &str {
        if let Some((_, own)) = self.own.iter().find(|(of, _)| *of == user_id) {
            return own;
        }
        match &self.content {
            Some(gate) if !intents.contains(Intents::MESSAGE_CONTENT) => gate.data_for(&self.data, user_id),
            _ => &self.data,
        }
    }

    /// GUILD_DELETE's `d` for the sessions of a subject that left, in place of GUILD_MEMBER_REMOVE; `None` unless someone left.
    #[must_use]
    pub fn own_leave(&self) -> Option<(Event, String)> {
        let subject = self.subject.filter(|subject| subject.membership == Membership::Left)?;
        Some((Event::GuildDelete, to_json(&GuildDeleteEvent::left(subject.guild_id))))
    }

    fn new(event: Event, place: Place, needs: Visibility, data: String) -> Self {
        Self {
            event,
            needs,
            intents_any: event.intents(place),
            subject: None,
            data,
            own: Vec::new(),
            content: None,
        }
    }

    fn in_guild(event: Event, guild_id: u64, data: String) -> Self {
        Self::new(event, Place::Guild, Visibility::Guild(guild_id), data)
    }

    fn about(self, guild_id: u64, user_id: u64, membership: Membership) -> Self {
        Self { subject: Some(Subject { guild_id, user_id, membership }), ..self }
    }
}

/// The event of a record; `None` if the record holds no change this version knows, or lacks the row it is about.
#[must_use]
pub fn dispatch(record: &Record, hydration: &Hydration<'_>) -> Option<Dispatch> {
    let nothing = EventContext::default();
    let context = hydration.context.or(record.context.as_ref()).unwrap_or(&nothing);
    match record.change.as_ref()? {
        Change::MessageCreated(row) => Some(message(Event::MessageCreate, record, row, context)),
        Change::MessageEdited(row) => Some(message(Event::MessageUpdate, record, row, context)),
        Change::MessageDeleted(deleted) => Some(Dispatch::new(
            Event::MessageDelete,
            Place::of(record.guild_id),
            in_channel(record, deleted.channel_id),
            to_json(&MessageDeleteEvent::new(deleted, record.guild_id)),
        )),
        Change::MessagesDeleted(deleted) => Some(Dispatch::new(
            Event::MessageDeleteBulk,
            Place::of(record.guild_id),
            in_channel(record, deleted.channel_id),
            to_json(&MessageDeleteBulkEvent::new(deleted, record.guild_id)),
        )),
        Change::Typing(row) => Some(typing(record, row, context)),
        Change::RecordsLost(_) => None,
        Change::GuildCreated(created) => guild_created(created, hydration.members),
        Change::GuildDeleted(deleted) => Some(Dispatch::in_guild(
            Event::GuildDelete,
            deleted.guild_id,
            to_json(&GuildDeleteEvent::left(deleted.guild_id)),
        )),
        Change::ChannelCreated(row) if row.guild_id == 0 => Some(direct_channel(record, row, context)),
        Change::ChannelCreated(row) => Some(channel(Event::ChannelCreate, row, context)),
        Change::ChannelUpdated(row) => Some(channel(Event::ChannelUpdate, row, context)),
        Change::ChannelDeleted(row) => Some(channel(Event::ChannelDelete, row, context)),
        Change::RoleCreated(row) => Some(role(Event::GuildRoleCreate, row)),
        Change::RoleUpdated(row) => Some(role(Event::GuildRoleUpdate, row)),
        Change::RoleDeleted(deleted) => Some(Dispatch::in_guild(
            Event::GuildRoleDelete,
            deleted.guild_id,
            to_json(&RoleDeleteEvent::new(deleted)),
        )),
        Change::MemberAdded(change) => member_added(change),
        Change::MemberUpdated(change) => member_updated(change),
        Change::MemberRemoved(change) => member_removed(change),
    }
}

fn message(event: Event, record: &Record, row: &Message, context: &EventContext) -> Dispatch {
    let referenced = context.referenced.as_ref().filter(|referenced| referenced.id == row.reply_to);
    // Every receiver of MESSAGE_CREATE gets the nonce, not only its author: Discord puts it there too, the event stays one encoding for
    // all, and it discloses nothing of use, because deduplication is by (channel, author, nonce).
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
    })
    .into_event(record.guild_id, context.member.as_ref());
    let place = Place::of(record.guild_id);
    let (data, gate) = content::encode(&object, row, referenced);
    let needs = in_channel(record, row.channel_id);
    // Direct messages are exempt from the content gate.
    Dispatch { content: (place == Place::Guild).then_some(gate), ..Dispatch::new(event, place, needs, data) }
}

fn typing(record: &Record, row: &Typing, context: &EventContext) -> Dispatch {
    let data =
        to_json(&TypingEvent::new(row, record.guild_id, context.member.as_ref(), context.author.as_ref()));
    Dispatch::new(Event::TypingStart, Place::of(record.guild_id), in_channel(record, row.channel_id), data)
}

/// What receivers of an event in a channel need: to see it or, for a direct message, to be one of its users.
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

/// To both users of a direct message; each is shown the other.
fn direct_channel(record: &Record, row: &Channel, context: &EventContext) -> Dispatch {
    let shown_to = |viewer| to_json(&DirectChannelObject::new(row, viewer, &context.recipients, 0));
    let own = row.recipient_ids.iter().map(|id| (*id, shown_to(*id))).collect();
    // For nobody in particular: with both.
    let dispatch = Dispatch::new(Event::ChannelCreate, Place::Direct, recipients(record), shown_to(0));
    Dispatch { own, ..dispatch }
}

/// To the first members of a new guild. All of them joined when it was made, which its id tells.
fn guild_created(created: &GuildCreated, members: &[(Member, User)]) -> Option<Dispatch> {
    let state = created.state.as_ref()?;
    let guild_id = state.guild.as_ref()?.id;
    let channels: Vec<(&Channel, u64)> = state.channels.iter().map(|channel| (channel, 0)).collect();
    let event = GuildCreateEvent::new(&GuildCreateParts {
        state,
        availability: Availability::Joined,
        joined_at_ms: weir_proto::id::unix_ms(guild_id),
        members,
        channels: &channels,
    })?;
    let mut users = created.member_ids.clone();
    users.sort_unstable();
    Some(Dispatch::new(Event::GuildCreate, Place::Guild, Visibility::Users(users), to_json(&event)))
}

fn channel(event: Event, row: &Channel, context: &EventContext) -> Dispatch {
    Dispatch::in_guild(event, row.guild_id, to_json(&ChannelObject::new(row, context.last_message_id)))
}

fn role(event: Event, row: &Role) -> Dispatch {
    Dispatch::in_guild(event, row.guild_id, to_json(&RoleEvent::new(row)))
}

fn member_added(change: &MemberChanged) -> Option<Dispatch> {
    let member = change.member.as_ref()?;
    let data = to_json(&MemberAddEvent::new(member, change.user.as_ref()));
    let dispatch = Dispatch::in_guild(Event::GuildMemberAdd, member.guild_id, data);
    Some(dispatch.about(member.guild_id, member.user_id, Membership::Joined))
}

fn member_updated(change: &MemberChanged) -> Option<Dispatch> {
    let member = change.member.as_ref()?;
    let data = to_json(&MemberUpdateEvent::new(member, change.user.as_ref()));
    let dispatch = Dispatch::in_guild(Event::GuildMemberUpdate, member.guild_id, data);
    Some(dispatch.about(member.guild_id, member.user_id, Membership::Changed))
}

fn member_removed(change: &MemberRemoved) -> Option<Dispatch> {
    let user = change.user.as_ref()?;
    let data = to_json(&MemberRemoveEvent::new(change.guild_id, user));
    let dispatch = Dispatch::in_guild(Event::GuildMemberRemove, change.guild_id, data);
    Some(dispatch.about(change.guild_id, user.id, Membership::Left))
}
