//! What a connection, an address, a token or a user may make the gateway do or hold, so that none takes the
//! share of all. Every other module may use this one; it uses none of them.

pub(crate) mod allowances;
pub(crate) mod identifies;
pub(crate) mod introductions;
pub(crate) mod memory;
pub(crate) mod places;
pub(crate) mod weight;
