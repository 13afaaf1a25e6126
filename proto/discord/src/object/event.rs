//! The `d` of those dispatches that are more than their resource object.

use std::time::Duration;

use serde::Serialize;
use weir_proto::data::{Member, Role, User};

use super::{EmojiObject, guild::Members, member::MemberObject, role::RoleObject, user::UserObject};
use crate::wire::{Empty, Id, Ids, Timestamp};

/// MESSAGE_DELETE.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MessageDeleteEvent {
    id: Id,
    channel_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
}

impl MessageDeleteEvent {
    /// The event of a deletion record; `guild_id` 0 in direct messages.
    #[must_use]
    pub fn new(deleted: &weir_proto::event::MessageDeleted, guild_id: u64) -> Self {
        Self { id: Id(deleted.id), channel_id: Id(deleted.channel_id), guild_id: Id::nonzero(guild_id) }
    }
}

/// MESSAGE_DELETE_BULK.
#[derive(Debug, Clone, Serialize)]
pub struct MessageDeleteBulkEvent<'a> {
    ids: Ids<'a>,
    channel_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
}

impl<'a> MessageDeleteBulkEvent<'a> {
    /// The event of a record of several deletions; `guild_id` 0 in direct messages.
    #[must_use]
    pub fn new(deleted: &'a weir_proto::event::MessagesDeleted, guild_id: u64) -> Self {
        Self { ids: Ids(&deleted.ids), channel_id: Id(deleted.channel_id), guild_id: Id::nonzero(guild_id) }
    }
}

/// CHANNEL_PINS_UPDATE.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ChannelPinsEvent {
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
    channel_id: Id,
    last_pin_timestamp: Option<Timestamp>,
}

impl ChannelPinsEvent {
    /// The event of a record; `guild_id` 0 in direct messages.
    #[must_use]
    pub fn new(change: &weir_proto::event::PinsChanged, guild_id: u64) -> Self {
        Self {
            guild_id: Id::nonzero(guild_id),
            channel_id: Id(change.channel_id),
            last_pin_timestamp: Timestamp::nonzero(change.last_pin_at_ms),
        }
    }
}

/// MESSAGE_REACTION_ADD and MESSAGE_REACTION_REMOVE.
#[derive(Debug, Clone, Serialize)]
pub struct ReactionEvent<'a> {
    user_id: Id,
    channel_id: Id,
    message_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<MemberObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_author_id: Option<Id>,
    emoji: EmojiObject<'a>,
    burst: bool,
    /// 0: Weir has no reactions that are paid for.
    #[serde(rename = "type")]
    kind: u8,
}

impl<'a> ReactionEvent<'a> {
    /// The event of a reaction that was taken back or removed; `guild_id` 0 in direct messages.
    #[must_use]
    pub fn removed(change: &'a weir_proto::event::ReactionChanged, guild_id: u64) -> Self {
        Self {
            user_id: Id(change.user_id),
            channel_id: Id(change.channel_id),
            message_id: Id(change.message_id),
            guild_id: Id::nonzero(guild_id),
            member: None,
            message_author_id: None,
            emoji: EmojiObject::new(change.emoji.as_ref()),
            burst: false,
            kind: 0,
        }
    }

    /// The event of a new reaction, with the membership of who reacted if that is known.
    #[must_use]
    pub fn added(
        change: &'a weir_proto::event::ReactionChanged,
        guild_id: u64,
        member: Option<&'a Member>,
        user: Option<&'a User>,
    ) -> Self {
        Self {
            member: member.filter(|_| guild_id != 0).map(|member| MemberObject::full(member, user)),
            message_author_id: Id::nonzero(change.message_author_id),
            ..Self::removed(change, guild_id)
        }
    }
}

/// MESSAGE_REACTION_REMOVE_ALL, and with an emoji MESSAGE_REACTION_REMOVE_EMOJI.
#[derive(Debug, Clone, Serialize)]
pub struct ReactionsClearedEvent<'a> {
    channel_id: Id,
    message_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emoji: Option<EmojiObject<'a>>,
}

impl<'a> ReactionsClearedEvent<'a> {
    /// The event of a record; `guild_id` 0 in direct messages.
    #[must_use]
    pub fn new(change: &'a weir_proto::event::ReactionsCleared, guild_id: u64) -> Self {
        Self {
            channel_id: Id(change.channel_id),
            message_id: Id(change.message_id),
            guild_id: Id::nonzero(guild_id),
            emoji: change.emoji.as_ref().map(|emoji| EmojiObject::new(Some(emoji))),
        }
    }
}

/// GUILD_DELETE, because the user left or the guild was deleted. It has no `unavailable`, which would mean an
/// outage.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GuildDeleteEvent {
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<bool>,
}

impl GuildDeleteEvent {
    /// The user left, was kicked, or the guild was deleted.
    #[must_use]
    pub fn left(guild_id: u64) -> Self {
        Self { id: Id(guild_id), unavailable: None }
    }

    /// The guild cannot be served for now.
    #[must_use]
    pub fn unavailable(guild_id: u64) -> Self {
        Self { id: Id(guild_id), unavailable: Some(true) }
    }
}

/// GUILD_ROLE_CREATE and GUILD_ROLE_UPDATE.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RoleEvent<'a> {
    guild_id: Id,
    role: RoleObject<'a>,
}

impl<'a> RoleEvent<'a> {
    /// The event of a role.
    #[must_use]
    pub fn new(role: &'a Role) -> Self {
        Self { guild_id: Id(role.guild_id), role: RoleObject::new(role) }
    }
}

/// GUILD_ROLE_DELETE.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RoleDeleteEvent {
    guild_id: Id,
    role_id: Id,
}

impl RoleDeleteEvent {
    /// The event of a deletion record.
    #[must_use]
    pub fn new(deleted: &weir_proto::event::RoleDeleted) -> Self {
        Self { guild_id: Id(deleted.guild_id), role_id: Id(deleted.role_id) }
    }
}

/// GUILD_MEMBER_ADD.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemberAddEvent<'a> {
    guild_id: Id,
    #[serde(flatten)]
    member: MemberObject<'a>,
}

impl<'a> MemberAddEvent<'a> {
    /// The event of a new member.
    #[must_use]
    pub fn new(member: &'a Member, user: Option<&'a User>) -> Self {
        Self { guild_id: Id(member.guild_id), member: MemberObject::full(member, user) }
    }
}

/// GUILD_MEMBER_UPDATE. It has the same keys, because Discord's are a subset of the full member plus the
/// guild.
pub type MemberUpdateEvent<'a> = MemberAddEvent<'a>;

/// GUILD_MEMBER_REMOVE.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemberRemoveEvent<'a> {
    guild_id: Id,
    user: UserObject<'a>,
}

impl<'a> MemberRemoveEvent<'a> {
    /// The event of a leave.
    #[must_use]
    pub fn new(guild_id: u64, user: &'a User) -> Self {
        Self { guild_id: Id(guild_id), user: UserObject::new(user) }
    }
}

/// TYPING_START.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TypingEvent<'a> {
    channel_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
    user_id: Id,
    /// Seconds since 1970-01-01T00:00Z.
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<MemberObject<'a>>,
}

impl<'a> TypingEvent<'a> {
    /// The event of a typing record; `guild_id` 0 in direct messages, where there is no member.
    #[must_use]
    pub fn new(
        typing: &weir_proto::event::Typing,
        guild_id: u64,
        member: Option<&'a Member>,
        user: Option<&'a User>,
    ) -> Self {
        Self {
            channel_id: Id(typing.channel_id),
            guild_id: Id::nonzero(guild_id),
            user_id: Id(typing.user_id),
            timestamp: typing.timestamp_ms / 1_000,
            member: member
                .filter(|member| guild_id != 0 && member.user_id == typing.user_id)
                .map(|member| MemberObject::full(member, user)),
        }
    }
}

/// GUILD_MEMBERS_CHUNK: one answer of several to a request for members.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MembersChunkEvent<'a> {
    guild_id: Id,
    members: Members<'a>,
    chunk_index: u32,
    chunk_count: u32,
    not_found: Ids<'a>,
    presences: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl<'a> MembersChunkEvent<'a> {
    /// Chunk `index` of `count` (at least 1), with at most 1,000 members and the asked ids that are not
    /// members. `not_found` is always present, because a strict client demands it.
    #[must_use]
    pub fn new(
        guild_id: u64,
        members: &'a [(Member, User)],
        (index, count): (u32, u32),
        not_found: &'a [u64],
        nonce: Option<&'a str>,
    ) -> Self {
        Self {
            guild_id: Id(guild_id),
            members: Members(members),
            chunk_index: index,
            chunk_count: count,
            not_found: Ids(not_found),
            presences: [],
            nonce,
        }
    }
}

/// RATE_LIMITED: a payload of the client was not acted on, because there were too many of its kind.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RateLimitedEvent<'a> {
    opcode: u8,
    /// Time to wait, in seconds.
    retry_after: f64,
    meta: RequestMeta<'a>,
}

/// The request for members that was not acted on.
#[derive(Debug, Clone, Copy, Serialize)]
struct RequestMeta<'a> {
    guild_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl<'a> RateLimitedEvent<'a> {
    /// The event for a request for the members of a guild, which may be sent again after `wait`.
    #[must_use]
    pub fn new(opcode: u8, wait: Duration, guild_id: u64, nonce: Option<&'a str>) -> Self {
        Self { opcode, retry_after: wait.as_secs_f64(), meta: RequestMeta { guild_id: Id(guild_id), nonce } }
    }
}
