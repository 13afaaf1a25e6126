//! Calls of cargo, with bounds on the time that they may take.

use std::{process::Command, time::Duration};

use crate::workspace::Workspace;

/// Longest check, lint or documentation build. A cold one takes 4-5 min on two cores.
pub(crate) const CHECK_MAX: Duration = Duration::from_secs(20 * 60);

/// Longest build and run of all tests. The whole of CI must stay below 45 min on two cores.
pub(crate) const TEST_MAX: Duration = Duration::from_secs(30 * 60);

/// Longest benchmark. Those like criterion's take minutes; the load tests decide for themselves.
pub(crate) const BENCH_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// `cargo ARGUMENTS` in the repository's root, run by the cargo that runs xtask.
pub(crate) fn cargo<'a>(workspace: &Workspace, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace.root());
    command
}
