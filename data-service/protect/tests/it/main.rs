//! The layer's tests as one binary. `scenario` holds the forbidden outcomes; `hazards` plays each of them.
#![cfg(not(weir_loom))]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may unwrap")]

mod absence;
mod checker;
mod components;
mod fake;
mod floors;
mod hazards;
mod limiter;
mod load;
mod opponents;
mod order;
mod properties;
mod refusals;
mod scenario;
mod simulation;
mod slices;
mod tails;
