//! `cargo xtask sim`: runs any number of seeded histories.

use anyhow::Result;

use crate::{
    cargo::{self, BENCH_MAX},
    process::Children,
    workspace::Workspace,
};

/// Test binaries with seeded histories: the package, and the module that has them.
const SIMULATIONS: [(&str, &str); 2] = [("weir-protect", "simulation::"), ("weir-data-service", "history::")];

/// Runs `seeds` histories of each kind; a violation is reported with its seed.
///
/// # Errors
/// If a history breaks a rule.
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
