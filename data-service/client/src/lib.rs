//! The typed client of the data service.
//!
//! - [`transport`]: how a call's bytes travel: [`transport::InProcess`] or [`transport::Http`].
//! - [`client`]: [`DataClient`], one method for each RPC, with deadlines, freshness tokens and retries.
//! - [`error`]: what can come back, as questions a caller asks: refused, not found, unknown outcome.
//!
//! It links no database: gateway and api depend on it and nothing behind it.

pub mod client;
pub mod error;
pub mod transport;

pub use client::{CallOptions, DataClient, Replied};
pub use error::DataError;
pub use transport::{Transport, TransportError};
