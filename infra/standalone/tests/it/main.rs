//! Tests the binary as its users run it: with real processes, real sockets, and one data directory for each
//! test.

mod cluster;
mod commands;
mod direct;
mod import;
mod process;
mod serve;
