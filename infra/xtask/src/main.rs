//! Developer tasks: test, ci, bench, cassandra, redis.

mod cassandra;
mod log;
mod process;
mod redis;
mod servers;
mod steps;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{process::Lifetime, workspace::Workspace};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Developer tasks of Weir")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// A Cassandra node of your own on 127.0.0.1.
    #[command(subcommand)]
    Cassandra(servers::Action),
    /// A Redis server of your own on 127.0.0.1.
    #[command(subcommand)]
    Redis(servers::Action),
    /// Becomes another program that dies with its parent, or in a session of its own (used by xtask itself).
    #[command(hide = true)]
    ExecChild {
        lifetime: Lifetime,
        #[arg(last = true, required = true)]
        argv: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    if let Task::ExecChild { lifetime, argv } = &task {
        match process::become_child(*lifetime, argv)? {}
    }
    let workspace = Workspace::locate()?;
    let children = process::Children::with_signal_thread()?;
    match task {
        Task::Cassandra(action) => servers::cassandra(&workspace, &children, &action)?,
        Task::Redis(action) => servers::redis(&workspace, &children, &action)?,
        Task::ExecChild { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
