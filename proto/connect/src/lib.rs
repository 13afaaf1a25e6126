//! The Connect protocol's unary RPC over hyper: server, client, codecs and errors.
//!
//! `POST /package.Service/Method` with `application/proto` or `application/json`, errors as JSON, deadlines
//! in `connect-timeout-ms`, trailers as `trailer-` headers. Stock Connect clients and `curl` can call it
//! unmodified. Specification: <https://connectrpc.com/docs/protocol>. This crate has the unary half only: no
//! streaming and no GET.
//!
//! A request meets the modules in this order: [`server`] (connections and their bounds) → [`endpoint`] (HTTP
//! to Connect) → [`dispatch`] (the interface that the in-process transport shares) → [`router`] (path to
//! typed handler, through [`codec`]); failures are [`error`]. [`client`] is the other end.
//!
//! # Why by hand
//! Most of the code is bounds. The `connectrpc` crate is typed by buffa where our contract is prost, and it
//! cannot send a cached page as shared bytes. It is also slower: on the 15 KB reply that Weir sends most, a
//! bare hyper server was measured at 7.8 µs of CPU for each request, this approach at 8.0 µs and `connectrpc`
//! at 9.3 µs. `benches/unary.rs` repeats the comparison with bare hyper.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod body;
pub mod budget;
pub mod client;
pub mod codec;
mod decoded;
pub mod dispatch;
pub mod endpoint;
pub mod error;
pub mod headers;
mod json;
pub mod kept_json;
mod limits;
pub mod listen;
pub mod log_gate;
pub mod router;
pub mod server;

pub use budget::Budget;
pub use client::{ClientConfig, ClientError, HttpClient, Lost, NotSent};
pub use codec::Codec;
pub use dispatch::{Dispatch, UnaryRequest, UnaryResponse};
pub use endpoint::Endpoint;
pub use error::{Code, ConnectError, Detail};
pub use kept_json::KeptJson;
pub use limits::RequestLimits;
pub use listen::listen;
pub use log_gate::LogGate;
pub use router::{Body, Context, Reply, Router};
pub use server::{
    BodyAccount, CONNECTION_BYTES, ChargeTo, Drained, INSTEAD_BYTES_MAX, Instead, KeepUntilSent, Memory,
    MemoryMax, MemoryNames, Peer, Server, ServerConfig, SlowDown,
};
