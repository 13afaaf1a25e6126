//! A Redis server for the tests of the event bus. It comes from PATH, or from Debian's package if we may
//! install that.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use weir_testkit::redis_server;

use crate::{
    log,
    process::{self, Children, Running},
    steps::Setup,
};

/// Longest index update or installation by apt. On a good connection it takes 10-20 s.
const INSTALL_MAX: Duration = Duration::from_secs(300);

/// Longest start until PING is answered. It takes some 10 ms, and stays far below this on a busy machine.
const START_MAX: Duration = Duration::from_secs(20);

/// Longest wait for one answer while probing.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// Makes `redis-server` available.
///
/// # Errors
/// If the installation was tried and failed.
pub(crate) fn ensure_installed(children: &Children) -> Result<Setup<()>> {
    if process::in_path("redis-server") {
        return Ok(Setup::Ready(()));
    }
    if !process::in_path("apt-get") || !rustix::process::geteuid().is_root() {
        return Ok(Setup::Skipped(
            "redis-server is not in PATH, and installing it takes root and apt-get".to_owned(),
        ));
    }
    eprintln!("xtask: installing redis-server with apt-get");
    for arguments in [&["update", "-q"][..], &["install", "-qy", "--no-install-recommends", "redis-server"]] {
        let mut apt = Command::new("apt-get");
        // RUNLEVEL=1 keeps Debian's scripts from starting a system-wide server.
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        children.run(&apt, INSTALL_MAX)?;
    }
    Ok(Setup::Ready(()))
}

/// One server: its folder and its address.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    folder: PathBuf,
    address: SocketAddr,
}

impl Server {
    /// A server on `127.0.0.1` with its files in `folder`.
    pub(crate) fn new(folder: PathBuf, port: u16) -> Self {
        Self { folder, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }

    /// The address for clients, in the form that `--bus` takes.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The server's output.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("redis.log")
    }

    /// The command that runs the server in the foreground.
    pub(crate) fn command(&self) -> Command {
        redis_server(self.address, &self.folder)
    }

    /// Starts the server and waits for its first answer. It is stopped when the returned value is dropped.
    pub(crate) fn start(&self, children: &Children) -> Result<Running> {
        let output = log::create(&self.log())?;
        let errors = output.try_clone().context("share the server's log")?;
        let mut server = children.spawn_with(&self.command(), |command| {
            command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        })?;
        self.await_ping(|| server.ended().map(|status| status.is_some()))?;
        Ok(server)
    }

    /// Waits until PING is answered; `ended` says whether the server is gone.
    pub(crate) fn await_ping(&self, mut ended: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        while !answers(self.address) {
            if ended()? {
                bail!("redis-server ended\n{}", log::tail(&self.log()));
            }
            if Instant::now() >= deadline {
                bail!(
                    "redis-server gave no answer within {} s\n{}",
                    START_MAX.as_secs(),
                    log::tail(&self.log())
                );
            }
            process::pause();
        }
        Ok(())
    }

    /// True if the server answers now.
    pub(crate) fn answers(&self) -> bool {
        answers(self.address)
    }
}

fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect_timeout(&address, PROBE_MAX)?;
        stream.set_read_timeout(Some(PROBE_MAX))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| &answer == b"+PONG")
}
