//! Overwrites: their keys, the members that they apply to, and which of their bits have a meaning.

use crate::data::{Member, Overwrite};

/// Type of an overwrite for a role. Only this value and [`MEMBER`] are in use.
pub const ROLE: u32 = 0;
/// Type of an overwrite for a member.
pub const MEMBER: u32 = 1;
/// Permission bits that have a meaning: Discord's 0 to 52 without 47, which Discord never assigned.
pub const BITS: u64 = ((1 << 53) - 1) & !(1 << 47);

/// The key of an overwrite: a channel has at most one for each.
#[must_use]
pub fn key(overwrite: &Overwrite) -> (u64, u32) {
    (overwrite.id, overwrite.r#type)
}

/// True if the overwrite allows or denies the member something in a channel of the guild. It is not checked
/// that the guild still has the role.
#[must_use]
pub fn concerns(overwrite: &Overwrite, guild_id: u64, member: &Member) -> bool {
    match overwrite.r#type {
        ROLE => overwrite.id == guild_id || member.role_ids.contains(&overwrite.id),
        MEMBER => overwrite.id == member.user_id,
        _ => false,
    }
}
