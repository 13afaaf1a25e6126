//! Load tests against Weir on this machine.
//!
//! - [`arrival`]: open-loop schedules: requests are due at fixed times whatever the answers do, and latency counts from the due time, so a
//!   stalled server cannot hide its stall (no coordinated omission).
//! - [`recorder`]: latencies and failures of one stream of requests.
//! - [`target`]: the processes under test.
//! - [`scenario`]: what is asked.
//! - [`report`]: table, JSON and SVG.

mod arrival;
mod recorder;
mod report;
mod scenario;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "weir-loadtest", about = "Load tests against Weir on this machine")]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Stampedes one channel while quiet ones are read, gates on and off, side by side.
    HotChannel(scenario::hot_channel::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match arguments.scenario {
            Scenario::HotChannel(options) => scenario::hot_channel::run(options).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
