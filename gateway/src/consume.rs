//! From the inbox to the fan-out: each record is handed on once, complete and in its guild's order, or its
//! loss is reported. This module does not know sessions or sockets.

pub(crate) mod consumer;
pub(crate) mod enrich;
pub(crate) mod gap;
pub(crate) mod holdback;
mod recover;
