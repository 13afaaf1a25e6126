//! `cargo xtask sim`: the seeded histories, as many as one likes.

use anyhow::Result;

use crate::{
    cargo::{self, BENCH_MAX},
    process::Children,
    workspace::Workspace,
};

/// Test binaries with seeded histories: package, and the module that holds them.
const SIMULATIONS: [(&str, &str); 2] = [("weir-protect", "simulation::"), ("weir-data-service", "history::")];

/// Runs `seeds` histories of each kind; a violation is reported with its seed.
///
/// # Errors
/// When a history breaks a rule.
pub(crate) fn run(workspace: &Workspace, children: &Children, seeds: u64) -> Result<()> {
    for (package, module) in SIMULATIONS {
        let arguments =
            ["test", "--release", "--package", package, "--test", "it", "--", "--nocapture", module];
        let mut test = cargo::cargo(workspace, arguments);
        test.env("WEIR_SIM_SEEDS", seeds.to_string());
        children.run(&test, BENCH_MAX)?;
    }
    Ok(())
}
