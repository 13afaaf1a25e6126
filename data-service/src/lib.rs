//! The data service: the only code that opens a database.
//!
//! A request meets the modules in this order: [`service`] (the Connect methods) → [`limits`] → [`read_path`] (reads) or [`sequencer`]
//! (changes) → the store. [`outbox`] carries committed changes to the bus; [`ownership`] says whether this node may act at all.
//! [`node`] puts them together.

pub mod changes;
pub mod clock;
pub mod key;
pub mod mint;
pub mod outbox;
pub mod ownership;
pub mod sequencer;
