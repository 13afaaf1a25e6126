//! From the inbox to the fan-out: each record once, whole and in its guild's order, or the news that it was lost.
//! It does not know who listens: neither sessions nor sockets.

pub(crate) mod consumer;
pub(crate) mod enrich;
pub(crate) mod gap;
pub(crate) mod holdback;
mod recover;
