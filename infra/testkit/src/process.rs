//! A server process that is killed and started again on the same addresses, as a supervisor would do it.

use std::{
    fs::OpenOptions,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    child::{Child, pause},
    requests::is_ready,
};

/// Longest time from the start of a process until it is ready. It may have to wait for the lease of the
/// killed process (5 s) to end, and a machine under test is busy.
const READY_MAX: Duration = Duration::from_secs(90);

/// How to tell that a process can serve.
#[derive(Debug, Clone, Copy)]
pub enum Ready {
    /// The admin listener at this address answers `/readyz` with 200.
    Admin(SocketAddr),
    /// The address accepts connections.
    Connects(SocketAddr),
}

/// How a process is started, every time.
#[derive(Debug)]
pub struct Program {
    /// The name of the process in messages.
    pub name: &'static str,
    /// Its command line and environment.
    pub command: Command,
    /// How to tell that it can serve.
    pub ready: Ready,
    /// The file to which each process appends its output. Without a file its errors go to this process's
    /// standard error, and its standard output is dropped.
    pub log: Option<PathBuf>,
}

/// The process; it is killed when this value is dropped. Errors are as for [`Child`].
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    started: Instant,
}

/// `redis-server` in the foreground, with its files in `directory`. It saves nothing, because the outbox is
/// the truth and the bus only carries it.
#[must_use]
pub fn redis_server(address: SocketAddr, directory: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(directory);
    command
}

impl Ready {
    fn is_now(self) -> bool {
        match self {
            Self::Admin(address) => is_ready(address),
            Self::Connects(address) => TcpStream::connect(address).is_ok(),
        }
    }
}

impl Program {
    fn spawn(&mut self) -> Result<Child> {
        self.command.stdout(Stdio::null());
        if let Some(path) = &self.log {
            let log = OpenOptions::new().create(true).append(true).open(path);
            let log = log.with_context(|| path.display().to_string())?;
            let errors = log.try_clone().context("share a log")?;
            self.command.stdout(log).stderr(errors);
        }
        Child::spawn(&mut self.command)
    }

    /// A hint for messages: where the output of the process is.
    fn see(&self) -> String {
        self.log.as_ref().map(|log| format!(" ({})", log.display())).unwrap_or_default()
    }
}

impl Process {
    /// Starts the process; see [`Process::ready`].
    pub fn start(mut program: Program) -> Result<Self> {
        let child = program.spawn()?;
        Ok(Self { program, child, started: Instant::now() })
    }

    /// The name of the process in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.program.name
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process can serve and returns the time since its start. Fails if it ends before, or
    /// after 90 s.
    pub fn ready(&mut self) -> Result<Duration> {
        while !self.program.ready.is_now() {
            if let Some(ended) = self.ended()? {
                bail!("{ended} before it was ready");
            }
            let (name, see) = (self.program.name, self.program.see());
            ensure!(self.started.elapsed() < READY_MAX, "{name}{see} was not ready within {READY_MAX:?}");
            pause();
        }
        Ok(self.started.elapsed())
    }

    /// Returns how the process ended, if it ended by itself.
    pub fn ended(&mut self) -> Result<Option<String>> {
        let ended = self.child.ended()?;
        Ok(ended.map(|status| format!("{}{} ended with {status}", self.program.name, self.program.see())))
    }

    /// Sends SIGKILL to this process alone and returns when it is gone. Returns how it had ended, if it had
    /// ended by itself.
    pub fn kill(&mut self) -> Result<Option<String>> {
        let ended = self.ended()?;
        self.child.kill()?;
        Ok(ended)
    }

    /// Starts the process again after its end; see [`Process::ready`].
    pub fn restart(&mut self) -> Result<()> {
        self.child = self.program.spawn()?;
        self.started = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::any_free_addresses;

    #[test]
    fn a_killed_process_runs_again_and_one_that_ended_is_told_of() {
        let logs = tempfile::tempdir().expect("a directory");
        let [admin] = any_free_addresses().expect("a free port");
        let log = logs.path().join("sh.log");
        let program = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).env("SAID", "hello");
            Program { name: "sh", command, ready: Ready::Admin(admin), log: Some(log.clone()) }
        };
        let mut process = Process::start(program("echo $SAID; read x < /dev/zero")).expect("started");
        assert_eq!(process.kill().expect("killed"), None);
        process.restart().expect("again");
        assert_eq!(process.kill().expect("killed"), None);

        let mut process = Process::start(program("echo $SAID; exit 3")).expect("started");
        assert!(process.ready().expect_err("it ended").to_string().contains("exit status: 3"));
        let ended = process.kill().expect("gone").expect("it ended");
        assert!(ended.contains("exit status: 3"), "{ended}");
        let log = std::fs::read_to_string(&log).expect("a log");
        assert!(log.contains("hello"), "{log}");
    }
}
