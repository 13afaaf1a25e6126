//! A client's socket: the HTTP handshake, payloads in and bytes out, and what a client may send. This module
//! knows the envelopes of the protocol; it does not know sessions, guilds or records.

mod compress;
pub(crate) mod handshake_params;
pub(crate) mod inbound_limit;
pub(crate) mod large_threshold;
mod loose;
pub(crate) mod payload;
pub(crate) mod stream;
pub(crate) mod upgrade;
