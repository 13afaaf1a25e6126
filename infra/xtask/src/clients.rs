//! Installs the client libraries of the acceptance bots as their users install them, and programs that come
//! as Python packages, once for each set of pinned versions.
//!
//! The bots' pins are in `infra/acceptance`. Lock files are not kept, because they name the hosts of package
//! registries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    process::{self, Children},
    steps::Setup,
    workspace::Workspace,
};

/// Longest installation of one library. On a good connection it takes 4-6 s.
const INSTALL_MAX: Duration = Duration::from_secs(300);

/// Installs discord.py in a virtual environment of its own.
///
/// # Errors
/// If the installation fails. A missing Python is a skip.
pub(crate) fn discord_py(workspace: &Workspace, children: &Children) -> Result<Setup<Command>> {
    let bots = workspace.root().join("infra/acceptance");
    let home = workspace.own("clients/python")?;
    let programs = match python(&home, &bots.join("requirements.txt"), children)? {
        Setup::Ready(programs) => programs,
        Setup::Skipped(reason) => return Ok(Setup::Skipped(reason)),
    };
    let mut bot = Command::new(programs.join("python"));
    bot.arg(bots.join("bot_discordpy.py"));
    Ok(Setup::Ready(bot))
}

/// Installs the pinned packages in a virtual environment below `home`. Returns the folder of its programs.
///
/// # Errors
/// If the installation fails. A missing Python is a skip.
pub(crate) fn python(home: &Path, pins: &Path, children: &Children) -> Result<Setup<PathBuf>> {
    if !process::in_path("python3") {
        return Ok(Setup::Skipped("python3 is not in PATH".to_owned()));
    }
    let programs = home.join("venv/bin");
    install(home, pins, |pins| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(home.join("venv"));
        children.run(&venv, INSTALL_MAX)?;
        let mut pip = Command::new(programs.join("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(pins);
        children.run(&pip, INSTALL_MAX)
    })?;
    Ok(Setup::Ready(programs))
}

/// Installs discord.js beside a copy of its bot, because Node looks for modules near the file that needs
/// them.
///
/// # Errors
/// If the installation fails. A missing Node or npm is a skip.
pub(crate) fn discord_js(workspace: &Workspace, children: &Children) -> Result<Setup<Command>> {
    if let Some(missing) = ["node", "npm"].into_iter().find(|program| !process::in_path(program)) {
        return Ok(Setup::Skipped(format!("{missing} is not in PATH")));
    }
    let home = workspace.own("clients/node")?;
    let bots = workspace.root().join("infra/acceptance");
    install(&home, &bots.join("package.json"), |pins| {
        fs::copy(pins, home.join("package.json")).context("copy package.json")?;
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel=error",
        ])
        .current_dir(&home);
        children.run(&npm, INSTALL_MAX)
    })?;
    let script = home.join("bot_discordjs.mjs");
    fs::copy(bots.join("bot_discordjs.mjs"), &script).context("copy the bot")?;
    let mut bot = Command::new("node");
    bot.arg(script);
    Ok(Setup::Ready(bot))
}

/// Runs `act` unless the same pins were installed before. The copy of the pins is written last, so a broken
/// installation is repeated.
fn install(home: &Path, pins: &Path, act: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let stamp: PathBuf = home.join("installed");
    let wanted = fs::read(pins).with_context(|| format!("read {}", pins.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("xtask: installing {}", pins.display());
    act(pins)?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn installs_once_for_each_set_of_pins_and_again_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let pins = folder.path().join("pins.txt");
        let runs = Cell::new(0);
        let run = |result: Result<()>| {
            install(folder.path(), &pins, |_| {
                runs.set(runs.get() + 1);
                result
            })
        };
        fs::write(&pins, "a==1").unwrap();
        assert!(run(Err(anyhow::anyhow!("no line"))).is_err());
        run(Ok(())).unwrap();
        run(Ok(())).unwrap();
        assert_eq!(runs.get(), 2);
        fs::write(&pins, "a==2").unwrap();
        run(Ok(())).unwrap();
        assert_eq!(runs.get(), 3);
    }
}
