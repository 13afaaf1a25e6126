//! The layer's tests as one binary: `scenario` holds what must never happen, `hazards` runs each scenario on the code
//! as it is, `mutation` runs it with its fault put back and expects it to be caught.
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
mod mutation;
mod opponents;
mod order;
mod properties;
mod refusals;
mod scenario;
mod simulation;
mod slices;
mod tails;
