//! Clocks of the data service: wall time for minting, and a clock that counts sleep for judging leases.

pub use weir_runtime::clock::{LeaseClock, ManualClock, SystemClock, WallClock};

/// Both clocks, as one parameter.
pub trait Clock: WallClock + LeaseClock {}

impl<T: WallClock + LeaseClock> Clock for T {}
