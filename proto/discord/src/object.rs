//! Discord's JSON objects, which borrow from rows. Every key that a strict client demands is present, with
//! null where Weir has no value.
//!
//! Missing context is no error: an author whose row is missing is shown as a deleted user with the right id,
//! because a message that cannot be shown at all would be worse.

mod application;
mod channel;
mod event;
mod guild;
mod member;
mod message;
mod role;
mod session;
mod user;

#[cfg(test)]
mod tests;

pub use application::ApplicationObject;
pub use channel::{ChannelObject, DirectChannelObject};
pub use event::{
    ChannelPinsEvent, GuildDeleteEvent, MemberAddEvent, MemberRemoveEvent, MemberUpdateEvent,
    MembersChunkEvent, MessageDeleteBulkEvent, MessageDeleteEvent, RateLimitedEvent, ReactionEvent,
    ReactionsClearedEvent, RoleDeleteEvent, RoleEvent, TypingEvent,
};
pub use guild::{
    Availability, GuildCreateEvent, GuildCreateParts, GuildObject, PartialGuildObject, UnavailableGuildObject,
};
pub use member::MemberObject;
pub use message::{
    ContentAccess, MessageObject, MessageParts, NonceEcho, Referenced, TYPE_DEFAULT, TYPE_PIN, TYPE_REPLY,
    UserSource,
};
pub(crate) use message::{EmojiObject, GatedFields};
pub use role::RoleObject;
pub use session::{
    GatewayBotReply, GatewayReply, ReadyEvent, ReadyParts, ResumedEvent, SessionStartLimit, gateway_url,
};
pub use user::{OwnUserObject, UserObject};

/// Writes an object as JSON text.
///
/// Writing these objects to memory cannot fail: they hold strings, numbers, flags and lists only, and their
/// keys are literals.
#[must_use]
pub fn to_json(object: &impl serde::Serialize) -> String {
    serde_json::to_string(object).expect("objects of literals, strings and numbers always serialise")
}
