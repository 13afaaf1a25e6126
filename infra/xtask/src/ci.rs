//! `cargo xtask ci`: everything that a change must pass, cheapest first.

use anyhow::Result;

use crate::{
    cargo::{self, CHECK_MAX},
    deny, mutants,
    process::Children,
    proto_golden,
    steps::Steps,
    test::{self, Selection},
    tidy,
    workspace::Workspace,
};

/// Runs all checks and then all tests.
pub(crate) fn run(workspace: &Workspace, children: &Children, steps: &mut Steps) -> Result<()> {
    let run =
        |arguments: &[&str]| children.run(&cargo::cargo(workspace, arguments.iter().copied()), CHECK_MAX);
    steps.run("fmt", || run(&["fmt", "--all", "--check"]));
    steps.run("tidy", || tidy::run(workspace));
    steps.run("mutants apply", || mutants::check(workspace));
    steps.run("proto compatibility", || proto_golden::check(workspace));
    steps.set_up("deny", || deny::check(workspace, children));
    steps.run("clippy", || run(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    steps.run("docs", || {
        let mut doc = cargo::cargo(workspace, ["doc", "--no-deps", "--workspace"]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        children.run(&doc, CHECK_MAX)
    });
    test::run(workspace, children, &Selection::default(), steps)?;
    steps.run("changed mutants", || mutants::run_changed(workspace, children));
    Ok(())
}
