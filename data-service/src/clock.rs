//! Time as the data service needs it: wall time to mint with, and a clock that counts sleep to judge leases by.

pub use weir_runtime::clock::{LeaseClock, ManualClock, SystemClock, WallClock};

/// Both clocks, as one parameter.
pub trait Clock: WallClock + LeaseClock {}

impl<T: WallClock + LeaseClock> Clock for T {}
