//! The binary `weir`: every tier in one process, and the operator's subcommands.
//!
//! [`cli`] defines the command line, [`config`] the settings. [`serve`] runs the tiers; the other subcommands
//! ([`command`]) call the data service that [`reach`] finds. [`import`] and [`limit`] hold the parts of the
//! larger subcommands, [`output`] and [`error`] their results. Nothing exists only here: the tiers are the
//! libraries that the binaries of each tier link too.

mod cli;
mod command;
mod config;
mod error;
mod import;
mod limit;
mod memory;
mod output;
mod reach;
mod serve;

use std::process::ExitCode;

use time::UtcOffset;
use weir_runtime::{Exit, ProcessEnvironment, launch, telemetry};

use crate::{
    cli::{Cli, Command},
    command::Context,
    config::Config,
    error::CommandError,
    output::Output,
};

/// Longest argument, in bytes; the operating system's longest path.
const ARGUMENT_BYTES_MAX: usize = 4_096;

fn main() -> ExitCode {
    // This comes first, while the process has one thread. With several, the time zone cannot be read safely
    // from the environment.
    let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    if std::env::args_os().any(|argument| argument.len() > ARGUMENT_BYTES_MAX) {
        // This message does not repeat the argument, as clap's would.
        return launch::wrong_usage(&format!("weir: an argument is longer than {ARGUMENT_BYTES_MAX} bytes"));
    }
    let cli: Cli = match launch::command_line() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let output = Output::new(cli.common.json);
    match run(cli, offset, output) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let exit = error.exit();
            output.failed(&error.chain(), exit);
            exit.into()
        }
    }
}

fn run(cli: Cli, offset: UtcOffset, output: Output) -> Result<(), CommandError> {
    let Cli { common, serve: before, command } = cli;
    let (serve, command) = match command {
        Some(Command::Serve(serve)) => (serve.or(before), None),
        Some(other) => {
            before.none()?;
            (before, Some(other))
        }
        None => (before, None),
    };
    let serving = command.is_none() || common.admin.is_none();
    let (config, effective) = Config::load(&common, &serve, serving, &ProcessEnvironment)?;
    if serve.check_config {
        let shown = if common.json { effective.to_json().to_string() } else { effective.to_string() };
        return output::line(&shown).map_err(CommandError::Print);
    }
    telemetry::install(if command.is_some() { &config.log_of_commands } else { &config.log })?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let outcome = match command {
        Some(command) => {
            let context = Context { common, config, offset };
            let done = runtime.block_on(command.run(&context));
            done.and_then(|done| output.done(&done).map_err(CommandError::Print))
        }
        None => runtime.block_on(serve::serve(config, common.json)).map_err(CommandError::Serve),
    };
    runtime.shutdown_timeout(launch::LAST_THREADS);
    outcome
}
