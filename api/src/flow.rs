//! What several routes do alike, Discord's and the short ones: found a guild, open direct messages, post a message, read a page of history,
//! walk the guilds of a user.

pub(crate) mod founding;
pub(crate) mod history;
pub(crate) mod memberships;
pub(crate) mod opening;
pub(crate) mod posting;
