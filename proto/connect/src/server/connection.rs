//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::ServerConfig;
use super::connected::Connected;
use super::sent::{Sending, Streams};
use super::socket::{Protocol, Socket};

/// Most headers of one HTTP/1.1 request; more is refused with 431. hyper's default is 100; Connect clients
/// send about ten.
const HTTP1_HEADERS_MAX: usize = 64;

/// Smallest read buffer that hyper accepts for HTTP/1.1.
const HTTP1_BUFFER_MIN: usize = 8 << 10;

/// Window that each HTTP/2 stream may fill before the server reads. 256 KiB carries a whole batch without a
/// round trip.
const STREAM_WINDOW: u32 = 256 << 10;

/// Window of a whole HTTP/2 connection: the bytes it can hold that no handler has taken yet. 1 MiB, hyper's
/// default.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// How often in the stall timeout an HTTP/2 connection looks for replies that do not move. So a reply is cut
/// after one to one and a quarter of the timeout.
const CHECKS_PER_STALL: u32 = 4;

/// hyper's settings for HTTP/1.1, made once, and the values from which those for HTTP/2 are made.
pub(super) struct Protocols {
    http1: hyper::server::conn::http1::Builder,
    config: ServerConfig,
}

impl Protocols {
    pub(super) fn new(config: ServerConfig) -> Protocols {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_read_timeout)
            .max_headers(HTTP1_HEADERS_MAX)
            .max_buf_size(HTTP1_BUFFER_MIN.max(config.header_bytes_max as usize));
        Protocols { http1, config }
    }

    fn http2(&self, streams: Streams) -> hyper::server::conn::http2::Builder<Streams> {
        let mut http2 = hyper::server::conn::http2::Builder::new(streams);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.config.streams_per_connection)
            .max_header_list_size(self.config.header_bytes_max)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(self.config.keep_alive_interval)
            .keep_alive_timeout(self.config.keep_alive_timeout);
        http2
    }
}

/// Serves one connection until it ends or, after `stop`, until its requests in flight are answered.
pub(super) async fn serve<A, F, B>(
    stream: TcpStream,
    peer: Arc<Connected>,
    protocols: Arc<Protocols>,
    answer: A,
    stop: CancellationToken,
) where
    A: Fn(Request<Incoming>, &Connected) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let config = &protocols.config;
    let detected = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        detected = tokio::time::timeout(
            config.header_read_timeout,
            Socket::detect(stream, Arc::clone(&peer), config.write_stall_timeout),
        ) => detected,
    };
    let (protocol, socket) = match detected {
        Ok(Ok(detected)) => detected,
        Ok(Err(error)) => return tracing::debug!(%error, "connection ended before its first request"),
        Err(_elapsed) => return tracing::debug!("connection sent nothing and was dropped"),
    };
    let io = TokioIo::new(socket);
    let ended = match protocol {
        Protocol::Http1 => {
            let service = service_fn(move |request| {
                let sending = Sending::new(Arc::clone(&peer));
                let answered = answer(request, &peer);
                async move { Ok::<_, Infallible>(sending.reply(answered.await, false)) }
            });
            let mut connection = std::pin::pin!(protocols.http1.serve_connection(io, service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        Protocol::Http2 => {
            let streams = Streams::new();
            let http2 = protocols.http2(streams.clone());
            let of_requests = Arc::clone(&peer);
            let service = service_fn(move |request| {
                let sending = Sending::new(Arc::clone(&of_requests));
                streams.hand_over(&sending);
                let answered = answer(request, &of_requests);
                async move { Ok::<_, Infallible>(sending.reply(answered.await, true)) }
            });
            let mut connection = std::pin::pin!(http2.serve_connection(io, service));
            let mut watch = Watch::new(&peer, config);
            loop {
                tokio::select! {
                    ended = connection.as_mut() => break ended,
                    () = stop.cancelled(), if !watch.leaving() => {
                        connection.as_mut().graceful_shutdown();
                        watch.leave(None);
                    }
                    () = tokio::time::sleep_until(watch.next) => match watch.check(Instant::now()) {
                        Finding::Fine => {}
                        Finding::Idle(until) => {
                            tracing::debug!(peer = %peer.addr.0, "an idle connection is told to go");
                            connection.as_mut().graceful_shutdown();
                            watch.leave(Some(until));
                        }
                        Finding::Stuck => return tracing::debug!(peer = %peer.addr.0, "a stuck connection was cut"),
                    },
                }
            }
        }
    };
    if let Err(error) = ended {
        // It is ordinary that clients vanish. Errors of a request were answered or logged where they
        // occurred.
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended with an error");
    }
}

/// Watches an HTTP/2 connection for replies that do not move, and for idleness. HTTP/1.1 has one request at a
/// time, and the socket's timeouts see both.
struct Watch<'a> {
    peer: &'a Connected,
    config: &'a ServerConfig,
    /// When the connection is looked at next.
    next: Instant,
    every: Duration,
    /// The peer's moves at the last look, and since when the count has not changed.
    moves: u64,
    since: Instant,
    /// The connection was told to go. If that was for idleness, `until` is when it must be gone.
    leaving: bool,
    until: Option<Instant>,
}

/// What a look at a connection finds.
enum Finding {
    Fine,
    /// The connection had no request for the idle time, and has until then to go.
    Idle(Instant),
    /// The connection was told to go and did not, or it takes none of its replies.
    Stuck,
}

impl Watch<'_> {
    fn new<'a>(peer: &'a Connected, config: &'a ServerConfig) -> Watch<'a> {
        let now = Instant::now();
        let every = config.write_stall_timeout.min(config.idle_timeout) / CHECKS_PER_STALL;
        Watch { peer, config, next: now + every, every, moves: 0, since: now, leaving: false, until: None }
    }

    fn leaving(&self) -> bool {
        self.leaving
    }

    fn leave(&mut self, until: Option<Instant>) {
        (self.leaving, self.until) = (true, until);
    }

    fn check(&mut self, now: Instant) -> Finding {
        self.next = now + self.every;
        let stall = self.config.write_stall_timeout;
        let cut = self.peer.slow.cut(now, stall);
        if cut > 0 {
            tracing::debug!(peer = %self.peer.addr.0, cut, "replies that nobody reads were reset");
        }
        let moves = self.peer.moves.load(Ordering::Relaxed);
        if moves != self.moves || self.peer.unsent.load(Ordering::Relaxed) == 0 {
            (self.moves, self.since) = (moves, now);
        }
        // Replies whose end is queued cannot be reset. They go with their connection, one look after the
        // others have been reset.
        let given_up = now.duration_since(self.since) >= stall + self.every && cut == 0;
        if given_up || self.until.is_some_and(|until| until <= now) {
            return Finding::Stuck;
        }
        let idle = self.peer.idle() && u128::from(self.peer.quiet()) >= self.config.idle_timeout.as_millis();
        if idle && !self.leaving {
            return Finding::Idle(now + self.config.keep_alive_timeout);
        }
        Finding::Fine
    }
}
