//! Load tests against Weir on this machine.
//!
//! - [`arrival`]: open-loop schedules. Requests are due at fixed times whatever the answers do, and latency
//!   counts from the due time, so a stalled server cannot hide its stall (no coordinated omission).
//! - [`recorder`]: latencies and failures of one stream of requests.
//! - [`target`]: the data service under test; [`process`]: binaries, listeners and commands of all scenarios.
//! - [`machine`]: what load and server share.
//! - [`place`]: a guild with channels to begin with.
//! - [`rest`]: a client of the REST api that hides no failure.
//! - [`random`]: random lengths of time.
//! - [`evidence`]: the seed, data and logs that a run leaves.
//! - [`scenario`]: the scenarios.
//! - [`table`]: streams of requests side by side; JSON and SVG are `weir-report`'s.

#![expect(clippy::print_stdout, reason = "reports go to standard output, progress to standard error")]

mod arrival;
mod evidence;
mod machine;
mod place;
mod process;
mod random;
mod recorder;
mod rest;
mod scenario;
mod table;
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
    /// Sets and lifts a limit while its channel is hot: how soon it acts, and what the change itself admits.
    LimitChange(scenario::limit_change::Options),
    /// Attacks a server of its own with hostile clients: what it may cost, and what innocents notice.
    Attack(scenario::attack::Options),
    /// Connects sessions of one guild, sends messages to all of them, and tells what each costs the server.
    Fanout(scenario::fanout::Options),
    /// Kills processes while people write and bots listen, and checks that nothing is lost, doubled or out of
    /// order.
    Kills(scenario::kills::Options),
    /// Empties the event bus under traffic and in silence, and checks that everything still arrives, once, in
    /// order and soon.
    BusLosses(scenario::kills::losses::Options),
    /// Kills imports, continues them, and checks that all of the file is there in order.
    ImportKills(scenario::import_kills::Options),
    /// Clients of every kind come and go for half an hour: memory must be flat.
    Soak(scenario::soak::Options),
    /// Checks through REST that a running server holds exactly what a chat file holds.
    VerifyImport(scenario::import_kills::VerifyOptions),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    if matches!(arguments.scenario, Scenario::HotChannel(_)) {
        builder.on_thread_start(machine::yield_to_others);
    }
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match arguments.scenario {
            Scenario::HotChannel(options) => scenario::hot_channel::run(options).await,
            Scenario::LimitChange(options) => scenario::limit_change::run(options).await,
            Scenario::Attack(options) => scenario::attack::run(options).await,
            Scenario::Fanout(options) => scenario::fanout::run(options).await,
            Scenario::Kills(options) => scenario::kills::run(options).await,
            Scenario::BusLosses(options) => scenario::kills::losses::run(options).await,
            Scenario::ImportKills(options) => scenario::import_kills::run(options).await,
            Scenario::Soak(options) => scenario::soak::run(options).await,
            Scenario::VerifyImport(options) => scenario::import_kills::verify(options).await,
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
