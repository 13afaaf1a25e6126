//! The seam between transports and services: one unary call, free of sockets.
//!
//! The HTTP server calls it with what arrived on the wire, the in-process transport with what a typed client made. Layers
//! (authentication, metrics) are implementations that wrap another.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

use crate::codec::Codec;
use crate::error::ConnectError;

/// One request, its body complete and decompressed.
#[derive(Clone, Debug)]
pub struct UnaryRequest {
    /// `/package.Service/Method`, case-sensitive.
    pub path: Cow<'static, str>,
    /// How `body` is written, and how the reply must be.
    pub codec: Codec,
    /// The request's metadata. From HTTP it holds all headers of the request.
    pub headers: HeaderMap,
    /// What was left of the caller's patience when the request was handed over; `None` if it set no deadline.
    pub timeout: Option<Duration>,
    /// The encoded message.
    pub body: Bytes,
}

/// One successful reply.
#[derive(Clone, Debug)]
pub struct UnaryResponse {
    /// The reply's metadata; trailers are entries whose name starts with `trailer-`.
    pub headers: HeaderMap,
    /// The message in the request's codec.
    pub body: Bytes,
}

/// Answers unary calls.
#[async_trait]
pub trait Dispatch: Send + Sync + 'static {
    /// Whether `path` names a method. The server asks before it reads a body, so that a stranger's path costs nothing and is
    /// answered 404 as the protocol's router would. Layers must pass the question on.
    fn serves(&self, path: &str) -> bool;

    /// Bytes that the message in `body` takes once it is decoded, beside the body; 0 if the method is not known. The server asks before it
    /// hands over a large body, and holds them on the caller's account. Layers must pass the question on; the default is for what decodes
    /// nothing.
    fn decoded_bytes(&self, path: &str, codec: Codec, body: &[u8]) -> usize {
        let (_, _, _) = (path, codec, body);
        0
    }

    /// Answers one call. The HTTP server also enforces `request.timeout` by dropping the future.
    ///
    /// # Errors
    /// Whatever the method refuses with; `unimplemented` if no method has this path.
    ///
    /// # Cancel safety
    /// The future is dropped when the caller leaves or its deadline passes; work that must not stop half-way runs in a
    /// task of its own.
    async fn call(&self, request: UnaryRequest) -> Result<UnaryResponse, ConnectError>;
}
