//! The bounds of a server, with the origin of each.

use std::time::Duration;

use super::memory::Memory;
use crate::limits::RequestLimits;

/// Bounds of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Most open connections. For one more, the peer that has most makes room: its longest idle connection is
    /// closed, or one whose requests have not moved for ten seconds. If it has none of these, the newcomer is
    /// closed. Default 1024: each takes a descriptor, and 1024 is the customary soft limit of a process.
    pub connections_max: usize,
    /// Most concurrent requests on one HTTP/2 connection. Default 200: hyper's, and also the client's own
    /// bound for each connection.
    pub streams_per_connection: u32,
    /// Longest silence before the first bytes of a connection decide its protocol, and before an HTTP/1.1
    /// request's head is complete (also between keep-alive requests). Default 15 s: longer than three
    /// retransmissions, shorter than a load balancer's idle time.
    pub header_read_timeout: Duration,
    /// Most bytes of a request's head. Default 16 KiB: tokens like Discord's and trace headers need under 2
    /// KiB.
    pub header_bytes_max: u32,
    /// Longest time for which a write may make no progress before the connection is dropped, and a reply's
    /// stream before it is reset. Default 20 s.
    pub write_stall_timeout: Duration,
    /// How often an HTTP/2 connection is pinged. Default 20 s.
    pub keep_alive_interval: Duration,
    /// How long the answer to a ping may take. Default 10 s.
    pub keep_alive_timeout: Duration,
    /// How long an HTTP/2 connection may be without a request, though it answers pings, before it gets
    /// GOAWAY. Default 100 s: longer than the 90 s after which Go's and Rust's usual clients close theirs.
    pub idle_timeout: Duration,
    /// Bounds of the memory that clients may make the server hold.
    pub memory: Memory,
    /// Bounds of one request.
    pub requests: RequestLimits,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            connections_max: 1024,
            streams_per_connection: 200,
            header_read_timeout: Duration::from_secs(15),
            header_bytes_max: 16 << 10,
            write_stall_timeout: Duration::from_secs(20),
            keep_alive_interval: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(100),
            memory: Memory::default(),
            requests: RequestLimits::default(),
        }
    }
}
