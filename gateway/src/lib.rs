//! The gateway: WebSocket sessions, dispatch and resume.
//!
//! The gateway is thin: sessions are the only data that it owns, and it reaches the data service through the
//! client alone.
//!
//! Each folder is one module. They are listed here in the order of their dependencies: a module uses only
//! modules above it.
//! - `limits`: what a connection, an address, a token or a user may make the gateway do or hold.
//! - `socket`: one client's bytes, in and out.
//! - `fanout`: the guilds' states, and which sessions a record concerns.
//! - `data`: calls to the data service, and interest registered at the bus.
//! - `consume`: reads records from the inbox and hands them to the fan-out.
//! - `session`: how a session begins, resumes and ends.
//! - `dispatch`: what a session is sent.
//!
//! A connection passes the modules in this order:
//! 1. [`server`] accepts it, within `limits::places`.
//! 2. `socket::upgrade` and `socket::handshake_params` do the HTTP handshake.
//! 3. `connection` is one task for each socket. It reads the client's payloads through `socket::payload`,
//!    within `socket::inbound_limit`.
//! 4. `session::identify` (within `limits::identifies`), `session::resume` and `session::start` begin or
//!    continue a session.
//! 5. `dispatch::ready`, with `dispatch::member_list`, sends READY and the initial guilds;
//!    `dispatch::deliver` sends all that follows.
//! 6. `socket::stream` and `socket::compress` write the bytes.
//!
//! A record passes them in this order:
//! 1. `consume::consumer` reads it once. `gap` drops repetitions and finds what is missing; `recover` and
//!    `enrich` complete the record, while `holdback` keeps the guild's later records.
//! 2. `fanout` applies it to its guild's state, puts an `entry` into the shared `fanout::ring`, and wakes
//!    each session's `fanout::subscriber`.
//! 3. `dispatch::deliver` reads the ring for a session; `dispatch::visibility` decides whether the session is
//!    sent the entry, and `session::numbering` numbers it.
//!
//! # What holds
//! - Every acknowledged change that a session may see reaches it once, in the order of its channel. If that
//!   is impossible, the session is told INVALID_SESSION and begins again. It is never left with a gap.
//! - A session's `s` follows from positions of the log. So nothing is stored for each dispatch, and with a
//!   durable log a session outlives the process.
//! - A session has no queue, only a cursor into the shared ring and a wake flag. A client that does not read
//!   is closed and may resume.

pub mod close;
pub mod config;
mod connection;
mod consume;
mod data;
pub mod dependencies;
mod dispatch;
mod fanout;
#[cfg(test)]
mod fuzz;
mod limits;
pub mod metrics;
pub mod server;
mod session;
pub mod settings;
mod shared;
mod socket;

pub use close::{Close, CloseCode};
pub use config::{GatewayConfig, IdentifyLimits};
pub use metrics::GatewayMetrics;
pub use server::{Deps, Gateway, StartError, Stopped};
