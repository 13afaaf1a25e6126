//! The typed client of the data service.
//!
//! - [`transport`]: how a call's bytes travel: [`transport::InProcess`] or [`transport::Http`].
//! - [`client`]: [`DataClient`], one method for each RPC, with deadlines, freshness tokens and retries.
//! - [`error`]: [`DataError`], sorted by what a caller does next: refused, not found, unknown outcome.
//!
//! It links no database: gateway and api depend on this crate and on nothing behind it.

pub mod client;
pub mod error;
pub mod transport;

pub use client::{CallOptions, DataClient, Replied};
pub use error::DataError;
pub use transport::{Transport, TransportError};
