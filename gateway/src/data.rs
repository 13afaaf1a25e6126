//! What is asked of the data service and registered at the bus, for sessions and for records alike.
//! It hands guilds' states to the fan-out and does not know who asked: neither sessions nor sockets.

pub(crate) mod calls;
pub(crate) mod guild_loader;
