//! Random lengths of time.

use std::time::Duration;

use fastrand::Rng;

/// A random length of time from `least` to `most`, with a resolution of a millisecond.
pub(crate) fn between(random: &mut Rng, least: Duration, most: Duration) -> Duration {
    // Tests use lengths of time far below 2^64 ms.
    let span = most.saturating_sub(least).as_millis() as u64;
    least + Duration::from_millis(random.u64(..=span))
}
