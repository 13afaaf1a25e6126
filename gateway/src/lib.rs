//! The gateway: WebSocket sessions, dispatch and resume.
//!
//! Thin: it holds no data of its own but sessions, and knows the data service only through its client.
//!
//! A connection passes the modules in this order: [`server`] (accept, bounds) → `upgrade` and `query` (HTTP) → `connection` (one task for each
//! socket) → `payload` and `budget` (what clients send) → `identify` (within `identifies`), `resume` and `join` (sessions) → `introduce`, with `roster`, and `deliver` (what they
//! receive) → `socket`
//! and `compress` (bytes out).
//!
//! A record passes them in this order: `follow` (read once; `chain` drops repetitions and finds gaps; `recover` and
//! `hydrate` complete, while `holdback` keeps the guild's later ones) → `fanout` (guilds'
//! states, who is woken) → `ring` of shared `entry`s → each session's `listener` → `deliver`, where `route` decides and `sequence` numbers.
//!
//! # What holds
//! - Every acknowledged change that a session may see reaches it once, in the order of its channel; if that cannot be, the session is told
//!   INVALID_SESSION and begins again. It is never left with a gap.
//! - A session's `s` follows from positions of the log, so nothing is stored for each dispatch, and with a durable log a session outlives
//!   the process.
//! - There is no queue for each session: a cursor into the shared ring, one wake flag. A client that does not read is closed and may resume.

mod allowances;
mod budget;
mod chain;
pub mod close;
mod compress;
pub mod config;
mod connection;
mod deliver;
mod entry;
mod fanout;
mod follow;
#[cfg(test)]
mod fuzz;
mod guild;
mod held;
mod holdback;
mod hydrate;
mod identifies;
mod identify;
mod introduce;
mod join;
mod listener;
mod listeners;
mod load;
mod loose;
mod members;
mod memory;
pub mod metrics;
mod payload;
pub mod peers;
mod places;
mod query;
mod recover;
mod registry;
mod replay;
mod resume;
mod ring;
mod roster;
mod route;
mod sequence;
pub mod server;
mod session;
pub mod settings;
mod shared;
mod socket;
mod upgrade;

pub use close::{Close, CloseCode};
pub use config::{GatewayConfig, IdentifyLimits};
pub use metrics::Metrics;
pub use server::{Deps, Drained, Gateway, StartError};
