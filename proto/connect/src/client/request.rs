//! The body of a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A request body that always ends in a frame of its own.
///
/// An empty body would otherwise let HEADERS end the stream, and then a request could be complete at the
/// server while hyper reports it as refused; see [`super::error::classify`]. It costs nine bytes for an empty
/// message and nothing for any other.
pub(super) struct RequestBody {
    // `None` once the bytes were handed out.
    bytes: Option<Bytes>,
}

impl RequestBody {
    pub(super) fn new(bytes: Bytes) -> RequestBody {
        RequestBody { bytes: Some(bytes) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
