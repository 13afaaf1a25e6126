//! Real processes for tests and scenarios. No binary that we ship links this crate.
//!
//! - [`Child`]: a process that ends with its owner; [`command`]: runs one of our binaries, in an environment
//!   without our variables.
//! - [`Process`]: a server that is killed and started again on the same addresses, as a supervisor would do
//!   it.
//! - [`free_addresses`], [`any_free_addresses`]: addresses for a server; [`address`]: the address that a
//!   server printed.
//! - [`http`] and [`is_ready`]: requests to a server.
//! - [`redis_server`]: the one third-party server that several crates start for their tests.
//!
//! Everything here blocks. Tests may block, and so may scenarios in their own task, which does not run on the
//! runtime's threads.

mod child;
mod free;
mod process;
mod requests;

pub use self::{
    child::{Child, Signal, address, command},
    free::{any_free_addresses, free_addresses},
    process::{Process, Program, Ready, redis_server},
    requests::{http, is_ready},
};
