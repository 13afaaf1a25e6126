//! Paths: the repository's root and xtask's own folder below `target/`.
//!
//! Everything that xtask downloads or writes stays in `target/xtask`. So `cargo clean` removes it all and
//! nothing outside the clone is touched, with one exception: Debian's Redis package, see [`crate::redis`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::process;

/// The repository and xtask's folders in it.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The repository that this xtask was built from.
    pub(crate) fn locate() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).context("infra/xtask lies two levels below the root")?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// Uses `root` as the repository, for tests of the source rules.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The repository's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// xtask's own folder for `part`, created if it is missing.
    pub(crate) fn own(&self, part: &str) -> Result<PathBuf> {
        let folder = self.root.join("target/xtask").join(part);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// Creates a fresh folder for the servers and data of this run. Its name has our process id, so two runs
    /// never share one, and a later run recognises the folders that a killed run left and removes them.
    pub(crate) fn run_folder(&self) -> Result<PathBuf> {
        let parent = self.own("")?;
        remove_abandoned(&parent).context("remove folders of runs that were killed")?;
        self.own(&format!("{RUN_PREFIX}{}", std::process::id()))
    }

    /// Removes the folder of a run that has ended.
    pub(crate) fn remove_run_folder(&self, folder: &Path) -> Result<()> {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
    }

    /// A binary of a build, in its profile's folder (`debug`, `release`).
    pub(crate) fn built(&self, profile: &str, name: &str) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        self.root().join(target).join(profile).join(name)
    }
}

/// Start of the name of every run's folder. The process id follows it.
const RUN_PREFIX: &str = "run-";

fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(RUN_PREFIX)).and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| !process::is_alive(pid)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
