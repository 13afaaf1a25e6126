//! Makes one HTTP/2 connection.

use std::sync::Arc;

use http::uri::Authority;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::config::ClientConfig;
use super::error::NotSent;
use super::request::RequestBody;

/// Port of plain HTTP.
const HTTP_PORT: u16 = 80;

/// Window that each reply may fill before it is read. 1 MiB holds many pages of messages; smaller windows
/// cost a round trip for each further page.
const STREAM_WINDOW: u32 = 1 << 20;

/// Window of all replies of one connection together; it bounds what the connection can hold unread.
const CONNECTION_WINDOW: u32 = 4 << 20;

pub(super) type Http2Sender = hyper::client::conn::http2::SendRequest<RequestBody>;

/// Connects within the configured time and starts the task that drives the connection. The task ends with the
/// connection, which ends when the last sender is dropped.
pub(super) async fn connect(authority: &Authority, config: &ClientConfig) -> Result<Http2Sender, NotSent> {
    match tokio::time::timeout(config.connect_timeout, establish(authority, config)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(NotSent::ConnectTimedOut(config.connect_timeout)),
    }
}

async fn establish(authority: &Authority, config: &ClientConfig) -> Result<Http2Sender, NotSent> {
    // The host of an IPv6 authority keeps its brackets, which name resolution does not accept.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(HTTP_PORT)))
        .await
        .map_err(|error| NotSent::Connect(Arc::new(error)))?;
    // Requests are written whole; Nagle's delay would only add to their latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(config.streams_per_connection)
        .keep_alive_interval(config.keep_alive_interval)
        .keep_alive_timeout(config.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| NotSent::Refused(Arc::new(error)))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // Each call in flight reports the error; here it only explains the reconnect that follows.
            tracing::debug!(error = &error as &dyn std::error::Error, "connection lost");
        }
    });
    Ok(sender)
}
