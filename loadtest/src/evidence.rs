//! The evidence of a run: its seed, its violations, one JSON object on the last line, and after a failure its
//! data and logs.

use std::{fmt::Display, path::Path};

use anyhow::{Result, ensure};
use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;

/// Most violations that are shown one by one; the others are counted.
const SHOWN_MAX: usize = 40;

/// The seed of a run, and the directory of its data and logs.
pub(crate) struct Evidence {
    pub(crate) seed: u64,
    directory: TempDir,
}

impl Evidence {
    /// Uses the given seed or a random one, and shows it so that the run can be repeated.
    pub(crate) fn new(seed: Option<u64>) -> Result<Self> {
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        let directory = tempfile::tempdir()?;
        eprintln!("seed {seed}; data and logs in {}", directory.path().display());
        Ok(Self { seed, directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A random generator that starts from the seed.
    pub(crate) fn random(&self) -> Rng {
        Rng::with_seed(self.seed)
    }

    /// Removes the directory if the run succeeded. Otherwise keeps it and says where it is.
    pub(crate) fn after(self, outcome: Result<()>) -> Result<()> {
        let kept = || format!("data and logs are kept in {}", self.directory.keep().display());
        outcome.map_err(|error| error.context(kept()))
    }
}

/// Prints the violations, and on the last line `result` with their number.
///
/// # Errors
/// If there are any.
pub(crate) fn judge(violations: &[impl Display], mut result: Value) -> Result<()> {
    for violation in violations.iter().take(SHOWN_MAX) {
        println!("VIOLATION {violation}");
    }
    if violations.len() > SHOWN_MAX {
        println!("and {} more", violations.len() - SHOWN_MAX);
    }
    result["ok"] = violations.is_empty().into();
    result["violations"] = violations.len().into();
    println!("{result}");
    ensure!(violations.is_empty(), "{} violations", violations.len());
    Ok(())
}
