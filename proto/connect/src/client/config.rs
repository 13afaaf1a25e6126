//! The bounds of a client, with the origin of each.

use std::time::Duration;

/// Bounds of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `http://host[:port]`, without path. Plain HTTP/2 with prior knowledge.
    pub base_url: String,
    /// Connections, at least 1. Default 2: one connection is one task, thus one core, on either side. With
    /// two, a burst on one does not delay the other; more only spread the same frames thinner.
    pub connections: usize,
    /// Most requests in flight on one connection; further callers wait for a place within their timeout.
    /// Default 200, the server's own bound ([`crate::ServerConfig::streams_per_connection`]): further
    /// requests would wait inside HTTP/2, where they cannot be distinguished from sent ones.
    pub streams_per_connection: usize,
    /// Longest time to connect, name resolution included. Default 1 s: a retransmitted SYN still gets through
    /// once.
    pub connect_timeout: Duration,
    /// Timeout of a call that sets none. Default 10 s.
    pub timeout_default: Duration,
    /// Most bytes of one reply. Default 16 MiB: a hundred times the largest page of messages.
    pub reply_bytes_max: usize,
    /// How often a connection is pinged, idle or busy. Default 10 s.
    pub keep_alive_interval: Duration,
    /// How long the answer to a ping may take before the connection is given up. Default 5 s.
    pub keep_alive_timeout: Duration,
}

impl ClientConfig {
    /// The defaults for `base_url`.
    pub fn new(base_url: impl Into<String>) -> ClientConfig {
        ClientConfig {
            base_url: base_url.into(),
            connections: 2,
            streams_per_connection: 200,
            connect_timeout: Duration::from_secs(1),
            timeout_default: Duration::from_secs(10),
            reply_bytes_max: 16 << 20,
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(5),
        }
    }
}
