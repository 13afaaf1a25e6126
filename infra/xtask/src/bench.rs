//! `cargo xtask bench NAME`: one name for each benchmark, wherever its code lives.

use anyhow::Result;

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
    if let Bench::Attack
    | Bench::Soak
    | Bench::Fanout
    | Bench::Kills
    | Bench::BusLosses
    | Bench::ImportKills
    | Bench::HotChannel
    | Bench::LimitChange
    | Bench::Import = bench
    {
        // These benchmarks start binaries that must lie beside their own.
        let build = cargo::cargo(workspace, ["build", "--release", "--workspace", "--bins"]);
        children.run(&build, TEST_MAX)?;
    }
    let mut command = match bench {
        Bench::Protect => cargo::cargo(workspace, ["bench", "-p", "weir-protect", "--"]),
        Bench::Connect => cargo::cargo(workspace, ["bench", "-p", "weir-connect", "--"]),
        Bench::HotChannel => scenario(workspace, "hot-channel"),
        Bench::LimitChange => scenario(workspace, "limit-change"),
        Bench::Import => {
            cargo::cargo(workspace, ["bench", "-p", "weir-data-service", "--bench", "import", "--"])
        }
        Bench::Creates => {
            cargo::cargo(workspace, ["bench", "-p", "weir-data-service", "--bench", "creates", "--"])
        }
        Bench::Attack => scenario(workspace, "attack"),
        Bench::Soak => scenario(workspace, "soak"),
        Bench::Fanout => scenario(workspace, "fanout"),
        Bench::Kills => scenario(workspace, "kills"),
        Bench::BusLosses => scenario(workspace, "bus-losses"),
        Bench::ImportKills => scenario(workspace, "import-kills"),
        Bench::VerifyImport => scenario(workspace, "verify-import"),
    };
    command.args(arguments);
    children.run(&command, BENCH_MAX)
}

fn scenario(workspace: &Workspace, name: &str) -> std::process::Command {
    cargo::cargo(workspace, ["run", "--release", "-p", "weir-loadtest", "--", name])
}
