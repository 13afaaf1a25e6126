//! Time as the data service needs it: wall time to mint with, and a clock that counts sleep to judge leases by.

use std::sync::atomic::{AtomicU64, Ordering};

/// The two clocks, as a parameter.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since 1970-01-01T00:00Z. May step.
    fn wall_us(&self) -> u64;
    /// Nanoseconds since boot, the machine's sleep included. Never steps back.
    fn boot_ns(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_us(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 reads as 0 and mints nothing: ids begin in 2015.
        since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn boot_ns(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
    }
}

/// A clock that a test sets.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_us: AtomicU64,
    boot_ns: AtomicU64,
}

impl ManualClock {
    /// Both clocks start where the wall clock is told to.
    #[must_use]
    pub fn at_wall_us(wall_us: u64) -> Self {
        Self { wall_us: AtomicU64::new(wall_us), boot_ns: AtomicU64::new(0) }
    }

    /// Sets the wall clock, forwards or back.
    pub fn set_wall_us(&self, wall_us: u64) {
        self.wall_us.store(wall_us, Ordering::SeqCst);
    }

    /// Both clocks go on.
    pub fn advance_us(&self, us: u64) {
        self.wall_us.fetch_add(us, Ordering::SeqCst);
        self.boot_ns.fetch_add(us * 1_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_us(&self) -> u64 {
        self.wall_us.load(Ordering::SeqCst)
    }

    fn boot_ns(&self) -> u64 {
        self.boot_ns.load(Ordering::SeqCst)
    }
}
