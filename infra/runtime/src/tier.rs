//! The frame of a binary that is one tier: the flags and keys that each of them has, and what its work begins
//! with.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::{ProcessEnvironment, Reader};
use crate::launch::{self, AskedOutput, Flag};
use crate::memory;
use crate::process::Exit;
use crate::telemetry::TelemetryConfig;

/// The flags of every tier.
#[derive(Debug, Args)]
pub struct TierFlags {
    /// Configuration file
    #[arg(long)]
    config: Option<PathBuf>,
    /// Admin listener (default: 127.0.0.1:8083)
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// Print the configuration in force and exit
    #[arg(long)]
    check_config: bool,
    /// Print the listeners' addresses, or an error, as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// A tier that reads its configuration.
#[derive(Debug)]
pub struct Tier {
    /// Where it reads the keys of its own.
    pub reader: Reader,
    program: &'static str,
    asked: AskedOutput,
}

/// What the work of a tier begins with.
#[derive(Debug)]
pub struct Start {
    /// Where the admin listener is to be bound.
    pub admin: SocketAddr,
    /// The most memory to use, if less than the process may, in bytes.
    pub memory_max: Option<u64>,
    program: &'static str,
    json: bool,
}

impl Tier {
    /// Lays file, environment and flags on top of each other; `own` are the flags of this tier alone.
    pub fn new<'a>(program: &'static str, flags: TierFlags, own: impl IntoIterator<Item = Flag<'a>>) -> Self {
        let TierFlags { config, admin, check_config, json } = flags;
        let given = own.into_iter().chain([("listen.admin", "--admin", admin)]);
        let reader = launch::layers(config.as_deref(), &ProcessEnvironment, given).into_reader();
        Self { reader, program, asked: AskedOutput { check_config, json } }
    }

    /// Reads the keys that every tier has, and runs `work` as [`launch::launch`] does.
    pub fn run<W, E>(mut self, work: impl FnOnce(Start) -> W, exit: impl FnOnce(&E) -> Exit) -> ExitCode
    where
        W: Future<Output = Result<(), E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let admin = self.reader.addr("listen.admin", ([127, 0, 0, 1], 8_083).into());
        let memory_max = memory::read(&mut self.reader);
        let log = TelemetryConfig::read(&mut self.reader);
        let start = Start { admin, memory_max, program: self.program, json: self.asked.json };
        launch::launch(self.program, self.reader.finish(), self.asked, &log, work(start), exit)
    }
}

impl Start {
    /// Tells the addresses in the form that was asked for; see [`launch::tell_listeners`].
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn tell(&self, bound: &[(&str, SocketAddr)]) -> io::Result<()> {
        launch::tell_listeners(self.program, self.json, bound)
    }
}
