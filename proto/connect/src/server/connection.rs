//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::ServerConfig;
use super::socket::{Protocol, Socket};

/// Most headers of one HTTP/1.1 request; more is refused with 431. hyper's default is 100; Connect clients send about ten.
const HTTP1_HEADERS_MAX: usize = 64;

/// Smallest read buffer that hyper accepts for HTTP/1.1.
const HTTP1_BUFFER_MIN: usize = 8 << 10;

/// Window that each HTTP/2 stream may fill before the server reads. 256 KiB carries a whole batch without a round trip.
const STREAM_WINDOW: u32 = 256 << 10;

/// Window of a whole HTTP/2 connection: the bytes it can hold that no handler has taken yet. 1 MiB, hyper's default.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// hyper's settings for both protocols, made once.
pub(super) struct Protocols {
    http1: hyper::server::conn::http1::Builder,
    http2: hyper::server::conn::http2::Builder<TokioExecutor>,
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
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.streams_per_connection)
            .max_header_list_size(config.header_bytes_max)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(config.keep_alive_interval)
            .keep_alive_timeout(config.keep_alive_timeout);
        Protocols { http1, http2, config }
    }
}

/// Serves one connection until it ends or, after `stop`, until its requests in flight are answered.
pub(super) async fn serve<A, F, B>(
    stream: TcpStream,
    protocols: Arc<Protocols>,
    answer: A,
    stop: CancellationToken,
) where
    A: Fn(Request<Incoming>) -> F + Send + 'static,
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
            Socket::detect(stream, config.write_stall_timeout),
        ) => detected,
    };
    let (protocol, socket) = match detected {
        Ok(Ok(detected)) => detected,
        Ok(Err(error)) => return tracing::debug!(%error, "connection ended before its first request"),
        Err(_elapsed) => return tracing::debug!("connection sent nothing and was dropped"),
    };
    let io = TokioIo::new(socket);
    let service = service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let ended = match protocol {
        Protocol::Http1 => {
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
            let mut connection = std::pin::pin!(protocols.http2.serve_connection(io, service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        // Clients that vanish are everyday; what a request met was already answered or logged where it was met.
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended with an error");
    }
}
