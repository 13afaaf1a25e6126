//! From the inbox to the fan-out: each record once, whole and in its guild's order, or the news that it was lost.
//! It does not know who listens: neither sessions nor sockets.

pub(crate) mod follow;
pub(crate) mod gap;
pub(crate) mod holdback;
pub(crate) mod hydrate;
mod recover;
