//! Overwrites: what they are keyed by, whom they concern, and which of their bits mean something.

use crate::data::{Member, Overwrite};

/// Type of an overwrite for a role. The values beside the two are nobody's.
pub const ROLE: u32 = 0;
/// Type of an overwrite for a member.
pub const MEMBER: u32 = 1;
/// Permission bits that mean something: Discord's 0 to 52 without 47, which it never gave out.
pub const BITS: u64 = ((1 << 53) - 1) & !(1 << 47);

/// What a channel has one overwrite for at most.
#[must_use]
pub fn key(overwrite: &Overwrite) -> (u64, u32) {
    (overwrite.id, overwrite.r#type)
}

/// True if it allows or denies the member something in a channel of the guild. That the guild still has the role is not asked.
#[must_use]
pub fn concerns(overwrite: &Overwrite, guild_id: u64, member: &Member) -> bool {
    match overwrite.r#type {
        ROLE => overwrite.id == guild_id || member.role_ids.contains(&overwrite.id),
        MEMBER => overwrite.id == member.user_id,
        _ => false,
    }
}
