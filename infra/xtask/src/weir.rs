//! A running `weir` on free ports with a data directory of its own, for the acceptance bots.

use std::{
    fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use weir_testkit::{address, is_ready};

use crate::{
    log,
    process::{self, Children, Running},
};

/// Longest start until `/readyz` succeeds. An empty store opens in milliseconds, so only a failure on a busy
/// machine takes as long.
const START_MAX: Duration = Duration::from_secs(60);

/// Longest time to create one bot.
const BOT_MAX: Duration = Duration::from_secs(30);

/// The addresses that `weir serve --json` prints once its listeners are bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) api: SocketAddr,
    pub(crate) gateway: SocketAddr,
    admin: SocketAddr,
}

/// A running server. It is stopped when this value is dropped.
#[derive(Debug)]
pub(crate) struct Weir {
    binary: PathBuf,
    data: PathBuf,
    log: PathBuf,
    bound: Bound,
    _server: Running,
}

impl Weir {
    /// Starts `binary` below `folder` and waits until it is ready.
    ///
    /// # Errors
    /// If it ends, does not print its addresses, or does not become ready. The end of its log goes to stderr.
    pub(crate) fn start(binary: &Path, folder: &Path, children: &Children) -> Result<Self> {
        let (data, out, log) = (folder.join("data"), folder.join("weir.out"), folder.join("weir.log"));
        let (stdout, stderr) = (log::create(&out)?, log::create(&log)?);
        let mut serve = Command::new(binary);
        // The bots send as fast as they can, and Discord's limits would stretch seconds to minutes. The
        // limits have tests of their own.
        serve.env("WEIR_API__RATE_LIMITS", "off").env("WEIR_GATEWAY__IDENTIFY_LIMITS", "off");
        serve.args(["serve", "--json", "--data"]).arg(&data);
        for listener in ["--api", "--gateway", "--data-service", "--admin"] {
            serve.args([listener, "127.0.0.1:0"]);
        }
        let mut server = children.spawn_with(&serve, |command| {
            command.stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        })?;
        let bound = await_ready(&mut server, &out).inspect_err(|_| eprintln!("{}", log::tail(&log)))?;
        Ok(Self { binary: binary.to_owned(), data, log, bound, _server: server })
    }

    /// The server's addresses.
    pub(crate) fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        log::tail(&self.log)
    }

    /// Creates a bot account and returns its token.
    ///
    /// # Errors
    /// If the command fails or its last line has no token.
    pub(crate) fn create_bot(&self, name: &str, children: &Children) -> Result<String> {
        let mut create = Command::new(&self.binary);
        create
            .args(["bot", "create", name, "--json", "--admin", &self.bound.admin.to_string(), "--data"])
            .arg(&self.data);
        let mut running = children.spawn_with(&create, |command| {
            command.stdout(Stdio::piped());
        })?;
        let mut pipe = running.take_stdout().context("stdout was piped")?;
        let Some(status) = running.wait(BOT_MAX)? else {
            bail!("weir bot create did not end within {} s", BOT_MAX.as_secs());
        };
        let mut text = String::new();
        pipe.read_to_string(&mut text).context("read the output of weir bot create")?;
        if !status.success() {
            eprintln!("{}", self.log_tail());
            bail!("weir bot create ended with {status}: {text}");
        }
        let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
            .with_context(|| format!("the last line of weir bot create is not JSON: {text}"))?;
        let token = last.get("token").and_then(Value::as_str);
        token.map(str::to_owned).with_context(|| format!("weir bot create printed no token: {last}"))
    }
}

fn await_ready(server: &mut Running, out: &Path) -> Result<Bound> {
    let deadline = Instant::now() + START_MAX;
    loop {
        let printed = fs::read_to_string(out).unwrap_or_default();
        if let Some(bound) = printed.lines().find_map(parse_bound)
            && is_ready(bound.admin)
        {
            return Ok(bound);
        }
        if let Some(status) = server.ended()? {
            bail!("weir ended with {status} before it was ready; it printed: {printed:?}");
        }
        if Instant::now() >= deadline {
            bail!("weir was not ready within {} s; it printed: {printed:?}", START_MAX.as_secs());
        }
        process::pause();
    }
}

/// The bound addresses, if this line of output contains them.
fn parse_bound(line: &str) -> Option<Bound> {
    let object: Value = serde_json::from_str(line).ok()?;
    let of = |listener| address(&object, listener).ok();
    Some(Bound { api: of("api")?, gateway: of("gateway")?, admin: of("admin")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_addresses_are_found_among_other_lines() {
        let line = r#"{"api":"127.0.0.1:1","gateway":"127.0.0.1:2","data_service":"127.0.0.1:3","admin":"127.0.0.1:4"}"#;
        let bound = parse_bound(line).unwrap();
        assert_eq!((bound.api.port(), bound.gateway.port(), bound.admin.port()), (1, 2, 4));
        assert_eq!(parse_bound("weir 0.1.0"), None);
        assert_eq!(parse_bound(r#"{"api":"127.0.0.1:1"}"#), None);
    }
}
