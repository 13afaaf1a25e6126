//! What several routes do alike, Discord's and the short ones: create a guild, open direct messages, send a
//! message, read a page of history, walk the guilds of a user.

pub(crate) mod create_guild;
pub(crate) mod history;
pub(crate) mod memberships;
pub(crate) mod open_direct;
pub(crate) mod send_message;
