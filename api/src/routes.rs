//! The endpoints. [`crate::router`] says which path leads to which.

pub(crate) mod application;
pub(crate) mod bulk_delete;
pub(crate) mod channels;
pub(crate) mod create_message;
pub(crate) mod current_guilds;
pub(crate) mod delete_message;
pub(crate) mod direct_channels;
pub(crate) mod edit_message;
pub(crate) mod empty;
pub(crate) mod gateway;
pub(crate) mod get_message;
pub(crate) mod guilds;
pub(crate) mod list_messages;
pub(crate) mod member_roles;
pub(crate) mod members;
pub(crate) mod pins;
pub(crate) mod reactions;
pub(crate) mod roles;
pub(crate) mod short;
pub(crate) mod typing;
pub(crate) mod users;
