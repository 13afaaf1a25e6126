//! Permissions: the bits, and Discord's algorithm over a guild's roles and a channel's overwrites.

mod bits;
mod resolve;
#[cfg(test)]
mod tests;
mod view;

pub use bits::{ParsePermissionsError, Permissions};
pub use resolve::{highest_role, outranks, permissions_in};
pub use view::{ChannelSet, ChannelSlot, GuildView};
