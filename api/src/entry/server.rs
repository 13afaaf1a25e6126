//! Connections of the REST tier. `weir-connect`'s server stands in front of the router: HTTP/1.1 and HTTP/2
//! with prior knowledge on one port, a bound on connections, timeouts for silence and for stalled writes, and
//! a graceful stop.
//!
//! [`crate::router`] knows what a request means. Bodies have their own bounds in [`crate::request::body`].

use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use weir_connect::{Drained, Memory, Server, ServerConfig};

use crate::bounds::ApiBounds;

/// Serves `router` until `stop` is cancelled, then refuses new connections, lets requests under way finish
/// for at most `drain`, and cuts the connections that are left.
///
/// # Cancel safety
/// Dropping the future cuts every connection at once.
pub(crate) async fn serve(
    listener: TcpListener,
    router: axum::Router,
    bounds: &ApiBounds,
    memory: Memory,
    stop: CancellationToken,
    drain: Duration,
) -> Drained {
    let config = ServerConfig {
        connections_max: bounds.connections_max,
        streams_per_connection: bounds.streams_per_connection,
        header_read_timeout: bounds.header_read_timeout,
        header_bytes_max: bounds.header_bytes_max,
        write_stall_timeout: bounds.write_stall_timeout,
        memory,
        ..ServerConfig::default()
    };
    let routes = router.into_service::<Body>();
    let answer = move |request: Request<Incoming>| {
        // A router is always ready, and its clone shares the routes.
        let answered = routes.clone().call(request.map(Body::new));
        async move {
            match answered.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    Server::new(listener, config).serve_http(answer, stop, drain).await
}
