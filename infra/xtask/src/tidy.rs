//! `tidy`: the rules of this repository that neither rustc nor clippy can check.
//!
//! Each rule is a pure function from its input to the violations in it, and every rule has tests that break
//! it.

mod circles;
mod graph;
mod layers;
mod modules;
mod names;
mod sources;

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, process, workspace::Workspace};

/// Runs every rule and reports all violations at once.
///
/// # Errors
/// With one line for each violation.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let graph = graph::Graph::parse(&metadata(workspace)?)?;
    let mut violations = sources::check(workspace.root())?;
    violations.extend(circles::check(workspace.root())?);
    violations.extend(names::check(workspace.root())?);
    violations.extend(layers::check(&graph));
    if violations.is_empty() {
        return Ok(());
    }
    bail!("{} violations:\n  {}", violations.len(), violations.join("\n  "))
}

/// Output of `cargo metadata` for the platform that the services run on.
fn metadata(workspace: &Workspace) -> Result<String> {
    let arguments = ["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let mut command: Command = cargo::cargo(workspace, arguments);
    let output = command.output().with_context(|| format!("run {}", process::shown(&command)))?;
    if !output.status.success() {
        bail!("cargo metadata ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("cargo metadata prints UTF-8")
}
