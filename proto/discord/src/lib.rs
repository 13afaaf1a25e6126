//! Discord's objects, permissions, intents, error bodies and bot tokens as pure functions of Weir's rows: no
//! I/O, no clock, and no randomness except what the caller passes in. The api uses the crate for REST and the
//! gateway for dispatch, so both render a row in the same way.
//!
//! - [`wire`]: the text form of ids, times and bit sets.
//! - [`object`]: Discord's JSON objects, made from rows, with every key present.
//! - [`emoji`]: which texts are emojis, and the one form of each.
//! - [`dispatch`]: gateway events, made from change records, with what a session needs to receive them.
//! - [`permission`], [`intent`], [`shard`]: which user or session may do or see what.
//! - [`validate`]: reads request bodies and queries as values, or gives all their form errors at once.
//! - [`error`]: every refusal of the REST tier, with its status, code, message and metric label in one table.
//! - [`token`]: bot tokens; they are made, parsed and hashed here, and never printed.

pub mod dispatch;
pub mod emoji;
pub mod error;
#[cfg(test)]
mod fuzz;
pub mod intent;
pub mod object;
pub mod permission;
#[cfg(test)]
mod sample;
pub mod shard;
pub mod token;
pub mod validate;
pub mod wire;
