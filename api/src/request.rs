//! What a request says: who made it ([`caller`]), from where ([`client`]) and when ([`arrival`]), its [`path`],
//! [`query`] and [`body`], which is JSON or a [`form`]. These are extractors for any state. [`input`] is what nearly
//! every route takes of them at once.

pub(crate) mod arrival;
pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod client;
pub(crate) mod form;
pub(crate) mod input;
pub(crate) mod path;
pub(crate) mod query;
