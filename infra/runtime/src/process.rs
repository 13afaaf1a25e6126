//! How a process presents itself: its exit codes and what it was built from.

use std::fmt;
use std::process::ExitCode;

/// Why a process ended, for scripts. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: the process did what was asked.
    Ok,
    /// 1: the process tried and failed.
    Failed,
    /// 2: the command line or the configuration is wrong; nothing was done.
    Usage,
    /// 3: the server refused (a limit, a permission).
    Refused,
    /// 4: the server could not be reached.
    Unreachable,
}

/// Exit code after a second signal: 128 + SIGINT, which a shell reports for a process that the signal killed.
pub(crate) const EXIT_FORCED: i32 = 130;

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Unreachable => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The version and origin of this binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The workspace's version.
    pub version: &'static str,
    /// The commit or package that a release build was made from: `WEIR_BUILD_ID` at compile time, else `dev`.
    pub id: &'static str,
}

impl Build {
    /// This build.
    pub const fn current() -> Build {
        let id = match option_env!("WEIR_BUILD_ID") {
            Some(id) => id,
            None => "dev",
        };
        Build { version: env!("CARGO_PKG_VERSION"), id }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let all = [Exit::Ok, Exit::Failed, Exit::Usage, Exit::Refused, Exit::Unreachable];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_build_names_the_workspace_version() {
        assert!(Build::current().to_string().starts_with(env!("CARGO_PKG_VERSION")));
    }
}
