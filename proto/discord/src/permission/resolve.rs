//! Discord's algorithm: the base from the roles, then the channel's overwrites in order, then what the result
//! implies.

use weir_proto::data::{Channel, GuildState, Member, Overwrite, Role};
pub use weir_proto::overwrite::{MEMBER as MEMBER_OVERWRITE, ROLE as ROLE_OVERWRITE};

use super::Permissions;

/// Discord's channel type of voice channels.
const VOICE: u32 = 2;
/// Discord's channel type of stage channels.
const STAGE: u32 = 13;
/// Discord's channel type of private threads.
const PRIVATE_THREAD: u32 = 12;
/// Discord's channel types of threads: in announcement channels, public, private.
const THREADS: std::ops::RangeInclusive<u32> = 10..=PRIVATE_THREAD;

/// Permissions that a member who may not send loses too, because each of them acts through a message.
const NEED_SEND: Permissions = Permissions(
    Permissions::MENTION_EVERYONE.0
        | Permissions::SEND_TTS_MESSAGES.0
        | Permissions::ATTACH_FILES.0
        | Permissions::EMBED_LINKS.0,
);

/// What a member may do in a channel or, without one, in the guild at large.
///
/// A thread follows its parent's overwrites. A thread whose parent is not in the state is invisible, and so
/// is a private one without MANAGE_THREADS (rows hold no thread members). The caller has made sure that the
/// member is one of this guild.
#[must_use]
pub fn permissions_in(state: &GuildState, channel: Option<&Channel>, member: &Member) -> Permissions {
    let Some(guild) = &state.guild else { return Permissions::NONE };
    let granted = |role_id: u64| {
        state
            .roles
            .iter()
            .find(|role| role.id == role_id)
            .map_or(Permissions::NONE, |role| Permissions(role.permissions))
    };
    let base = base(guild.id, guild.owner_id == member.user_id, member, granted);
    let Some(channel) = channel else { return base };
    let Some(rules) = rules_of(&state.channels, channel) else {
        return if base == Permissions::ALL { base } else { Permissions::NONE };
    };
    let is_role = |role_id: u64| state.roles.iter().any(|role| role.id == role_id);
    in_channel(base, guild.id, channel.r#type, rules, member, is_role)
}

/// The overwrites that govern a channel; `None` for a thread without its parent.
pub(super) fn rules_of<'a>(channels: &'a [Channel], channel: &'a Channel) -> Option<&'a [Overwrite]> {
    if !THREADS.contains(&channel.r#type) {
        return Some(&channel.overwrites);
    }
    channels.iter().find(|parent| parent.id == channel.parent_id).map(|parent| parent.overwrites.as_slice())
}

/// What a member holds before any channel. The owner and administrators have [`Permissions::ALL`], and only
/// they do: nothing is taken from it afterwards.
pub(super) fn base(
    guild_id: u64,
    is_owner: bool,
    member: &Member,
    granted: impl Fn(u64) -> Permissions,
) -> Permissions {
    if is_owner {
        return Permissions::ALL;
    }
    // @everyone has the guild's id, and a member's row may or may not list it.
    let base = member.role_ids.iter().fold(granted(guild_id), |held, &role| held | granted(role));
    if base.contains(Permissions::ADMINISTRATOR) { Permissions::ALL } else { base }
}

/// What a member with this base holds in a channel of this type under these overwrites. Overwrites of roles
/// that no longer exist count for nothing: rows of members and channels may still name them.
pub(super) fn in_channel(
    base: Permissions,
    guild_id: u64,
    channel_type: u32,
    overwrites: &[Overwrite],
    member: &Member,
    is_role: impl Fn(u64) -> bool,
) -> Permissions {
    if base.contains(Permissions::ADMINISTRATOR) {
        return Permissions::ALL;
    }
    let held = implied(overwritten(base, guild_id, overwrites, member, is_role), channel_type);
    if THREADS.contains(&channel_type) { in_thread(held, channel_type) } else { held }
}

/// The three steps in order: @everyone, all roles merged, the member. A later step wins over an earlier one.
/// Within a step, allowed bits win over denied ones.
fn overwritten(
    base: Permissions,
    guild_id: u64,
    overwrites: &[Overwrite],
    member: &Member,
    is_role: impl Fn(u64) -> bool,
) -> Permissions {
    let (mut everyone, mut roles, mut own) = (Step::default(), Step::default(), Step::default());
    for overwrite in overwrites {
        match overwrite.r#type {
            ROLE_OVERWRITE if overwrite.id == guild_id => everyone.merge(overwrite),
            ROLE_OVERWRITE if member.role_ids.contains(&overwrite.id) && is_role(overwrite.id) => {
                roles.merge(overwrite);
            }
            MEMBER_OVERWRITE if overwrite.id == member.user_id => own.merge(overwrite),
            _ => {}
        }
    }
    own.apply(roles.apply(everyone.apply(base)))
}

#[derive(Default)]
struct Step {
    allow: Permissions,
    deny: Permissions,
}

impl Step {
    fn merge(&mut self, overwrite: &Overwrite) {
        self.allow |= Permissions(overwrite.allow);
        self.deny |= Permissions(overwrite.deny);
    }

    fn apply(&self, held: Permissions) -> Permissions {
        held.without(self.deny) | self.allow
    }
}

/// Removes permissions that cannot be used because another one is missing.
fn implied(held: Permissions, channel_type: u32) -> Permissions {
    if !held.contains(Permissions::VIEW_CHANNEL) {
        return Permissions::NONE;
    }
    // A voice channel that a member cannot join is still listed, with a lock: it can be viewed, and that is
    // all.
    if matches!(channel_type, VOICE | STAGE) && !held.contains(Permissions::CONNECT) {
        return Permissions::VIEW_CHANNEL;
    }
    let speaks = if THREADS.contains(&channel_type) {
        Permissions::SEND_MESSAGES_IN_THREADS
    } else {
        Permissions::SEND_MESSAGES
    };
    if held.contains(speaks) { held } else { held.without(NEED_SEND) }
}

/// In a thread SEND_MESSAGES means SEND_MESSAGES_IN_THREADS.
fn in_thread(held: Permissions, channel_type: u32) -> Permissions {
    if channel_type == PRIVATE_THREAD && !held.contains(Permissions::MANAGE_THREADS) {
        return Permissions::NONE;
    }
    let silent = held.without(Permissions::SEND_MESSAGES);
    if held.contains(Permissions::SEND_MESSAGES_IN_THREADS) {
        silent | Permissions::SEND_MESSAGES
    } else {
        silent
    }
}

/// The member's highest role by position; of equal ones, that with the smaller (older) id. `None` if it has
/// only @everyone.
#[must_use]
pub fn highest_role<'a>(state: &'a GuildState, member: &Member) -> Option<&'a Role> {
    let everyone = state.guild.as_ref().map_or(0, |guild| guild.id);
    state
        .roles
        .iter()
        .filter(|role| role.id != everyone && member.role_ids.contains(&role.id))
        .max_by_key(|role| (role.position, std::cmp::Reverse(role.id)))
}

/// True if `actor` is above `role` in the hierarchy of moderation. The owner is above all roles; `None` is
/// @everyone.
#[must_use]
pub fn outranks(state: &GuildState, actor: &Member, role: Option<&Role>) -> bool {
    let rank = |role: &Role| (role.position, std::cmp::Reverse(role.id));
    let owner = state.guild.as_ref().is_some_and(|guild| guild.owner_id == actor.user_id);
    if owner {
        return true;
    }
    match (highest_role(state, actor), role) {
        (Some(own), Some(other)) => rank(own) > rank(other),
        (Some(_), None) => true,
        (None, _) => false,
    }
}
