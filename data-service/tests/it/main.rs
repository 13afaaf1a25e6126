//! The data service as a whole: its methods over a real embedded store, and its rules over a scripted one.
//!
//! Time is tokio's paused clock in all tests with the scripted store, so minutes of waiting cost nothing and
//! a failing seed fails again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bulk;
mod cancelled;
mod cassandra;
mod clock;
mod delivery;
mod direct;
mod fake_bus;
mod fake_store;
mod fencing;
mod first_bucket;
mod flights;
mod forms;
mod gates;
mod guild_basis;
mod guild_size;
mod history;
mod imported;
mod leases;
mod limits;
mod memory;
mod methods;
mod newest;
mod node;
mod nonces;
mod order;
mod outbox;
mod owned;
mod ownership;
mod pages;
mod pins;
mod process;
mod reactions;
mod smoke;
mod transports;
mod unchanged;
