//! Decides when a lost connection may be tried again. The clock and the randomness are passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Pause after the first failure. A restarted process listens again within tens of milliseconds.
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// Longest pause. A server that comes back is found again within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Doublings after which [`PAUSE_MAX`] is reached.
const DOUBLINGS_MAX: u32 = 6;

const _: () = assert!(PAUSE_FIRST.as_millis() << DOUBLINGS_MAX >= PAUSE_MAX.as_millis());

/// The failures in a row and the pause that follows from them.
///
/// A connection counts as a failure until it has carried a reply. Otherwise a server that accepts and hangs
/// up (because it is full or the wrong one) would be redialled at the rate of the calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reconnect {
    failures: u32,
    not_before: Option<Instant>,
}

impl Reconnect {
    /// How long a caller at `now` must not connect; `None` if it may.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Notes a failure at `now`. `random` spreads the clients of a restarted server over half of the pause.
    pub(super) fn failed(&mut self, now: Instant, random: u64) {
        let full = PAUSE_FIRST.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX)).min(PAUSE_MAX);
        let half_us = u64::try_from(full.as_micros() / 2).unwrap_or(u64::MAX);
        let pause = Duration::from_micros(half_us + random % (half_us + 1));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    /// Notes that a connection carried a reply.
    pub(super) fn succeeded(&mut self) {
        *self = Reconnect::default();
    }
}

/// A number that differs between clients and calls; it need not be secret.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn success_forgets_the_failures() {
        let now = Instant::now();
        let mut reconnect = Reconnect::default();
        assert_eq!(reconnect.pause(now), None);
        reconnect.failed(now, 3);
        assert!(reconnect.pause(now).is_some());
        reconnect.succeeded();
        assert_eq!(reconnect.pause(now), None);
    }

    proptest! {
        /// Every pause lies between half and the whole of its step, steps double up to the maximum, and a
        /// pause ends.
        #[test]
        fn pauses_are_bounded(randoms in proptest::collection::vec(any::<u64>(), 1..40)) {
            let now = Instant::now();
            let mut reconnect = Reconnect::default();
            for (failures, random) in randoms.into_iter().enumerate() {
                reconnect.failed(now, random);
                let step = PAUSE_FIRST.saturating_mul(1 << failures.min(6)).min(PAUSE_MAX);
                let pause = reconnect.pause(now).unwrap();
                prop_assert!(step / 2 <= pause && pause <= step, "{pause:?} in step {step:?}");
                prop_assert_eq!(reconnect.pause(now + pause), None);
            }
        }
    }
}
