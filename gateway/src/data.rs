//! Calls to the data service, and interest registered at the bus, for sessions and for records alike. This
//! module hands guilds' states to the fan-out; it does not know sessions or sockets.

pub(crate) mod calls;
pub(crate) mod guild_loader;
