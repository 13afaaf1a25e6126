//! A rate: how many requests are allowed in which time.

use std::{num::NonZeroU32, time::Duration};

/// `requests` requests in the time `per`. The caller may send all of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests of a full bucket.
    pub requests: NonZeroU32,
    /// Time in which an empty bucket fills; at least 1 ns for each request.
    pub per: Duration,
}

impl Rate {
    /// `requests` in `per`.
    #[must_use]
    pub const fn new(requests: NonZeroU32, per: Duration) -> Self {
        Self { requests, per }
    }
}
