//! Helpers for processes that scenarios run: the paths of binaries, the addresses of a `weir`, a command's
//! output, and the memory that a process holds.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tokio::{process::Command, time::timeout};
use weir_testkit::free_addresses;

/// The addresses of a scenario's own `weir`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listeners {
    pub(crate) api: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) data_service: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Listeners {
    /// Free ports.
    pub(crate) fn free(random: &mut Rng) -> Result<Self> {
        let [api, gateway, data_service, admin] = free_addresses(random)?;
        Ok(Self { api, gateway, data_service, admin })
    }

    /// The flags that set these addresses.
    pub(crate) fn flags(&self) -> Vec<String> {
        let Self { api, gateway, data_service, admin } = self;
        let listeners =
            [("--api", api), ("--gateway", gateway), ("--data-service", data_service), ("--admin", admin)];
        listeners.iter().flat_map(|(flag, address)| [(*flag).to_owned(), address.to_string()]).collect()
    }
}

/// Resident memory of a process, in KiB; `None` if there is no such process.
pub(crate) fn rss_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs a command to its end and returns the JSON object on the last line of its output.
///
/// # Errors
/// If it fails, with its output.
pub(crate) async fn last_json(command: &mut Command, patience: Duration) -> Result<serde_json::Value> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let shown = format!("{:?}", command.as_std());
    let output = timeout(patience, command.output()).await;
    let output = output.with_context(|| format!("{shown} took longer than {patience:?}"))??;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{shown} ended with {}: {text} {errors}", output.status);
    last_line(&text).context(shown)
}

/// The JSON object on the last line of an output.
pub(crate) fn last_line(text: &str) -> Result<serde_json::Value> {
    let last = text.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("no JSON was printed, but {text:?}"))
}

/// The path of a profile's binary: beside this one, or in the other profile's directory.
pub(crate) fn binary(name: &str, profile: Option<&str>) -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let mut directory = me.parent().context("a binary has a directory")?.to_owned();
    if let Some(profile) = profile {
        directory = directory.parent().context("a profile's directory has a parent")?.join(profile);
    }
    let path = directory.join(name);
    ensure!(path.exists(), "{} is not built: cargo build --release --workspace --bins", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_line_of_a_command_is_its_result() {
        let mut good = Command::new("/bin/sh");
        good.args(["-c", "echo progress; echo '{\"a\":1}'"]);
        let value = last_json(&mut good, Duration::from_secs(10)).await.expect("JSON");
        assert_eq!(value["a"], 1);
        let mut bad = Command::new("/bin/sh");
        bad.args(["-c", "echo why >&2; exit 2"]);
        let error = last_json(&mut bad, Duration::from_secs(10)).await.expect_err("failed");
        assert!(error.to_string().contains("why"), "{error}");
    }
}
