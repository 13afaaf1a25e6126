//! The parts that every Weir process needs, and nothing that only one tier needs.
//!
//! In the order in which a `main` uses them: [`config`] (read and validated, or every problem listed) →
//! [`telemetry`] → [`metrics`] → [`shutdown`] → [`admin`] (metrics, health, operators' calls) → [`process`]
//! (exit codes, build); [`launch`] is the frame around them, and [`tier`] that of a binary with one tier.
//! [`running`] is the file by which an operator's commands find a running process. [`clock`] holds the two
//! clocks that leases and ids depend on. [`descriptors`] and [`memory`] find out what the process may use and
//! cut bounds down to it; [`threads`] gives a part of the process threads of its own. [`strangers`] and
//! [`proxies`] bound what unauthenticated clients may cost a tier that clients reach.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod admin;
pub mod allowance;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod launch;
pub mod memory;
pub mod metrics;
pub mod process;
pub mod proxies;
pub mod running;
pub mod shutdown;
pub mod strangers;
pub mod telemetry;
pub mod threads;
pub mod tier;

pub use admin::{Admin, AdminToken, Check, Readiness};
pub use allowance::Allowance;
pub use clock::{BootInstant, LeaseClock, ManualClock, SystemClock, WallClock, boot_clock};
pub use config::{Effective, Environment, Problems, ProcessEnvironment, RawConfig, Reader};
pub use metrics::Registry;
pub use process::Exit;
pub use proxies::TrustedProxies;
pub use shutdown::Shutdown;
pub use strangers::Strangers;
pub use threads::Threads;
pub use tier::Tier;
pub use weir_connect::LogGate;
