//! What a request says: who made it ([`caller`]), from where ([`client`]) and when ([`arrival`]), its [`path`], [`query`] and [`body`]. These
//! are extractors for any state; a body is JSON or a [`form`].

pub(crate) mod arrival;
pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod client;
pub(crate) mod form;
pub(crate) mod path;
pub(crate) mod query;
