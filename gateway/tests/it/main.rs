//! The gateway against a data service and a bus made for the purpose, with real WebSocket clients over pipes
//! in memory and over loopback.
//!
//! Time is paused in every test that does not use the network: it moves on only when nobody has anything to
//! do, so "nothing comes for a second" is exact and takes no time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bus;
mod client;
mod control;
mod crowd;
mod direct;
mod dispatch;
mod handshake;
mod identify;
mod interleave;
mod member_list;
mod network;
mod process;
mod reactions;
mod restart;
mod resume;
mod slow;
mod strangers;
mod world;
