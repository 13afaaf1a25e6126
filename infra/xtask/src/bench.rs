//! `cargo xtask bench NAME`: one name for each benchmark, wherever its code lives.

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;

use crate::{
    cargo::{self, BENCH_MAX, TEST_MAX},
    process::Children,
    workspace::Workspace,
};

/// The benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bench {
    /// The protection layer alone: cost of a gate, of a flight, of a limiter's check.
    Protect,
    /// Unary calls over loopback: the Connect server and client.
    Connect,
    /// Readers and writers of one hot channel, through the whole stack.
    HotChannel,
    /// A limit set and lifted while its channel is hot.
    LimitChange,
    /// `weir import` beside the raw store; name a chat file.
    Import,
    /// Sessions of one guild connect, and messages go to all of them.
    Fanout,
    /// Creates at full speed.
    Creates,
    /// Cold newest pages of the data service, beside the raw driver.
    Reads,
    /// Hostile clients against a server with few descriptors and little memory.
    Attack,
    /// Processes killed while people write and bots listen: nothing may be lost, doubled or out of order.
    Kills,
    /// The event bus emptied under traffic and in silence: the same, and nothing may be late.
    BusLosses,
    /// Imports killed and continued: what is there must be the file.
    ImportKills,
    /// Half an hour with clients of every kind coming and going: memory must be flat.
    Soak,
    /// A chat file compared with a running server, page by page.
    VerifyImport,
}

/// Runs `bench`; `arguments` go to it unchanged.
///
/// # Errors
/// If it fails or is not written yet.
pub(crate) fn run(
    workspace: &Workspace,
    children: &Children,
    bench: Bench,
    arguments: &[String],
) -> Result<()> {
    if !matches!(bench, Bench::Protect | Bench::Connect | Bench::Creates | Bench::Reads | Bench::VerifyImport)
    {
        // These benchmarks start binaries that must lie beside their own.
        let build = cargo::cargo(workspace, ["build", "--release", "--workspace", "--bins"]);
        children.run(&build, TEST_MAX)?;
    }
    let of_crate: &[&str] = match bench {
        Bench::Protect => &["-p", "weir-protect"],
        Bench::Connect => &["-p", "weir-connect"],
        Bench::Import => &["-p", "weir-data-service", "--bench", "import"],
        Bench::Creates => &["-p", "weir-data-service", "--bench", "creates"],
        Bench::Reads => &["-p", "weir-data-service", "--bench", "reads"],
        // The others are scenarios of the load tests, with the same names.
        _ => &[],
    };
    let name = bench.to_possible_value().context("every benchmark has a name")?;
    let before = match of_crate {
        [] => vec!["run", "--release", "-p", "weir-loadtest", "--", name.get_name()],
        of_crate => [&["bench"][..], of_crate, &["--"]].concat(),
    };
    let mut command = cargo::cargo(workspace, before);
    command.args(arguments);
    children.run(&command, BENCH_MAX)
}
