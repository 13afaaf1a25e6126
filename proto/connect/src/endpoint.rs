//! HTTP to Connect: checks a request's form, calls the dispatch, and writes its answer as an HTTP reply.
//!
//! It is generic over the request's body, so that another HTTP server (the admin listener's) can mount it.
//!
//! A request is checked in this order, cheapest first: path (404), HTTP method (405), content type (415),
//! protocol version, timeout, content encoding. Its body is read only after all of them. Every refusal is
//! Connect error JSON. The three with a number here use a status other than their code's own, because the
//! protocol or plain HTTP asks for it.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;
use tokio::time::Instant;

use crate::body::{self, Encoding, receive};
use crate::budget::{Account, Hold};
use crate::codec::Codec;
use crate::decoded;
use crate::dispatch::{Dispatch, UnaryRequest, UnaryResponse};
use crate::error::ConnectError;
use crate::headers;
use crate::limits::RequestLimits;
use crate::server::{BodyAccount, Memory};

/// A [`Dispatch`] behind HTTP. Clones share the dispatch.
///
/// Bodies are held on the [`BodyAccount`] that the server put into the request, or else on an account of the
/// endpoint's own.
#[derive(Clone)]
pub struct Endpoint {
    // One `Arc`, so that each request clones one count instead of three.
    shared: Arc<Shared>,
}

struct Shared {
    dispatch: Arc<dyn Dispatch>,
    limits: RequestLimits,
    bodies: Account,
}

impl Endpoint {
    /// Makes an endpoint that answers from `dispatch` within `limits`.
    pub fn new(dispatch: Arc<dyn Dispatch>, limits: RequestLimits) -> Endpoint {
        let bodies = Memory::default().bodies.account(Ipv4Addr::UNSPECIFIED.into());
        Endpoint { shared: Arc::new(Shared { dispatch, limits, bodies }) }
    }

    /// Answers one HTTP request. It never fails: every failure is a reply.
    ///
    /// # Cancel safety
    /// Dropping the future drops its call to the dispatch.
    // The head is checked before the future is made, and only what the call needs of it moves in. An async
    // function would hold the whole request for as long as the call lasts, and its future would exceed the
    // sizes that the allocator serves quickly.
    pub fn answer<B>(&self, request: Request<B>) -> impl Future<Output = Response<Full<Bytes>>> + use<B>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let arrived = Instant::now();
        let (parts, mut body) = request.into_parts();
        let checked = self.check(&parts);
        let account = parts.extensions.get::<BodyAccount>().map(|account| account.0.clone());
        let mut request = UnaryRequest {
            path: Cow::Owned(parts.uri.path().to_owned()),
            codec: Codec::Proto,
            headers: parts.headers,
            timeout: None,
            body: Bytes::new(),
        };
        let shared = Arc::clone(&self.shared);
        async move {
            let call = match checked {
                Ok(call) => call,
                Err(refusal) => return *refusal,
            };
            let deadline = arrived + call.patience;
            // The hold outlives the call, because the dispatch holds the bytes until it is done.
            let mut hold = match shared.receive(&mut body, account, call.encoding, arrived, deadline).await {
                Ok((bytes, hold)) => {
                    request.body = bytes;
                    hold
                }
                Err(error) => return failure(error),
            };
            request.codec = call.codec;
            if let Err(error) = shared.hold_decoded(&request, &mut hold) {
                return failure(error);
            }
            request.timeout = Some(deadline.saturating_duration_since(Instant::now()));
            let mut answered = shared.dispatch.call(request);
            match within(deadline, answered.as_mut()).await {
                Some(Ok(response)) => success(call.codec, response),
                Some(Err(error)) => failure(error),
                None => failure(expired()),
            }
        }
    }

    /// Checks all that can be known from the head alone.
    fn check(&self, parts: &http::request::Parts) -> Result<Call, Box<Response<Full<Bytes>>>> {
        let path = parts.uri.path();
        if !self.shared.dispatch.serves(path) {
            let error = ConnectError::unimplemented(format!("no method {path}"));
            return Err(Box::new(refusal(StatusCode::NOT_FOUND, error, None)));
        }
        if parts.method != Method::POST {
            let error = ConnectError::unimplemented(format!("{} is not supported: use POST", parts.method));
            let allow = (header::ALLOW, HeaderValue::from_static("POST"));
            return Err(Box::new(refusal(StatusCode::METHOD_NOT_ALLOWED, error, Some(allow))));
        }
        let Some(codec) = parts.headers.get(header::CONTENT_TYPE).and_then(Codec::from_content_type) else {
            let error =
                ConnectError::unimplemented("content-type must be application/proto or application/json");
            let accept = (headers::ACCEPT_POST, Codec::ACCEPTED);
            return Err(Box::new(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, Some(accept))));
        };
        let allowed = self.shared.limits.request_timeout_max;
        let checked = headers::check_version(&parts.headers).and_then(|()| {
            let patience = headers::timeout(&parts.headers)?.map_or(allowed, |timeout| timeout.min(allowed));
            let encoding = Encoding::of(&parts.headers)?;
            if patience.is_zero() { Err(expired()) } else { Ok(Call { codec, encoding, patience }) }
        });
        checked.map_err(|error| Box::new(failure(error)))
    }
}

impl Shared {
    /// Holds the bytes that a large body takes once it is decoded.
    ///
    /// # Errors
    /// `resource_exhausted` if one caller may never hold that much, `unavailable` if there is no room for it
    /// now.
    fn hold_decoded(&self, request: &UnaryRequest, hold: &mut Hold) -> Result<(), ConnectError> {
        if request.body.len() <= decoded::EXAMINED_ABOVE {
            return Ok(());
        }
        let bytes = self.dispatch.decoded_bytes(&request.path, request.codec, &request.body);
        let most = hold.bounds().peer;
        if bytes > most.saturating_sub(hold.bytes()) {
            return Err(ConnectError::resource_exhausted(format!(
                "the request's message takes {bytes} bytes of memory, more than the {most} that one caller may hold: send less at once"
            )));
        }
        body::grow(hold, bytes).map_err(|full| body::BodyError::from(full).into())
    }

    async fn receive<B>(
        &self,
        body: &mut B,
        account: Option<Account>,
        encoding: Encoding,
        arrived: Instant,
        deadline: Instant,
    ) -> Result<(Bytes, Hold), ConnectError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let too_slow = arrived + self.limits.body_read_timeout;
        let received = pin!(receive(body, encoding, &self.limits, account.as_ref().unwrap_or(&self.bodies)));
        // One timer serves both limits.
        within(deadline.min(too_slow), received).await.unwrap_or_else(|| {
            Err(if deadline <= too_slow {
                expired()
            } else {
                ConnectError::deadline_exceeded(format!(
                    "the request body was not complete within {:?}",
                    self.limits.body_read_timeout
                ))
            })
        })
    }
}

/// The output of `future`, or `None` if the deadline passes first.
///
/// The timer is made at the second poll: most calls are ready at the first (the body has arrived with the
/// head, the reply is cached), and a timer costs more than such a call.
///
/// It borrows the future, because an async function that takes one holds it twice, and these futures are
/// large.
pub(crate) async fn within<F: Future + ?Sized>(
    deadline: Instant,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        // The timer is boxed, because it is the exception and would double the future for all calls.
        Poll::Pending => Box::pin(tokio::time::timeout_at(deadline, future)).await.ok(),
    }
}

/// What the head of a request asks for.
#[derive(Clone, Copy)]
struct Call {
    codec: Codec,
    encoding: Encoding,
    /// Time that the whole call may take: the caller's timeout, clamped.
    patience: Duration,
}

fn expired() -> ConnectError {
    ConnectError::deadline_exceeded("the deadline passed before the call finished")
}

fn success(codec: Codec, response: UnaryResponse) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(response.body));
    *reply.headers_mut() = response.headers;
    reply.headers_mut().insert(header::CONTENT_TYPE, codec.content_type());
    reply
}

/// The HTTP reply that carries `error`, with the status of its code. It serves listeners that refuse a
/// request before an [`Endpoint`] sees it.
pub fn failure(error: ConnectError) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    refusal(status, error, None)
}

fn refusal(
    status: StatusCode,
    mut error: ConnectError,
    extra: Option<(http::HeaderName, HeaderValue)>,
) -> Response<Full<Bytes>> {
    let mut headers: HeaderMap = error.take_headers();
    headers.insert(header::CONTENT_TYPE, Codec::Json.content_type());
    headers.extend(extra);
    let mut reply = Response::new(Full::new(error.to_json()));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}
