//! Developer tasks: `cargo xtask test|long|ci|bench|tidy|mutants|proto-golden|cassandra|redis`.
//!
//! CI calls the same names (`.ci/run`), so what passes here passes there.

#![expect(clippy::print_stdout, reason = "a command-line tool answers on stdout; progress goes to stderr")]

mod bench;
mod cargo;
mod cassandra;
mod ci;
mod clients;
mod deny;
mod log;
mod long;
mod mutants;
mod process;
mod proto_golden;
mod redis;
mod run_servers;
mod servers;
mod sim;
mod steps;
mod test;
mod tidy;
mod weir;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{process::Lifetime, steps::Steps, workspace::Workspace};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Developer tasks of Weir")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Set up what the tests need (Redis, Cassandra, client libraries) and run everything.
    Test(test::Selection),
    /// Runs that are too long for every change, by name; without a name all of them.
    Long(long::Chosen),
    /// Everything a change must pass: formatting, lints, docs, rules, tests.
    Ci,
    /// The rules that neither rustc nor clippy check: layers, circles, names, sources.
    Tidy,
    /// Put the known mistakes of infra/mutants back, one at a time, and see that their tests fail.
    Mutants(mutants::Wanted),
    /// Compare the .proto files with proto/compat.golden.
    ProtoGolden {
        /// Write the golden file.
        #[arg(long)]
        bless: bool,
        /// Let --bless forget lines that clients may rely on.
        #[arg(long, requires = "bless")]
        accept_breaking: bool,
    },
    /// Run a benchmark; what follows its name goes to it.
    Bench {
        name: bench::Bench,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Attack a release build with hostile clients, one attack after the other, and print what each cost.
    Attack {
        /// Passed on: `--only ATTACK`, `--seconds N`, …
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Race reads and writes in virtual time, with seeds that repeat: the layer alone, then the data service
    /// over a store that fails.
    Sim {
        /// Histories of each kind; a second takes some fifty of the data service.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
    },
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
    let mut steps = Steps::of_environment();
    match task {
        Task::Test(selection) => {
            test::run(&workspace, &children, &selection, &mut steps)?;
            return Ok(steps.finish());
        }
        Task::Long(chosen) => {
            long::run(&workspace, &children, &chosen, &mut steps)?;
            return Ok(steps.finish());
        }
        Task::Ci => {
            ci::run(&workspace, &children, &mut steps)?;
            return Ok(steps.finish());
        }
        Task::Tidy => tidy::run(&workspace)?,
        Task::Mutants(wanted) => mutants::run(&workspace, &children, &wanted)?,
        Task::ProtoGolden { bless: true, accept_breaking } => {
            proto_golden::bless(&workspace, accept_breaking)?
        }
        Task::ProtoGolden { bless: false, .. } => proto_golden::check(&workspace)?,
        Task::Bench { name, arguments } => bench::run(&workspace, &children, name, &arguments)?,
        Task::Attack { arguments } => bench::run(&workspace, &children, bench::Bench::Attack, &arguments)?,
        Task::Sim { seeds } => sim::run(&workspace, &children, seeds)?,
        Task::Cassandra(action) => servers::cassandra(&workspace, &children, &action)?,
        Task::Redis(action) => servers::redis(&workspace, &children, &action)?,
        Task::ExecChild { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
