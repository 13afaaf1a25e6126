//! The two clocks on which correctness depends, behind traits so that tests control the time.
//!
//! - *Boot time* ([`LeaseClock`]) measures how long something lasted, including sleep: a laptop or a paused
//!   virtual machine that wakes must find its leases expired. `std::time::Instant` does not count sleep on
//!   Linux. Boot times of different machines cannot be compared.
//! - *Wall time* ([`WallClock`]) stamps ids and rows. It may jump; code that needs an order takes the maximum
//!   with what it saw before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A time of this machine's boot clock: nanoseconds since the machine was started, including sleep.
///
/// It is comparable only on the machine and since the boot that it was read in. Never store or send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(u64);

impl BootInstant {
    /// The time `ns` nanoseconds after boot.
    pub const fn from_ns(ns: u64) -> BootInstant {
        BootInstant(ns)
    }

    /// Nanoseconds since boot; they overflow after 584 years.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// The time `duration` later, or the end of the clock's range if that is earlier.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> BootInstant {
        BootInstant(self.0.saturating_add(saturating_ns(duration)))
    }

    /// The time from `earlier` to this one; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: BootInstant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The current time on `CLOCK_BOOTTIME`. It costs one call that the kernel answers without a switch.
pub fn boot_clock() -> BootInstant {
    let time = clock_gettime(ClockId::Boottime);
    // The boot clock starts at zero, and its nanoseconds are below 10^9, so neither conversion can lose
    // anything.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let ns = u64::try_from(time.tv_nsec).unwrap_or(0);
    BootInstant(seconds.saturating_mul(1_000_000_000).saturating_add(ns))
}

/// A clock for leases. It never goes back and does not stop while the machine sleeps.
pub trait LeaseClock: Send + Sync + 'static {
    /// The current boot time.
    fn boot(&self) -> BootInstant;
}

/// A clock for ids and stamps. It may jump in either direction.
pub trait WallClock: Send + Sync + 'static {
    /// Microseconds since 1970-01-01T00:00Z; 0 for any earlier setting of the clock.
    fn wall_us(&self) -> u64;

    /// Milliseconds since 1970-01-01T00:00Z.
    fn wall_ms(&self) -> u64 {
        self.wall_us() / 1000
    }
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl LeaseClock for SystemClock {
    fn boot(&self) -> BootInstant {
        boot_clock()
    }
}

impl WallClock for SystemClock {
    fn wall_us(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Clocks that stand still until a test moves them.
#[derive(Debug)]
pub struct ManualClock {
    boot_ns: AtomicU64,
    wall_us: AtomicU64,
}

impl ManualClock {
    /// Clocks at `wall_us` of wall time and, as after a boot one second ago, 1 s of boot time.
    pub fn new(wall_us: u64) -> ManualClock {
        ManualClock { boot_ns: AtomicU64::new(1_000_000_000), wall_us: AtomicU64::new(wall_us) }
    }

    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        self.boot_ns.fetch_add(saturating_ns(by), Ordering::SeqCst);
        self.wall_us.fetch_add(saturating_ns(by) / 1000, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator or NTP would; boot time is not touched.
    pub fn set_wall_us(&self, wall_us: u64) {
        self.wall_us.store(wall_us, Ordering::SeqCst);
    }
}

impl LeaseClock for ManualClock {
    fn boot(&self) -> BootInstant {
        BootInstant(self.boot_ns.load(Ordering::SeqCst))
    }
}

impl WallClock for ManualClock {
    fn wall_us(&self) -> u64 {
        self.wall_us.load(Ordering::SeqCst)
    }
}

fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_runs_and_never_goes_back() {
        let first = boot_clock();
        assert!(first.as_ns() > 0);
        let mut last = first;
        for _ in 0..1000 {
            let now = boot_clock();
            assert!(now >= last);
            last = now;
        }
        assert!(last > first, "a thousand readings take longer than the clock's resolution");
    }

    #[test]
    fn the_wall_clock_agrees_with_the_systems() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let read = u128::from(SystemClock.wall_ms());
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!((before..=after).contains(&read));
    }

    #[test]
    fn manual_clocks_move_together_and_only_the_wall_can_be_set() {
        let clock = ManualClock::new(5_000_000);
        let boot = clock.boot();
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.boot().saturating_since(boot), Duration::from_millis(1500));
        assert_eq!((clock.wall_us(), clock.wall_ms()), (6_500_000, 6500));
        clock.set_wall_us(1);
        assert_eq!(clock.wall_us(), 1);
        assert_eq!(clock.boot().saturating_since(boot), Duration::from_millis(1500));
    }

    #[test]
    fn arithmetic_saturates() {
        let last = BootInstant::from_ns(u64::MAX);
        assert_eq!(last.saturating_add(Duration::MAX), last);
        assert_eq!(BootInstant::from_ns(1).saturating_since(last), Duration::ZERO);
    }
}
