//! Real processes for tests and scenarios. No binary that we ship links this.
//!
//! - [`Child`]: a process that ends with its owner; [`command`]: one of ours, in an environment without ours.
//! - [`Process`]: a server that is killed and started again on the same addresses, as a supervisor would do it.
//! - [`free_addresses`], [`any_free_addresses`]: where a server can listen; [`address`]: where it said that it does.
//! - [`http`] and [`is_ready`]: requests to it.
//! - [`redis_server`]: the one server of other people that several crates start for their tests.
//!
//! Everything here blocks. A test may do that, and so may a scenario in its own task, which runs on no thread of
//! the runtime's.

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
