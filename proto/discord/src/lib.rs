//! Discord's objects, permissions, intents, error bodies and bot tokens as pure functions of Weir's rows: no I/O, no clock, no randomness
//! but what the caller passes in. The api uses it for REST, the gateway for dispatch, so both say the same about the same row.
//!
//! - [`wire`]: how ids, times and bit sets are written.
//! - [`object`]: rows to Discord's JSON objects, every key present.
//! - [`dispatch`]: a change record to a gateway event, with what a session needs in order to receive it.
//! - [`permission`], [`intent`], [`shard`]: who may do and see what.
//! - [`validate`]: request bodies and queries to values, or to all their form errors at once.
//! - [`error`]: every refusal of the REST tier, with its status, code, message and metric label in one table.
//! - [`seeded`]: known faults, which the tests of permissions put back.
//! - [`token`]: bot tokens, made, parsed, hashed and never printed.

pub mod dispatch;
pub mod error;
#[cfg(test)]
mod fuzz;
pub mod intent;
pub mod object;
pub mod permission;
#[cfg(test)]
mod sample;
pub mod seeded;
pub mod shard;
pub mod token;
pub mod validate;
pub mod wire;
