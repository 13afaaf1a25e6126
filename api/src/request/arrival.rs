//! When a request arrived.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time at which a request's head had arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival(SystemTime);

impl Arrival {
    /// The current time.
    pub(crate) fn now() -> Self {
        Self(SystemTime::now())
    }

    /// Microseconds since 1970-01-01T00:00Z.
    pub(crate) fn unix_us(self) -> u64 {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970-01-01T00:00Z.
    pub(crate) fn unix_ms(self) -> u64 {
        self.unix_us() / 1_000
    }
}
