//! Permissions: the bits, and Discord's algorithm over a guild's roles and a channel's overwrites.

mod bits;
mod grant;
mod resolve;
#[cfg(test)]
mod tests;
mod view;

pub use bits::{ParsePermissionsError, Permissions};
pub use grant::{may_create_with, may_overwrite, merged};
pub use resolve::{MEMBER_OVERWRITE, ROLE_OVERWRITE, highest_role, outranks, permissions_in};
pub use view::GuildView;
use weir_proto::{data::Channel, pair::UserPair};

/// What both users of a direct message may always do in it. There are no roles and no overwrites, and neither
/// user is above the other.
const DIRECT_PERMISSIONS: &[Permissions] = &[
    Permissions::VIEW_CHANNEL,
    Permissions::SEND_MESSAGES,
    Permissions::READ_MESSAGE_HISTORY,
    Permissions::EMBED_LINKS,
    Permissions::ATTACH_FILES,
    Permissions::ADD_REACTIONS,
    Permissions::USE_EXTERNAL_EMOJIS,
    Permissions::USE_EXTERNAL_STICKERS,
    Permissions::SEND_VOICE_MESSAGES,
    Permissions::SEND_POLLS,
];

/// What a user may do in a channel of direct messages; nothing if the user is not one of the two.
#[must_use]
pub fn permissions_in_direct(channel: &Channel, user_id: u64) -> Permissions {
    match UserPair::of_channel(channel) {
        Some(pair) if pair.ids().contains(&user_id) => {
            DIRECT_PERMISSIONS.iter().fold(Permissions::NONE, |all, one| all | *one)
        }
        _ => Permissions::NONE,
    }
}
