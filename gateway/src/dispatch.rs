//! What a session is sent: READY and its guilds, the records that it may see, what a resume repeats, and members that it asks for.
//! The last room: it may use all others, and none of them knows it.

pub(crate) mod deliver;
mod guild_create;
pub(crate) mod member_list;
mod ready;
mod replay;
pub(crate) mod request_members;
pub(crate) mod stop;
mod visibility;
