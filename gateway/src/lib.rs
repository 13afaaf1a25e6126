//! The gateway: WebSocket sessions, dispatch and resume.
//!
//! Thin: it holds no data of its own but sessions, and knows the data service only through its client.
//!
//! The code lies in rooms, one folder each, in the order in which they may use each other: each knows only rooms that stand before it here.
//! - `limits`: what a connection, an address, a token or a user may make the gateway do or hold.
//! - `socket`: one client's bytes, in and out.
//! - `fanout`: guilds' states, and whom a record concerns.
//! - `data`: what is asked of the data service and registered at the bus.
//! - `consume`: records, from the inbox to the fan-out.
//! - `session`: what a client began, and how it goes on.
//! - `dispatch`: what a session is sent.
//!
//! A connection passes the modules in this order: [`server`] (accept; `limits::places`) → `socket::upgrade` and `socket::handshake_params`
//! (HTTP) → `connection` (one task for each socket) → `socket::payload` and `socket::inbound_limit` (what clients send) →
//! `session::identify` (within `limits::identifies`), `session::resume` and `session::start` (sessions) → `dispatch::ready`, with
//! `dispatch::member_list`, and `dispatch::deliver` (what they receive) → `socket::stream` and `socket::compress` (bytes out).
//!
//! A record passes them in this order: `consume::consumer` (read once; `gap` drops repetitions and finds what is missing; `recover` and
//! `enrich` complete, while `holdback` keeps the guild's later ones) → `fanout` (guilds' states, who is woken) → `fanout::ring` of shared
//! `entry`s → each session's `fanout::subscriber` → `dispatch::deliver`, where `visibility` decides and `session::numbering` numbers.
//!
//! # What holds
//! - Every acknowledged change that a session may see reaches it once, in the order of its channel; if that cannot be, the session is told
//!   INVALID_SESSION and begins again. It is never left with a gap.
//! - A session's `s` follows from positions of the log, so nothing is stored for each dispatch, and with a durable log a session outlives
//!   the process.
//! - There is no queue for each session: a cursor into the shared ring, one wake flag. A client that does not read is closed and may resume.

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
pub use metrics::Metrics;
pub use server::{Deps, Drained, Gateway, StartError};
