//! Starts and stops `weir`.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use weir_testkit::{Child, Signal, http};

/// The data directory of one test.
pub(crate) struct Home {
    pub(crate) directory: TempDir,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// The object that the server printed.
    pub(crate) told: Value,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// `weir` with arguments, in an environment without our variables.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = weir_testkit::command(env!("CARGO_BIN_EXE_weir"));
        command.current_dir(self.data()).arg("--data").arg(self.data().join("data")).args(arguments);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// Runs a command with `--json`. Returns its exit code and the object on its last line.
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

    /// Starts a server on free ports and waits for the line with its addresses.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        let any = "127.0.0.1:0";
        let listen = ["--api", any, "--gateway", any, "--data-service", any, "--admin", any, "--json"];
        let mut command = self.command(&listen);
        let mut child =
            Child::spawn(command.args(arguments).stdout(Stdio::piped())).expect("the binary runs");
        Server { told: child.told().expect("one object"), child }
    }
}

impl Server {
    /// One of the addresses that the server printed.
    pub(crate) fn address(&self, tier: &str) -> SocketAddr {
        weir_testkit::address(&self.told, tier).expect("an address")
    }

    /// Sends a request over HTTP/1.1. Returns status and body.
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
        self.child.signal(signal).expect("it runs");
    }

    /// Waits for the server's end. Returns its exit code; `None` if a signal ended it.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// Stops the server as a supervisor does.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.child.stop().expect("it ends").code()
    }
}
