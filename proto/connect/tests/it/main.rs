//! Integration tests: real loopback sockets, both HTTP versions, both codecs, every refusal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod calls;
mod client;
mod deadlines;
mod fixture;
mod fuzz;
mod hostile;
mod json;
mod peer;
mod refusals;
mod stop;
