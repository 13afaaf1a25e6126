//! Time as a parameter: monotonic nanoseconds for every decision, and wall milliseconds only for a rule's
//! expiry.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

/// A point on a [`Clock`]'s monotonic axis, in nanoseconds since an origin of the clock's choice.
///
/// Arithmetic saturates: 2^64 ns are 584 years, so saturation only ever means "never".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(u64);

impl Nanos {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// A point that no clock reaches: "no deadline".
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The point `duration` earlier; the origin if that is before it.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this point; zero when `earlier` is later, as after a step back of the
    /// clock.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

/// Source of time for the layer.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time. The limiter also tolerates a clock that steps back; see [`crate::limit::gcra`].
    fn now(&self) -> Nanos;

    /// Wall time in milliseconds since 1970-01-01T00:00Z; read only while some rule has an expiry.
    fn wall_ms(&self) -> u64;
}

/// The production clock: tokio's, so that a test with paused time also steers this crate.
#[derive(Debug, Clone)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock whose origin is now. Callers that exchange [`Nanos`] must share one clock.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    /// The point on this clock's axis that corresponds to `instant`; the origin if `instant` precedes it.
    #[must_use]
    pub fn at(&self, instant: tokio::time::Instant) -> Nanos {
        Nanos::ZERO.after(instant.saturating_duration_since(self.origin))
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Nanos {
        self.at(tokio::time::Instant::now())
    }

    fn wall_ms(&self) -> u64 {
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock for tests that moves only when told to; it may also be set back.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
    wall_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now` and wall time 0.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self { now_ns: AtomicU64::new(now.as_nanos()), wall_ms: AtomicU64::new(0) }
    }

    /// Moves both axes forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().after(duration));
        self.set_wall_ms(self.wall_ms() + u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    /// Sets the monotonic axis, also backwards, which simulates a stepping clock.
    pub fn set(&self, now: Nanos) {
        self.now_ns.store(now.as_nanos(), Ordering::Release);
    }

    /// Sets the wall axis.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Nanos {
        Nanos(self.now_ns.load(Ordering::Acquire))
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Acquire)
    }
}
