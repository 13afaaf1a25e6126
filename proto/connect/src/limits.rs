//! Bounds of one request.

use std::time::Duration;

/// Bounds of one request.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// Most bytes of one request body, compressed or not; a larger one gets `resource_exhausted`. Default 4
    /// MiB: gRPC's and Connect's customary limit, and eight times the largest batch that Weir commits.
    pub request_bytes_max: usize,
    /// Longest time to receive a body; a slower one gets `deadline_exceeded`. Default 10 s: 4 MiB over a 3
    /// Mbit/s line.
    pub body_read_timeout: Duration,
    /// Longest time for one call, body included, at most some centuries. It clamps the caller's timeout and
    /// stands in for a missing one: otherwise a caller that sets no deadline could hold a handler for ever.
    /// Default 60 s: a guess at the patience of any caller. The protocol allows servers to clamp.
    pub request_timeout_max: Duration,
}

impl Default for RequestLimits {
    fn default() -> RequestLimits {
        RequestLimits {
            request_bytes_max: 4 << 20,
            body_read_timeout: Duration::from_secs(10),
            request_timeout_max: Duration::from_secs(60),
        }
    }
}
