//! Bounds of sockets and requests, with the origin of every default.

use std::time::Duration;

/// Bounds of what sockets and requests may cost before their sender is known.
#[derive(Debug, Clone)]
pub struct ApiBounds {
    /// Most open connections; one more is closed at once. Default 4,096: each takes a descriptor, and
    /// together they take a fifth of a customary hard limit of 20,000.
    pub connections_max: usize,
    /// Most requests under way; one more is answered 503. Default 2,048: with a body each they take 2 GiB at
    /// the very worst, and they are far more than the data service admits.
    pub requests_max: usize,
    /// Most concurrent requests on one HTTP/2 connection. Default 200, which is hyper's.
    pub streams_per_connection: u32,
    /// Most bytes of a request body. Default 1 MiB. Discord's 25 MiB are for attachments, which are not
    /// served yet; the largest valid message (2,000 code points and 6,000 of embeds, escaped) stays below 128
    /// KiB.
    pub body_bytes_max: usize,
    /// Longest time for a body to arrive. Default 15 s, in which 1 MiB arrives at 70 KiB/s.
    pub body_read_timeout: Duration,
    /// Longest silence before a request's head is complete. Default 15 s, which is longer than three
    /// retransmissions.
    pub header_read_timeout: Duration,
    /// Most bytes of a request's head. Default 16 KiB, because `X-Audit-Log-Reason` may take 4.5 KiB when
    /// URL-encoded.
    pub header_bytes_max: u32,
    /// Longest time for which a client may take none of a reply's bytes before its connection is dropped.
    /// Default 20 s.
    pub write_stall_timeout: Duration,
}

impl Default for ApiBounds {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            requests_max: 2_048,
            streams_per_connection: 200,
            body_bytes_max: 1 << 20,
            body_read_timeout: Duration::from_secs(15),
            header_read_timeout: Duration::from_secs(15),
            header_bytes_max: 16 << 10,
            write_stall_timeout: Duration::from_secs(20),
        }
    }
}
