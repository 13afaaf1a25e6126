//! Decides who may change a channel's overwrites. A member can give, deny or un-deny only what it holds
//! itself.
//!
//! Discord's rules: a member may change bits that it holds in the guild or in the channel. It may change
//! MANAGE_ROLES only as an administrator. It may change every other bit if an overwrite of the channel allows
//! it MANAGE_ROLES. To withdraw a denial is to grant, so every bit counts that an entry has before and not
//! after, or after and not before.

use std::collections::BTreeMap;

use weir_proto::data::{Channel, GuildState, Member, Overwrite};

use super::{
    Permissions, permissions_in,
    resolve::{MEMBER_OVERWRITE, ROLE_OVERWRITE},
};

/// True if the member may create a channel with these overwrites, in `category` if there is one. It may grant
/// what the category allows it; and the category's own overwrites, all of them and unchanged, are what a new
/// channel has anyway.
#[must_use]
pub fn may_create_with(
    state: &GuildState,
    member: &Member,
    category: Option<&Channel>,
    overwrites: &[Overwrite],
) -> bool {
    let held = permissions_in(state, None, member);
    if held.contains(Permissions::ADMINISTRATOR) {
        return true;
    }
    let after = entries(overwrites);
    if category.is_some_and(|category| entries(&category.overwrites) == after) {
        return true;
    }
    let there = category.map_or(Permissions::NONE, |channel| permissions_in(state, Some(channel), member));
    let changed = changed(&BTreeMap::new(), &after);
    !changed.intersects(Permissions::MANAGE_ROLES) && (held | there).contains(changed)
}

/// True if the member may replace the channel's overwrites by these.
#[must_use]
pub fn may_overwrite(
    state: &GuildState,
    member: &Member,
    channel: &Channel,
    overwrites: &[Overwrite],
) -> bool {
    let held = permissions_in(state, None, member);
    let (before, after) = (entries(&channel.overwrites), entries(overwrites));
    if held.contains(Permissions::ADMINISTRATOR) || before == after {
        return true;
    }
    let there = permissions_in(state, Some(channel), member);
    let changed = changed(&before, &after);
    there.contains(Permissions::MANAGE_ROLES)
        && !changed.intersects(Permissions::MANAGE_ROLES)
        && (is_given_roles(state, member, channel) || (held | there).contains(changed))
}

/// True if an overwrite of the channel allows the member to manage roles there. Only an administrator can
/// have written it.
fn is_given_roles(state: &GuildState, member: &Member, channel: &Channel) -> bool {
    let everyone = state.guild.as_ref().map_or(0, |guild| guild.id);
    let is_role = |id: u64| state.roles.iter().any(|role| role.id == id);
    channel.overwrites.iter().any(|overwrite| {
        let concerns = match overwrite.r#type {
            ROLE_OVERWRITE => {
                overwrite.id == everyone || member.role_ids.contains(&overwrite.id) && is_role(overwrite.id)
            }
            MEMBER_OVERWRITE => overwrite.id == member.user_id,
            _ => false,
        };
        concerns && Permissions(overwrite.allow).contains(Permissions::MANAGE_ROLES)
    })
}

/// Allowed and denied bits, by id and type.
type Entries = BTreeMap<(u64, u32), (Permissions, Permissions)>;

/// The entries that a list means. Their order does not count, and entries for one key count together, as rows
/// may have them from before repetitions were refused.
fn entries(overwrites: &[Overwrite]) -> Entries {
    let mut entries = Entries::new();
    for overwrite in overwrites {
        let (allow, deny) = entries.entry((overwrite.id, overwrite.r#type)).or_default();
        *allow |= Permissions(overwrite.allow);
        *deny |= Permissions(overwrite.deny);
    }
    entries
}

/// Overwrites with one for each key, in the order of their first entries. Rows of earlier versions may have
/// several for a key, which count together. Entries without a known type count for nothing.
#[must_use]
pub fn merged(overwrites: &[Overwrite]) -> Vec<Overwrite> {
    let mut entries = entries(overwrites);
    let mut merged = Vec::with_capacity(entries.len());
    for one in overwrites {
        if matches!(one.r#type, ROLE_OVERWRITE | MEMBER_OVERWRITE)
            && let Some((allow, deny)) = entries.remove(&(one.id, one.r#type))
        {
            merged.push(Overwrite { allow: allow.0, deny: deny.0, ..*one });
        }
    }
    merged
}

/// Every bit with a meaning that some entry allows or denies before and not after, or after and not before.
fn changed(before: &Entries, after: &Entries) -> Permissions {
    let of = |entries: &Entries, key| entries.get(key).copied().unwrap_or_default();
    let changed = before.keys().chain(after.keys()).fold(0, |changed, key| {
        let ((old_allow, old_deny), (allow, deny)) = (of(before, key), of(after, key));
        changed | old_allow.0 ^ allow.0 | old_deny.0 ^ deny.0
    });
    Permissions(changed) & Permissions::ALL
}
