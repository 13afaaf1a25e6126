//! The parts of a request: who made it ([`caller`]), from where ([`client`]) and when ([`arrival`]), its
//! [`path`], its [`query`], and its [`body`], which is JSON or a [`form`]. These are extractors for any
//! state. [`input`] has those that nearly every route takes, in one extractor.

pub(crate) mod arrival;
pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod client;
pub(crate) mod form;
pub(crate) mod input;
pub(crate) mod path;
pub(crate) mod query;
