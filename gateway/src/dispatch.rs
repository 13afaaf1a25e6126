//! What a session is sent: READY and its initial guilds, the records that it may see, what a resume repeats,
//! and the members that it asks for. This module may use all others, and none of them uses it.

pub(crate) mod deliver;
mod guild_create;
pub(crate) mod member_list;
mod ready;
mod replay;
pub(crate) mod request_members;
pub(crate) mod stop;
mod visibility;
