//! The data service: the only code that opens a database.
//!
//! A request meets the modules in this order: [`service`] (the Connect methods) → [`limits`] → [`read_path`] (reads) or [`sequencer`]
//! (changes) → the store. [`outbox`] carries committed changes to the bus, [`changes`] reads them back; [`ownership`] says whether this
//! node may act at all, [`mint`] makes its ids, by the
//! time of [`steady`]. [`node`] puts everything together, on the store and bus that [`backend`] opens.

pub mod backend;
pub mod changes;
pub mod clock;
pub mod clock_lag;
mod doubt;
pub mod error;
pub mod faults;
pub mod freshness;
pub mod key;
pub mod limits;
pub mod memory;
pub mod mint;
pub mod node;
pub mod observe;
pub mod outbox;
pub mod ownership;
pub mod read_path;
pub mod seeded;
pub mod sequencer;
pub mod service;
pub mod standby;
pub mod steady;
