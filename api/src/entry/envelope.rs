//! The outermost layer. It gives every answer `Via` and the CORS headers, counts it and takes its time.
//!
//! Without `Via` one client library does not retry a 429 and another takes it for a ban. hyper adds `Date`.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;
use weir_connect::{ChargeTo, Instead, KeepUntilSent, Peer, SlowDown};
use weir_runtime::LogGate;

use crate::{
    answer::error::{Fault, Refused},
    app::App,
    entry::prefix::strip_version,
    metrics::{ApiMetrics, UNMATCHED},
    request::{arrival::Arrival, client::Client},
};

const VIA: HeaderValue = HeaderValue::from_static("1.1 weir");
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");
/// The headers that a browser's script may read besides the simple ones.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Date, Retry-After, Via, X-RateLimit-Bucket, X-RateLimit-Global, X-RateLimit-Limit, X-RateLimit-Remaining, \
     X-RateLimit-Reset, X-RateLimit-Reset-After, X-RateLimit-Scope",
);
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, X-Audit-Log-Reason, X-Super-Properties");
/// One day. The answer never changes, and browsers cap the time at two hours or a day.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// How often a fault of one kind is logged.
const FAULT_LOG_EVERY: Duration = Duration::from_secs(10);

/// Most answers that are held back at once. Each takes some KiB with its stream, so all of them take a few
/// MiB.
const LATE_MAX: usize = 1_024;

/// What the layer holds. Clones share it.
#[derive(Clone)]
pub(crate) struct Envelope(Arc<Parts>);

struct Parts {
    app: App,
    metrics: ApiMetrics,
    /// One permit for each answer that is held back (`slow_down`).
    late: Semaphore,
    /// One permit for each request under way, kept until its reply is sent. There are `bounds.requests_max`
    /// of them.
    under_way: Arc<Semaphore>,
    fault_log: LogGate,
    /// Sent instead of an answer for which there is no room in memory.
    no_room: Arc<http::Response<Bytes>>,
}

impl Envelope {
    pub(crate) fn new(app: App, metrics: ApiMetrics) -> Self {
        let requests_max = app.config.bounds.requests_max.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Parts {
            app,
            metrics,
            late: Semaphore::new(LATE_MAX),
            under_way: Arc::new(Semaphore::new(requests_max)),
            fault_log: LogGate::new(FAULT_LOG_EVERY),
            no_room: Arc::new(no_room()),
        }))
    }
}

/// Wraps every request, also one that no route matches.
pub(crate) async fn wrap(
    State(Envelope(parts)): State<Envelope>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let route = route_label(&request);
    let peer = request.extensions().get::<Peer>().copied();
    let proxies = &parts.app.config.trusted_proxies;
    let client = Client::of(proxies, request.headers(), peer);
    request.extensions_mut().insert(client);
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        match Arc::clone(&parts.under_way).try_acquire_owned() {
            Ok(permit) => {
                request.extensions_mut().insert(Arrival::now());
                let mut response = next.run(request).await;
                // The request is under way until its client has read the reply.
                response.extensions_mut().insert(KeepUntilSent::new(permit));
                response
            }
            // The request is not queued: a queue would only add to the latency of the admitted ones.
            Err(_full) => Refused::busy().into_response(),
        }
    };
    add_common_headers(response.headers_mut());
    response.extensions_mut().insert(Instead(Arc::clone(&parts.no_room)));
    if let Some(Fault { kind, message }) = response.extensions_mut().remove() {
        parts.metrics.fault(kind);
        // A fault lasts, and every request meets it. So each kind is logged once in a while.
        if let Some(held_back) = parts.fault_log.pass(kind, tokio::time::Instant::now()) {
            tracing::warn!(
                kind,
                error = message,
                route,
                status = response.status().as_u16(),
                held_back,
                "a data call failed"
            );
        }
    }
    parts.metrics.answered(&route, response.status(), started.elapsed());
    if let Some(Peer(peer)) = peer
        && is_free(&response)
    {
        // A proxy's connection carries the requests of other clients too.
        let own = !proxies.trusts(peer.ip());
        slow_down(&parts, client.address(), own, &mut response).await;
    }
    response
}

/// Holds an answer back for as long as its client has to pause. If too many answers are held back already,
/// the connection is not read for that time, if it is the client's own (`own`).
async fn slow_down(parts: &Parts, client: IpAddr, own: bool, response: &mut Response) {
    let pause = parts.app.strangers.answered(client, tokio::time::Instant::now());
    if pause.is_zero() {
        return;
    }
    // A request that is held back must not keep its place among the requests under way.
    drop(response.extensions_mut().remove::<KeepUntilSent>());
    match parts.late.try_acquire() {
        Ok(_place) => tokio::time::sleep(pause).await,
        Err(_full) if own => drop(response.extensions_mut().insert(SlowDown(pause))),
        Err(_full) => {}
    }
}

/// The answer for which there always is room. It says that too many requests are under way.
fn no_room() -> http::Response<Bytes> {
    let mut response = Refused::busy().into_bytes();
    add_common_headers(response.headers_mut());
    response
}

/// True if no caller was charged for the answer, so that its client may ask as fast as it can: it sent no
/// token, or one that no user has, or it is above its rate limits. A refusal by a channel's limit is not
/// free, because a hot channel must not slow down callers who also read others.
fn is_free(response: &Response) -> bool {
    response.extensions().get::<ChargeTo>().is_none()
}

fn add_common_headers(headers: &mut HeaderMap) {
    headers.insert(header::VIA, VIA);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// Any origin may ask, because authority is the token that the script itself holds, never a cookie.
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    headers.insert(PRIVATE_NETWORK, HeaderValue::from_static("true"));
    response
}

/// The method and the path's template. It never is the path itself, nor a method that no route has.
fn route_label(request: &Request) -> String {
    let Some(matched) = request.extensions().get::<MatchedPath>() else { return UNMATCHED.to_owned() };
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    format!("{method} {}", strip_version(matched.as_str()))
}
