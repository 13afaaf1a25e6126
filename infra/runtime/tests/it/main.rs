//! Integration tests: real sockets, a real signal, and a process's real standard error.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod http1;
mod process;
