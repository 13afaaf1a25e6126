//! The `X-RateLimit-*` headers, which every answer of a limited route has.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{bucket::RouteBucket, rate::Rate};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RESET_AFTER: HeaderName = HeaderName::from_static("x-ratelimit-reset-after");
const BUCKET: HeaderName = HeaderName::from_static("x-ratelimit-bucket");

/// How full a caller's bucket is after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketState {
    bucket: RouteBucket,
    limit: u32,
    remaining: u32,
    reset_after: Duration,
    reset_at: SystemTime,
}

impl BucketState {
    /// The state of a bucket that has `remaining` requests left of its rate. It is full again once the
    /// requests that were taken have come back.
    pub(super) fn after(bucket: RouteBucket, rate: Rate, remaining: u32, now: SystemTime) -> Self {
        let limit = rate.requests.get();
        let reset_after = rate.per / limit * limit.saturating_sub(remaining);
        Self { bucket, limit, remaining, reset_after, reset_at: now + reset_after }
    }

    /// Writes all headers of the set: a client that finds only some of them assumes a limit of 1. Only a 429
    /// has the header for the scope, so it is not written here.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, seconds(self.reset_at.duration_since(UNIX_EPOCH).unwrap_or_default()));
        headers.insert(RESET_AFTER, seconds(self.reset_after));
        headers.insert(BUCKET, HeaderValue::from_static(self.bucket.id()));
    }
}

/// Seconds with three decimals, rounded up: a client that waits exactly this long must not come too early.
fn seconds(duration: Duration) -> HeaderValue {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    HeaderValue::from_str(&text).expect("digits and a dot are a header value")
}
