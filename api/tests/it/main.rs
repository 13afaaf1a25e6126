//! The REST tier over real HTTP on loopback, before a data service in memory.

#![allow(clippy::unwrap_used, reason = "tests")]

mod checks;
mod concurrent;
mod consent;
mod data_service;
mod direct;
mod forms;
mod fuzz;
mod grants;
mod guilds;
mod harness;
mod http_surface;
mod libraries;
mod many_guilds;
mod messages;
mod overwrites;
mod permissions;
mod pins;
mod process;
mod rate_limits;
mod reactions;
mod refusals;
mod replies;
mod short_flows;
mod strangers;
