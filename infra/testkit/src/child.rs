//! A process that ends with its owner.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;

/// Longest wait for the end of a process. It is far above what any process needs, even on a busy machine.
const END_MAX: Duration = Duration::from_secs(60);
/// Pause between two checks of a process, and so the resolution of measured times.
const POLL: Duration = Duration::from_millis(10);

/// The command that runs one of our binaries in an environment without our variables.
#[must_use]
pub fn command(binary: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command
}

/// One of the addresses in the object that a server prints with `--json` once it listens.
///
/// # Errors
/// If the object has no address of that listener.
pub fn address(told: &Value, listener: &str) -> Result<SocketAddr> {
    let text = told[listener].as_str().with_context(|| format!("no {listener} in {told}"))?;
    text.parse().with_context(|| format!("{text} is no address"))
}

/// A process that is killed when this value is dropped. Every method fails if the operating system refuses
/// the call; other errors are named at the method.
#[derive(Debug)]
pub struct Child(process::Child);

impl Child {
    /// Starts the process with an empty standard input.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        child.map(Self).with_context(|| format!("{} does not start", command.get_program().display()))
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns the next line of the process's standard output. Fails if that is not piped, or has ended.
    /// Output after the line may be lost.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().context("the output is not piped")?;
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "the process wrote nothing: {:?}", self.0.wait());
        Ok(line)
    }

    /// Returns the object in the next [`line`](Self::line), for [`address`]. Fails if the line is not JSON.
    pub fn told(&mut self) -> Result<Value> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("{line:?} is no JSON"))
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.0), signal)
            .with_context(|| format!("signal process {}", self.id()))
    }

    /// Returns how the process ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().context("look at a process")
    }

    /// Waits for the end of the process, at most for `patience`; `None` if that time passed.
    pub fn wait_for(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            pause();
        }
    }

    /// Waits for the end of the process; fails after a minute.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let ended = self.wait_for(END_MAX)?;
        ended.with_context(|| format!("process {} does not end within {END_MAX:?}", self.id()))
    }

    /// Stops the process with SIGTERM, as a supervisor does, and [waits](Self::wait) for its end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Sends SIGKILL to this process alone, if it runs. Returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill().context("SIGKILL")?;
        self.0.wait().context("wait for a killed process").map(drop)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // This leaves no process behind if a test fails midway. The process may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sleeps for [`POLL`].
#[expect(clippy::disallowed_methods, reason = "this crate blocks; a process offers nothing to block on")]
pub(crate) fn pause() {
    thread::sleep(POLL);
}
