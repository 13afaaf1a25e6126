//! Starting and stopping `weir`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a process to start or stop; far above what either takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory of a test's own.
pub(crate) struct Home {
    pub(crate) directory: TempDir,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// What it printed.
    pub(crate) told: Value,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// `weir` with arguments, in an environment without ours.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
            command.env_remove(name);
        }
        command.current_dir(self.data()).arg("--data").arg(self.data().join("data")).args(arguments);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// Runs a command with `--json`; its exit code and the object on its last line.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).expect("text");
        let last = text
            .lines()
            .last()
            .unwrap_or_else(|| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        let object =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {last}"));
        (output.status.code().expect("not killed"), object)
    }

    /// Runs a command with `--json` that must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Value {
        let (code, object) = self.json(arguments);
        assert_eq!(code, 0, "{arguments:?}: {object}");
        object
    }

    /// Starts a server on free ports and waits for the line in which it tells them.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        let any = "127.0.0.1:0";
        let listen = ["--api", any, "--gateway", any, "--data-service", any, "--admin", any, "--json"];
        let mut command = self.command(&listen);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let read =
            BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("readable");
        assert!(read > 0, "the server ended: {:?}", child.wait());
        Server { told: serde_json::from_str(&line).expect("one object"), child }
    }
}

impl Server {
    /// One of the addresses that it printed.
    pub(crate) fn address(&self, tier: &str) -> SocketAddr {
        self.told[tier].as_str().expect("an address").parse().expect("an address")
    }

    /// A request over HTTP/1.1; status and body.
    pub(crate) fn http(
        &self,
        tier: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        http(self.address(tier), method, path, headers, body)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("not 0");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end; its exit code, `None` if a signal ended it.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        }
    }

    /// Stops it as a supervisor does.
    pub(crate) fn stop(self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed in the middle leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request over HTTP/1.1 on a connection of its own.
pub(crate) fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("answered");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}
