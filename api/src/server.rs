//! Connections of the REST tier: HTTP/1.1 and HTTP/2 with prior knowledge on one port, their bounds, and the graceful stop.
//!
//! Nothing a client does or leaves undone holds memory without bound: connections are counted, silence before the first request and
//! between HTTP/1.1 requests is timed, HTTP/2 peers must answer pings, and a peer that stops reading is dropped after a stalled write.
//! What a request means is [`crate::router`]'s; bodies have their own bounds in [`crate::body`].

mod stall;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::config::Bounds;
use stall::StallTimeout;

/// Pause after a failed accept. Such failures (out of descriptors) last until connections close; retrying at once would only spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Most headers of one HTTP/1.1 request; more is refused with 431. hyper's default is 100; browsers behind proxies send about 40.
const HTTP1_HEADERS_MAX: usize = 100;
/// Smallest read buffer that hyper accepts for HTTP/1.1.
const HTTP1_BUFFER_MIN: usize = 8 << 10;
/// How often an HTTP/2 connection is pinged, and how long the answer may take: the idle time of customary load balancers is above both.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because the drain deadline passed; 0 after a clean stop.
    pub connections_cut: usize,
}

/// Serves `router` until `stop` is cancelled, then refuses new connections, lets requests under way finish for at most `drain`, and cuts
/// the connections that are left.
///
/// # Cancel safety
/// Dropping the future cuts every connection at once.
pub(crate) async fn serve(
    listener: TcpListener,
    router: axum::Router,
    bounds: &Bounds,
    stop: CancellationToken,
    drain: Duration,
) -> Drained {
    let protocols = Arc::new(Protocols::new(bounds));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => {}
            stream = accept(&listener) => {
                if connections.len() >= bounds.connections_max {
                    // Closing tells the client at once; leaving it in the backlog would let it wait for nothing.
                    tracing::warn!(connections_max = bounds.connections_max, "connection refused: too many are open");
                    continue;
                }
                connections.spawn(connection(stream, Arc::clone(&protocols), router.clone(), stop.clone()));
            }
        }
    }
    // Closed before the drain, so that new connections are refused and a load balancer tries another node.
    drop(listener);
    let drained = tokio::time::timeout(drain, async { while connections.join_next().await.is_some() {} });
    let connections_cut = match drained.await {
        Ok(()) => 0,
        Err(_elapsed) => connections.len(),
    };
    connections.shutdown().await;
    Drained { connections_cut }
}

/// The next connection. Waits through failures of accepting, which are the process's and pass.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                // Replies are written whole; Nagle's delay would only add to their latency.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY was not set");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// hyper's settings for both protocols, made once.
struct Protocols {
    builder: auto::Builder<TokioExecutor>,
    first_request_max: Duration,
    write_stall_timeout: Duration,
}

impl Protocols {
    fn new(bounds: &Bounds) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.header_read_timeout)
            .max_headers(HTTP1_HEADERS_MAX)
            .max_buf_size(HTTP1_BUFFER_MIN.max(bounds.header_bytes_max as usize));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.streams_per_connection)
            .max_header_list_size(bounds.header_bytes_max)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER_MAX);
        Self {
            builder,
            first_request_max: bounds.header_read_timeout,
            write_stall_timeout: bounds.write_stall_timeout,
        }
    }
}

/// Serves one connection until it ends or, after `stop`, until its requests under way are answered.
async fn connection(
    stream: TcpStream,
    protocols: Arc<Protocols>,
    router: axum::Router,
    stop: CancellationToken,
) {
    let io = TokioIo::new(StallTimeout::new(stream, protocols.write_stall_timeout));
    let asked = Arc::new(AtomicBool::new(false));
    let service = FirstRequest { inner: TowerToHyperService::new(router), asked: Arc::clone(&asked) };
    let mut connection = std::pin::pin!(protocols.builder.serve_connection(io, service));
    // hyper-util's protocol detection has no time limit of its own: a client that connects and stays silent, or sends half of HTTP/2's
    // preface, would stay for ever.
    let silence = tokio::time::sleep(protocols.first_request_max);
    tokio::pin!(silence);
    let mut watched = true;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
            () = &mut silence, if watched => {
                if !asked.load(Ordering::Relaxed) {
                    tracing::debug!("connection sent no request and was dropped");
                    return;
                }
                watched = false;
            }
        }
    };
    if let Err(error) = ended {
        // Clients that vanish are everyday; what a request met was already answered or logged where it was met.
        tracing::debug!(error = &*error, "connection ended with an error");
    }
}

/// Notes that a request has arrived.
struct FirstRequest {
    inner: TowerToHyperService<axum::Router>,
    asked: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for FirstRequest {
    type Response = <TowerToHyperService<axum::Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<axum::Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<axum::Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        self.inner.call(request)
    }
}
