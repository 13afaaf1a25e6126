//! The binary weir: every tier in one process, and the operator's subcommands.

fn main() {}
