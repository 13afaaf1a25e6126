//! The binary as its users have it: real processes, real sockets, one data directory for each test.

mod cluster;
mod commands;
mod direct;
mod import;
mod process;
mod serve;
