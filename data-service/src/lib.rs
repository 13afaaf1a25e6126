//! The data service: the only code that opens a database.
//!
//! A request passes the folders in this order: [`rpc`] (the Connect methods) → [`read`] or [`mod@write`] (the
//! turns of channels, guilds and users), both on the state in memory ([`live`]) → the store. [`admission`]
//! keeps the limits that reads and changes are charged to. [`outbox`] carries committed changes to the bus,
//! and reads them back from the database; [`ownership`] decides whether this node may act at all, and makes
//! its ids, by the time of [`steady`]. [`node`] puts everything together, on the store and bus that
//! [`backend`] opens.

pub mod admission;
pub mod backend;
pub mod clock;
pub mod freshness;
pub mod key;
pub mod live;
pub mod memory;
pub mod node;
pub mod observe;
pub mod outbox;
pub mod ownership;
pub mod read;
pub mod rpc;
pub mod steady;
pub mod write;
