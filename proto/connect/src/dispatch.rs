//! The interface between transports and services: one unary call, free of sockets.
//!
//! The HTTP server calls it with what arrived on the wire, the in-process transport with what a typed client
//! made. Layers such as authentication and metrics are implementations that wrap another one.

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
    /// The codec of `body`, and the one that the reply must have.
    pub codec: Codec,
    /// The request's metadata. From HTTP it holds all headers of the request.
    pub headers: HeaderMap,
    /// Time left until the caller's deadline when the request was handed over; `None` if the caller set none.
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
    /// Whether `path` names a method. The server asks before it reads a body, so that an unknown path costs
    /// nothing and is answered 404 as the protocol's router would. Layers must forward the question.
    fn serves(&self, path: &str) -> bool;

    /// Bytes that the message in `body` takes once it is decoded, beside the body; 0 if the method is not
    /// known. The server asks before it hands over a large body, and holds these bytes on the caller's
    /// account. Layers must forward the question. The default is for implementations that decode nothing.
    fn decoded_bytes(&self, path: &str, codec: Codec, body: &[u8]) -> usize {
        let (_, _, _) = (path, codec, body);
        0
    }

    /// Answers one call. The HTTP server also enforces `request.timeout` by dropping the future.
    ///
    /// # Errors
    /// The method's own error; `unimplemented` if no method has this path.
    ///
    /// # Cancel safety
    /// The future is dropped when the caller leaves or its deadline passes. Work that must not stop half-way
    /// runs in a task of its own.
    async fn call(&self, request: UnaryRequest) -> Result<UnaryResponse, ConnectError>;
}
