//! The rules for other people's packages in deny.toml, which cargo-deny checks.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    cargo::CHECK_MAX,
    clients,
    process::{self, Children},
    steps::Setup,
    workspace::Workspace,
};

const PROGRAM: &str = "cargo-deny";

/// Runs the cargo-deny of this machine with all its checks. If there is none, installs the pinned one and
/// leaves out its advisories, because their database is a git repository on a host of its own.
///
/// # Errors
/// If a rule is broken, or the installation fails. A missing Python is a skip.
pub(crate) fn check(workspace: &Workspace, children: &Children) -> Result<Setup<()>> {
    let (program, checks): (PathBuf, &[&str]) = if process::in_path(PROGRAM) {
        (PROGRAM.into(), &["all"])
    } else {
        let pins = workspace.root().join("infra/xtask/requirements.txt");
        eprintln!("xtask: {PROGRAM} is not installed on this machine; advisories stay unchecked");
        match clients::python(&workspace.own("deny")?, &pins, children)? {
            Setup::Ready(programs) => (programs.join(PROGRAM), &["bans", "licenses", "sources"]),
            Setup::Skipped(reason) => return Ok(Setup::Skipped(reason)),
        }
    };
    let mut deny = Command::new(program);
    deny.args(["--workspace", "check"]).args(checks).current_dir(workspace.root());
    children.run(&deny, CHECK_MAX).map(Setup::Ready)
}
