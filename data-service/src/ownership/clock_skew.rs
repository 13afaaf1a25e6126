//! A clock that is behind the ids in the database: it, or another node's, had run ahead. No id is minted
//! until it has caught up, which may take hours. So its begin and end are logged once each, a metric shows
//! it, and the node is unready if it concerns every id. A clock that has just jumped ahead makes the node
//! unready too; see [`crate::steady`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_runtime::{Check, Registry, metrics::Gauge};

use super::mint::{AHEAD_MS_MAX, MintError, Minter};
use crate::steady::Steady;

/// Interval between checks whether the clock has caught up.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The greatest distance noticed by which stored ids lie ahead of the clock.
#[derive(Debug)]
pub struct ClockSkew {
    /// Milliseconds since 1970-01-01T00:00Z at which minting is possible again; 0 if it is possible now.
    until_ms: AtomicU64,
    seconds: Gauge,
}

impl ClockSkew {
    /// Registers the metric.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let seconds = registry.gauge(
            "weir_data_clock_ahead_seconds",
            "Seconds by which stored ids are ahead of this service's clock, so that none can be minted; 0 if they can",
        );
        Self { until_ms: AtomicU64::new(0), seconds }
    }

    /// Notes that an id could not be minted because it would have been this far ahead of the clock.
    pub(crate) fn noticed(&self, ahead_ms: u64, now_ms: u64) {
        let until_ms = now_ms + ahead_ms.saturating_sub(AHEAD_MS_MAX);
        let before = self.until_ms.fetch_max(until_ms, Ordering::AcqRel);
        self.seconds.set(gauge(ahead_ms));
        if before == 0 {
            tracing::error!(
                ahead_s = ahead_ms.div_ceil(1_000),
                "the clock is behind stored ids: creating is refused until it has caught up; set it right if it is slow"
            );
        }
    }

    /// Checks the clock; true as long as it lags.
    pub(crate) fn look(&self, now_ms: u64) -> bool {
        let until_ms = self.until_ms.load(Ordering::Acquire);
        if until_ms == 0 {
            return false;
        }
        if now_ms < until_ms {
            self.seconds.set(gauge(until_ms - now_ms + AHEAD_MS_MAX));
            return true;
        }
        // If the lag grew meanwhile, that begins the next one.
        if self.until_ms.compare_exchange(until_ms, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.seconds.set(0);
            tracing::info!("the clock has caught up with stored ids: creating goes on");
        }
        false
    }
}

fn gauge(ahead_ms: u64) -> i64 {
    i64::try_from(ahead_ms.div_ceil(1_000)).unwrap_or(i64::MAX)
}

/// The clock to check, and the ids that it dates.
pub(crate) struct Watched {
    pub(crate) clock: Arc<Steady>,
    pub(crate) minter: Arc<Minter>,
    pub(crate) skew: Arc<ClockSkew>,
}

/// Updates `check` and the metric.
pub(crate) fn tell(watched: &Watched, check: &Check) {
    let Watched { clock, minter, skew } = watched;
    let now_us = clock.wall_us();
    if let Err(jumped) = clock.check() {
        check.not_ready(jumped.to_string());
        return;
    }
    // Readiness covers only lags that concern every channel. If one channel's ids are ahead, its own changes
    // are refused and the others work.
    match minter.ahead(now_us) {
        Some(ahead_ms) => {
            skew.noticed(ahead_ms, now_us / 1_000);
            check.not_ready(MintError::Ahead { ahead_ms }.to_string());
        }
        None => check.ready(),
    }
    skew.look(now_us / 1_000);
}

/// Updates both regularly until `stop`.
pub(crate) async fn watch(watched: Watched, check: Check, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => tell(&watched, &check),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amount_is_shown_while_it_shrinks_and_the_end_is_seen_once() {
        let registry = Registry::new();
        let lag = ClockSkew::new(&registry);
        assert!(!lag.look(1_000));
        lag.noticed(3_600_000, 1_000);
        lag.noticed(1_500, 1_000);
        assert!(lag.look(1_001_000), "the farthest counts");
        assert!(registry.encode().contains("weir_data_clock_ahead_seconds 2600\n"), "{}", registry.encode());
        assert!(!lag.look(3_600_500));
        assert!(registry.encode().contains("weir_data_clock_ahead_seconds 0\n"));
        assert!(!lag.look(3_600_500));
    }
}
