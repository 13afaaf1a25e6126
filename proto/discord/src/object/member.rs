//! Members: a user's place in a guild.

use serde::{Serialize, Serializer};
use weir_proto::data::{Member, User};

use super::user::UserObject;
use crate::wire::{Id, Null, Timestamp};

/// A member, with its user (lists, events about members) or without it (beside a message, which names its
/// author).
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemberObject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserObject<'a>>,
    nick: Option<&'a str>,
    avatar: Null,
    banner: Null,
    roles: MemberRoles<'a>,
    joined_at: Timestamp,
    premium_since: Null,
    deaf: bool,
    mute: bool,
    flags: u32,
    pending: bool,
    communication_disabled_until: Null,
}

impl<'a> MemberObject<'a> {
    /// A member with its user. If the user's row is missing, the user is shown as deleted.
    #[must_use]
    pub fn full(member: &'a Member, user: Option<&'a User>) -> Self {
        Self { user: Some(UserObject::of(member.user_id, user)), ..Self::partial(member) }
    }

    /// A member without its user.
    #[must_use]
    pub fn partial(member: &'a Member) -> Self {
        Self {
            user: None,
            nick: (!member.nick.is_empty()).then_some(&member.nick),
            avatar: (),
            banner: (),
            roles: MemberRoles { ids: &member.role_ids, guild_id: member.guild_id },
            joined_at: Timestamp(member.joined_at_ms),
            premium_since: (),
            deaf: false,
            mute: false,
            flags: 0,
            pending: false,
            communication_disabled_until: (),
        }
    }
}

/// A member's roles without @everyone, which every member has and Discord never lists.
#[derive(Debug, Clone, Copy)]
struct MemberRoles<'a> {
    ids: &'a [u64],
    guild_id: u64,
}

impl Serialize for MemberRoles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ids.iter().filter(|&&id| id != self.guild_id).map(|&id| Id(id)))
    }
}
