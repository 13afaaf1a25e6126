//! A server process that is killed and started again on the same addresses, as a supervisor would.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Longest time from the start of a process until it is ready: leases of the one that was killed (5 s) may have to be waited out, and a
/// machine under test is busy.
const READY_MAX: Duration = Duration::from_secs(90);
/// Pause between two looks at a process.
const POLL: Duration = Duration::from_millis(10);
/// Patience with one answer of the admin listener.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// Ports to choose from: below the range (32768 and up) from which the kernel takes the clients' own. A listener's port from that range
/// could be taken by a client while the listener is down; a client could even be connected to itself.
const PORTS: std::ops::Range<u16> = 12_000..30_000;
/// Tries to find a free port.
const PORT_TRIES: usize = 1_000;

/// How a process is started, each time.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Its `/readyz`.
    pub(crate) admin: SocketAddr,
    /// Its output goes to `NAME.log` here, appended by each process.
    pub(crate) logs: PathBuf,
}

/// A process, killed with the value.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) program: Program,
    child: Child,
    started: Instant,
}

impl Program {
    fn spawn(&self) -> Result<Child> {
        let path = self.log();
        let log = || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(&path) };
        Command::new(&self.binary)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log().with_context(|| path.display().to_string())?)
            .stderr(log().with_context(|| path.display().to_string())?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", self.binary.display()))
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.logs.join(format!("{}.log", self.name))
    }
}

impl Process {
    /// Starts it; see [`Process::ready`].
    pub(crate) fn start(program: Program) -> Result<Self> {
        let child = program.spawn()?;
        Ok(Self { program, child, started: Instant::now() })
    }

    /// Waits until `/readyz` agrees, and gives the time since the start.
    ///
    /// # Errors
    /// When it ends before, or takes longer than [`READY_MAX`].
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        loop {
            if is_ready(self.program.admin).await {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} before it was ready; see {}",
                    self.program.name,
                    self.program.log().display()
                );
            }
            ensure!(
                self.started.elapsed() < READY_MAX,
                "{} was not ready within {READY_MAX:?}; see {}",
                self.program.name,
                self.program.log().display()
            );
            sleep(POLL).await;
        }
    }

    /// SIGKILL, and the same again. Gives what is wrong if it had ended by itself before.
    ///
    /// # Errors
    /// When it does not start again.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<Option<String>> {
        let ended = self.kill().await?;
        self.restart()?;
        Ok(ended)
    }

    /// SIGKILL to this process alone, by its handle; returns when it is gone.
    pub(crate) async fn kill(&mut self) -> Result<Option<String>> {
        let ended = self.child.try_wait()?.map(|status| format!("{} ended with {status}", self.program.name));
        if ended.is_none() {
            self.child.kill().await.context("SIGKILL")?;
        }
        Ok(ended)
    }

    /// The system's number of the process; `None` once it has been seen to end.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| status.to_string()))
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        self.child = self.program.spawn()?;
        self.started = Instant::now();
        Ok(())
    }
}

/// Resident memory of a process, in KiB; `None` if there is no such process.
pub(crate) fn rss_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether the admin listener there says that it is ready.
async fn is_ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await?;
        std::io::Result::Ok(start == *b"HTTP/1.1 200")
    };
    matches!(timeout(PROBE_MAX, ask).await, Ok(Ok(true)))
}

/// Addresses on loopback that are free now, and that nobody is given by accident later.
pub(crate) fn free_addresses<const N: usize>(random: &mut Rng) -> Result<[SocketAddr; N]> {
    let mut found: Vec<(SocketAddr, TcpListener)> = Vec::with_capacity(N);
    for _ in 0..PORT_TRIES {
        // All are held until the last is found, so that they are different.
        if found.len() == N {
            break;
        }
        let port = random.u16(PORTS);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Ok(listener) = TcpListener::bind(address) {
            found.push((address, listener));
        }
    }
    let addresses: Vec<SocketAddr> = found.iter().map(|(address, _)| *address).collect();
    addresses.try_into().ok().context("no free ports")
}

/// Runs a command to its end and gives the JSON object on the last line of its output.
///
/// # Errors
/// When it fails, with what it said.
pub(crate) async fn last_json(command: &mut Command, patience: Duration) -> Result<serde_json::Value> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let shown = format!("{:?}", command.as_std());
    let output = timeout(patience, command.output()).await;
    let output = output.with_context(|| format!("{shown} took longer than {patience:?}"))??;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{shown} ended with {}: {text} {errors}", output.status);
    let last = text.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("{shown} printed no JSON but {text:?}"))
}

/// Where the binaries of a profile are: beside this one, or in the other profile's directory.
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

    #[test]
    fn addresses_differ_and_are_no_clients() {
        let [one, other] = free_addresses(&mut Rng::with_seed(1)).expect("free ports");
        assert_ne!(one, other);
        assert!(PORTS.contains(&one.port()) && PORTS.contains(&other.port()));
    }

    #[tokio::test]
    async fn a_killed_process_runs_again_and_one_that_ended_is_told_of() {
        let logs = tempfile::tempdir().expect("a directory");
        let [admin] = free_addresses(&mut Rng::with_seed(2)).expect("a free port");
        let program = |script: &str| Program {
            name: "sh",
            binary: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("SAID", "hello".to_owned())],
            admin,
            logs: logs.path().to_owned(),
        };
        let mut process = Process::start(program("echo $SAID; read x < /dev/zero")).expect("started");
        assert_eq!(process.kill_and_restart().await.expect("again"), None);
        assert_eq!(process.kill().await.expect("killed"), None);

        let mut process = Process::start(program("echo $SAID; exit 3")).expect("started");
        assert!(process.ready().await.expect_err("it ended").to_string().contains("exit status: 3"));
        let ended = process.kill_and_restart().await.expect("again").expect("it ended");
        assert!(ended.contains("exit status: 3"), "{ended}");
        let log = std::fs::read_to_string(process.program.log()).expect("a log");
        assert!(log.contains("hello"), "{log}");
    }

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
