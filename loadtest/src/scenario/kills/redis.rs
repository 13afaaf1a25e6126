//! A Redis server of the scenario's own, which is killed and comes back empty.

use std::{
    fs::OpenOptions,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::process;

/// Longest time from the start until it takes connections.
const START_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(5);

/// The server, killed with the value.
pub(super) struct Redis {
    address: SocketAddr,
    directory: PathBuf,
    child: Child,
}

impl Redis {
    /// Starts `redis-server` on a free port of the loopback, with its log in `directory`.
    pub(super) async fn start(directory: &Path, random: &mut Rng) -> Result<Self> {
        let [address] = process::free_addresses(random)?;
        let child = spawn(address, directory)?;
        let mut redis = Self { address, directory: directory.to_owned(), child };
        redis.answers().await?;
        Ok(redis)
    }

    /// In the form that `--bus` takes.
    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// SIGKILL to this process alone; returns when it is gone, with all that it remembered.
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("SIGKILL to redis-server")
    }

    /// Starts it again on its port, empty, and waits until it takes connections.
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.child = spawn(self.address, &self.directory)?;
        self.answers().await
    }

    async fn answers(&mut self) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            ensure!(self.child.try_wait()?.is_none(), "redis-server ended; see {}", self.directory.display());
            ensure!(began.elapsed() < START_MAX, "redis-server takes no connections");
            sleep(POLL).await;
        }
        Ok(())
    }
}

fn spawn(address: SocketAddr, directory: &Path) -> Result<Child> {
    let path = directory.join("redis.log");
    let log = OpenOptions::new().create(true).append(true).open(&path);
    Command::new("redis-server")
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(log.with_context(|| path.display().to_string())?)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server does not start; is it installed?")
}
