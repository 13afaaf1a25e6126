//! The errors of a call, sorted by what they mean for a retry.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ConnectError;

/// Why a call has no reply message.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server certainly did not process the request. It is safe to repeat any request.
    #[error("request was not processed")]
    NotSent(#[from] NotSent),
    /// The server may or may not have processed the request. Only an idempotent one may be repeated.
    #[error("outcome of the request is unknown")]
    Unknown(#[from] Lost),
    /// The server answered with an error, whose code says what to do.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Why a request did not reach a handler.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSent {
    /// The connection could not be made.
    #[error("connecting failed")]
    Connect(#[source] Arc<io::Error>),
    /// Connecting took longer than [`crate::ClientConfig::connect_timeout`].
    #[error("connecting took longer than {0:?}")]
    ConnectTimedOut(Duration),
    /// Connecting failed a moment ago and is not tried again until the pause is over.
    #[error("connecting failed and is tried again in {retry_after:?}")]
    BackingOff {
        /// Time until a call can try again.
        retry_after: Duration,
    },
    /// HTTP/2 refused the stream, or the connection went away before it (REFUSED_STREAM, GOAWAY).
    #[error("the server refused the stream")]
    Refused(#[source] Arc<hyper::Error>),
    /// The caller's deadline passed during the wait for a connection or for a place on one.
    #[error("the deadline passed before the request was sent")]
    TimedOut,
    /// The path is not a method path: a mistake in the calling program.
    #[error("{path:?} is not a path")]
    InvalidPath {
        /// The path that was given.
        path: String,
    },
}

/// Why a request that was handed to the connection has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The caller's deadline passed. The server has the same deadline, but may have acted before.
    #[error("the deadline passed before the reply came")]
    TimedOut,
    /// The connection or the stream broke before the reply was complete.
    #[error("the connection broke before the reply was complete")]
    Connection(#[source] hyper::Error),
    /// The reply is larger than [`crate::ClientConfig::reply_bytes_max`].
    #[error("the reply is larger than {max} bytes")]
    ReplyTooLarge {
        /// The bound.
        max: usize,
    },
    /// The reply is a success of another protocol: another kind of server listens there.
    #[error("the reply is not Connect: content type {content_type:?}")]
    NotConnect {
        /// The content type of that reply.
        content_type: String,
    },
}

/// A base URL that the client cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{base_url:?} is not http://host[:port]: {reason}")]
pub struct InvalidBaseUrl {
    /// The URL that was given.
    pub base_url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Distinguishes a refused request from a lost one.
///
/// `returned` says that hyper gave the request back unsent. Otherwise the HTTP/2 error decides, and only two
/// errors are proof: the peer's REFUSED_STREAM (RFC 9113, 8.7: not processed), and the peer's GOAWAY as the
/// failure of *our stream*. h2 reports the latter only for streams beyond the last one the peer will process,
/// or never opened; streams that the peer may have processed end in an I/O error instead.
///
/// One race is left in that: GOAWAY may arrive after our HEADERS left and before hyper polled the stream
/// again. Then hyper gives the stream up with the same error. It is harmless because
/// [`super::exchange::RequestBody`] never lets HEADERS end the stream: without the body's end no server hands
/// the request to a handler.
pub(super) fn classify(error: hyper::Error, returned: bool) -> ClientError {
    if returned || is_refusal(&error) {
        NotSent::Refused(Arc::new(error)).into()
    } else {
        Lost::Connection(error).into()
    }
}

fn is_refusal(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<h2::Error>() {
            let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
            return cause.is_remote() && (refused || cause.is_go_away());
        }
        source = cause.source();
    }
    false
}
