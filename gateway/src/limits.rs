//! What a connection, an address, a token or a user may make the gateway do or hold, so that nobody takes everybody's share.
//! Every other room may ask it; it knows none of them.

pub(crate) mod allowances;
pub(crate) mod identifies;
pub(crate) mod introductions;
pub(crate) mod memory;
pub(crate) mod places;
pub(crate) mod weight;
